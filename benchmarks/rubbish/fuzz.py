"""The decoders under a coverage-guided fuzzer (atheris): any bytes end as one input or one dead letter, never as an exception.

    python -m benchmarks.rubbish.fuzz [--seconds 60]        a process of its own for each source topic, one after another
    python -m benchmarks.rubbish.fuzz --again FILE          what a finding does, without the fuzzer

It starts from the good messages and from every kind of the catalogue. Findings are files under ``build/rubbish/findings/TOPIC``.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Result
from benchmarks.rubbish import good
from benchmarks.rubbish.good import Case
from stream_twin.ingest import REASONS, Ingest
from stream_twin.signals import load

DIRECTORY = Path(__file__).parents[2] / "build" / "rubbish"
FINDINGS = DIRECTORY / "findings"
NOW = 1_772_352_000.0
LONGEST = 4096
SEPARATOR = b"\x1e"
"""Between key and value of what the fuzzer makes."""


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = round(NOW * 1000)


def check(ingest: Ingest, topic: str, data: bytes) -> str:
    """Run one record; its reason, or "accepted". Raises AssertionError or whatever ingest raises."""
    key, separator, value = data.partition(SEPARATOR)
    record = Record(7, key if separator else None, value if separator else key)
    done = ingest.run(topic, 0, [record], NOW)
    assert len(done.inputs) + len(done.rejected) == 1, f"{len(done.inputs)} inputs and {len(done.rejected)} dead letters"
    if done.inputs:
        return "accepted"
    letter = done.rejected[0]
    headers = dict(letter.headers)
    reason = headers["reason"].decode()
    assert reason in REASONS, f"{reason} is no reason"
    assert headers["detail"].decode().isprintable(), "the detail does not print"
    assert (letter.key, letter.value) == (record.key or b"", record.value), "the dead letter has not the bytes that came"
    return reason


def _fuzz(topic: str, seconds: float) -> None:
    """Never returns: the fuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["stream_twin.ingest"]):
        for name in [name for name in sys.modules if name.startswith("stream_twin.ingest")]:
            del sys.modules[name]  # to be imported again, with counters
        from stream_twin.ingest import Ingest as Counted
    ingest = Counted(load())

    def one(data: bytes) -> None:
        check(ingest, topic, data)

    corpus, findings = DIRECTORY / "corpus" / topic, FINDINGS / topic
    findings.mkdir(parents=True, exist_ok=True)
    arguments = [f"-max_total_time={seconds:.0f}", f"-max_len={LONGEST}", f"-artifact_prefix={findings}/", "-timeout=10"]
    atheris.Setup([sys.argv[0], *arguments, "-verbosity=0", "-print_final_stats=1", "-seed=1", str(corpus)], one)
    atheris.Fuzz()


def seed(topic: str) -> int:
    """What the fuzzer begins with, one file each; how many."""
    from benchmarks.rubbish.catalogue import KINDS

    corpus = DIRECTORY / "corpus" / topic
    shutil.rmtree(corpus, ignore_errors=True)
    corpus.mkdir(parents=True)
    case = Case(7, NOW)
    records = [good.keyed(topic, good.BY_TOPIC[topic](case))] + [kind.make(case)[-1] for kind in KINDS if kind.topic == topic]
    small = [record for record in records if len(record.key or b"") + len(record.value or b"") < LONGEST]
    for number, record in enumerate(small):
        (corpus / f"{number:05}").write_bytes((record.key or b"") + SEPARATOR + (record.value or b""))
    return len(small)


def campaign(seconds: float, wrong: Counter[str]) -> list[Result]:
    """Fuzz each topic for its share of ``seconds``; findings are added to ``wrong``."""
    if find_spec("atheris") is None:
        print("not fuzzed: atheris has no wheel for this Python and machine; tests/rubbish/test_decoders.py does without it")
        return []
    shutil.rmtree(FINDINGS, ignore_errors=True)
    share = max(seconds * (os.cpu_count() or 1) / len(good.BY_TOPIC), 1)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        runs = sum(pool.map(lambda topic: _campaign_of(topic, share, wrong), good.BY_TOPIC))
    return [Result("records that the fuzzer tried", "records", [runs])]


def _campaign_of(topic: str, seconds: float, wrong: Counter[str]) -> int:
    """How many records were tried."""
    seed(topic)
    command = [sys.executable, "-m", "benchmarks.rubbish.fuzz", "--topic", topic, "--seconds", f"{seconds:.0f}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds * 3 + 120)
    made = [int(line.split()[-1]) for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    found = sorted(path.relative_to(DIRECTORY.parents[1]) for path in (FINDINGS / topic).glob("*"))
    for path in found:
        wrong[f"fuzzing {topic}: {path}: python -m benchmarks.rubbish.fuzz --topic {topic} --again {path}"] += 1
    if not found and (done.returncode or not made):
        wrong[f"fuzzing {topic} ended with {done.returncode}: {done.stderr[-500:]}"] += 1
    print(f"fuzzed {topic}: {sum(made):,} records, {len(found)} findings", flush=True)
    return sum(made)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--topic", choices=list(good.BY_TOPIC))
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--again", type=Path, metavar="FILE", help="run a finding once; needs --topic")
    options = parser.parse_args()
    if options.again:
        print(check(Ingest(load()), options.topic, options.again.read_bytes()))
    elif options.topic:
        _fuzz(options.topic, options.seconds)
    else:
        wrong: Counter[str] = Counter()
        campaign(options.seconds, wrong)
        sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
