"""What the twin believes about one patient at one moment: the view that rules, features and estimates read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from math import erf, nan, sqrt
from statistics import median
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from stream_twin.events import DeviceKind, Profile, Risk
from stream_twin.signals import Signal, SignalModel
from stream_twin.twin.filter import from_working, to_working
from stream_twin.twin.model import Driver, scale

NOISY = 3.0
"""Times the usual variance of a sample."""
EXERCISE_S = 1800.0
STEPS_PERIOD_S = 900.0
"""Over which steps are counted where a sample does not say."""
BRISK = 40.0
"""Steps per minute, on average over such a period, of somebody who moves about on purpose."""
DRIFTING = 8.0
"""Standard deviations of the mean surprise."""
MEDIAN_S = 300.0
"""Of so long at rest the median stands for a wearable signal."""
REST_S = 900.0
"""So long after the last steps heart and breathing are as at rest again."""
STILL = 5.0
"""Steps per minute, on average over their period, of somebody who is at rest."""
FEW = 3
"""Fewer samples than this have no median that an outlier could not be."""
Quality = Literal["by hand", "five minutes at rest", "rest not known", "few samples"]


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
    kind: DeviceKind = "bedside"
    """What kind of device the last sample says that it is of; it may name none."""

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
class Expected:
    """What a sample will read: a normal distribution on the signal's working scale."""

    signal: Signal
    mean: float
    sd: float

    @property
    def value(self) -> float:
        """Its median, in the canonical unit."""
        return from_working(scale(self.signal), self.mean)

    def below(self, limit: float) -> float:
        """Probability of a value below ``limit``, in the canonical unit."""
        away = to_working(scale(self.signal), limit) - self.mean
        return 0.5 * (1 + erf(away / (self.sd * sqrt(2))))


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
    troubles: dict[str, tuple[int, float, float]] | None = None
    """What is wrong with what it sends, by kind: how often, since when and when last."""


class Measured(NamedTuple):
    """What was measured of a signal, in its canonical unit; never an estimate.

    By hand, one value. Of a wearable, the median of five minutes at rest. at: of the newest sample in it. quality: how far it
    can be trusted.
    """

    value: float
    at: float
    samples: int
    quality: Quality


@dataclass(slots=True)
class NightBelief:
    """The newest night of which NightSignal has told a level (0, 1, 2), at ``at``, the end of that night.

    ``rate``: resting heart rate per minute; ``baseline``: what was usual; ``nights``: how many that rests on.
    """

    date: date
    at: float
    rate: float
    baseline: int
    level: int
    nights: int


@dataclass(slots=True)
class OnsetBelief:
    """What the newest day that is over says of the onset of an illness, see :mod:`stream_twin.alerts.onset`; ``at``: its end.

    ``days``: how many it rests on. ``values``, ``usual``: of the day's signals, by the names and in the units there.
    """

    date: date
    at: float
    evidence: float
    chance: float
    days: int
    values: dict[str, float]
    usual: dict[str, float]


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
    oxygen: tuple[bool, float] | None = None
    """Whether oxygen is given, and up to when that is told, by events; None: nobody told."""
    consciousness: tuple[str, float] | None = None
    """Of ACVPU: alert, confusion, voice, pain, unresponsive; and when it was found."""
    night: NightBelief | None = None
    onset: OnsetBelief | None = None
    samples_since: Callable[[str, float], list[float]] | None = field(default=None, compare=False, repr=False)
    """Values of a signal measured by the device of its newest sample, from a time on; asked only where a rule wants them."""
    expects: Callable[[str, Sequence[float]], list[Expected]] | None = field(default=None, compare=False, repr=False)
    """What samples of a signal will read at the given instants, likewise."""

    def exercising(self) -> bool:
        """Whether a step counter said within the last :data:`EXERCISE_S` that the person moves: its signs are no illness."""
        pace = self._pace(EXERCISE_S)
        return pace is not None and pace >= BRISK

    def at_rest(self) -> bool | None:
        """Whether the person was still for :data:`REST_S`; None where no step counter says."""
        pace = self._pace(REST_S)
        return None if pace is None else pace <= STILL

    def _pace(self, within_s: float) -> float | None:
        """The most steps per minute that a counter told in the last ``within_s``, on average over its period; None: none did."""
        paces = []
        for name in ("steps", "steps_per_minute"):
            steps = self.signals.get(name)
            if steps is not None and self.at - steps.last_at <= within_s:
                minutes = (steps.period_s or STEPS_PERIOD_S) / 60 if name == "steps" else 1.0
                before = self.samples_since(name, self.at - within_s) if self.samples_since else ()
                paces.append(max(steps.last_value, *before) / minutes if before else steps.last_value / minutes)
        return max(paces, default=None)

    def kind_of(self, signal: SignalBelief) -> DeviceKind:
        """Of what measures it: as the device is assigned or was first heard, or as the last sample says where none is known."""
        device = self.devices.get(signal.device) if signal.device else None
        return signal.kind if device is None else device.kind

    def measured(self, name: str, *, rest: bool | None) -> Measured | None:
        """The newest value of a signal as a score may use it; None: none, not at rest, or its sensor is frozen.

        Args:
            rest: what :meth:`at_rest` says.
        """
        signal = self.signals.get(name)
        if signal is None or signal.frozen:
            return None
        if self.kind_of(signal) in ("bedside", "laboratory"):
            return Measured(signal.last_value, signal.last_at, 1, "by hand")
        if rest is False:
            return None
        values = [] if self.samples_since is None else self.samples_since(name, signal.last_at - MEDIAN_S)
        values = values or [signal.last_value]
        quality: Quality = "few samples" if len(values) < FEW else "five minutes at rest" if rest else "rest not known"
        return Measured(median(values), signal.last_at, len(values), quality)

    def local_time(self, at: float | None = None) -> datetime | None:
        """The patient's wall clock, or None without a time zone."""
        zone = self.profile.time_zone
        return None if zone is None else datetime.fromtimestamp(self.at if at is None else at, ZoneInfo(zone))
