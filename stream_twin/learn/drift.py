"""Drift of one signal of one patient: has what the filter could not explain changed its mean?

River's Page-Hinkley test on the mean standardised innovation of each settled chunk of samples. While the filter's
model holds, that is about zero; a drift says that it does not any more: another person, a sensor gone off, a new
state of health that the baseline has not followed.
"""

import struct
from math import inf

from msgspec import Struct
from river.drift import PageHinkley

DELTA = 0.25
"""Half the smallest lasting change worth finding, in standard deviations."""
THRESHOLD = 20.0
"""With DELTA, one false drift in about 160,000 chunks of independent standard normal innovations (Siegmund's approximation
of the two-sided average run length); a lasting change by one standard deviation is found after about 27 chunks."""
MIN_CHUNKS = 30
CLIP = 6.0
"""One absurd chunk must not make a drift by itself."""


class DriftState(Struct, kw_only=True):
    """Everything that the test remembers, by name; saved with the patient's twin."""

    chunks: int = 0
    """Since the last drift."""
    mean: float = 0.0
    increase: float = 0.0
    """Cumulative sum above the mean, and its lowest value so far."""
    lowest: float = inf
    decrease: float = 0.0
    """Cumulative sum below the mean, and its highest value so far."""
    highest: float = -1.0
    drifted: bool = False
    """The last chunk was a drift; the next one starts the test anew."""
    drifts: int = 0


_TEST = PageHinkley(min_instances=MIN_CHUNKS, delta=DELTA, threshold=THRESHOLD)
"""Lent to one signal after the other, and set to what that one remembers: an object each would be 500 bytes."""
_NUMBERS = struct.Struct("=q5d?q")


class Drift:
    """``update`` with each settled chunk; ``state`` to save, ``Drift(state)`` to carry on exactly where it was."""

    __slots__ = ("_numbers",)

    def __init__(self, state: DriftState | None = None) -> None:
        state = state or DriftState()
        self._numbers = _NUMBERS.pack(*(getattr(state, name) for name in state.__struct_fields__))

    def update(self, mean_z: float) -> bool:
        """Take the mean standardised innovation of one settled chunk; True where the test finds a drift."""
        test, mean = _TEST, _TEST._x_mean
        mean.n, mean._mean, up, lowest, down, highest, test._drift_detected, drifts = _NUMBERS.unpack(self._numbers)
        test._sum_increase, test._min_increase, test._sum_decrease, test._max_decrease = up, lowest, down, highest
        test.update(max(-CLIP, min(CLIP, mean_z)))
        drifted, mean = bool(test.drift_detected), test._x_mean  # another object after a drift
        sums = test._sum_increase, test._min_increase, test._sum_decrease, test._max_decrease
        self._numbers = _NUMBERS.pack(int(mean.n), mean._mean, *sums, drifted, drifts + drifted)
        return drifted

    @property
    def state(self) -> DriftState:
        return DriftState(**dict(zip(DriftState.__struct_fields__, _NUMBERS.unpack(self._numbers), strict=True)))
