"""Drift of one signal of one patient: has what the filter could not explain changed its mean?

River's Page-Hinkley test on the mean standardised innovation of each settled chunk of samples. While the filter's
model holds, that is about zero; a drift says that it does not any more: another person, a sensor gone off, a new
state of health that the baseline has not followed.
"""

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


class Drift:
    """``update`` with each settled chunk; ``state`` to save, ``Drift(state)`` to carry on exactly where it was."""

    __slots__ = ("_drifts", "_test")

    def __init__(self, state: DriftState | None = None) -> None:
        self._test = PageHinkley(min_instances=MIN_CHUNKS, delta=DELTA, threshold=THRESHOLD)
        self._drifts = 0
        if state is not None:
            test = self._test
            test._x_mean.n, test._x_mean._mean = state.chunks, state.mean
            test._sum_increase, test._min_increase = state.increase, state.lowest
            test._sum_decrease, test._max_decrease = state.decrease, state.highest
            test._drift_detected = state.drifted
            self._drifts = state.drifts

    def update(self, mean_z: float) -> bool:
        """Take the mean standardised innovation of one settled chunk; True where the test finds a drift."""
        self._test.update(max(-CLIP, min(CLIP, mean_z)))
        drifted: bool = self._test.drift_detected
        self._drifts += drifted
        return drifted

    @property
    def state(self) -> DriftState:
        test = self._test
        return DriftState(
            chunks=int(test._x_mean.n),
            mean=test._x_mean._mean,
            increase=test._sum_increase,
            lowest=test._min_increase,
            decrease=test._sum_decrease,
            highest=float(test._max_decrease),
            drifted=test.drift_detected,
            drifts=self._drifts,
        )
