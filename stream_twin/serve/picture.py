"""What a picture of one patient shows: data only, made by the commands and drawn by :mod:`stream_twin.serve.plots`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import NamedTuple, Protocol
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from stream_twin.events import AlertChange, Outcome, PatientBody, Profile
from stream_twin.signals import Catalogue, Scale

Floats = NDArray[np.float64]
SCALES: dict[Scale, str] = {
    "molecular": "Molecular",
    "cellular": "Cellular",
    "tissue": "Tissue",
    "organ": "Organ",
    "whole_body": "Whole body",
    "behaviour": "Behaviour",
    "environment": "Environment",
}
"""In the order in which a picture shows them, from small to large."""
MOST = 14
"""Signals in one picture, unless they are named."""

MOST_DRIVERS = 3


class Trace(Protocol):
    """Belief about a signal at the moments ``at``; see :class:`stream_twin.lane.retrospect.Trace`."""

    at: Floats
    level: Floats
    low: Floats
    lower: Floats
    upper: Floats
    high: Floats
    baseline: Floats


class DriverTrace(Protocol):
    """Belief about a latent driver; ``contributions``: of signals to the mean, now."""

    display: str
    at: Floats
    mean: Floats
    sd: Floats
    contributions: dict[str, float]


class Point(NamedTuple):
    """A sample. ``aside``: the twin did not use it, since it is implausible or its sensor frozen."""

    at: float
    value: float
    period_s: float = 0.0
    aside: bool = False


@dataclass
class Picture:
    """``now``: what is after it is a forecast; None for a view of the past. ``points``, ``air``: in order of time, by signal."""

    profile: Profile
    since: float
    until: float
    now: float | None = None
    points: Mapping[str, Sequence[Point]] = field(default_factory=dict)
    traces: Mapping[str, Trace] = field(default_factory=dict)
    drivers: Mapping[str, DriverTrace] = field(default_factory=dict)
    air: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    events: Sequence[PatientBody] = ()
    outcomes: Sequence[Outcome] = ()
    alerts: Sequence[AlertChange] = ()

    @property
    def zone(self) -> tzinfo:
        """The patient's, or UTC."""
        return ZoneInfo(self.profile.time_zone) if self.profile.time_zone else UTC

    @property
    def known_until(self) -> float:
        return self.until if self.now is None else self.now

    def leading(self) -> list[DriverTrace]:
        """The drivers furthest from usual at some moment of the time shown, in the model's order, :data:`MOST_DRIVERS`."""

        def furthest(driver: DriverTrace) -> float:
            shown = (driver.at >= self.since) & (driver.at <= self.known_until)
            return float(np.abs(driver.mean[shown]).max(initial=0.0))

        most = sorted(self.drivers, key=lambda name: -furthest(self.drivers[name]))[:MOST_DRIVERS]
        return [driver for name, driver in self.drivers.items() if name in most]

    def chosen(self, catalogue: Catalogue, named: Iterable[str] = ()) -> dict[Scale, list[str]]:
        """Signals to show, by scale: those ``named``, or those with most samples in the time shown, of each scale at least one.

        Raises:
            ValueError: nothing to show.
        """
        counts = {
            name: sum(self.since <= point.at <= self.known_until for point in points) for name, points in self.points.items()
        }
        counts |= {name: sum(self.since <= at <= self.known_until for at, _ in rows) for name, rows in self.air.items()}
        seen = sorted((name for name, count in counts.items() if count and name in catalogue), key=lambda name: -counts[name])
        wanted = set(named)
        if wanted:
            chosen = [name for name in seen if name in wanted]
        else:
            first = {catalogue[name].scale: name for name in reversed(seen)}
            rest = [name for name in seen if name not in first.values()]
            chosen = [*first.values(), *rest[: max(MOST - len(first), 0)]]
        if not chosen:
            raise ValueError("nothing to show: no sample of this patient lies in the time asked for")
        inside = set(chosen)
        groups = {scale: [n for n, s in catalogue.signals.items() if n in inside and s.scale == scale] for scale in SCALES}
        return {scale: names for scale, names in groups.items() if names}
