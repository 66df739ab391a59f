"""One, two and three workers; 4, 16 and 64 lanes; few and many patients: throughput, and what one event costs.

The workers, and the broker, share this machine's cores, so that throughput says little about several machines. CPU time
per event does: it must not grow with the number of workers or of patients.
"""

from benchmarks import load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place
from benchmarks.throughput import backlog


def measure(place: Place, scale: Scale) -> list[Result]:
    runs = [("workers", count, (count, scale.lanes, scale.patients)) for count in scale.workers]
    runs += [("lanes", lanes, (1, lanes, scale.patients)) for lanes in scale.lane_counts]
    runs += [("patients", patients, (1, scale.lanes, patients)) for patients in scale.crowds]
    found: dict[tuple[int, int, int], tuple[float, float]] = {}
    rows: list[Result] = []
    points: list[tuple[str, float, float, float]] = []
    for what, x, kind in runs:
        if kind not in found:
            found[kind] = rate, cost = once(place, scale.events // 2, *kind)
            name = "{} worker{}, {} lanes, {:,} patients".format(kind[0], "s" if kind[0] > 1 else "", *kind[1:])
            print(f"{name}: {rate:,.0f}/s, {cost:.1f} us of CPU per event", flush=True)
            rows += [Result(name, "events/s", [rate]), Result(f"{name}: CPU", "us/event", [cost])]
        points.append((what, float(x), *found[kind]))
    report.curve("workers", ("what", "x", "events_per_s", "cpu_us"), points)
    return rows


def once(place: Place, events: int, count: int, lanes: int, patients: int) -> tuple[float, float]:
    """Events per second of all workers together, once all twins are made, and microseconds of their CPU per event."""
    here = place._replace(prefix=f"{place.prefix}{count}.{lanes}.{patients}.", lanes=lanes)
    warm = sum(len(load.signals_of(number)) for number in range(patients))  # one of each, so that all twins are made
    wanted = backlog(here, patients, warm + events, seed=1)
    with service.running(here, count) as workers:
        drained = service.drain(workers, wanted, warm)
    return drained.samples / drained.seconds, drained.cpu_s / drained.samples * 1e6
