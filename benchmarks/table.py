"""Puts the newest results of ``make bench`` into ``docs/performance.md``: tables, plots, and all rows as CSV.

``python -m benchmarks.table``; with ``--page FILE`` into another page. Blocks ``<!-- NAME -->`` ... ``<!-- /NAME -->`` are
written anew; a measurement that was not run leaves its block as it is.
"""

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks import plots, report
from benchmarks.bench import MEASUREMENTS

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
Row = Mapping[str, Any]
OTHERS = ("profile", "bench-kernel")
"""Reports of other commands, ``make NAME``."""
COLUMNS = ("report", "name", "unit", "min", "median", "max", "wanted", "met")


def number(value: float) -> str:
    """Four significant digits, as people write them."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.4g}'):,.0f}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def wanted(row: Row) -> str:
    if row["wanted"] is None:
        return ""
    return f"{'at most' if row.get('at_most') else 'at least'} {row['wanted']:,g}: {'met' if row['met'] else '**not met**'}"


def table(rows: Sequence[Row]) -> list[str]:
    """Markdown; one column of numbers where nothing was repeated."""
    varies = any(not row["min"] == row["median"] == row["max"] for row in rows)
    columns = ("min", "median", "max") if varies else ("median",)
    heads = columns if varies else ("measured",)
    lines = [f"| | {' | '.join(heads)} | wanted |", f"|---|{'---:|' * len(columns)}---|"]
    for row in rows:
        cells = " | ".join(number(row[column]) for column in columns)
        lines.append(f"| {row['name']}, {row['unit']} | {cells} | {wanted(row)} |")
    return lines


def machine(name: str) -> str:
    """One line about where and when, or nothing where it is not known."""
    path = report.DIRECTORY / f"{name}-machine.json"
    if not path.exists():
        return ""
    about = json.loads(path.read_text(encoding="utf-8"))
    parts = (
        f'`make bench ARGS="--only {name}"`' if name in MEASUREMENTS else f"`make {name}`",
        f"{about['began']} UTC",
        f"{about['minutes']:g} minutes",
        f"commit {about['commit']}",
        f"{about['cores']} cores ({about['processor']})",
        f"{about['memory_gb']} GB",
        f"CPython {about['python']}",
        f"load average before {about['load_before']:g}",
        f"steal {about['steal_percent']:g} %",
    )
    return ", ".join(parts) + "."


def block(name: str, rows: Sequence[Row], directory: Path) -> str:
    lines = [machine(name), "", *table(rows)]
    for drawn in plots.draw(name, rows, directory):
        lines += ["", f"![{drawn.about}]({directory.name}/{drawn.path.name})"]
    return "\n".join(lines).strip()


def fill(page: str, blocks: Mapping[str, str]) -> str:
    """Raises ValueError where the page has no place for a block."""
    for name, text in blocks.items():
        place = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if not place.search(page):
            raise ValueError(f"the page has no <!-- {name} --> ... <!-- /{name} -->: put it where the table belongs")
        page = place.sub(lambda found, text=text: f"{found[1]}{text}\n{found[2]}", page)  # type: ignore[misc]
    return page


def main(page: Annotated[Path, typer.Option(help="The page to fill.")] = PAGE) -> None:
    reports = {name: rows for name in (*MEASUREMENTS, *OTHERS) if (rows := report.read(name))}
    if not reports:
        raise typer.BadParameter(f"there is nothing in {report.DIRECTORY}: run make bench first")
    directory = page.parent / page.stem
    directory.mkdir(exist_ok=True)
    filled = fill(page.read_text(encoding="utf-8"), {name: block(name, rows, directory) for name, rows in reports.items()})
    page.write_text(filled, encoding="utf-8")
    for name, rows in reports.items():
        with (directory / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([name, *(row[column] for column in COLUMNS[1:])] for row in rows)
    print(f"{page}: {', '.join(reports)}")


if __name__ == "__main__":
    typer.run(main)
