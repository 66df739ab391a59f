"""How likely glucose falls below a limit soon, learnt online for one person from forecasts that came true or did not.

One forecast says how the level goes on, not how low it comes on the way: a fall that has turned, a night close to the limit and
a meal's peak can have the same forecast. So a logistic regression weighs the forecasts at three horizons, in their own standard
deviations from the limit, with the level, how it moved, and how long ago it was last too low. It starts from weights fitted to
other people, believed a tenth, and learns each row when its horizon has passed without a hole.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from importlib import resources
from math import exp, inf, log1p
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct

from stream_twin.learn.logistic import OnlineLogistic, Posterior, full, posterior
from stream_twin.learn.residual import HOLE_S, Forecast
from stream_twin.learn.shipped import Fitted

LIMIT_MGDL = 70.0
HORIZON_S = 2700.0
AHEAD_MIN = (15, 30, 60)
"""Horizons of the forecasts that are weighed."""
FAR_MGDL = 180.0
"""From there on nothing is learnt, and it is said not to happen."""
TERMS = ("ahead_15", "ahead_30", "ahead_60", "level", "close", "change_5", "change_30", "change_60", "turned", "since_low")
BELIEVED = 0.1
"""A new person is believed to be like others with this share of the evidence that they gave."""
ROW_S = 1500.0
"""Rows of one fall are alike: so much time of them counts as one."""
REMEMBERED_S = 5400.0
QUIET_S = 1800.0
MODEL = "glucose.below_70.json"
STEPS = 12


class Start(Struct, kw_only=True):
    """Weights fitted to recorded people; ``folds``: without each of them, by person."""

    schema: int = 1
    data_set: str
    licence: str
    attribution: str
    date: str
    command: str
    terms: list[str]
    whole: Fitted
    folds: dict[str, Fitted]

    def of(self, person: str) -> Posterior:
        """What a new person starts from: nothing that was learnt from that person."""
        return start_of(self.folds.get(person, self.whole))


def start_of(fitted: Fitted) -> Posterior:
    return posterior(TERMS, np.array(fitted.mean), BELIEVED * full(fitted.precision, len(TERMS) + 1))


def unlearnt() -> Posterior:
    """Nothing is known of anybody."""
    return posterior(TERMS, np.zeros(len(TERMS) + 1), np.eye(len(TERMS) + 1))


def shipped() -> Start:
    """The product's own."""
    return decoded((resources.files("stream_twin.learn") / "models" / MODEL).read_bytes())


def decoded(file: bytes) -> Start:
    """Raises:
    ValueError: the file has other terms than this version.
    """
    start = msgspec.json.decode(file, type=Start)
    if tuple(start.terms) != TERMS:
        raise ValueError(f"{MODEL} has other terms than this version: write it anew by {start.command}")
    return start


class Row(NamedTuple):
    at: float
    columns: list[float]


class Learnt(NamedTuple):
    """A row of :data:`TERMS` whose horizon has passed, and how much of an independent example it counts for."""

    columns: list[float]
    occurred: bool
    worth: float


class Crossing:
    """One person's probability of a reading below the limit within the horizon, with every reading.

    ``every_s``: the usual time between two. ``kept``: where what was learnt is also noted, to fit from.
    """

    def __init__(self, start: Posterior, every_s: float, kept: list[Learnt] | None = None) -> None:
        self._logistic = OnlineLogistic(start)
        self._worth = every_s / ROW_S
        self._kept = kept
        self._waiting: deque[Row] = deque()
        self._readings: deque[tuple[float, float]] = deque()
        self._low_at = -inf

    def take(self, at: float, value: float, forecasts: Mapping[int, Forecast]) -> float:
        """A reading, and the forecasts from it by minutes (:data:`AHEAD_MIN`) -> the probability; 1 where it is below already."""
        before = self._readings[-1][0] if self._readings else -inf
        self._learn(before, at, value < LIMIT_MGDL)
        self._readings.append((at, value))
        while self._readings[0][0] < at - REMEMBERED_S:
            self._readings.popleft()
        if value < LIMIT_MGDL:
            self._low_at = at
            return 1.0
        if value >= FAR_MGDL:
            return 0.0
        columns = self._columns(at, value, forecasts)
        self._waiting.append(Row(at, columns))
        return 1 / (1 + exp(-float(self._logistic.weights @ np.array([1.0, *columns]))))

    def _learn(self, before: float, at: float, low: bool) -> None:
        seen_to = at if at - before <= HOLE_S else before + HOLE_S
        known = list[Learnt]()
        while self._waiting and self._waiting[0].at + HORIZON_S <= seen_to:
            row = self._waiting.popleft()
            occurred = row.at < self._low_at or (low and at <= row.at + HORIZON_S)
            known.append(Learnt(row.columns, occurred, self._worth))
        if at - before > HOLE_S:
            self._waiting.clear()
        if known:
            self._logistic.learn(np.array([row.columns for row in known]), [row.occurred for row in known], self._worth)
            if self._kept is not None:
                self._kept += known

    def _columns(self, at: float, value: float, forecasts: Mapping[int, Forecast]) -> list[float]:
        ahead = [_within(-4.0, (LIMIT_MGDL - f.mean) / f.sd, 4.0) for f in (forecasts[minutes] for minutes in AHEAD_MIN)]
        lowest = min((v for t, v in self._readings if t >= at - 3660.0), default=value)
        return [
            *ahead,
            _within(-1.0, (value - 100.0) / 30.0, 3.0),
            max((90.0 - value) / 10.0, 0.0),
            *(_within(-2.0, self._change(at, value, minutes) / 20.0, 2.0) for minutes in (5, 30, 60)),
            _within(-3.0, (lowest - value) / 20.0, 0.0),
            (log1p(min((at - self._low_at) / 3600.0, 72.0)) - 2.5) / 1.5,
        ]

    def _change(self, at: float, value: float, minutes: int) -> float:
        """Per 10 min, since the first reading of the last so many minutes (5: since the last one); 0 where there is none."""
        if minutes == 5:
            known = [self._readings[-2]] if len(self._readings) > 1 and at - self._readings[-2][0] < HOLE_S else []
        else:
            known = [r for r in self._readings if r[0] >= at - 60.0 * minutes - 1.0][:1]
        if not known or at - known[0][0] <= 0.0:
            return 0.0
        return (value - known[0][1]) / max((at - known[0][0]) / 600.0, 0.3)


class News:
    """What of a probability is new: it counts where it is higher than at any time in the last half hour.

    Else people were told of as much already, if they were told at all; whoever hovers close to a limit is told once.
    """

    def __init__(self) -> None:
        self._told: deque[tuple[float, float]] = deque()

    def take(self, at: float, probability: float) -> float:
        while self._told and self._told[0][0] < at - QUIET_S:
            self._told.popleft()
        new = not self._told or probability >= self._told[0][1]
        while self._told and self._told[-1][1] <= probability:
            self._told.pop()
        self._told.append((at, probability))
        return probability if new else 0.0


def fit(rows: Sequence[Learnt], people: Sequence[str]) -> Fitted:
    """The most probable weights and their precision, by Newton's method."""
    x = np.array([[1.0, *row.columns] for row in rows])
    y, worth = (np.array([row[n] for row in rows], dtype=float) for n in (1, 2))
    mean, prior = np.zeros(len(TERMS) + 1), np.eye(len(TERMS) + 1)
    for _ in range(STEPS):
        p = 1 / (1 + np.exp(-(x @ mean)))
        precision = (x * (worth * p * (1 - p))[:, None]).T @ x + prior
        mean = mean + np.linalg.solve(precision, x.T @ (worth * (y - p)) - prior @ mean)
    return Fitted.of(people, mean, precision, len(y))


def _within(low: float, value: float, high: float) -> float:
    return min(max(value, low), high)
