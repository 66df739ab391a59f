"""Days of many people from a CSV file through :mod:`stream_twin.alerts.onset`, each row from that date and earlier ones only."""

import csv
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from statistics import median
from typing import NamedTuple

from stream_twin.alerts.onset import SIGNALS, Night, Onset

COLUMNS = ("patient", "date", "signal", "value")
ALIASES = {"sleep_minutes": "sleep", "steps_daily": "steps"}
"""Names of the catalogue of signals for what is called shorter here."""
EPOCH = date(1970, 1, 1)

Days = dict[date, dict[str, list[float]]]


class Fault(NamedTuple):
    """A line that gives no value. line: its number in the file, with the header as 1."""

    line: int
    reason: str


class Nights(NamedTuple):
    """people: patient -> date -> signal -> values, patients in the order of the file. A date with faulty values only is there."""

    people: dict[str, Days]
    faults: list[Fault]


def read(path: Path) -> Nights:
    """Lines in any order; several values of one signal on one day are kept.

    Raises:
        ValueError: the file has no such columns, or is no text.
    """
    nights = Nights({}, [])
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.reader(file)
            header = [name.strip().lower() for name in next(rows, [])]
            missing = [name for name in COLUMNS if name not in header]
            if missing:
                raise ValueError(f"{path}: no column {', '.join(missing)} in its first line; wanted: {','.join(COLUMNS)}")
            places = [header.index(name) for name in COLUMNS]
            for row in rows:
                if not any(cell.strip() for cell in row):
                    continue
                fault = _take(nights.people, [row[i].strip() if i < len(row) else "" for i in places])
                if fault:
                    nights.faults.append(Fault(rows.line_num, fault))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: no CSV file in UTF-8 ({error})") from None
    return nights


def _take(people: dict[str, Days], cells: list[str]) -> str | None:
    """The reason why the line gives no value, if it does not."""
    patient, day, signal, value = cells
    if not patient:
        return "no patient"
    try:
        when = date.fromisoformat(day)
    except ValueError:
        return f"date {day!r} is no ISO date, as 2026-03-01"
    values = people.setdefault(patient, {}).setdefault(when, {})
    if not signal:
        return "no signal"
    name = ALIASES.get(signal, signal)
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        return f"{signal} {value!r} is no number" if value else f"{signal} has no value"
    if name in SIGNALS and not SIGNALS[name].low <= number <= SIGNALS[name].high:
        return f"{signal} {value} is outside {SIGNALS[name].low:g}..{SIGNALS[name].high:g}: not measured, taken as missing"
    values.setdefault(name, []).append(number)
    return None


def judged(days: Days, budget: float) -> Iterator[tuple[date, Night]]:
    """One person's dates in order. Of several values of a signal on one day the median counts."""
    onset = Onset(budget)
    for when in sorted(days):
        values = {name: float(median(found)) for name, found in days[when].items()}
        yield when, onset.follow((when - EPOCH).days, values)


def write(path: Path, people: dict[str, Days], budget: float) -> Counter[str]:
    """The file of scores and alerts; how many ``days`` and ``alerts`` it has."""
    counts: Counter[str] = Counter()
    with path.open("w", newline="", encoding="utf-8") as file:
        row = csv.writer(file, lineterminator="\n").writerow
        row(["patient", "date", "score", "alert"])
        for patient, days in people.items():
            for when, night in judged(days, budget):
                row([patient, when.isoformat(), f"{night.score:.4f}", int(night.alert)])
                counts["days"] += 1
                counts["alerts"] += night.alert
    return counts


def reported(faults: Iterable[Fault], most: int = 20) -> list[str]:
    """Lines for people: the first ones, and how many more there are."""
    found = list(faults)
    lines = [f"line {fault.line}: {fault.reason}" for fault in found[:most]]
    return lines + ([f"and {len(found) - most} more such lines"] if len(found) > most else [])
