"""What the twin believes about one patient at one moment: the view that rules, features and estimates read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zoneinfo import ZoneInfo

from stream_twin.events import DeviceKind, Profile, Risk
from stream_twin.signals import Signal


@dataclass(slots=True)
class SignalBelief:
    """Belief about one signal, in its canonical unit.

    ``low``, ``high``: 90 % of what a sample taken at ``Belief.at`` would read. ``baseline``: usual for this person
    at this time of day. ``deviation``: how far the level is from that, in standard deviations of what is usual for
    such a deviation; ``deviation_sd`` its own uncertainty in the same measure. ``surprise``: standardised innovation of
    the last sample. ``working_mean``, ``working_sd``: the level on the scale on which the filter works.
    """

    signal: Signal
    level: float
    low: float
    high: float
    baseline: float
    deviation: float
    deviation_sd: float
    surprise: float
    last_value: float
    last_at: float
    working_mean: float
    working_sd: float
    device: str | None = None
    repeats: int = 0
    """How many samples in a row gave the very value of the one before, the last one included, and since when."""
    repeats_since: float = 0.0
    period_s: float = 0.0
    surprises: Sequence[float] = ()
    """Standardised innovations of the newest remembered samples, oldest first, NaN where retracted; and when these were taken."""
    surprised_at: Sequence[float] = ()


@dataclass(slots=True)
class DeviceBelief:
    """A device as its samples show it. ``every_s`` None: nobody said how often it should speak."""

    device_id: str
    kind: DeviceKind
    last_at: float
    every_s: float | None = None
    start: float | None = None
    end: float | None = None


@dataclass(slots=True)
class Belief:
    """``at``: the moment of the belief, the newest of lane clock and sample. ``clock``, ``complete_to``: of the lane."""

    patient_id: str
    at: float
    clock: float
    complete_to: float
    profile: Profile
    signals: dict[str, SignalBelief] = field(default_factory=dict)
    devices: dict[str, DeviceBelief] = field(default_factory=dict)
    risk: Risk | None = None
    place: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Air and weather where the patient is: signal -> (measured at, value)."""
    watched_since: float = 0.0
    """Lane clock when the patient's first input came."""

    def local_time(self, at: float | None = None) -> datetime | None:
        """The patient's wall clock, or None without a time zone."""
        zone = self.profile.time_zone
        return None if zone is None else datetime.fromtimestamp(self.at if at is None else at, ZoneInfo(zone))
