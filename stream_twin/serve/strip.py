"""The strip of a picture that shows what was done and what happened, one row for each kind."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes

from stream_twin.events import Activity, Encounter, Finding, Instant, Insulin, Meal, Medication, Oxygen
from stream_twin.serve.panels import BLUE, DAY_S, FAINT, GREEN, INK, ORANGE, SKY, VERMILION
from stream_twin.serve.picture import Picture

COLOUR = {
    "Meals": GREEN,
    "Insulin": BLUE,
    "Long insulin": BLUE,
    "Basal insulin": SKY,
    "Oxygen": SKY,
    "Medication": ORANGE,
    "Activity": ORANGE,
    "Sleep": INK,
    "Stay": FAINT,
    "Findings": VERMILION,
    "Outcomes": VERMILION,
}
"""Rows from top to bottom."""
LASTING = ("Basal insulin", "Oxygen", "Stay")
"""Each lasts until the next."""
MANY = 12
"""More amounts than that are drawn as bars."""
CHARACTER = 0.0064
"""Width of a character as a share of the strip's, about."""
ROW_INCHES = 0.26


class Mark(NamedTuple):
    """``amount`` with its ``unit``: where there is one to compare by."""

    row: str
    at: float
    until: float | None
    text: str
    amount: float | None = None
    unit: str = ""


def marks(picture: Picture) -> list[Mark]:
    """What lies in the time shown, in order of time."""
    found = [
        mark
        for mark in _marks(picture)
        if mark.at <= picture.known_until and (mark.at if mark.until is None else mark.until) >= picture.since
    ]
    return sorted(found, key=lambda mark: mark.at)


def _marks(picture: Picture) -> Iterator[Mark]:
    for event in picture.events:
        at, until = _seconds(event.at), None if event.until is None else _seconds(event.until)
        match event:
            case Meal():
                amount = event.carbohydrates_g
                energy = "" if event.energy_kcal is None else f"{event.energy_kcal:.0f} kcal"
                yield Mark("Meals", at, None, energy if amount is None else f"{amount:.0f} g", amount, "g")
            case Insulin(kind="basal_rate"):
                yield Mark("Basal insulin", at, until, f"{event.rate_units_per_h:.3g} U/h", event.rate_units_per_h, "U/h")
            case Insulin():
                row = "Long insulin" if event.kind == "long" else "Insulin"
                yield Mark(row, at, None, f"{event.dose_units:.3g} U", event.dose_units, "U")
            case Oxygen():
                flow = event.flow_l_per_min
                text = f"{100 * (event.fraction or 0.21):.0f} %" if flow is None else f"{flow:g} L/min"
                yield Mark("Oxygen", at, until, "air" if flow == 0 or event.fraction == 0.21 else text)
            case Medication():
                dose = "" if event.dose is None else f" {event.dose:g} {event.unit or ''}"
                yield Mark("Medication", at, until, f"{event.display or event.code}{dose}".strip())
            case Activity():
                asleep = "sleep" in event.kind or event.kind in ("deep", "light", "rem", "awake")
                yield Mark("Sleep" if asleep else "Activity", at, until, event.kind.replace("_", " "))
            case Encounter():
                yield Mark("Stay", at, until, event.kind.replace("_", " "))
            case Finding():
                value = "" if event.value is None else f": {event.value}"
                yield Mark("Findings", at, until, f"{event.display or event.code}{value}")
    for outcome in picture.outcomes:
        yield Mark("Outcomes", _seconds(outcome.occurred_at), None, outcome.kind.replace("_", " "))


def _seconds(instant: Instant) -> float:
    assert not isinstance(instant, str), "an input's instants are seconds"
    return instant


def rows_of(found: Sequence[Mark]) -> list[str]:
    there = {mark.row for mark in found}
    return [row for row in COLOUR if row in there]


def draw_strip(axis: Axes, found: Sequence[Mark], picture: Picture) -> None:
    """Bars for what lasts, diamonds for what does not, with a text where it does not run into the next.

    A row of many amounts has bars as high as these instead, and says how much the highest is.
    """
    rows = rows_of(found)
    names = []
    for place, row in enumerate(rows):
        own = [mark for mark in found if mark.row == row]
        most = max((mark.amount or 0.0 for mark in own), default=0.0)
        if len(own) > MANY and most > 0:
            _draw_amounts(axis, place, own, most, picture)
            names.append(f"{row} ≤ {most:.3g} {own[0].unit}")
        else:
            _draw_marks(axis, place, own, picture)
            names.append(row)
    axis.set_ylim(len(rows) - 0.5, -0.5)
    axis.set_yticks(range(len(rows)), names, fontsize=8)
    axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
    axis.tick_params(length=0, labelcolor=INK)


def _draw_amounts(axis: Axes, place: int, own: Sequence[Mark], most: float, picture: Picture) -> None:
    floor, tallest = place + 0.36, 0.74
    for mark, over in _with_ends(own, picture):
        height = tallest * (mark.amount or 0.0) / most
        begin = max(mark.at, picture.since) / DAY_S
        if mark.row in LASTING:
            axis.bar(
                begin, -height, (over - max(mark.at, picture.since)) / DAY_S, floor, align="edge", color=COLOUR[mark.row], lw=0
            )
        else:
            axis.vlines(begin, floor - height, floor, color=COLOUR[mark.row], lw=1.4)


def _draw_marks(axis: Axes, place: int, own: Sequence[Mark], picture: Picture) -> None:
    span = picture.until - picture.since
    written = picture.since
    nexts = [*(mark.at for mark in own[1:]), picture.until]
    for (mark, over), following in zip(_with_ends(own, picture), nexts, strict=True):
        begin = max(mark.at, picture.since)
        if mark.until is not None or mark.row in LASTING:
            axis.barh(place, (over - begin) / DAY_S, left=begin / DAY_S, height=0.62, color=COLOUR[mark.row], alpha=0.35, lw=0)
            text_at, room = begin + 0.003 * span, over - begin
        else:
            axis.plot(begin / DAY_S, place, "D", color=COLOUR[mark.row], ms=4.5, mew=0)
            text_at, room = begin + 0.006 * span, following - begin
        width = (len(mark.text) * CHARACTER + 0.012) * span
        if mark.text and text_at >= written and width <= room:
            axis.text(text_at / DAY_S, place, mark.text, fontsize=7, va="center", ha="left", color=INK)
            written = text_at + width
        elif mark.text and following == picture.until and begin - width >= written:  # at the end there is room before it only
            axis.text((begin - 0.006 * span) / DAY_S, place, mark.text, fontsize=7, va="center", ha="right", color=INK)


def _with_ends(own: Sequence[Mark], picture: Picture) -> Iterator[tuple[Mark, float]]:
    """Each with its end: what lasts until nobody knows when lasts until the next, or until now."""
    nexts = [*(mark.at for mark in own[1:]), picture.known_until]
    for mark, following in zip(own, nexts, strict=True):
        end = following if mark.until is None else min(mark.until, following) if mark.row in LASTING else mark.until
        yield mark, min(end, picture.known_until)
