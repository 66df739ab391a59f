"""A body that can be watched: vital signs, movement, sleep and glucose of one simulated person.

Every five seconds :meth:`Body.step` moves it on. Chance comes from :class:`Draws` only, so that a seed fixes everything.
"""

import math
from dataclasses import dataclass

import numpy as np

STEP_S = 5.0
DAY_S = 86400.0


class Draws:
    """Random numbers of one owner, taken in blocks because single draws from numpy cost as much as a step of the body."""

    def __init__(self, seed: int, *owner: int) -> None:
        self._generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=owner)))
        self._normals: list[float] = []
        self._uniforms: list[float] = []

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        if not self._normals:
            self._normals = self._generator.standard_normal(1024).tolist()
        return mean + sd * self._normals.pop()

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        if not self._uniforms:
            self._uniforms = self._generator.random(1024).tolist()
        return low + (high - low) * self._uniforms.pop()

    def exponential(self, mean: float) -> float:
        return -mean * math.log1p(-self.uniform())

    def index(self, count: int) -> int:
        return min(int(self.uniform() * count), count - 1)


class Wander:
    """An Ornstein-Uhlenbeck process around 0, stepped every ``STEP_S`` or ``every_s``."""

    def __init__(self, sd: float, time_constant_s: float, draws: Draws, every_s: float = STEP_S) -> None:
        self._keep = math.exp(-every_s / time_constant_s)
        self._kick = sd * math.sqrt(1 - self._keep**2)
        self._draws = draws
        self.value = draws.normal(0.0, sd)

    def step(self) -> float:
        self.value = self.value * self._keep + self._draws.normal(0.0, self._kick)
        return self.value


@dataclass(frozen=True, slots=True)
class Effect:
    """What an illness at its worst adds to a body. ``variability`` multiplies the heart's."""

    heart_rate: float = 0.0
    respiratory_rate: float = 0.0
    spo2: float = 0.0
    temperature: float = 0.0
    systolic: float = 0.0
    variability: float = 1.0


@dataclass(frozen=True, slots=True)
class Illness:
    """Rises from ``onset`` to ``peak``, stays until ``relief``, is over at ``end``; seconds since the epoch."""

    onset: float
    peak: float
    relief: float
    end: float
    effect: Effect

    def severity(self, at: float) -> float:
        """0..1."""
        if at <= self.onset or at >= self.end:
            return 0.0
        if at < self.peak:
            return (at - self.onset) / (self.peak - self.onset)
        return 1.0 if at < self.relief else (self.end - at) / (self.end - self.relief)


@dataclass(frozen=True, slots=True)
class Constitution:
    """What is usual for a person. Times of day in hours of the local clock."""

    heart_rate: float
    heart_rate_swing: float
    respiratory_rate: float
    spo2: float
    temperature: float
    systolic: float
    diastolic: float
    rmssd_ms: float
    fitness: float
    """1: an ordinary walk costs an ordinary rise of the heart rate; less: it costs more."""
    wakes_h: float
    sleeps_h: float
    diabetic: bool
    insulin_sensitivity_mgdl: float = 40.0
    """Fall of glucose per unit of rapid insulin."""
    carbohydrate_ratio_g: float = 10.0
    """Carbohydrates that one unit of rapid insulin balances."""


class Glucose:
    """Plasma and interstitial glucose with meals and insulin; mg/dL.

    Gut and subcutaneous depots are two compartments in series each, as in Hovorka et al., Physiol. Meas. 25 (2004) 905;
    the basal insulin is taken to hold ``basal_mgdl``.
    """

    GUT_S, DEPOT_S, INTERSTITIUM_S = 40 * 60.0, 55 * 60.0, 7 * 60.0

    def __init__(self, person: Constitution, draws: Draws) -> None:
        self._person = person
        self.basal_mgdl = draws.normal(128.0, 12.0) if person.diabetic else draws.normal(92.0, 5.0)
        self.plasma = self.interstitial = self.basal_mgdl + draws.normal(0.0, 12.0)
        self._gut = [0.0, 0.0]
        self._depot = [0.0, 0.0]
        self._wander = Wander(14.0 if person.diabetic else 5.0, 90 * 60.0, draws)

    def eat(self, carbohydrates_g: float) -> None:
        self._gut[0] += carbohydrates_g

    def inject(self, units: float) -> None:
        self._depot[0] += units

    def step(self, hour: float, effort: float) -> None:
        gut, depot = self._gut, self._depot
        absorbed_g = gut[1] * STEP_S / self.GUT_S
        acting_units = depot[1] * STEP_S / self.DEPOT_S
        gut[1] += gut[0] * STEP_S / self.GUT_S - absorbed_g
        gut[0] -= gut[0] * STEP_S / self.GUT_S
        depot[1] += depot[0] * STEP_S / self.DEPOT_S - acting_units
        depot[0] -= depot[0] * STEP_S / self.DEPOT_S
        sensitivity = self._person.insulin_sensitivity_mgdl
        dawn = 14.0 * math.exp(-(((hour - 6.5) / 1.8) ** 2))
        # Without diabetes the body's own insulin answers within minutes: a meal rises less and falls back sooner.
        back_s, share = (4 * 3600.0, 1.0) if self._person.diabetic else (45 * 60.0, 0.45)
        goal = self.basal_mgdl + dawn
        low = max(0.0, 65.0 - self.plasma) * 0.02 * STEP_S / 60
        self.plasma += (
            share * absorbed_g * sensitivity / self._person.carbohydrate_ratio_g
            - acting_units * sensitivity
            + (goal - self.plasma) * STEP_S / back_s
            - 0.35 * effort * STEP_S / 60
            + low
        )
        before = self._wander.value
        self.plasma = max(22.0, self.plasma + self._wander.step() - before)
        self.interstitial += (self.plasma - self.interstitial) * STEP_S / self.INTERSTITIUM_S


class Body:
    """The state of one person; read its attributes after :meth:`step`."""

    def __init__(self, person: Constitution, draws: Draws) -> None:
        self.person = person
        self.illnesses: list[Illness] = []
        self.glucose = Glucose(person, draws)
        self.asleep = False
        self.stage = "awake"
        self.moving = False
        self.effort = 0.0
        self.heart_rate = person.heart_rate
        self.respiratory_rate = person.respiratory_rate
        self.spo2 = person.spo2
        self.temperature = person.temperature
        self.skin_temperature = 33.2
        self.rmssd_ms = person.rmssd_ms
        self.steps = 0.0
        """Since the owner last set it to 0."""
        self._draws = draws
        self._intensity = 0.0
        self._bout_ends = 0.0
        self._bed_shift_h = draws.normal(0.0, 0.4)
        self.in_bed = False
        walk = {
            "heart_slow": (2.6, 1500.0),
            "heart_fast": (1.6, 25.0),
            "breath": (0.9, 240.0),
            "oxygen": (0.55, 900.0),
            "core": (0.09, 7200.0),
            "skin": (0.28, 2400.0),
        }
        self._wander = {name: Wander(sd, time_constant_s, draws) for name, (sd, time_constant_s) in walk.items()}

    def _sleeping(self, hour: float) -> bool:
        bed = (self.person.sleeps_h + self._bed_shift_h) % 24
        length = (self.person.wakes_h - self.person.sleeps_h) % 24
        return (hour - bed) % 24 < length

    def _next_bout(self, now: float, hour: float) -> None:
        """What the person does next: sleep in cycles of about 90 minutes, or sit, potter about, walk."""
        draws = self._draws
        asleep = self._sleeping(hour)
        if asleep and draws.uniform() > 0.02:
            order = {"awake": "light", "light": "deep" if draws.uniform() < 0.45 else "rem", "deep": "light", "rem": "light"}
            self.stage = order[self.stage]
            self._intensity = 0.0
            self._bout_ends = now + draws.normal({"light": 22.0, "deep": 28.0, "rem": 20.0}[self.stage], 4.0) * 60
        else:
            self.stage = "awake"
            lively = 0.35 if hour >= 20 or hour < 7 else 1.0
            chance = draws.uniform()
            if chance < 0.16 * lively and not self.moving:
                self._intensity, minutes = draws.uniform(0.5, 0.85), draws.uniform(4.0, 22.0)
            elif chance < 0.5 * lively:
                self._intensity, minutes = draws.uniform(0.15, 0.35), draws.uniform(2.0, 9.0)
            else:
                self._intensity, minutes = 0.0, draws.uniform(6.0, 40.0)
            self._bout_ends = now + 60 * minutes
        if self.in_bed and not asleep:
            self._bed_shift_h = draws.normal(0.0, 0.4)
        self.in_bed = asleep
        self.asleep = self.stage != "awake"
        self.moving = self._intensity > 0.4

    def step(self, now: float, hour: float, ambient_c: float = 20.0) -> None:
        """Move on to ``now``. ``hour`` is local, 0..24."""
        person, wander = self.person, self._wander
        if now >= self._bout_ends:
            self._next_bout(now, hour)
        severity = max((illness.severity(now) for illness in self.illnesses), default=0.0)
        intensity = self._intensity * (1 - 0.8 * severity)
        time_constant_s = 40.0 if intensity > self.effort else 75.0
        self.effort += (intensity - self.effort) * (1 - math.exp(-STEP_S / time_constant_s))
        if intensity > 0.1:
            self.steps += (40 + 90 * intensity) * STEP_S / 60 * (1 + self._draws.normal(0.0, 0.06))

        heart = breath = oxygen = heat = 0.0
        variability = 1.0
        for illness in self.illnesses:
            severity = illness.severity(now)
            if severity:
                heart += severity * illness.effect.heart_rate
                breath += severity * illness.effect.respiratory_rate
                oxygen += severity * illness.effect.spo2
                heat += severity * illness.effect.temperature
                variability *= 1 + severity * (illness.effect.variability - 1)

        day = math.cos(2 * math.pi * (hour - 16.5) / 24)
        sleep = {"awake": 0.0, "light": 1.0, "deep": 1.6, "rem": 0.5}[self.stage]
        low_sugar = max(0.0, 70.0 - self.glucose.plasma)
        self.heart_rate = max(
            32.0,
            person.heart_rate
            + person.heart_rate_swing * (day - 0.3)
            - 3.0 * sleep
            + 46.0 / person.fitness * self.effort
            + wander["heart_slow"].step() * (0.6 if self.asleep else 1.0)
            + wander["heart_fast"].step()
            + 0.35 * low_sugar
            + heart,
        )
        self.respiratory_rate = max(
            5.0,
            person.respiratory_rate
            + 0.5 * day
            - 0.5 * sleep
            + 9.0 / person.fitness * self.effort
            + wander["breath"].step()
            + breath,
        )
        self.spo2 = min(100.0, person.spo2 - 0.4 * sleep - 0.9 * self.effort + wander["oxygen"].step() + oxygen)
        self.temperature = person.temperature + 0.28 * day - 0.06 * sleep + 0.2 * self.effort + wander["core"].step() + heat
        self.skin_temperature = (
            33.3 - 0.6 * day + 0.35 * sleep + 0.05 * (ambient_c - 20) - 0.5 * self.effort + wander["skin"].step() + 0.7 * heat
        )
        rested = (1.25 if self.asleep else 1.0) * math.exp(-1.6 * self.effort - 0.06 * wander["heart_slow"].value)
        self.rmssd_ms = max(4.0, person.rmssd_ms * rested * variability)
        self.glucose.step(hour, self.effort)

    def blood_pressure(self, now: float, hour: float) -> tuple[float, float]:
        """Systolic and diastolic, mmHg, as a cuff reads them now."""
        day = math.cos(2 * math.pi * (hour - 15) / 24)
        ill = sum(illness.severity(now) * illness.effect.systolic for illness in self.illnesses)
        systolic = self._draws.normal(self.person.systolic + 6 * day + 18 * self.effort + ill, 5.0)
        return systolic, min(
            systolic - 15, self._draws.normal(self.person.diastolic + 4 * day + 4 * self.effort + 0.4 * ill, 3.5)
        )
