"""``make recordings``: the six recordings whole through a real Kafka and one worker, then the audit of each.

python -m benchmarks.recordings [DIRECTORY] [--stays 1000] [--only NAME]     the data sets lie in DIRECTORY, each in its folder

Prints, for each, what became of its records, and writes ``build/reports/recordings.json``. Exit code 1: an audit found something.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Annotated

import typer
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import Result, report
from tests.kafka_broker import broker as kafka_broker
from tests.kafka_broker import free_port

FOLDERS = {
    "lifesnaps": "lifesnaps",
    "welltory": "welltory_covid",
    "mimic-fhir": "mimic_iv_demo_fhir",
    "beijing-pm25": "beijing_pm25",
    "sepsis2019": "sepsis2019",
    "t1d": "t1d_uom",
}
SHARED = Path(__file__).parents[2] / "shared" / "data"
LANES = "4"
TICK_S = "900"
PATIENCE_S = 1800.0
CLI = (sys.executable, "-m", "stream_twin.cli")


def lag(port: int) -> float:
    """Records that the worker has not read yet, over all topics; inf while it does not say."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}
    except OSError:
        return float("inf")
    lags = families.get("stream_twin_lag_records")
    return sum(sample.value for sample in lags.samples) if lags and lags.samples else float("inf")


def play(name: str, path: Path, address: str, limit: int | None, work: Path) -> list[dict[str, object]]:
    """Rows of the audit."""
    prefix, port = f"{name}.", free_port()
    there = ["--broker", address, "--prefix", prefix]
    subprocess.run([*CLI, "topics", "create", *there, "--partition-count", LANES], check=True, stdout=subprocess.DEVNULL)
    options = ["--group", name, "--partition-count", LANES, "--clock", "stream", "--metrics-port", str(port)]
    with (work / f"{name}.log").open("wb") as output:
        worker = subprocess.Popen([*CLI, "worker", *there, *options], stderr=output)
        try:
            some = [] if limit is None else ["--limit", str(limit)]
            subprocess.run([*CLI, "replay", name, str(path), *there, "--tick", TICK_S, *some], check=True)
            deadline, quiet = time.monotonic() + PATIENCE_S, 0
            while quiet < 3:  # three looks in a row: what was read is committed, and what that put into the log as well
                if worker.poll() is not None or time.monotonic() > deadline:
                    said = (work / f"{name}.log").read_text()
                    raise SystemExit(f"the worker did not get through {name}; the end of its log: {said[-2000:]}")
                time.sleep(2)
                quiet = quiet + 1 if lag(port) == 0 else 0
        finally:
            worker.send_signal(signal.SIGTERM)
            worker.wait(30)
    result = work / f"{name}.json"
    subprocess.run([*CLI, "audit", *there, "--json", str(result)], check=False)
    rows: list[dict[str, object]] = json.loads(result.read_text())
    return rows


def main(
    directory: Annotated[Path, typer.Argument(envvar="STREAM_TWIN_RECORDINGS")] = SHARED,
    stays: int = 1000,
    only: str | None = None,
) -> None:
    """``stays``: how many of sepsis2019."""
    results = []
    with tempfile.TemporaryDirectory() as work, kafka_broker() as broker:
        for name, folder in FOLDERS.items():
            if only not in (None, name):
                continue
            rows = play(name, directory / folder, broker.address, stays if name == "sepsis2019" else None, Path(work))
            counted = [(f"{name}: {row['name']}", float(str(row["counted"]))) for row in rows if row["ok"] is None]
            results += [Result(what, "records", [count]) for what, count in counted]
            wrong = sum(1 for row in rows if row["ok"] is False)
            results.append(Result(f"{name}: points of the audit that do not hold", "points", [float(wrong)], 0.0, at_most=True))
    if not report("recordings" if only is None else f"recordings-{only}", results):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
