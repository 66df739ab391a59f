"""What one person's forecasts of one signal leave unexplained, learnt online: the residual on top of the filter.

For each horizon River's Bayesian linear regression predicts what the filter's forecast misses, from how the signal moved over
the last readings, from the hour of the day and what the level does at that hour, and from what was taken in lately. It learns
when the moment that was forecast has come. The interval is the filter's own, made wider or narrower until it holds nine of ten.
"""

from collections import deque
from collections.abc import Sequence
from math import cos, erf, exp, pi, sin, sqrt
from typing import NamedTuple

from river.linear_model import BayesianLinearRegression

LAGS = 8
UNIT = 10.0
"""Differences are learnt in tens of the signal's unit, levels from :data:`LEVEL` in fours of that: of order one for mg/dL."""
LEVEL = 120.0
LOW, HIGH = -0.75, 1.5
"""Scaled levels at which the lines bend, 90 and 180 mg/dL: below people eat, above they correct."""
NOISE_PRECISION = 0.25
"""Of a residual in units of 10 mg/dL: about 20 mg/dL of it cannot be explained."""
CLIP = 100.0
"""A larger residual counts as this: a sensor's fall out of bed is nothing to learn from."""
PATIENCE_S = 900.0
HOLE_S = 1800.0
"""Between two readings further apart nothing is interpolated, so nothing is learnt."""
HELD = 0.9
STEP = 0.03
SD90 = 1.6448536269514722


class Forecast(NamedTuple):
    """``low`` to ``high`` holds 90 %; ``sd`` is what a normal distribution of that interval has."""

    mean: float
    low: float
    high: float
    sd: float

    def below(self, limit: float) -> float:
        """Probability of a value below ``limit``."""
        return 0.5 * (1 + erf((limit - self.mean) / (self.sd * sqrt(2))))


class _Waiting(NamedTuple):
    due: float
    columns: dict[str, float]
    filtered: float
    mean: float
    sd: float


class Horizon:
    """One horizon: what was forecast and waits, what was learnt, how wide an interval has to be."""

    def __init__(self, after_s: float) -> None:
        self.after_s = after_s
        self._river = BayesianLinearRegression(alpha=1.0, beta=NOISE_PRECISION)
        self._waiting: deque[_Waiting] = deque()
        self._width = SD90

    def learn(self, before: tuple[float, float] | None, now: tuple[float, float]) -> None:
        """``before``, ``now``: (time, value) of the last two readings; what was due between them is judged and learnt."""
        at, value = now
        while self._waiting and self._waiting[0].due <= at:
            made = self._waiting.popleft()
            if before is None or at - made.due > PATIENCE_S or at - before[0] > HOLE_S:
                continue
            share = (made.due - before[0]) / (at - before[0]) if at > before[0] else 1.0
            truth = before[1] + share * (value - before[1])
            self._river.learn_one(made.columns, min(max(truth - made.filtered, -CLIP), CLIP) / UNIT)
            missed = abs(truth - made.mean) > self._width * made.sd
            self._width *= exp(STEP * (missed - (1 - HELD)))

    def predict(
        self, at: float, columns: dict[str, float], now: float, filtered: float, sd: float, plausible: tuple[float, float]
    ) -> Forecast:
        """``filtered``, ``sd``: the filter's forecast; ``now``: the last reading."""
        rise = (filtered - now) / UNIT
        columns = {**columns, "rise": rise, "rise_at_level": rise * columns["level"]}
        mean = min(max(filtered + UNIT * self._river.predict_one(columns), plausible[0]), plausible[1])
        self._waiting.append(_Waiting(at + self.after_s, columns, filtered, mean, sd))
        reach = self._width * sd
        return Forecast(mean, mean - reach, mean + reach, reach / SD90)


class Taken:
    """What was taken in and wears off: the sum of amounts, each decaying with the time constants."""

    def __init__(self, name: str, unit: float, constants_s: Sequence[float]) -> None:
        self._name, self._unit, self._constants = name, unit, tuple(constants_s)
        self._left = [0.0] * len(self._constants)
        self._at = 0.0

    def take(self, at: float, amount: float) -> None:
        self._decay(at)
        self._left = [left + amount for left in self._left]

    def columns(self, at: float) -> dict[str, float]:
        self._decay(at)
        return {f"{self._name}_{n}": left / self._unit for n, left in enumerate(self._left)}

    def _decay(self, at: float) -> None:
        gap = max(at - self._at, 0.0)
        self._left = [left * exp(-gap / constant) for left, constant in zip(self._left, self._constants, strict=True)]
        self._at = max(at, self._at)


class Residual:
    """One person's learner of a signal that comes every ``every_s``: ``horizons_s`` ahead, values within ``plausible``."""

    def __init__(self, every_s: float, horizons_s: Sequence[float], plausible: tuple[float, float]) -> None:
        self.horizons = [Horizon(after_s) for after_s in horizons_s]
        self.insulin = Taken("insulin", 3.0, (1200.0, 3600.0, 7200.0, 14400.0))
        self.carbohydrates = Taken("carbohydrates", 30.0, (900.0, 2400.0, 5400.0, 10800.0))
        self._every_s = every_s
        self._plausible = plausible
        self._readings: deque[tuple[float, float]] = deque(maxlen=LAGS + 1)

    def take(
        self, at: float, value: float, hour: float, surprise: float, filtered: Sequence[tuple[float, float]]
    ) -> list[Forecast]:
        """A reading, and what the filter forecasts from it (mean, sd) for each horizon -> better ones.

        ``hour``: of the person's day, 0 to 24; ``surprise``: the reading's standardised innovation.
        """
        before = self._readings[-1] if self._readings else None
        for horizon in self.horizons:
            horizon.learn(before, (at, value))
        self._readings.append((at, value))
        columns = self._columns(at, value, hour, surprise)
        return [
            horizon.predict(at, columns, value, mean, sd, self._plausible)
            for horizon, (mean, sd) in zip(self.horizons, filtered, strict=True)
        ]

    def _columns(self, at: float, value: float, hour: float, surprise: float) -> dict[str, float]:
        level = (value - LEVEL) / (4 * UNIT)
        columns = {"one": 1.0, "level": level, "surprise": surprise}
        columns |= {"low": max(LOW - level, 0.0), "high": max(level - HIGH, 0.0)}
        later, moved = value, 0.0
        for lag in range(1, LAGS + 1):
            known = self._readings[-1 - lag] if lag < len(self._readings) else None
            in_step = known is not None and abs(at - known[0] - lag * self._every_s) < 0.6 * self._every_s
            change = columns[f"change_{lag}"] = (later - known[1]) / UNIT if known is not None and in_step else 0.0
            later = later if known is None else known[1]
            moved += abs(change)
        columns["moved"] = moved / LAGS
        for harmonic in (1, 2):
            phase = 2 * pi * harmonic * hour / 24
            for name, wave in ((f"sine_{harmonic}", sin(phase)), (f"cosine_{harmonic}", cos(phase))):
                columns[name], columns[f"{name}_at_level"] = wave, wave * level
        return columns | self.insulin.columns(at) | self.carbohydrates.columns(at)
