"""From the producer's send to the committed estimate and the committed alert, as a reader of the topics sees it.

At 5,000 samples a second, at half of what one worker can do, and of one patient at a time with nothing else to do. The sender,
the service, the reader and the broker share this machine's cores.
"""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks import listen, load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place
from benchmarks.throughput import ROOT, top_rate

STEADY = 5000.0
TOP_IF_UNKNOWN = 60_000.0
"""Used for half of the top rate where ``bench`` was not run before."""
CALLS = 20.0
"""Urgent values a second among the others."""
ALONE = 10.0
ON_ITS_WAY_S = 15.0
"""Longest time that an alert may be missing after the last sample."""
LATE_MS = 100.0
"""A sender that was later than this makes a run worthless."""


class Sending:
    """A sender in a process of its own (:mod:`benchmarks.send`)."""

    def __init__(
        self, place: Place, rate: float, seconds: float, patients: int, calls: float = 0.0, together: bool = False
    ) -> None:
        options = f"--rate {rate} --seconds {seconds} --patients {patients} --calls {calls}" + " --together" * together
        command = [sys.executable, "-m", "benchmarks.send", place.broker.address, place.prefix, *options.split()]
        self.began = time.time()
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        self._limit_s = seconds + 60

    def wait(self) -> dict[str, Any]:
        """What it sent. Raises CalledProcessError where it failed."""
        output, _ = self._process.communicate(timeout=self._limit_s)
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args)
        sent: dict[str, Any] = json.loads(output.splitlines()[-1])
        return sent

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def sending(
    place: Place, rate: float, seconds: float, patients: int, calls: float = 0.0, together: bool = False
) -> Iterator[Sending]:
    one = Sending(place, rate, seconds, patients, calls, together)
    try:
        yield one
    finally:
        one.stop()


def enrol(place: Place, patients: int, callers: int = 0) -> None:
    """Topics, profiles of patients and of callers, and a usual value of each caller."""
    place.make_topics()
    now = time.time()
    names = [*map(load.patient, range(patients)), *map(load.caller, range(callers))]
    load.load(place.broker, place.topic(load.PROFILES), load.people(names, now))
    usual = (load.by_hand(number, load.USUAL, now - 60) for number in range(callers))
    load.load(place.broker, place.topic(load.WEARABLE), usual)


class Run(NamedTuple):
    """Milliseconds, sorted."""

    estimates: NDArray[np.float64]
    alerts: NDArray[np.float64]


def once(place: Place, scale: Scale, rate: float, patients: int, calls: float = CALLS, together: bool = False) -> Run:
    """A worker of its own under a steady load; ``together``: of all signals of a patient, then of the next."""
    seconds = scale.warm_s + scale.measured_s
    enrol(place, patients, callers=int(calls * seconds) + 1)
    with service.running(place) as [worker]:
        worker.wait_ready()
        with (
            listen.estimates(place) as estimates,
            listen.urgent_alerts(place) as alerts,
            sending(place, rate, seconds, patients, calls, together) as sender,
        ):
            sent = sender.wait()
            since, expected = sent["ended"] - scale.measured_s, int(calls * scale.measured_s) - 1
            deadline = time.monotonic() + ON_ITS_WAY_S
            while len(alerts.since(since)) < expected and time.monotonic() < deadline:
                time.sleep(0.1)
            time.sleep(0.5)
    if sent["late_ms"] > LATE_MS:
        print(f"the sender of {rate:,.0f}/s was late by up to {sent['late_ms']:.0f} ms: this machine is busy", flush=True)
    found = Run(np.sort(estimates.latencies_ms(since)), np.sort(alerts.latencies_ms(since)))
    if len(found.alerts) < expected:
        raise RuntimeError(f"{expected} urgent values were sent, but {len(found.alerts)} urgent alerts were heard")
    return found


def quantiles(name: str, unit: str, runs: list[NDArray[np.float64]], wanted: dict[float, float | None]) -> list[Result]:
    """A row for each quantile, one value of it per run. A run without any says nothing."""
    told = [run for run in runs if run.size]
    if not told:
        print(f"{name}: no sample was a cause", flush=True)
        return []
    return [
        Result(f"{name}, p{100 * q:g}", unit, [float(np.quantile(run, q)) for run in told], limit, at_most=True)
        for q, limit in wanted.items()
    ]


def measure(place: Place, scale: Scale) -> list[Result]:
    top = top_rate(report.read("bench")) or TOP_IF_UNKNOWN
    loads = [
        ("steady", f"{STEADY:,.0f}/s", STEADY, scale.patients, CALLS, {0.5: 100.0, 0.99: 160.0}),
        ("half", f"half of the top rate ({top / 2:,.0f}/s)", top / 2, scale.patients, CALLS, {0.5: 150.0, 0.99: 250.0}),
        ("alone", f"one patient at a time ({ALONE:g}/s)", 1e-9, 1, ALONE, {0.5: None, 0.99: 100.0}),
    ]
    rows: list[Result] = []
    points: list[tuple[str, str, float, float]] = []
    for short, name, rate, patients, calls, wanted in loads:
        together = short == "half"  # as the top rate was measured
        places = [place._replace(prefix=f"{place.prefix}{short}{number}.") for number in range(scale.rounds)]
        runs = [once(here, scale, rate, patients, calls, together) for here in places]
        if rate > 1:
            rows += quantiles(f"{name}: send to estimate", "ms", [run.estimates for run in runs], wanted)
        rows += quantiles(f"{name}: send to urgent alert", "ms", [run.alerts for run in runs], wanted)
        for what, found in (("estimate", [run.estimates for run in runs]), ("alert", [run.alerts for run in runs])):
            everything = np.concatenate(found)
            if everything.size and (rate > 1 or what == "alert"):
                shares = (0.0, *np.arange(0.05, 0.95, 0.05), 0.95, 0.97, 0.98, 0.99, 0.995, 0.999, 1.0)
                points += [(short, what, float(q), float(np.quantile(everything, q))) for q in shares]
    report.curve("latency", ("load", "what", "share", "ms"), points)
    return rows
