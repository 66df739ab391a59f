"""The panels of a patient's picture: a signal, a latent driver, what moved it."""

from collections.abc import Sequence
from datetime import datetime, timedelta, tzinfo
from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from stream_twin.events import AlertChange, Limits, Priority
from stream_twin.serve.picture import DriverTrace, Picture, Point, Trace
from stream_twin.signals import Catalogue, Signal

DAY_S = 86400.0
"""Matplotlib counts days since 1970."""
BLUE, GREEN, VERMILION, ORANGE, SKY, INK = "#0072B2", "#009E73", "#D55E00", "#E69F00", "#56B4E9", "#333333"
"""Okabe and Ito's colours, told apart by every kind of colour vision; https://jfly.uni-koeln.de/color/"""
FAINT, RULE = "#777777", "#bbbbbb"
ALERT: dict[Priority, tuple[str, str]] = {"high": (VERMILION, "^"), "medium": (ORANGE, "D"), "low": (SKY, "o")}
"""Colour, and a mark where an alert begins, so that nothing hangs on colour alone."""
DENSE, FEW = 400, 6
"""More points are drawn small and pale, fewer large."""
READABLE = {
    "Cel": "°C",
    "mm[Hg]": "mmHg",
    "10*3/uL": "10³/µL",
    "10*6/uL": "10⁶/µL",
    "ug": "µg",
    "/m3": "/m³",
    "umol": "µmol",
    "uL": "µL",
}
"""Parts of UCUM's units as people write them."""
DASHED, DOTTED = (0, (4, 2)), (0, (1, 1.5))
MOST_PARTS, LEAST_PART, LONGEST_NAME = 5, 0.005, 24
"""Signals among the contributions to a driver, the others are one bar; less than this is not told."""


def draw_signal(axis: Axes, signal: Signal, picture: Picture) -> None:
    points = [point for point in picture.points.get(signal.name, ()) if picture.since <= point.at <= picture.known_until]
    air = [(at, value) for at, value in picture.air.get(signal.name, ()) if picture.since <= at <= picture.known_until]
    trace = picture.traces.get(signal.name)
    if trace is not None:
        draw_belief(axis, trace, picture)
    if air:
        at, values = np.array(air).T
        axis.plot(at / DAY_S, values, ".-", color=INK, lw=0.9, ms=3)
    _frame(axis, signal, points, [value for _, value in air], trace, picture)
    draw_points(axis, points)
    own = picture.profile.limits.get(signal.name, Limits())
    bottom, top = axis.get_ylim()
    for mine, usual in zip((own.low, own.high), signal.limits, strict=True):
        limit = usual if mine is None else mine
        if limit is not None and bottom < limit < top:
            axis.axhline(limit, color=VERMILION, lw=0.8, ls=":", alpha=0.8)
    label(axis, signal.display.split(",")[0], readable(signal.unit))
    if trace is not None:
        _say_level(axis, signal, trace, picture)


def draw_belief(axis: Axes, trace: Trace, picture: Picture) -> None:
    """What is known with full bands; what is forecast paler, its line dotted."""
    shown = (trace.at >= picture.since) & (trace.at <= picture.until)
    for part, style, strength in (
        (shown & (trace.at <= picture.known_until), "-", 1.0),
        (shown & (trace.at >= picture.known_until), DOTTED, 0.6),
    ):
        if part.sum() < 2:
            continue
        days = trace.at[part] / DAY_S
        axis.fill_between(days, trace.low[part], trace.high[part], color=BLUE, alpha=0.15 * strength, lw=0)
        axis.fill_between(days, trace.lower[part], trace.upper[part], color=BLUE, alpha=0.25 * strength, lw=0)
        axis.plot(days, trace.level[part], color=BLUE, lw=1.3, ls=style)
        axis.plot(days, trace.baseline[part], color=GREEN, lw=1.2, ls=DASHED)


def draw_points(axis: Axes, points: Sequence[Point]) -> None:
    """Sums and means as bars over what they span, others as dots; hollow where set aside, at the edge if beyond."""
    alpha, size = (0.4, 2.4) if len(points) > DENSE else (0.75, 4.0) if len(points) > FEW else (1.0, 7.0)
    plain = [point for point in points if not point.aside]
    for spanning in (False, True):
        some = [point for point in plain if (point.period_s > 0) is spanning]
        if not some:
            continue
        at, values = np.array([(point.at, point.value) for point in some]).T
        if spanning:
            begins = at - np.array([point.period_s for point in some])
            axis.hlines(values, begins / DAY_S, at / DAY_S, color=INK, lw=1.6, alpha=alpha)
        else:
            axis.plot(at / DAY_S, values, ".", color=INK, alpha=alpha, markersize=size, mew=0)
    bottom, top = axis.get_ylim()
    for point in points:
        if point.aside:
            mark = "^" if point.value > top else "v" if point.value < bottom else "o"
            inside = min(max(point.value, bottom + 0.04 * (top - bottom)), top - 0.04 * (top - bottom))
            axis.plot(point.at / DAY_S, inside, mark, mfc="none", mec=VERMILION, mew=0.9, ms=5)


def _frame(
    axis: Axes, signal: Signal, points: Sequence[Point], air: Sequence[float], trace: Trace | None, picture: Picture
) -> None:
    """The samples and most of the band: its first, wide minutes must not squeeze the rest."""
    values = [point.value for point in points if not point.aside] or [point.value for point in points]
    low, high = [*values, *air], [*values, *air]
    if trace is not None:
        shown = (trace.at >= picture.since) & (trace.at <= picture.known_until)
        if shown.any():
            low.append(float(np.quantile(trace.low[shown], 0.1)))
            high.append(float(np.quantile(trace.high[shown], 0.9)))
            usual = float(np.median(trace.baseline[shown]))
            low.append(usual)
            high.append(usual)
    bottom, top = min(low), max(high)
    margin = 0.07 * max(top - bottom, 10.0**-signal.decimals)
    axis.set_ylim(bottom - margin, top + margin)
    axis.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))


def _say_level(axis: Axes, signal: Signal, trace: Trace, picture: Picture) -> None:
    """On the right: what is believed now, and how sure; of the past the middle of what was."""
    shown = np.flatnonzero((trace.at >= picture.since) & (trace.at <= picture.known_until))
    if not len(shown):
        return
    places = signal.decimals
    if picture.now is None:
        middle = f"{np.median(trace.level[shown]):.{places}f}"
        about = f"{np.min(trace.level[shown]):.{places}f} to {np.max(trace.level[shown]):.{places}f}"
    else:
        last = shown[-1]
        middle, about = f"{trace.level[last]:.{places}f}", f"{trace.low[last]:.{places}f} to {trace.high[last]:.{places}f}"
    axis.text(1.012, 0.56, middle, transform=axis.transAxes, fontsize=11, fontweight="bold", color=BLUE, va="bottom")
    axis.text(1.012, 0.46, about, transform=axis.transAxes, fontsize=7.5, color=FAINT, va="top")


def readable(unit: str) -> str:
    """A UCUM unit as people write it; nothing for what only counts."""
    for ucum, written in READABLE.items():
        unit = unit.replace(ucum, written)
    return "" if unit == "1" else unit.strip("{}")


def label(axis: Axes, name: str, unit: str) -> None:
    axis.set_ylabel(f"{fill(name, 20)}\n{unit}".rstrip(), rotation=0, ha="right", va="center", fontsize=8.5)
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors=FAINT, labelcolor=INK, labelsize=7.5, length=2.5)


def draw_alerts(axis: Axes, subject: str, alerts: Sequence[AlertChange], picture: Picture) -> None:
    """A bar along the top for as long as an alert was open, in the colour of its priority at the time, marked where it begins."""
    lives: dict[str, list[AlertChange]] = {}
    for change in alerts:
        if change.subject in (subject, "person"):
            lives.setdefault(change.alert_id, []).append(change)
    for changes in lives.values():
        ends = [change.at for change in changes[1:]] + [picture.known_until]
        before: Priority | None = None
        for change, over in zip(changes, ends, strict=True):
            begin, end = max(picture.since, change.at), min(picture.known_until, over)
            if change.state in ("resolved", "expired") or begin >= end:
                continue
            colour, mark = ALERT[change.priority]
            axis.axvspan(begin / DAY_S, end / DAY_S, ymin=0.955, ymax=1.0, color=colour, lw=0)
            axis.axvspan(begin / DAY_S, end / DAY_S, ymin=0.0, ymax=0.955, color=colour, alpha=0.08, lw=0)
            if change.priority != before:
                across = axis.get_xaxis_transform()
                axis.plot(begin / DAY_S, 0.978, mark, color=colour, mec="white", mew=0.6, ms=6, transform=across, clip_on=False)
            before = change.priority


def draw_driver(axis: Axes, trace: DriverTrace, picture: Picture) -> None:
    shown = (trace.at >= picture.since) & (trace.at <= picture.until)
    for part, style, strength in (
        (shown & (trace.at <= picture.known_until), "-", 1.0),
        (shown & (trace.at >= picture.known_until), DOTTED, 0.6),
    ):
        days = trace.at[part] / DAY_S
        for sds, alpha in ((1.6449, 0.15), (0.6745, 0.25)):
            spread = sds * trace.sd[part]
            axis.fill_between(
                days, trace.mean[part] - spread, trace.mean[part] + spread, color=BLUE, alpha=alpha * strength, lw=0
            )
        axis.plot(days, trace.mean[part], color=BLUE, lw=1.3, ls=style)
    axis.axhline(0.0, color=GREEN, lw=1.0, ls=DASHED)
    axis.yaxis.set_major_locator(MaxNLocator(3, min_n_ticks=2))
    label(axis, trace.display, "sd")


def contributions(trace: DriverTrace, catalogue: Catalogue) -> list[tuple[str, float]]:
    """Which signals moved a driver to where it is, the largest first; they add up to its mean."""
    parts = sorted(trace.contributions.items(), key=lambda part: -abs(part[1]))
    told = [(name, part) for name, part in parts if abs(part) >= LEAST_PART][:MOST_PARTS]
    rest = sum(part for name, part in parts if name not in dict(told))
    named = [*zip(_short([catalogue[name].display for name, _ in told]), (part for _, part in told), strict=True)]
    return [*named, ("others", rest)] if named and abs(rest) >= LEAST_PART else named


def draw_contributions(
    axis: Axes, trace: DriverTrace, named: Sequence[tuple[str, float]], rows: int, reach: tuple[float, float], until: float
) -> None:
    """``named``: of this driver; ``rows`` and ``reach``: the most of them, and the range, that any beside it has."""
    across = axis.get_yaxis_transform()
    for place, (_, part) in enumerate(named):
        axis.barh(place, part, color=VERMILION if part > 0 else SKY, height=0.65)
        axis.text(1.02, place, f"{part:+.2f}", transform=across, ha="left", va="center", fontsize=7, color=FAINT)
    axis.set_yticks(range(len(named)), [name for name, _ in named], fontsize=7.5)
    axis.set_ylim(rows - 0.4, -0.6)
    axis.axvline(0.0, color=RULE, lw=0.8)
    axis.set_xlim(*reach)
    axis.set_xticks([])
    last = max(int(np.searchsorted(trace.at, until, side="right")) - 1, 0)
    about = f"{trace.mean[last]:+.1f} ± {1.6449 * trace.sd[last]:.1f} sd".replace("-0.0 ", "+0.0 ")
    axis.set_title(f"{fill(trace.display, 24)}\n{about}", fontsize=8, loc="left")
    axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axis.tick_params(length=0, labelcolor=INK)


def _short(displays: Sequence[str]) -> list[str]:
    """What is before the comma, where that tells them apart, and not too long for a column."""
    short = [display.split(",")[0] for display in displays]
    told = [display if short.count(brief) > 1 else brief for display, brief in zip(displays, short, strict=True)]
    return [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in told]


def shade_nights(axis: Axes, since: float, until: float, zone: tzinfo) -> None:
    """From 22 to 6 by the patient's clock."""
    evening = datetime.fromtimestamp(since, zone).replace(hour=22, minute=0, second=0, microsecond=0) - timedelta(days=1)
    while evening.timestamp() < until:
        morning = (evening + timedelta(days=1)).replace(hour=6)
        begin, end = max(since, evening.timestamp()), min(until, morning.timestamp())
        if begin < end:
            axis.axvspan(begin / DAY_S, end / DAY_S, color="#000000", alpha=0.045, lw=0, zorder=0)
        evening += timedelta(days=1)


def shade_forecast(axis: Axes, picture: Picture) -> None:
    if picture.now is not None and picture.now < picture.until:
        axis.axvspan(picture.now / DAY_S, picture.until / DAY_S, color=ORANGE, alpha=0.07, lw=0, zorder=0)
        axis.axvline(picture.now / DAY_S, color=FAINT, lw=0.8)
