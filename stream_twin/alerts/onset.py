"""Onset of an illness over days, from what a wearable sums up once a day. Pure, causal, learnt from the first day.

1. **What is usual.** Each signal of a person has a slow level (a random walk), a fast deviation (autoregressive over days), a
   difference between weekend and weekdays, and noise: a Kalman filter each, whose variances all scale with one factor learnt
   from the person's own surprises. What it cannot foresee is the day's innovation.
2. **What an illness would look like.** For each of the last days on which it may have begun, the published shift of each signal
   (:data:`SIGNALS`), growing over days, is run through the same filter: its signature in the innovations. Signatures and
   innovations of all signals, in the measure of how surprises go together, give the likelihood ratio of an illness (Willsky
   and Jones, IEEE Trans. Autom. Control 21:108, 1976), averaged over days of onset and strengths. Against it stands not
   only a day like any other but also an upset of one night (alcohol, late training), which looks the same and is gone the next
   day. A signal without a published direction counts with both.
3. **How rare that is.** The share of days on which a healthy person has as much evidence: the person's own days so far and,
   with the weight of :data:`WEIGHT_DAYS` days, those of others (:data:`TAIL`). An alert is raised where it is rarer than the
   budget allows **and** the evidence says illness (:data:`LEAST_EVIDENCE`), once for each episode.

Directions and sizes are those of published illnesses; the size of a "published illness", strength 1, is between the small
mean shifts of all who were infected and the clear ones of those who had a fever:

- resting heart rate up: mean peak 1.8 % (women) to 3.4 % (men), Natarajan et al., Front. Physiol. 13:898251, 2022; red is 4 /min
  above the median in Alavi et al., Nat. Med. 28:175, 2022, who see it 3 days (median) before symptoms; 8.5 /min for
  each K of fever, as cited in Natarajan et al., npj Digit. Med. 3:156, 2020;
- respiration up: 1 /min on average, Risch et al., BMJ Open 12:e058274, 2022; at least 3 /min in a third of those with symptoms,
  Natarajan et al., npj Digit. Med. 4:136, 2021; Miller et al., PLoS ONE 15:e0243693, 2020;
- heart-rate variability down: Natarajan et al. 2020; Hirten et al., J. Med. Internet Res. 23:e26107, 2021;
- temperature of the skin up: 0.2 K on average, Risch et al. 2022; more with a fever, which 76 % had, often before symptoms, Smarr
  et al., Sci. Rep. 10:21640, 2020;
- more sleep, fewer steps, from before the symptoms on: Hunter et al., J. Med. Internet Res. 25:e41050, 2023; Mezlini et al., JAMA
  Netw. Open 5:e2211958, 2022; Quer et al., Nat. Med. 27:73, 2021; Mishra et al., Nat. Biomed. Eng. 4:1208, 2020.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Prior(NamedTuple):
    """What is known of a signal before the person is known; variances in squared units of the transformed signal.

    transform, back: to about Gaussian, and back. low, high: what lies outside is no measurement. mean, between: level over
    people and its standard deviation. drift: variance that the level gains per day. fast, days: variance and correlation
    time of the deviation. weekend: variance of the difference. noise: variance. shift: of an illness of strength 1 at its
    height; 0: no direction is published.
    """

    transform: Callable[[float], float]
    back: Callable[[float], float]
    low: float
    high: float
    mean: float
    between: float
    drift: float
    fast: float
    days: float
    weekend: float
    noise: float
    shift: float


def _same(value: float) -> float:
    return value


def _square(value: float) -> float:
    return max(value, 0.0) ** 2


SIGNALS: dict[str, Prior] = {
    "resting_heart_rate": Prior(_same, _same, 25, 150, 66.0, 8.0, 0.02, 7.0, 18.0, 0.1, 0.3, 4.0),
    "rmssd": Prior(math.log, math.exp, 1, 600, 3.6, 0.5, 0.0001, 0.0094, 2.4, 0.005, 0.009, -0.2),
    "breathing_rate": Prior(_same, _same, 4, 60, 15.2, 2.2, 0.001, 0.15, 3.1, 0.05, 0.16, 1.0),
    "skin_temperature_deviation": Prior(_same, _same, -10, 10, 0.0, 1.5, 0.002, 0.095, 2.2, 0.08, 0.05, 0.5),
    "sleep": Prior(_same, _same, 60, 1200, 400.0, 50.0, 1.0, 77.0, 14.0, 530.0, 2350.0, 20.0),
    "steps": Prior(math.sqrt, _square, 100, 100000, 85.0, 18.0, 1.4, 27.0, 4.4, 46.0, 217.0, -7.0),
}
"""Variances by maximum likelihood on half of LifeSnaps (every second person), rounded; that device smooths the resting heart
rate, so it is given more noise. Shifts: from publications, see above; of sleep and steps half of it, since they change for many
other reasons. Whatever else is set below was chosen on the same half, with illnesses put into its days."""

NO_PRIOR = Prior(_same, _same, -math.inf, math.inf, 0.0, 10.0, 0.01, 0.4, 4.0, 0.1, 0.5, 0.0)
"""Of any other signal, in units of the person's own spread, which is learnt."""

CORRELATION = {
    ("resting_heart_rate", "rmssd"): -0.6,
    ("resting_heart_rate", "breathing_rate"): 0.33,
    ("rmssd", "breathing_rate"): -0.33,
    ("skin_temperature_deviation", "steps"): -0.15,
}
"""How the surprises of one night go together, on the same half, drawn towards 0; others: not at all."""

GROWTH = np.array([0.5, 1.0, 1.0, 1.0, 1.0])
"""Share of its height that an illness has reached on each day; one that began before that is no onset any more."""
DAYS = len(GROWTH)
STRENGTHS = np.array([0.5, 1.0, 1.75, 2.75])
UPSET_SHARE = 0.1
"""Share of nights that are an upset of one night."""
LARGEST = 3.5
"""Standard deviations at which an innovation is cut, so that no single value decides."""
SPREAD_FROM, SPREAD_TO = 12.0, 90.0
"""Days that the population's spread counts as; days of the person that it rests on at most."""
WHITENING, WHITENING_DAYS, NOISIEST = 0.3, 20.0, 50.0
"""How fast the share of noise follows from surprises that the next day takes back, until so many days, and its largest factor."""
UNKNOWN_FROM = 10
"""A signal without a prior is evidence after so many days with a value."""
UNKNOWN_SHIFT = 1.5
"""Standard deviations by which an illness of strength 1 shifts it, to either side."""

FIRST_DAYS = 7
"""Days before anybody is called ill: each day of the week once."""
QUIET_DAYS = 7
"""An episode has one alert: no other on the days up to this one."""
PAST_DAYS = 180
"""Of the person's own evidence that are remembered, in single precision."""
WEIGHT_DAYS = 60.0
LEAST_EVIDENCE = 0.0
"""Logarithm of the likelihood ratio below which nobody is called ill, whatever the budget: the days speak for health."""
DAYS_PER_ALERT = 2.4
"""Days with as strong evidence that come with one alert at a budget of 1, and with its square root more at others: what is rarer
is over sooner. On the same half, with a quarter of a budget of 1 to spare."""
TAIL = ((-1.6, 0.5), (-0.45, 0.2), (0.35, 0.1), (1.2, 0.05), (2.35, 0.02), (3.65, 0.01), (4.6, 0.005))
"""Evidence, and the share of healthy people's days that have at least so much: the same half of LifeSnaps."""
MONTH = 30.0


class Night(NamedTuple):
    """What is said of one day.

    score: -log10 of ``chance``. chance: share of the person's healthy days with as much evidence. evidence: natural logarithm of
    the likelihood ratio of an illness. alert: one is raised on this day. usual: of each signal with a value on this day, what is
    usual for the person on such a day of the week, in the unit of the signal.
    """

    score: float
    chance: float
    evidence: float
    alert: bool
    usual: dict[str, float]


class Saved(Struct, array_like=True):
    """A person as remembered from day to day. names: the signals without a prior, as they came. numbers, past: little-endian, in
    double and single precision, see :meth:`Onset.save`."""

    day: int
    days_seen: int
    alerts: int
    alerted: int | None
    names: list[str]
    numbers: bytes
    past: bytes


class Onset:
    """One person, day by day. Arrays: S signals, each with the elements level, deviation, weekend; 2 hypotheses (an illness that
    lasts, an upset of one night), each begun on one of the last ``DAYS`` days.

    Args:
        budget: alerts in 30 days with data that are borne where nobody is ill; a ceiling.
    """

    def __init__(self, budget: float = 1.0) -> None:
        self.budget = budget
        self.day: int | None = None
        self.past: list[float] = []
        self.alerts = 0
        self.days_seen = 0
        self.alerted: int | None = None
        self.names: list[str] = []
        self.priors: list[Prior] = []
        self.known = np.empty(0, bool)
        self.drift, self.fast, self.days, self.noise, self.shift = (np.empty(0) for _ in range(5))
        self.mean = np.empty((0, 3))
        self.covariance = np.empty((0, 3, 3))
        self.spread, self.seen, self.surprise, self.seen_on = (np.empty(0) for _ in range(4))
        self.correlation = np.empty((0, 0))
        self.signature = np.empty((2, DAYS, 0, 3))
        self.match, self.power = np.zeros((2, DAYS)), np.zeros((2, DAYS))
        self.other_match, self.other_power = np.empty((2, DAYS, 0)), np.empty((2, DAYS, 0))
        for name in SIGNALS:
            self._add(name)

    def follow(self, day: int, values: Mapping[str, float]) -> Night:
        """The next day with data.

        Args:
            day: its number, with 1970-01-01 as 0; later than the one before.
            values: of that day by signal, in its unit. What is not finite, or cannot be, is missing.

        Raises:
            ValueError: the day is not later than the last one.
        """
        if self.day is not None and day <= self.day:
            raise ValueError(f"day {day} is not after day {self.day}: give each day once, in order")
        for name in sorted(values.keys() - set(self.names)):
            self._add(name)
        self._pass(0 if self.day is None else day - self.day)
        self.day = day
        row = np.array([transformed(prior, values.get(name)) for name, prior in zip(self.names, self.priors, strict=True)])
        there = np.isfinite(row)
        reading = np.array([1.0, 1.0, 5 / 7 if (day + 3) % 7 >= 5 else -2 / 7])
        usual: dict[str, float] = {}
        if there.any():
            self._meet(row, there)
            levels = self.mean[:, 0] + self.mean[:, 2] * reading[2]
            usual = {self.names[i]: self.priors[i].back(float(levels[i])) for i in np.flatnonzero(there)}
            self._learn(row, there, reading, day)
        evidence = self._evidence()
        chance = self._chance(evidence)
        self.past.append(float(np.float32(evidence)))
        del self.past[:-PAST_DAYS]
        self.days_seen += 1
        alert = bool(there.any()) and evidence >= LEAST_EVIDENCE and chance <= allowed(self.budget) and self._may_alert(day)
        if alert:
            self.alerted, self.alerts = day, self.alerts + 1
        return Night(-math.log10(chance), chance, evidence, alert, usual)

    def save(self) -> Saved:
        """After at least one day."""
        assert self.day is not None
        numbers = np.concatenate([array[place].ravel() for array, place in self._remembered()]).astype("<f8").tobytes()
        past = np.array(self.past, "<f4").tobytes()
        return Saved(self.day, self.days_seen, self.alerts, self.alerted, self.names[len(SIGNALS) :], numbers, past)

    @classmethod
    def load(cls, saved: Saved, budget: float = 1.0) -> "Onset":
        """Goes on as the one that was saved, to the last bit."""
        onset = cls(budget)
        for name in saved.names:
            onset._add(name)
        onset.day, onset.days_seen, onset.alerts, onset.alerted = saved.day, saved.days_seen, saved.alerts, saved.alerted
        onset.past = np.frombuffer(saved.past, "<f4").astype(float).tolist()
        numbers, start = np.frombuffer(saved.numbers, "<f8"), 0
        for array, place in onset._remembered():
            shape = array[place].shape
            array[place] = numbers[start : start + math.prod(shape)].reshape(shape)
            start += math.prod(shape)
        return onset

    def _remembered(self) -> list[tuple[Floats, Any]]:
        """Arrays, and what of each is worth remembering: signals with a prior and others are compared apart."""
        whole = (self.mean, self.covariance, self.noise, self.spread, self.seen, self.surprise, self.seen_on, self.signature)
        parts = [(array, ...) for array in (*whole, self.match, self.power)]
        return [*parts, *((array, (..., ~self.known)) for array in (self.other_match, self.other_power))]

    # What is usual

    def _add(self, name: str) -> None:
        prior = SIGNALS.get(name, NO_PRIOR)
        start = np.diag([prior.between**2, prior.fast, prior.weekend])
        for field in ("drift", "fast", "days", "noise", "shift"):
            setattr(self, field, np.append(getattr(self, field), getattr(prior, field)))
        links = [CORRELATION.get((other, name), CORRELATION.get((name, other), 0.0)) for other in self.names]
        self.correlation = np.block([[self.correlation, np.array(links)[:, None]], [np.array([*links, 1.0])]])
        self.names.append(name)
        self.priors.append(prior)
        self.known = np.append(self.known, prior is not NO_PRIOR)
        self.mean = np.concatenate([self.mean, [[prior.mean, 0.0, 0.0]]])
        self.covariance = np.concatenate([self.covariance, [start]])
        self.spread, self.seen = np.append(self.spread, 1.0), np.append(self.seen, 0.0)
        self.surprise, self.seen_on = np.append(self.surprise, 0.0), np.append(self.seen_on, -math.inf)
        self.signature = np.concatenate([self.signature, np.zeros((2, DAYS, 1, 3))], axis=2)
        self.other_match, self.other_power = (
            np.concatenate([array, np.zeros((2, DAYS, 1))], axis=2) for array in (self.other_match, self.other_power)
        )

    def _pass(self, gap: int) -> None:
        """``gap`` days go by: levels drift, deviations fade, every possible onset is older."""
        if gap == 0:
            return
        kept = np.exp(-gap / self.days)
        factor = np.stack([np.ones_like(kept), kept, np.ones_like(kept)], axis=1)
        self.mean *= factor
        self.covariance *= factor[:, :, None] * factor[:, None, :]
        self.covariance[:, 0, 0] += self.drift * gap
        self.covariance[:, 1, 1] += self.fast * (1 - kept**2)
        self.signature *= factor
        older = min(gap, DAYS)
        for array in (self.signature, self.match, self.power, self.other_match, self.other_power):
            array[:, older:] = array[:, : DAYS - older].copy()
            array[:, :older] = 0.0

    def _meet(self, row: Floats, there: Bools) -> None:
        """The first value of a signal without a prior is its level; its spread is a tenth of it until it is known better."""
        new = there & ~self.known & (self.seen == 0)
        self.mean[new, 0] = row[new]
        self.spread[new] = np.maximum(np.abs(row[new]) * 0.1, 1e-6) ** 2

    def _learn(self, row: Floats, there: Bools, reading: Floats, day: int) -> None:
        gain = self.covariance @ reading
        variance = gain @ reading + self.noise
        gain = np.where(there, 1 / variance, 0.0)[:, None] * gain
        sd = np.sqrt(variance * self.spread)
        surprise = np.where(there, np.clip((row - self.mean @ reading) / sd, -LARGEST, LARGEST), 0.0)
        self._compare(surprise, there, reading, gain, sd)
        self.mean += gain * (surprise * sd)[:, None]
        self.covariance -= gain[:, :, None] * gain[:, None, :] * variance[:, None, None]
        informed = there & (self.seen > 0)
        self.seen += there
        days = np.where(self.known, SPREAD_FROM, 1.0) + np.minimum(self.seen, SPREAD_TO)
        self.spread *= np.where(informed, 1 + (np.minimum(surprise**2, 9.0) - 1) / days, 1.0)
        self._whiten(surprise, there, day)

    def _whiten(self, surprise: Floats, there: Bools, day: int) -> None:
        """A device noisier than the prior says has surprises that the next day takes back; those of a filter that fits are white
        (Mehra, IEEE Trans. Autom. Control 15:175, 1970). The share of noise follows until they are."""
        lately = there & (day - self.seen_on <= 2)
        step = -WHITENING * surprise * self.surprise / np.maximum(1.0, self.seen / WHITENING_DAYS)
        least = np.array([prior.noise for prior in self.priors])
        self.noise = np.where(lately, np.clip(self.noise * np.exp(step), least, NOISIEST * least), self.noise)
        self.surprise = np.where(there, np.clip(surprise, -2.5, 2.5), self.surprise)
        self.seen_on = np.where(there, float(day), self.seen_on)

    # What an illness would look like

    def _compare(self, surprise: Floats, there: Bools, reading: Floats, gain: Floats, sd: Floats) -> None:
        """Add the day to how well a hypothesis of strength 1 matches (``match``) and how clearly it would show (``power``)."""
        growth = np.stack([GROWTH, np.eye(DAYS)[0]])[..., None]
        height = np.where(self.known, self.shift, UNKNOWN_SHIFT * np.sqrt(self.spread * (self.fast + self.noise)))
        moved = np.where(there, growth * height - self.signature @ reading, 0.0)
        self.signature += gain * moved[..., None]
        moved = moved / sd
        mine = there & self.known
        if mine.any():
            weighted = moved[..., mine] @ np.linalg.inv(self.correlation[np.ix_(mine, mine)])
            self.match += weighted @ surprise[mine]
            self.power += (weighted * moved[..., mine]).sum(-1)
        other = there & ~self.known & (self.seen >= UNKNOWN_FROM)
        self.other_match[..., other] += moved[..., other] * surprise[other]
        self.other_power[..., other] += moved[..., other] ** 2

    def _evidence(self) -> float:
        """Logarithm of the likelihood ratio: an illness that began in the last days, against health with or without an upset.

        Signals without a prior count together as one of them, in either direction: many may measure the same.
        """
        strength = STRENGTHS[:, None, None]
        logs = strength * self.match - strength**2 / 2 * self.power
        used = self.other_power.any((0, 1))
        if used.any():
            strength = strength[..., None]
            match, power = self.other_match[..., used], self.other_power[..., used]
            logs = logs + _log_mean(_log_cosh(strength * match) - strength**2 / 2 * power, axis=-1)
        ill, upset = (float(_log_mean(logs[:, hypothesis], axis=None)) for hypothesis in (0, 1))
        return ill - float(np.logaddexp(0.0, upset + math.log(UPSET_SHARE * DAYS)))

    # How rare that is

    def _chance(self, evidence: float) -> float:
        own = sum(past >= evidence for past in self.past)
        return (own + WEIGHT_DAYS * tail(evidence)) / (len(self.past) + WEIGHT_DAYS)

    def _may_alert(self, day: int) -> bool:
        """Known for long enough, no alert of this episode yet, and the person's own budget is not spent."""
        if self.days_seen <= FIRST_DAYS or (self.alerted is not None and day - self.alerted < QUIET_DAYS):
            return False
        return self.alerts < 1 + self.budget * self.days_seen / MONTH


def allowed(budget: float) -> float:
    """Share of a person's days on which there may be as much evidence, for so many alerts in a month."""
    return DAYS_PER_ALERT * math.sqrt(budget) * budget / MONTH


def transformed(prior: Prior, value: float | None) -> float:
    """NaN where there is no value, or one that cannot be."""
    return prior.transform(value) if value is not None and math.isfinite(value) and prior.low <= value <= prior.high else math.nan


def tail(evidence: float) -> float:
    """Share of healthy days with at least so much evidence: between the points of :data:`TAIL`, and beyond, log-linear."""
    if evidence <= TAIL[0][0]:
        return TAIL[0][1]
    after = next((i for i in range(1, len(TAIL)) if evidence <= TAIL[i][0]), len(TAIL) - 1)
    (x0, p0), (x1, p1) = TAIL[after - 1 : after + 1]
    return float(p0 * (p1 / p0) ** ((evidence - x0) / (x1 - x0)))


def _log_mean(logs: Floats, axis: int | None) -> Floats:
    top = logs.max(axis, keepdims=True)
    mean: Floats = np.squeeze(top, axis) + np.log(np.exp(logs - top).mean(axis))
    return mean


def _log_cosh(x: Floats) -> Floats:
    return np.logaddexp(x, -x) - math.log(2)
