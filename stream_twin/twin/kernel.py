"""The batched Kalman filter: many tracks per NumPy call, the same bits whatever the batch.

A track's state has the elements of :data:`ELEMENTS`, deviations from the population's mean on the signal's working
scale. Every element is an Ornstein-Uhlenbeck process with rate ``r`` (1/s) and the elements share a stationary
covariance ``S``, so with ``f = exp(-r * gap)`` prediction is exact for any gap, elementwise, and never diverges:

    x' = f * x        P' = S + f f^T * (P - S)

A silent track returns to the population. ``predict(a)`` then ``predict(b)`` equals ``predict(a + b)`` to rounding.
Only elementwise operations and sums over fixed short axes are used: no BLAS, whose results depend on the batch.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stream_twin.signals import Signal, SignalModel

ELEMENTS = ("baseline", "slow", "fast", "momentum", "cosine", "sine")
D = len(ELEMENTS)
DAY_S = 86400.0
CIRCADIAN_S = 45 * DAY_S
"""Time constant with which a daily rhythm is forgotten."""
OUTLIER = 4.0
"""A first innovation beyond so many standard deviations is trusted only as much as one of this size."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Parameters:
    """One row per signal of the catalogue, in its order.

    ``rates`` (S, D) 1/s, ``stationary`` (S, D, D), ``means`` (S,) and ``noise`` (S,) variance, on the working scale.
    """

    rates: Floats
    stationary: Floats
    means: Floats
    noise: Floats

    @classmethod
    def of(cls, signals: list[Signal]) -> "Parameters":
        return cls(
            rates=np.array([rates(s.model) for s in signals]).reshape(-1, D),
            stationary=np.array([stationary(s.model) for s in signals]).reshape(-1, D, D),
            means=np.array([s.model.mean for s in signals]),
            noise=np.array([s.model.noise_sd**2 for s in signals]),
        )


def rates(model: SignalModel) -> list[float]:
    """Decay rates of the elements, shape (D,), 1/s."""
    return [1 / t for t in (model.baseline_s, model.slow_s, model.fast_s, model.momentum_s, CIRCADIAN_S, CIRCADIAN_S)]


def stationary(model: SignalModel) -> Floats:
    """Covariance of the elements in the population, shape (D, D).

    Fast deviation minus momentum, both driven by one noise, is a second-order process: it carries on in its direction.
    With ``a = 1/fast_s``, ``b = 1/momentum_s`` and noise intensity ``q``: variances ``q/2a`` and ``m^2 q/2b``,
    covariance ``m q/(a+b)``; ``q`` is chosen so that the difference has ``fast_sd``.
    """
    a, b, m = 1 / model.fast_s, 1 / model.momentum_s, model.momentum
    fast, momentum, shared = 1 / (2 * a), m * m / (2 * b), m / (a + b)
    q = model.fast_sd**2 / (fast + momentum - 2 * shared)
    covariance = np.zeros((D, D))
    covariance[0, 0] = model.between_sd**2
    covariance[1, 1] = model.slow_sd**2
    covariance[2, 2], covariance[3, 3] = q * fast, q * momentum
    covariance[2, 3] = covariance[3, 2] = q * shared
    covariance[4, 4] = covariance[5, 5] = model.circadian_sd**2
    return covariance


def loading(at: Floats) -> Floats:
    """How a sample at ``at`` (N,), seconds, reads the elements: (N, D)."""
    phase = (2 * np.pi / DAY_S) * np.mod(at, DAY_S)
    h = np.empty((len(at), D))
    h[:, :3] = 1.0
    h[:, 3] = -1.0
    np.cos(phase, out=h[:, 4])
    np.sin(phase, out=h[:, 5])
    return h


def predict(mean: Floats, covariance: Floats, gap: Floats, rate: Floats, stationary: Floats) -> tuple[Floats, Floats]:
    """State after ``gap`` (N,) seconds. mean (N, D), covariance, stationary (N, D, D), rate (N, D)."""
    f = np.exp(-rate * gap[:, None])
    return mean * f, stationary + (f[:, :, None] * f[:, None, :]) * (covariance - stationary)


def innovation(mean: Floats, covariance: Floats, h: Floats, noise: Floats, residual: Floats) -> tuple[Floats, Floats, Floats]:
    """Innovation (N,), its variance (N,) and ``P h`` (N, D), for ``residual`` = sample minus population mean."""
    ph = covariance[:, :, 0] * h[:, 0, None]
    for k in range(1, D):
        ph = ph + covariance[:, :, k] * h[:, k, None]
    return residual - dot(h, mean), dot(h, ph) + noise, ph


def dot(a: Floats, b: Floats) -> Floats:
    """Row by row, (N, D) x (N, D) -> (N,), summed in a fixed order."""
    total = a[:, 0] * b[:, 0]
    for k in range(1, D):
        total = total + a[:, k] * b[:, k]
    return total


def update(
    mean: Floats, covariance: Floats, h: Floats, noise: Floats, residual: Floats, outlier: NDArray[np.int8]
) -> tuple[Floats, Floats, Floats, NDArray[np.int8]]:
    """Take one sample into each of N tracks.

    An innovation of more than :data:`OUTLIER` standard deviations counts as one of that size, its variance enlarged accordingly,
    unless the sample before was one to the same side (``outlier``, -1, 0 or 1): then it is a change, and is taken whole.

    Returns:
        mean (N, D), covariance (N, D, D), standardised innovation (N,), new ``outlier`` (N,).
    """
    error, variance, ph = innovation(mean, covariance, h, noise, residual)
    z = error / np.sqrt(variance)
    beyond = np.where(np.abs(z) > OUTLIER, np.sign(z), 0).astype(np.int8)
    doubted = (beyond != 0) & (beyond != outlier)
    trusted = np.where(doubted, error * error / (OUTLIER * OUTLIER), variance)
    taken = ph[:, :, None] * ph[:, None, :] / trusted[:, None, None]  # so, and not gain times ph: symmetric to the last bit
    return mean + ph * (error / trusted)[:, None], covariance - taken, z, beyond
