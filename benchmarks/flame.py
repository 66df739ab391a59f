"""``make profile``: a flame graph of a worker that works off a backlog, and where the microseconds of one observation go.

py-spy samples the worker from outside. Each sample is counted for the innermost layer on its stack; a layer's share of the
samples is its share of the worker's CPU time per observation. On Linux py-spy may need ``kernel.yama.ptrace_scope=0``.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import machine, report, service
from benchmarks.report import Result
from benchmarks.scale import FULL
from benchmarks.service import Place
from benchmarks.throughput import backlog
from stream_twin.kafka.broker import Broker
from tests.kafka_broker import broker as kafka_broker

LAYERS = (
    ("ingest", "stream_twin/ingest/"),
    ("alerts", "stream_twin/alerts/"),
    ("learn", "stream_twin/learn/"),
    ("learn", "river/"),
    ("twin", "stream_twin/twin/"),
    ("lane", "stream_twin/lane/"),
    ("metrics", "stream_twin/serve/"),
    ("metrics", "stream_twin/app.py"),
    ("kafka/", "stream_twin/kafka/"),
    ("Kafka's client (aiokafka)", "aiokafka/"),
    ("Faust", "faust/"),
    ("Faust", "mode/"),
)
OTHER = "event loop and the rest"
SECONDS = 10
ALERTS_WANTED = 15.0
"""Per cent of the worker's time, at most."""


def layer(stack: str) -> str:
    """Of a stack as py-spy writes it, outermost frame first: the innermost layer that it is in."""
    for frame in reversed(stack.split(";")):
        for name, path in LAYERS:
            if f"({path}" in frame or f"/{path}" in frame:
                return name
    return OTHER


def shares(lines: Iterable[str]) -> dict[str, float]:
    """Share of the samples by layer, the largest first; ``lines``: stacks with how often each was seen."""
    seen: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rpartition(" ")
        seen[layer(stack)] += int(count)
    return {name: count / seen.total() for name, count in seen.most_common()}


def record(place: Place, events: int, patients: int) -> tuple[dict[str, float], float]:
    """Shares by layer, and microseconds of CPU per observation; the flame graph goes to ``build/reports/profile.svg``."""
    spy = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or "py-spy"
    wanted, stacks = backlog(place, patients, events, seed=0), place.directory / "stacks.txt"
    report.DIRECTORY.mkdir(parents=True, exist_ok=True)
    with service.running(place) as [worker]:
        while not service.samples(worker.numbers()):
            time.sleep(0.05)
        common = [spy, "record", "--pid", str(worker.pid), "--duration", str(SECONDS), "--rate", "100", "--nonblocking"]
        flame = [*common, "--output", str(report.DIRECTORY / "profile.svg")]
        raw = [*common, "--format", "raw", "--output", str(stacks)]
        began, cost = service.samples(worker.numbers()), worker.cpu_s()
        for command in (raw, flame):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if command is raw:
                ended, spent = service.samples(worker.numbers()), worker.cpu_s() - cost
        if ended >= wanted:
            raise RuntimeError(f"the worker was done with {wanted:,} observations before {SECONDS} s: give it more with --events")
    return shares(stacks.read_text().splitlines()), spent / (ended - began) * 1e6


def main(
    events: Annotated[int, typer.Option(help="Observations of the backlog.")] = 2 * FULL.events, patients: int = FULL.patients
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that what was started ends too
    with kafka_broker() as running, tempfile.TemporaryDirectory(prefix="profile-") as directory, machine.noted("profile"):
        place = Place(Broker(running.address), "profile.", FULL.lanes, Path(directory))
        found, cost = record(place, events, patients)
    rows = [Result(name, "us of an observation", [share * cost]) for name, share in found.items()]
    alerts = Result("alerts", "% of the time", [100 * found.get("alerts", 0.0)], ALERTS_WANTED, at_most=True)
    report.report("profile", [*rows, Result("all of it", "us of an observation", [cost]), alerts])
    print(f"flame graph: {report.DIRECTORY / 'profile.svg'}")


if __name__ == "__main__":
    typer.run(main)
