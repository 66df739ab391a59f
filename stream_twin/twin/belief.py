"""What the twin believes about one patient at one moment: the view that rules, features and estimates read."""

from dataclasses import dataclass, field
from datetime import datetime
from math import nan
from zoneinfo import ZoneInfo

from stream_twin.events import DeviceKind, Profile, Risk
from stream_twin.signals import Signal, SignalModel
from stream_twin.twin.model import Driver

NOISY = 3.0
"""Times the usual variance of a sample."""
EXERCISE_S = 1800.0
STEPS_PERIOD_S = 900.0
"""Over which steps are counted where a sample does not say."""
BRISK = 40.0
"""Steps per minute, on average over such a period, of somebody who moves about on purpose."""
DRIFTING = 8.0
"""Standard deviations of the mean surprise."""


@dataclass(slots=True)
class SignalBelief:
    """Belief about one signal, in its canonical unit.

    ``low``, ``high``: 90 % of what a sample taken at ``Belief.at`` would read. ``baseline``: usual for this person
    at this time of day. ``deviation``: how far the level is from that, in standard deviations of what is usual for
    such a deviation; ``deviation_sd`` its own uncertainty in the same measure. ``surprise``: standardised innovation of
    the last sample. ``working_mean``, ``working_sd``: the level on the scale on which the filter works.
    """

    signal: Signal
    model: SignalModel
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
    unrest: float = nan
    """Mean of the squared surprises of the last two days, the newest counting most; 1 where the model holds, NaN: none yet."""
    noise: float = 1.0
    """A sample's own variance in this person, as a ratio of the population's."""
    bias: float = 0.0
    """Mean surprise of the last two days, in its standard deviations."""
    set_aside: bool = False
    """The last sample was implausible and waits for the next one to agree with it or not."""
    frozen: bool = False
    """The same value came more often than chance explains: it tells nothing any more."""

    sparse: float = 1.0
    """What part of an hour, at most a whole one, lay between two samples of the last two days on average."""

    @property
    def distrust(self) -> str | None:
        """Why the sensor is trusted less than usual, in words; None where it is not."""
        if self.set_aside:
            return "its last value is implausible, and waits for another one that agrees with it"
        if self.frozen:
            return f"it has given the same value {self.repeats} times in a row, and is not believed any more"
        if self.repeats and self.last_value in self.model.detection:
            return "it is at the end of what it can measure"
        if self.noise > NOISY:
            return f"its values jump {self.noise**0.5:.1f} times as much as usual"
        if abs(self.bias) > DRIFTING:
            return f"its values have been {'above' if self.bias > 0 else 'below'} what was predicted for hours"
        return None


@dataclass(slots=True)
class DriverBelief:
    """A latent driver, in standard deviations of the population; ``contributions``: what the samples of each signal contributed
    to ``mean``; they add up to it."""

    driver: Driver
    mean: float
    sd: float
    contributions: dict[str, float]


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
    drivers: dict[str, DriverBelief] = field(default_factory=dict)
    devices: dict[str, DeviceBelief] = field(default_factory=dict)
    risk: Risk | None = None
    place: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Air and weather where the patient is: signal -> (measured at, value)."""
    unfit: str | None = None
    """Why the population's numbers are not for this person; then there is no risk, and baselines are looser."""
    watched_since: float = 0.0
    """Lane clock when the patient's first input came."""

    def exercising(self) -> bool:
        """Whether a step counter said within the last :data:`EXERCISE_S` that the person moves: its signs are no illness."""
        for name in ("steps", "steps_per_minute"):
            steps = self.signals.get(name)
            if steps is not None and self.at - steps.last_at <= EXERCISE_S:
                minutes = (steps.period_s or STEPS_PERIOD_S) / 60 if name == "steps" else 1.0
                if steps.last_value >= minutes * BRISK:
                    return True
        return False

    def local_time(self, at: float | None = None) -> datetime | None:
        """The patient's wall clock, or None without a time zone."""
        zone = self.profile.time_zone
        return None if zone is None else datetime.fromtimestamp(self.at if at is None else at, ZoneInfo(zone))
