"""Results of a campaign: printed for people, and ``build/reports/NAME.json`` for machines."""

import csv
import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

DIRECTORY = Path(__file__).parents[1] / "build" / "reports"
"""Read it as ``report.DIRECTORY``: a trial run writes elsewhere."""


class Result(NamedTuple):
    """One row. ``wanted`` None: for comparison only; otherwise the median must reach it, or with ``at_most`` stay below it."""

    name: str
    unit: str
    values: Sequence[float]
    wanted: float | None = None
    at_most: bool = False

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        if self.wanted is None:
            return None
        return self.median <= self.wanted if self.at_most else self.median >= self.wanted


def report(name: str, results: Sequence[Result]) -> bool:
    """Print and write; whether everything wanted was met."""
    rows = [
        {
            "name": result.name,
            "unit": result.unit,
            "min": min(result.values),
            "median": result.median,
            "max": max(result.values),
            "wanted": result.wanted,
            "at_most": result.at_most,
            "met": result.met,
        }
        for result in results
    ]
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    (DIRECTORY / f"{name}.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    table = Table("", "min", "median", "max", "wanted", "", title=name)
    for result, row in zip(results, rows, strict=True):
        numbers = (f"{row[column]:,.6g}" for column in ("min", "median", "max"))
        wanted = "" if result.wanted is None else f"{'at most' if result.at_most else 'at least'} {result.wanted:,g}"
        verdict = {None: "", True: "[green]met", False: "[red]not met"}[result.met]
        table.add_row(f"{result.name}, {result.unit}", *numbers, wanted, verdict)
    Console().print(table)
    return all(result.met is not False for result in results)


def read(name: str) -> list[dict[str, Any]]:
    """The rows of a report; none where it was not made."""
    path = DIRECTORY / f"{name}.json"
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return rows


def curve(name: str, columns: Sequence[str], points: Iterable[Sequence[float | str]]) -> None:
    """``build/reports/NAME.csv``: what a plot is drawn from."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    with (DIRECTORY / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([f"{value:.6g}" if isinstance(value, float) else value for value in point] for point in points)


def read_curve(name: str) -> list[dict[str, str]]:
    """Its points, by column; none where it was not made."""
    path = DIRECTORY / f"{name}.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
