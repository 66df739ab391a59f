"""Memory: of one twin at rest, of one with an hour of samples that late ones may still join, and over minutes of load."""

import time
from typing import Literal

import numpy as np

from benchmarks import latency, load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place
from stream_twin.kafka.heap import GIVE_BACK_EVERY_S

MB, KB = 2**20, 2**10
STEPS = 2
HOUR = 60
"""Samples of each signal of an hour: one a minute."""
LANES = 16
REST_S = 2 * GIVE_BACK_EVERY_S
"""For the clock to pass what was read, so that it settles, for a checkpoint to be written, and for memory to be given back."""
RATE = 5000.0
TWINS_WANTED, KB_WANTED = 100_000, 10.0
What = Literal["few", "many", "pending"]
"""Few or many samples that no late one can join any more, or an hour's that late ones can."""


def rested(place: Place, twins: int, what: What) -> tuple[int, int]:
    """Bytes of a worker without a twin, and with them once ``what`` was worked off."""
    place.make_topics()
    with service.running(place) as [worker]:
        worker.wait_ready()
        empty = worker.rss()
        latency.enrol(place, twins)
        signals, end = sum(len(load.signals_of(number)) for number in range(twins)), time.time() - 3600
        if what == "few":
            made, each = load.observations(twins, STEPS * signals, end, seed=1), 1
        else:
            made, each = load.series(twins, signals, HOUR, end, seed=1, kind="streaming" if what == "many" else "syncing"), HOUR
        service.drain([worker], each * load.load(place.broker, place.topic(load.WEARABLE), made))
        time.sleep(REST_S)
        return empty, worker.rss()


def under_load(place: Place, patients: int, minutes: float) -> list[tuple[float, float]]:
    """Minutes since the start and bytes, once a second."""
    latency.enrol(place, patients)
    points = []
    with service.running(place) as [worker]:
        worker.wait_ready()
        with latency.sending(place, RATE, 60 * minutes + 5, patients):
            began = time.time()
            while (passed := time.time() - began) < 60 * minutes:
                points.append((passed / 60, float(worker.rss())))
                worker.check()
                time.sleep(1)
    return points


def growth(points: list[tuple[float, float]]) -> float:
    """By how many percent memory grew over the second half, by a straight line through it."""
    at, size = np.array(points[len(points) // 2 :]).T
    slope, start = np.polyfit(at - at[0], size, 1)
    return float(100 * slope * (at[-1] - at[0]) / start)


def measure(place: Place, scale: Scale) -> list[Result]:
    rows: list[Result] = []
    sizes: list[tuple[float, float]] = []
    for twins in scale.twins:
        empty, full = rested(place._replace(prefix=f"{place.prefix}rest{twins}.", lanes=LANES), twins, "few")
        print(f"{twins:,} twins: {full / MB:,.0f} MB, {empty / MB:,.0f} without", flush=True)
        sizes.append((float(twins), full / MB))
        if twins == max(scale.twins):
            limits = (KB_WANTED, 1536.0) if twins == TWINS_WANTED else (None, None)
            rows += [
                Result(
                    f"a twin at rest, {STEPS} samples of each signal, of {twins:,}",
                    "KB",
                    [(full - empty) / twins / KB],
                    limits[0],
                    at_most=True,
                ),
                Result(f"a worker with {twins:,} twins", "MB", [full / MB], limits[1], at_most=True),
                Result("a worker without a twin", "MB", [empty / MB]),
            ]
    kinds: tuple[tuple[What, str, float | None], ...] = (
        ("many", f"a twin at rest, {HOUR} samples of each signal, of {scale.pending:,}", KB_WANTED),
        ("pending", f"a twin with an hour pending, {HOUR} samples of each signal, of {scale.pending:,}", None),
    )
    for what, name, limit in kinds:
        empty, full = rested(place._replace(prefix=f"{place.prefix}{what}."), scale.pending, what)
        rows.append(Result(name, "KB", [(full - empty) / scale.pending / KB], limit, at_most=True))
    points = under_load(place._replace(prefix=f"{place.prefix}load."), scale.patients, scale.minutes)
    grown = growth(points)
    rows += [
        Result(f"{scale.minutes:g} minutes of {RATE:,.0f}/s: largest", "MB", [max(size for _, size in points) / MB]),
        Result(f"{scale.minutes:g} minutes of {RATE:,.0f}/s: growth in the second half", "%", [grown], 3.0, at_most=True),
    ]
    report.curve("memory-twins", ("twins", "rss_mb"), sizes)
    report.curve("memory-load", ("minutes", "rss_mb"), [(at, size / MB) for at, size in points])
    return rows
