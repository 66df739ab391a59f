"""Memory: of one twin at rest, of one with an hour of samples that late ones may still join, and over minutes of load."""

import time

import numpy as np

from benchmarks import latency, load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place

MB, KB = 2**20, 2**10
STEPS = 2
HOUR = 60
"""Samples of each signal that wait for late ones: one a minute."""
LANES = 16
REST_S = 8.0
"""For the clock to pass what was read, so that it settles, and for a checkpoint to be written."""
RATE = 5000.0
TWINS_WANTED = 100_000


def rested(place: Place, twins: int, make: str) -> tuple[int, int]:
    """Bytes of a worker without a twin and with them; ``make``: "rest" or "pending"."""
    place.make_topics()
    with service.running(place) as [worker]:
        worker.wait_ready()
        empty = worker.rss()
        latency.enrol(place, twins)
        signals = sum(len(load.signals_of(number)) for number in range(twins))
        end = time.time() - 3600
        if make == "rest":
            wanted = load.load(place.broker, place.topic(load.WEARABLE), load.observations(twins, STEPS * signals, end, seed=1))
        else:
            wanted = HOUR * load.load(place.broker, place.topic(load.WEARABLE), load.series(twins, signals, HOUR, end, seed=1))
        service.drain([worker], wanted)
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
        empty, full = rested(place._replace(prefix=f"{place.prefix}rest{twins}.", lanes=LANES), twins, "rest")
        print(f"{twins:,} twins: {full / MB:,.0f} MB, {empty / MB:,.0f} without", flush=True)
        sizes.append((float(twins), full / MB))
        if twins == max(scale.twins):
            limits = (10.0, 1536.0) if twins == TWINS_WANTED else (None, None)
            rows += [
                Result(f"a twin at rest, of {twins:,}", "KB", [(full - empty) / twins / KB], limits[0], at_most=True),
                Result(f"a worker with {twins:,} twins", "MB", [full / MB], limits[1], at_most=True),
                Result("a worker without a twin", "MB", [empty / MB]),
            ]
    empty, full = rested(place._replace(prefix=f"{place.prefix}pending."), scale.pending, "pending")
    rows.append(
        Result(
            f"a twin with an hour pending (a sample a minute), of {scale.pending:,}", "KB", [(full - empty) / scale.pending / KB]
        )
    )
    points = under_load(place._replace(prefix=f"{place.prefix}load."), scale.patients, scale.minutes)
    grown = growth(points)
    rows += [
        Result(f"{scale.minutes:g} minutes of {RATE:,.0f}/s: largest", "MB", [max(size for _, size in points) / MB]),
        Result(f"{scale.minutes:g} minutes of {RATE:,.0f}/s: growth in the second half", "%", [grown], 3.0, at_most=True),
    ]
    report.curve("memory-twins", ("twins", "rss_mb"), sizes)
    report.curve("memory-load", ("minutes", "rss_mb"), [(at, size / MB) for at, size in points])
    return rows
