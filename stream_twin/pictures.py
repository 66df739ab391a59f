"""Wires what a picture or a table of a patient's past needs: the lane's log or a recording, the twin, the drawing."""

import csv
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from stream_twin.datasets.recording import DataSet
from stream_twin.events import AlertChange, Tick
from stream_twin.ingest import Ingest
from stream_twin.kafka import reader, state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import INPUTS, full_name, generation_of, lane_of
from stream_twin.lane.chart import Chart
from stream_twin.lane.patient import INPUT
from stream_twin.lane.retrospect import retrospect
from stream_twin.serve.picture import Picture, Point
from stream_twin.signals import Catalogue

MOMENTS, AHEAD_MOMENTS = 1500, 100
"""At which the belief is drawn: before now, and after it."""
TICK_S = 300.0
"""Of a recording's time between two ticks of its clock."""
COLUMNS = (
    "at", "local_time", "signal", "unit", "row", "value", "set_aside", "level", "low90", "low50", "high50", "high90", "usual",
)  # fmt: skip


class NothingKnown(LookupError):
    """Of a patient; the message says where it was looked for."""

    exit_code = 1


class _Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = 0


class Known(NamedTuple):
    """What there is of one patient; ``alerts`` in order of time."""

    chart: Chart
    alerts: Sequence[AlertChange] = ()


def from_lane(broker: Broker, prefix: str, patient: str, catalogue: Catalogue) -> Known:
    """Read a patient's lane of ``twin.inputs`` and of ``alerts`` from their start.

    Raises:
        NothingKnown: no profile of this patient.
    """
    key = patient.encode()
    lanes, suffix = generation_of(broker, prefix)
    lane, inputs = lane_of(key, lanes), full_name(prefix, INPUTS, suffix)
    known = None
    if broker.first_offsets([(inputs, lane)])[inputs, lane]:
        known = state.read(broker, prefix, lane, suffix).snapshots.get(key)
    chart = Chart(catalogue, key, known)
    for record in reader.read(broker, inputs, [lane]):
        chart.feed(record)
    if chart.profile is None:
        raise NothingKnown(f"nothing is known of {patient!r} in {inputs}/{lane} on {broker.address}: is the id right?")
    alerts = [
        msgspec.json.decode(record.value or b"", type=AlertChange)
        for record in reader.read(broker, f"{prefix}alerts", [lane])
        if record.key == key
    ]
    return Known(chart, alerts)


def from_recording(dataset: DataSet, path: Path, person: str, catalogue: Catalogue) -> Known:
    """Put a recorded person through the ingest and what the lane judges, at the recorded times; alerts are not made.

    Raises:
        NothingKnown: nobody of this name is recorded.
    """
    people = dataset.people(path)
    if person not in people:
        raise NothingKnown(
            f"{person!r} is not recorded in {path}: there are {', '.join(people[:8])}{' ...' if people[8:] else ''}"
        )
    chart: Chart | None = None
    ingest, count, tick = Ingest(catalogue), 0, -np.inf

    def put(key: bytes, value: bytes) -> None:
        nonlocal count
        assert chart is not None
        chart.feed(_Record(count, key, value))
        count += 1

    for number, sent in enumerate(dataset.events(path, person, 0.0)):
        chart = chart or Chart(catalogue, sent.key)  # a data set may call people otherwise than its files
        if sent.at >= tick + TICK_S:
            tick = sent.at
            put(b"", msgspec.json.encode(Tick(clock=tick, complete_to=tick)))
        record = _Record(number, sent.key, sent.value, round(sent.at * 1000))
        for key, value in ingest.run(sent.topic, 0, [record], sent.at).inputs:
            put(key, value)
    if chart is None or chart.profile is None:
        raise NothingKnown(f"{path} holds no profile of {person!r}")
    return Known(chart)


def picture(known: Known, since: float, until: float, *, smoothed: bool, ahead_s: float = 0.0) -> Picture:
    """Of the time from ``since`` to ``until``: with hindsight, or as it was known then, and what is expected after it."""
    chart, alerts = known
    profile = chart.profile
    assert profile is not None, "who is not known was refused"
    samples = chart.samples()
    measured = [sample.at for sample in samples if sample.device != INPUT]
    if measured:
        since = max(since, min(measured))
    moments = np.linspace(since, until, MOMENTS)
    if ahead_s > 0:
        moments = np.append(moments, np.linspace(until, until + ahead_s, AHEAD_MOMENTS + 1)[1:])
    seen = retrospect(chart.population, samples, moments, until, smoothed=smoothed)
    points: dict[str, list[Point]] = {}
    for sample in samples:
        if sample.device != INPUT and since <= sample.at <= until:
            aside = (sample.signal, sample.at) in seen.aside
            points.setdefault(sample.signal, []).append(Point(sample.at, sample.value, sample.period_s, aside))
    return Picture(
        profile=profile,
        since=since,
        until=until + ahead_s,
        now=None if smoothed else until,
        points=points,
        traces=seen.traces,
        drivers=seen.drivers,
        air=chart.air(),
        events=chart.events,
        outcomes=list(chart.outcomes.values()),
        alerts=[change for change in alerts if change.at <= until],
    )


def write_csv(path: Path, catalogue: Catalogue, what: Picture, named: Sequence[str] = ()) -> int:
    """One row for each sample and each moment of belief, of all signals or those ``named``, in order of time; how many."""
    rows = sorted(_rows(catalogue, what, set(named)), key=lambda row: (row[0], row[1]))
    zone = what.zone
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for at, name, kind, cells in rows:
            utc = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            local = datetime.fromtimestamp(at, zone).isoformat(timespec="milliseconds")
            table.writerow((utc, local, name, catalogue[name].unit, kind, *cells))
    return len(rows)


def _rows(catalogue: Catalogue, what: Picture, named: set[str]) -> Iterator[tuple[float, str, str, Sequence[Any]]]:
    for name, points in what.points.items():
        if not named or name in named:
            for point in points:
                yield point.at, name, "sample", (point.value, int(point.aside), "", "", "", "", "", "")
    for name, trace in what.traces.items():
        if not named or name in named:
            shown = zip(trace.at, trace.level, trace.low, trace.lower, trace.upper, trace.high, trace.baseline, strict=True)
            for at, *belief in shown:
                yield float(at), name, "belief", ("", "", *(f"{value:.6g}" for value in belief))
