"""A patient's last hours as a picture: samples, belief with its bands, what is usual, alerts."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from numpy.typing import NDArray

from stream_twin.events import AlertChange, Estimate, Limits, Profile
from stream_twin.serve.patient_view import about
from stream_twin.signals import Catalogue, Signal

HOUR_S, DAY_S = 3600.0, 86400.0
"""Matplotlib counts days since 1970."""
BLUE, GREEN, VERMILION, ORANGE, SKY, INK = "#0072B2", "#009E73", "#D55E00", "#E69F00", "#56B4E9", "#333333"
"""Okabe and Ito's colours, told apart by every kind of colour vision; https://jfly.uni-koeln.de/color/"""
ALERT = {"high": VERMILION, "medium": ORANGE, "low": SKY}
QUARTILE = 0.6745 / 1.6449
"""Half of a 50 % interval of a normal distribution as a share of half of its 90 % interval."""
Floats = NDArray[np.float64]
MOST = 8
"""Signals in one picture."""


@dataclass
class History:
    """What is known of one patient's past. ``samples``: signal -> (measured at, value); the others are in order of time."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    estimates: list[Estimate] = field(default_factory=list)
    alerts: list[AlertChange] = field(default_factory=list)

    def between(self, since: float, until: float) -> "History":
        """Alerts stay as they are: one that was raised before may be open still."""
        samples = {name: sorted(row for row in rows if since <= row[0] <= until) for name, rows in self.samples.items()}
        return History(samples, [estimate for estimate in self.estimates if since <= estimate.at <= until], self.alerts)


def plot_patient(
    path: Path, catalogue: Catalogue, profile: Profile, history: History, *, until: float, hours: float = 24.0
) -> None:
    """Draw the ``hours`` before ``until``, or what there is of them; the format is that of the file's name.

    Raises:
        ValueError: nothing of this patient lies in that time, or matplotlib does not know the format.
    """
    since = until - hours * HOUR_S
    history = history.between(since, until)
    since = max(since, min((rows[0][0] for rows in history.samples.values() if rows), default=since))
    names = _most_seen(catalogue, history)
    if not names:
        moment = datetime.fromtimestamp(until, UTC)
        raise ValueError(f"nothing of {profile.patient_id} lies in the {hours:g} hours before {moment:%Y-%m-%d %H:%M} UTC")
    zone = ZoneInfo(profile.time_zone) if profile.time_zone else UTC
    with mpl.rc_context({"font.size": 9, "axes.edgecolor": "#aaaaaa", "axes.labelcolor": INK, "text.color": INK}):
        figure = Figure(figsize=(11, 0.9 + 1.45 * len(names)), layout="constrained")
        axes = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axis, name in zip(axes, names, strict=True):
            axis.set_xlim(since / DAY_S, until / DAY_S)
            _draw_signal(axis, catalogue[name], profile.limits.get(name, Limits()), history)
            _draw_alerts(axis, name, history.alerts, since, until)
            _shade_nights(axis, since, until, zone)
        locator = AutoDateLocator(tz=zone)  # type: ignore[no-untyped-call]  # matplotlib leaves it untyped
        axes[-1].xaxis.set_major_locator(locator)
        axes[-1].xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=zone))  # type: ignore[no-untyped-call]  # so is this
        axes[-1].set_xlabel(f"time in {profile.time_zone or 'UTC'}")
        figure.suptitle(f"{profile.patient_id}   {about(profile)}", x=0.01, ha="left", fontsize=12, fontweight="bold")
        figure.legend(handles=_legend(), loc="outside lower center", ncols=7, frameon=False)
        figure.savefig(path, dpi=130)


def _most_seen(catalogue: Catalogue, history: History) -> list[str]:
    """Signals with something to see, in the catalogue's order."""
    seen = {
        name: len(rows)
        for name, rows in history.samples.items()
        if len(rows) > 1 and name in catalogue and catalogue[name].scale != "environment"
    }
    most = sorted(seen, key=lambda name: -seen[name])[:MOST]
    return [name for name in catalogue.signals if name in most]


def _draw_signal(axis: Axes, signal: Signal, personal: Limits, history: History) -> None:
    at, values = np.array(history.samples[signal.name]).T
    dense = len(at) > 400
    alpha, size = (0.25, 2) if dense else (0.7, 4)
    axis.plot(at / DAY_S, values, ".", color=INK, alpha=alpha, markersize=size, mew=0)
    rows = [(one.at, *_band(signal, one)) for one in history.estimates if signal.name in one.signals]
    if rows:
        at, low, lower, level, upper, high, baseline = np.array(rows).T
        days = at / DAY_S
        axis.fill_between(days, low, high, color=BLUE, alpha=0.15, lw=0)
        axis.fill_between(days, lower, upper, color=BLUE, alpha=0.25, lw=0)
        axis.plot(days, level, color=BLUE, lw=1.3)
        axis.plot(days, baseline, color=GREEN, lw=1.2, ls=(0, (4, 2)))
        _frame(axis, values, low, high)
    bottom, top = axis.get_ylim()
    for own, usual in zip((personal.low, personal.high), signal.limits, strict=True):
        limit = usual if own is None else own
        if limit is not None and bottom < limit < top:
            axis.axhline(limit, color=VERMILION, lw=0.8, ls=":", alpha=0.8)
    axis.set_ylabel(f"{signal.display.split(',')[0]}\n{signal.unit}", rotation=0, ha="right", va="center")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(colors="#777777", labelcolor=INK)


def _band(signal: Signal, estimate: Estimate) -> tuple[float, ...]:
    """90 % and 50 % interval around the level; the latter on the scale on which the belief is symmetric."""
    about = estimate.signals[signal.name]
    if signal.transform == "log_headroom":
        room = [signal.ceiling + 1 - value for value in (about.low, about.level, about.high)]
        lower = signal.ceiling + 1 - room[1] * (room[0] / room[1]) ** QUARTILE
        upper = signal.ceiling + 1 - room[1] * (room[2] / room[1]) ** QUARTILE
    elif signal.transform == "log" and about.low > 0:
        lower = about.level * (about.low / about.level) ** QUARTILE
        upper = about.level * (about.high / about.level) ** QUARTILE
    else:
        lower = about.level - QUARTILE * (about.level - about.low)
        upper = about.level + QUARTILE * (about.high - about.level)
    return about.low, lower, about.level, upper, about.high, about.baseline


def _frame(axis: Axes, values: Floats, low: Floats, high: Floats) -> None:
    """The samples and most of the band; its first, wide minutes must not squeeze the rest."""
    bottom, top = min(values.min(), np.quantile(low, 0.05)), max(values.max(), np.quantile(high, 0.95))
    margin = 0.06 * max(top - bottom, 1e-6)
    axis.set_ylim(bottom - margin, top + margin)


def _draw_alerts(axis: Axes, subject: str, alerts: Sequence[AlertChange], since: float, until: float) -> None:
    """A bar along the top for as long as an alert was open, in the colour of its priority at the time."""
    lives: dict[str, list[AlertChange]] = {}
    for change in alerts:
        if change.subject in (subject, "person"):
            lives.setdefault(change.alert_id, []).append(change)
    for changes in lives.values():
        ends = [change.at for change in changes[1:]] + [until]
        for change, over in zip(changes, ends, strict=True):
            begin, end = max(since, change.at), min(until, over)
            if change.state != "resolved" and begin < end:
                span = (begin / DAY_S, end / DAY_S)
                colour = ALERT[change.priority]
                axis.axvspan(*span, ymin=0.95, ymax=1.0, color=colour, lw=0)
                axis.axvspan(*span, ymin=0.0, ymax=0.95, color=colour, alpha=0.08, lw=0)


def _shade_nights(axis: Axes, since: float, until: float, zone: tzinfo) -> None:
    """From 22 to 6 by the patient's clock."""
    evening = datetime.fromtimestamp(since, zone).replace(hour=22, minute=0, second=0, microsecond=0) - timedelta(days=1)
    while evening.timestamp() < until:
        morning = (evening + timedelta(days=1)).replace(hour=6)
        begin, end = max(since, evening.timestamp()), min(until, morning.timestamp())
        if begin < end:
            axis.axvspan(begin / DAY_S, end / DAY_S, color="#000000", alpha=0.045, lw=0, zorder=0)
        evening += timedelta(days=1)


def _legend() -> list[Line2D | Patch]:
    return [
        Line2D([], [], color=INK, marker=".", ls="", alpha=0.6, label="samples"),
        Line2D([], [], color=BLUE, label="belief"),
        Patch(color=BLUE, alpha=0.4, lw=0, label="50 %"),
        Patch(color=BLUE, alpha=0.15, lw=0, label="90 % of samples"),
        Line2D([], [], color=GREEN, ls=(0, (4, 2)), label="usual"),
        Patch(color=VERMILION, lw=0, label="alert open"),
        Patch(color="#000000", alpha=0.06, lw=0, label="night"),
    ]
