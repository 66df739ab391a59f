"""Scores of predictive distributions in original units, with rounding taken for what it is.

A recorded value stands for all within half a rounding step of it. So the log score is the logarithm of the probability of that
interval, divided by the step (a density in original units, with the Jacobian of any transform in it), and the PIT is spread
evenly over the interval's probability (Czado, Gneiting and Held, Biometrics 65 (2009) 1254): randomised without randomness.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit

from stream_twin.fitting.estimate import working
from stream_twin.signals import Signal

Floats = NDArray[np.float64]

LEVELS = (np.arange(50) + 0.5) / 50
"""Quantiles by which the CRPS is integrated."""
BINS = 20
LEAST = 1e-12
"""Probability of an interval at least, so that one value does not decide a mean."""


class Predicted(NamedTuple):
    """Predictive distributions of some samples of one signal on its working scale; ``tail``: degrees of freedom, inf: normal.

    ``mean``, ``sd`` (T,): of the distribution itself; Student's t is scaled to have this standard deviation.
    """

    mean: Floats
    sd: Floats
    tail: float = np.inf

    def cumulative(self, x: Floats) -> Floats:
        z = (x - self.mean) / self.sd
        if np.isfinite(self.tail):
            return np.asarray(stdtr(self.tail, z * np.sqrt(self.tail / (self.tail - 2))))
        return np.asarray(ndtr(z))

    def quantiles(self, levels: Floats) -> Floats:
        """(T, len(levels)), working scale."""
        student = np.isfinite(self.tail)
        z = stdtrit(self.tail, levels) * np.sqrt((self.tail - 2) / self.tail) if student else ndtri(levels)
        return self.mean[:, None] + self.sd[:, None] * z


class Scored(NamedTuple):
    """Of each sample: ``low`` and ``high``, the predicted probabilities below its rounding interval's ends, log score (nats,
    original units), CRPS (original units)."""

    low: Floats
    high: Floats
    log_score: Floats
    crps: Floats

    def take(self, chosen: NDArray) -> "Scored":
        return Scored(*(column[chosen] for column in self))

    def covered(self, share: float = 0.9) -> float:
        """Share of the samples inside the central interval, the rounding interval counted in parts."""
        a, b = (1 - share) / 2, (1 + share) / 2
        inside = np.maximum(np.minimum(self.high, b) - np.maximum(self.low, a), 0.0)
        return float(np.mean(inside / np.maximum(self.high - self.low, LEAST)))

    def histogram(self) -> Floats:
        """(BINS,) share of the PIT in each bin; 1/BINS everywhere if calibrated."""
        edges = np.linspace(0, 1, BINS + 1)
        width = np.maximum(self.high - self.low, LEAST)
        parts = np.clip((edges[None, :] - self.low[:, None]) / width[:, None], 0, 1)
        return np.asarray(np.diff(parts.mean(axis=0)))


def original(signal: Signal, x: Floats) -> Floats:
    """From the working scale."""
    if signal.transform == "log":
        return np.exp(np.minimum(x, 700.0))
    if signal.transform == "log_headroom":
        return signal.ceiling + 1 - np.exp(np.minimum(-x, 700.0))
    return x


def scored(signal: Signal, values: Floats, step: Floats, predicted: Predicted) -> Scored:
    """``values`` (T,): canonical units; ``step``: (T,), what they are rounded to."""
    low = predicted.cumulative(working(signal, values - step / 2))
    high = predicted.cumulative(working(signal, values + step / 2))
    if signal.transform == "log":  # nothing is below the least value, nor above a ceiling
        low = np.where(values - step / 2 <= 0, 0.0, low)
    log_score = np.log(np.maximum(high - low, LEAST) / step)
    crps = np.empty(len(values))
    for first in range(0, len(values), 20_000):
        part = slice(first, first + 20_000)
        some = Predicted(predicted.mean[part], predicted.sd[part], predicted.tail)
        quantiles = original(signal, some.quantiles(LEVELS))
        quantiles = np.clip(quantiles, *signal.plausible)
        error = values[part, None] - quantiles
        crps[part] = 2 * np.mean(np.maximum(LEVELS * error, (LEVELS - 1) * error), axis=1)
    return Scored(low, high, log_score, crps)
