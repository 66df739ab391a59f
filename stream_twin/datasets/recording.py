"""Recordings as streams of source messages, in the order in which devices and hospital systems would have sent them.

A data set is two functions over a directory: whom it recorded, and one person's messages in order. Everything else — who
is played, at which time, merged into one stream — is the same for all of them and lives here.

Nothing is repaired on the way. A cell that the device itself marks as missing is sent as absent; a cell that means nothing
(text for a number, an impossible date) is sent as it is, so that it ends as a dead letter that somebody can look at.
"""

import functools
import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from stream_twin import events, signals

WEARABLE = "wearable.observations"
CLINICAL = "clinical.observations"
HAPPENED = "clinical.events"
ENVIRONMENT = "environment.observations"
PROFILES = "patient.profiles"
DEVICES = "device.assignments"
OUTCOMES = "patient.outcomes"

HOUR = 3600.0
DAY = 86_400.0
WEEK = 7 * DAY

_encode = msgspec.json.Encoder().encode


class Sent(NamedTuple):
    """One source record. ``at``: when it was sent, in seconds; ``topic`` without the prefix."""

    at: float
    topic: str
    key: bytes
    value: bytes


class DataSet(NamedTuple):
    """How one data set is read. On a directory of another shape both functions raise FileNotFoundError with what is missing."""

    name: str
    title: str
    people: Callable[[Path], list[str]]
    """In the order in which ``limit`` takes them. A place counts as one."""
    events: Callable[[Path, str, float], Iterator[Sent]]
    """(path, person, shift in seconds added to every time) -> messages in order of ``at``."""
    calendar: Literal["common", "own"] = "common"
    """Whether the recorded dates are one calendar for all, or one of its own for each person (shifted by the publisher)."""
    every_s: float = 0.0
    """Where there are no dates, how long after the person before the next one starts."""


class Recording:
    """A data set as one stream of :class:`Sent` in order of ``at``, as often as it is iterated.

    ``now`` None keeps the recorded times. Otherwise they are shifted by whole weeks, so that weekday and time of day stay, to
    just before ``now``: by the same for all people, or each person by their own where each has an own calendar. The first
    reading, for the newest record, also gives ``count``, ``first`` and ``last``: records, and the moments of sending.

    Raises FileNotFoundError where nobody is recorded.
    """

    def __init__(self, dataset: DataSet, path: Path, *, now: float | None = None, limit: int | None = None) -> None:
        self.dataset, self.path = dataset, path
        self.people: list[str] = []
        self.count = 0
        spans = []
        for place, person in enumerate(dataset.people(path)[:limit]):
            stagger = dataset.every_s * place
            first, last = math.inf, -math.inf
            for sent in dataset.events(path, person, stagger):
                first, last = min(first, sent.at), max(last, sent.at)
                self.count += 1
            if first <= last:
                self.people.append(person)
                spans.append((stagger, first, last))
        if not self.people:
            raise FileNotFoundError(f"{path}: nobody is recorded here, nothing to play as {dataset.name}")
        newest = max(last for _, _, last in spans)
        own = dataset.calendar == "own"
        weeks = [0.0 if now is None else math.floor((now - (last if own else newest)) / WEEK) * WEEK for _, _, last in spans]
        self._shifts = [stagger + shift for (stagger, _, _), shift in zip(spans, weeks, strict=True)]
        self._starts = [first + shift for (_, first, _), shift in zip(spans, weeks, strict=True)]
        self.first = min(self._starts)
        self.last = max(last + shift for (_, _, last), shift in zip(spans, weeks, strict=True))

    def __iter__(self) -> Iterator[Sent]:
        """Opens a person when their first record is due and closes them after the last: memory follows who is being recorded."""
        waiting = sorted(range(len(self.people)), key=lambda number: self._starts[number])
        waiting.reverse()
        open_: list[tuple[float, int, Sent, Iterator[Sent]]] = []
        while waiting or open_:
            if waiting and (not open_ or self._starts[waiting[-1]] <= open_[0][0]):
                number = waiting.pop()
                stream = self.dataset.events(self.path, self.people[number], self._shifts[number])
                if (sent := next(stream, None)) is not None:
                    heapq.heappush(open_, (sent.at, number, sent, stream))
                continue
            _, number, sent, stream = open_[0]
            yield sent
            if (following := next(stream, None)) is not None:
                heapq.heapreplace(open_, (following.at, number, following, stream))
            else:
                heapq.heappop(open_)


def in_order(*streams: Iterable[Sent]) -> Iterator[Sent]:
    """Merge streams that are each in order of ``at``; at the same moment the first named goes first."""
    return heapq.merge(*streams, key=lambda sent: sent.at)


def by_time(sent: Iterable[Sent]) -> list[Sent]:
    """What one file holds of one person, in order of ``at``; rows of one moment stay in the file's order."""
    return sorted(sent, key=lambda one: one.at)


# ----------------------------------------------------------------------------------------------------- messages


@functools.cache
def catalogue() -> signals.Catalogue:
    return signals.load()


@functools.cache
def code(signal: str) -> dict[str, Any]:
    """``code`` and ``code_system`` of a signal of the catalogue: LOINC where it has one. Raises KeyError."""
    loinc = catalogue()[signal].codes.get(events.LOINC)
    return {"code": loinc[0]} if loinc else {"code": signal, "code_system": events.CATALOGUE}


def sent(at: float, topic: str, message: msgspec.Struct) -> Sent:
    """``message`` as a record; the key is whom or what place it is about."""
    about = getattr(message, "place" if isinstance(message, events.EnvironmentObservation) else "patient_id")
    return Sent(at, topic, str(about).encode(), _encode(message))


def number(cell: str | None) -> Any:
    """A cell's number; None for an empty cell or ``NaN``; the text itself where it is no finite number, to be refused later."""
    cell = (cell or "").strip()
    if not cell or cell.lower() == "nan":
        return None
    try:
        value = float(cell)
    except ValueError:
        return cell
    return value if math.isfinite(value) else cell


def positive(cell: str | None) -> Any:
    """:func:`number` of a column in which a device writes 0 where it has no reading."""
    value = number(cell)
    return None if value == 0 else value


def utc(text: str, form: str) -> float | None:
    """Seconds of a written time, read as UTC; None where it is none."""
    try:
        return datetime.strptime(text.strip(), form).replace(tzinfo=UTC).timestamp()
    except (ValueError, OverflowError):
        return None


def carried(times: Iterable[float | None], otherwise: float) -> list[float]:
    """When rows were sent whose time cannot be read: with the row before, at a file's start with the first that can."""
    times = list(times)
    last = next((time for time in times if time is not None), otherwise)
    return [last := last if time is None else time for time in times]


def by_hour(rows: Iterable[tuple[float, Any]]) -> list[tuple[float, list[tuple[float, Any]]]]:
    """What an hourly sync carries: (end of the hour, its (time, row) in order)."""
    hours: dict[float, list[tuple[float, Any]]] = {}
    for time, row in sorted(rows, key=lambda one: one[0]):
        hours.setdefault(math.floor(time / HOUR) * HOUR + HOUR, []).append((time, row))
    return list(hours.items())


class Names:
    """Ids that repeat where a row repeats: the same row twice is the same message twice, another row of that moment is not."""

    def __init__(self) -> None:
        self._rows: dict[str, list[Any]] = {}

    def __call__(self, name: str, row: Any) -> str:
        rows = self._rows.setdefault(name, [])
        if row not in rows:
            rows.append(row)
        place = rows.index(row)
        return name if place == 0 else f"{name}-{place + 1}"
