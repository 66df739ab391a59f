"""Plots of the measurements, as SVG, from ``build/reports``."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from benchmarks.report import read_curve

BLUE, GREEN, VERMILION, GREY, INK = "#0072B2", "#009E73", "#D55E00", "#999999", "#333333"
"""Okabe and Ito's colours."""
STYLE = {
    "font.size": 9,
    "axes.edgecolor": "#aaaaaa",
    "axes.labelcolor": INK,
    "text.color": INK,
    "svg.hashsalt": "stream-twin",
    "svg.fonttype": "none",
}
Rows = Sequence[Mapping[str, Any]]
Points = list[dict[str, str]]


class Drawn(NamedTuple):
    path: Path
    about: str


def draw(name: str, rows: Rows, directory: Path) -> list[Drawn]:
    """The plots of a measurement; none where there is nothing to draw."""
    drawn = []
    for file, about, width, panels, into in PLOTS.get(name, []):
        with mpl.rc_context(STYLE):
            figure = Figure(figsize=(width, 3.2), layout="constrained")
            axes = figure.subplots(1, panels, squeeze=False)[0]
            if not into(list(axes), rows):
                continue
            for axis in axes:
                axis.spines[["top", "right"]].set_visible(False)
                axis.tick_params(colors="#777777", labelcolor=INK)
            path = directory / f"{file}.svg"
            figure.savefig(path, metadata={"Date": None})
            drawn.append(Drawn(path, about))
    return drawn


def _column(points: Points, name: str) -> list[float]:
    return [float(point[name]) for point in points]


def _thousands(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _rates(axes: list[Axes], rows: Rows) -> bool:
    shown = [row for row in rows if row["unit"] == "events/s"]
    axis = axes[0]
    names = [row["name"] for row in shown]
    medians = [row["median"] for row in shown]
    errors = [[row["median"] - row["min"] for row in shown], [row["max"] - row["median"] for row in shown]]
    colours = [BLUE if name == "stream-twin" else GREY for name in names]
    axis.barh(names, medians, xerr=errors, color=colours, ecolor=INK, height=0.6)
    for place, value in enumerate(medians):
        axis.annotate(f"{value:,.0f}", (value, place), xytext=(6, 0), textcoords="offset points", va="center")
    axis.set_xscale("log")
    axis.set_xlim(min(medians) / 2, max(medians) * 3)
    axis.invert_yaxis()
    axis.set_xlabel("events per second of one process, logarithmic; bars: median, lines: smallest to largest")
    return True


def _latency(axes: list[Axes], rows: Rows) -> bool:
    points = read_curve("latency")
    names = {"steady": "5,000/s", "half": "half of the top rate", "alone": "one patient at a time"}
    for axis, what, title in zip(axes, ("estimate", "alert"), ("committed estimate", "committed urgent alert"), strict=True):
        for load, colour in (("steady", BLUE), ("half", VERMILION), ("alone", GREEN)):
            own = [point for point in points if point["what"] == what and point["load"] == load]
            if own:
                axis.plot(_column(own, "ms"), [100 * share for share in _column(own, "share")], color=colour, label=names[load])
        axis.set_ylim(0, 101)
        axis.set_xlim(left=0)
        axis.set_xlabel(f"ms from the producer's send to the {title}")
        axis.set_ylabel("% within")
        if axis.get_legend_handles_labels()[1]:
            axis.legend(frameon=False, loc="lower right")
    return bool(points)


def _restore(axes: list[Axes], rows: Rows) -> bool:
    points, axis = read_curve("restore"), axes[0]
    if not points:
        return False
    twins = _column(points, "twins")
    axis.plot(twins, _column(points, "live_s"), "o-", color=BLUE, label="every lane gives estimates")
    axis.plot(twins, _column(points, "open_s"), "o--", color=GREEN, label="every lane is open")
    axis.set_xscale("log")
    axis.set_ylim(bottom=0)
    axis.axhline(30, color=VERMILION, lw=0.8, ls=":", label="wanted at 100,000 twins")
    _thousands(axis.xaxis)
    axis.set_xlabel("twins, logarithmic")
    axis.set_ylabel("s from SIGKILL, 6 s of them\nthe group's session time-out")
    axis.legend(frameon=False, loc="upper left")
    return True


def _weights(axes: list[Axes], rows: Rows) -> bool:
    points, axis = read_curve("memory-twins"), axes[0]
    if not points:
        return False
    axis.plot(_column(points, "twins"), _column(points, "rss_mb"), "o-", color=BLUE)
    _thousands(axis.xaxis)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("twins at rest")
    axis.set_ylabel("MB of the worker")
    return True


def _load_memory(axes: list[Axes], rows: Rows) -> bool:
    points, axis = read_curve("memory-load"), axes[0]
    if not points:
        return False
    axis.plot(_column(points, "minutes"), _column(points, "rss_mb"), color=BLUE, lw=1.2)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("minutes of load")
    axis.set_ylabel("MB of the worker")
    return True


def _workers(axes: list[Axes], rows: Rows) -> bool:
    points = read_curve("workers")
    for axis, what in zip(axes, ("workers", "lanes", "patients"), strict=True):
        own = [point for point in points if point["what"] == what]
        places = range(len(own))
        axis.bar(places, _column(own, "events_per_s"), color=BLUE, width=0.5)
        for place, cost in zip(places, _column(own, "cpu_us"), strict=True):
            axis.annotate(f"{cost:.1f} us", (place, 0), xytext=(0, 4), textcoords="offset points", ha="center", color="white")
        axis.set_xticks(list(places), [f"{float(point['x']):,.0f}" for point in own])
        _thousands(axis.yaxis)
        axis.set_xlabel(what)
    axes[0].set_ylabel("events/s; in the bars CPU per event")
    return bool(points)


def _overload(axes: list[Axes], rows: Rows) -> bool:
    points, axis = read_curve("overload"), axes[0]
    if not points:
        return False
    axis.plot(_column(points, "s"), _column(points, "waiting"), color=BLUE, label="waiting, by the broker")
    axis.plot(_column(points, "s"), _column(points, "lag_metric"), color=VERMILION, ls="--", label="waiting, by the lag metric")
    _thousands(axis.yaxis)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("s")
    axis.set_ylabel("observations")
    axis.legend(frameon=False)
    return True


PLOTS: dict[str, list[tuple[str, str, float, int, Callable[[list[Axes], Rows], bool]]]] = {
    "bench": [("bench", "Events per second of each program", 8, 1, _rates)],
    "latency": [("latency", "Share of estimates and alerts committed within so many milliseconds", 10, 2, _latency)],
    "restore": [("restore", "Seconds from SIGKILL until all twins are watched again, against twins", 7, 1, _restore)],
    "memory": [
        ("memory-twins", "Memory of a worker against twins", 6, 1, _weights),
        ("memory-load", "Memory of a worker over minutes of load", 7, 1, _load_memory),
    ],
    "workers": [("workers", "Throughput and CPU per event against workers, lanes and patients", 10, 3, _workers)],
    "overload": [("overload", "Observations that wait, during and after more load than a worker can do", 7, 1, _overload)],
}
"""By measurement: the file's name, what it shows, inches, panels, and who draws it."""
