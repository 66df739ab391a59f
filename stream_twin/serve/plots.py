"""A patient's time as one picture: what happened, every signal by scale with belief and samples, what drives them, what next."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpecFromSubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from stream_twin.serve import strip
from stream_twin.serve.panels import (
    BLUE,
    DASHED,
    DAY_S,
    FAINT,
    FEW,
    GREEN,
    INK,
    ORANGE,
    RULE,
    VERMILION,
    contributions,
    draw_alerts,
    draw_contributions,
    draw_driver,
    draw_signal,
    shade_forecast,
    shade_nights,
)
from stream_twin.serve.patient_view import about
from stream_twin.serve.picture import MOST_DRIVERS, SCALES, Picture
from stream_twin.signals import Catalogue

WIDTH_INCHES = 11.0
PANEL, SPARSE, DRIVER, CONTRIBUTIONS, BAR, HEADING = 1.0, 0.62, 0.75, 0.45, 0.15, 0.2
"""Heights in inches; a signal of few samples gets less."""
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "svg.hashsalt": "stream-twin",
}
"""Matplotlib's names; the same picture gives the same SVG."""


def plot_patient(path: Path, catalogue: Catalogue, picture: Picture, signals: Iterable[str] = ()) -> None:
    """Draw a picture of ``signals``, or of those with most samples; the format is that of the file's name.

    Raises:
        ValueError: there is nothing to show, or matplotlib does not know the format.
    """
    groups = picture.chosen(catalogue, signals)
    happened = strip.marks(picture)
    panels = [(heading, name) for scale, names in groups.items() for heading, name in _headed(SCALES[scale], names)]
    drivers = picture.leading()
    telling = [(driver, named) for driver in drivers if (named := contributions(driver, catalogue))]
    rows = max((len(named) for _, named in telling), default=0)
    heights = [_height(picture, name) + (HEADING if heading else 0) for heading, name in panels]
    heights += [DRIVER + (0 if place else HEADING) for place in range(len(drivers))]
    if happened:
        heights.insert(0, strip.ROW_INCHES * len(strip.rows_of(happened)) + 0.15)
    if telling:
        heights.append(CONTRIBUTIONS + rows * BAR)
    with mpl.rc_context(STYLE):
        engine = ConstrainedLayoutEngine(h_pad=0.02, w_pad=0.05, hspace=0.0)
        figure = Figure(figsize=(WIDTH_INCHES, 1.2 + sum(heights)), layout=engine)
        grid = figure.add_gridspec(len(heights), 1, height_ratios=heights)
        timed = [figure.add_subplot(grid[row]) for row in range(len(heights) - bool(telling))]
        places = iter(timed)
        if happened:
            strip.draw_strip(next(places), happened, picture)
        for (heading, name), axis in zip(panels, places, strict=False):
            draw_signal(axis, catalogue[name], picture)
            draw_alerts(axis, name, picture.alerts, picture)
            _head(axis, heading)
        said = "median\nand range" if picture.now is None else "now\nand 90 %"
        first = timed[bool(happened)]
        first.text(1.012, 1.0, said, transform=first.transAxes, fontsize=7, color=FAINT, va="bottom", linespacing=1.1)
        for place, (driver, axis) in enumerate(zip(drivers, timed[len(timed) - len(drivers) :], strict=True)):
            draw_driver(axis, driver, picture)
            _head(axis, "" if place else "Latent drivers")
        _time(timed, picture)
        if telling:
            inner = GridSpecFromSubplotSpec(1, MOST_DRIVERS, grid[len(heights) - 1])
            parts = [part for _, named in telling for _, part in named]
            reach = min(0.0, *parts), max(0.0, *parts)
            for column, (driver, named) in enumerate(telling):
                draw_contributions(figure.add_subplot(inner[column]), driver, named, rows, reach, picture.known_until)
        _title(figure, picture)
        handles = _legend(picture)
        columns = (len(handles) + 1) // 2
        figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)
        figure.savefig(path, dpi=130, metadata={"Date": None} if path.suffix == ".svg" else None)


def _headed(heading: str, names: list[str]) -> list[tuple[str, str]]:
    return [("" if place else heading, name) for place, name in enumerate(names)]


def _height(picture: Picture, name: str) -> float:
    count = sum(picture.since <= point.at <= picture.known_until for point in picture.points.get(name, ()))
    return PANEL if count > FEW else SPARSE


def _head(axis: Axes, heading: str) -> None:
    if heading:
        axis.set_title(heading.upper(), loc="left", fontsize=7.5, color=FAINT, fontweight="bold", pad=4)


def _time(timed: list[Axes], picture: Picture) -> None:
    """One axis of time for all, by the patient's clock."""
    zone = picture.zone
    for axis in timed:
        axis.set_xlim(picture.since / DAY_S, picture.until / DAY_S)
        shade_nights(axis, picture.since, picture.until, zone)
        shade_forecast(axis, picture)
        locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
        axis.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]  # so is this
        axis.xaxis.set_major_formatter(formatter)
        axis.grid(axis="x", color=RULE, lw=0.4, alpha=0.6)
        if axis is not timed[-1]:
            axis.tick_params(axis="x", labelbottom=False, length=0)
            axis.xaxis.get_offset_text().set_visible(False)
    timed[-1].set_xlabel(f"time in {picture.profile.time_zone or 'UTC'}", fontsize=8)
    if picture.now is not None and picture.now < picture.until:
        middle = (picture.now + picture.until) / 2 / DAY_S
        across = timed[0].get_xaxis_transform()
        timed[0].text(middle, 1.02, "forecast", transform=across, ha="center", va="bottom", fontsize=7.5, color=FAINT)


def _title(figure: Figure, picture: Picture) -> None:
    zone, form = picture.zone, "%Y-%m-%d %H:%M"
    until = f"{datetime.fromtimestamp(picture.known_until, zone):{form}}"
    if picture.now is None:
        when = f"{datetime.fromtimestamp(picture.since, zone):{form}} to {until}, in hindsight"
    else:
        when = f"as of {until}"
    who = f"{picture.profile.patient_id}   {about(picture.profile)}"
    figure.suptitle(f"{who}\n", x=0.01, ha="left", fontsize=12, fontweight="bold", linespacing=1.9)
    figure.text(0.01, 1 - 0.36 / figure.get_figheight(), when, ha="left", va="top", fontsize=9, color=FAINT)


def _legend(picture: Picture) -> list[Line2D | Patch]:
    made: list[Line2D | Patch] = [Line2D([], [], color=INK, marker=".", ls="", alpha=0.75, label="samples")]
    if any(point.aside for points in picture.points.values() for point in points):
        made.append(Line2D([], [], marker="o", mfc="none", mec=VERMILION, ls="", ms=5, label="set aside"))
    made += [
        Line2D([], [], color=BLUE, label="belief"),
        Patch(color=BLUE, alpha=0.4, lw=0, label="50 %"),
        Patch(color=BLUE, alpha=0.15, lw=0, label="90 % of samples"),
        Line2D([], [], color=GREEN, ls=DASHED, label="usual for this person"),
        Line2D([], [], color=VERMILION, ls=":", lw=1, label="limit"),
    ]
    if picture.alerts:
        made += [
            Line2D([], [], color=VERMILION, marker="^", label="alert, high"),
            Line2D([], [], color=ORANGE, marker="D", ms=4.5, label="medium"),
        ]
    if picture.now is not None and picture.now < picture.until:
        made.append(Patch(color=ORANGE, alpha=0.12, lw=0, label="forecast"))
    made.append(Patch(color="#000000", alpha=0.06, lw=0, label="night"))
    return made
