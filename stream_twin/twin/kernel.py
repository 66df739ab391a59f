"""The Kalman filter, compiled: sample after sample, track after track, the same bits whatever the batch.

A track's state has the elements of :data:`ELEMENTS`, deviations from the population's mean on the signal's working
scale. Every element is an Ornstein-Uhlenbeck process with rate ``r`` (1/s) and the elements share a stationary
covariance ``S``, so with ``f = exp(-r * gap)`` prediction is exact for any gap, elementwise, and never diverges:

    x' = f * x        P' = S + f f^T * (P - S)

A silent track returns to the population. ``predict(a)`` then ``predict(b)`` equals ``predict(a + b)`` to rounding.

Compiled by Numba, without its fast mathematics: one NumPy call per step for many tracks costs ten times as much, and a series
of one track cannot be batched at all. A state is one row of :data:`WIDTH` numbers: mean, upper triangle of the covariance row
by row, time of the state, and the side of the last outlier (-1, 0 or 1). Working scales increase in the value, so that high
stays high.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stream_twin.signals import Signal, SignalModel

ELEMENTS = ("baseline", "slow", "fast", "momentum", "cosine", "sine")
D = len(ELEMENTS)
UPPER = np.triu_indices(D)
PAIRS = len(UPPER[0])
WIDTH = D + PAIRS + 2
AT, OUTLIER_SIDE = D + PAIRS, D + PAIRS + 1
DAY_S = 86400.0
CIRCADIAN_S = 45 * DAY_S
"""Time constant with which a daily rhythm is forgotten."""
OUTLIER = 4.0
"""A first innovation beyond so many standard deviations is trusted only as much as one of this size."""

SD90 = 1.6448536269514722
"""Half the width of a normal distribution's central 90 %, in standard deviations."""
FENCE = 5.0
"""A sample beyond so many standard deviations of what is predicted is worth a look at once."""
LONGEST_GAP_S = 1e12
"""Of a track without samples."""
SHOWN_DIGITS = 5

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Shown = NDArray[np.float32]


class Parameters(NamedTuple):
    """One row per signal of the catalogue, in its order.

    ``rates`` (S, D) 1/s, ``stationary`` (S, PAIRS) upper triangle, ``means`` (S,) and ``noise`` (S,) variance, on the working
    scale. ``scale`` (S, 3): which transform (0 none, 1 logarithm, 2 logarithm of the headroom), its ceiling, and how near its
    argument may come to 0. ``plausible`` (S, 2): bounds in the canonical unit.
    """

    rates: Floats
    stationary: Floats
    means: Floats
    noise: Floats
    scale: Floats
    plausible: Floats

    @classmethod
    def of(cls, signals: list[Signal]) -> "Parameters":
        return cls(
            rates=np.array([rates(s.model) for s in signals]).reshape(-1, D),
            stationary=np.array([stationary(s.model)[UPPER] for s in signals]).reshape(-1, PAIRS),
            means=np.array([s.model.mean for s in signals]),
            noise=np.array([s.model.noise_sd**2 for s in signals]),
            scale=np.array([scale(s) for s in signals]).reshape(-1, 3),
            plausible=np.array([s.plausible for s in signals], dtype=float).reshape(-1, 2),
        )


def scale(signal: Signal) -> Floats:
    """Row of ``Parameters.scale``. Values where the logarithm ends are taken half a display step inside it."""
    kind, ceiling = {"log": (1.0, 0.0), "log_headroom": (2.0, signal.ceiling + 1)}.get(signal.transform, (0.0, 0.0))
    return np.array([kind, ceiling, 0.5 * 10.0**-signal.decimals])


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


def empty(parameters: Parameters, signal: int) -> Floats:
    """State of a track before its first sample, (WIDTH,)."""
    return np.concatenate([np.zeros(D), parameters.stationary[signal], [-np.inf, 0.0]])


_jit = numba.njit(cache=True, error_model="numpy")


@_jit
def to_working(scale: Floats, value: float) -> float:
    if scale[0] == 1.0:
        return math.log(max(value, float(scale[2])))
    if scale[0] == 2.0:
        return -math.log(max(scale[1] - value, scale[2]))
    return value


@_jit
def from_working(scale: Floats, working: float) -> float:
    if scale[0] == 1.0:
        return math.exp(min(working, 700.0))
    if scale[0] == 2.0:
        return float(scale[1]) - math.exp(min(-working, 700.0))
    return working


@_jit
def _predict(row: Floats, gap: float, rates: Floats, stationary: Floats, mean: Floats, covariance: Floats, f: Floats) -> None:
    """Mean (D,) and covariance (D, D) after ``gap`` seconds; ``f`` (D,) is room to work in."""
    for i in range(D):
        f[i] = math.exp(-rates[i] * gap)
        mean[i] = row[i] * f[i]
    k = 0
    for i in range(D):
        for j in range(i, D):
            entry = stationary[k] + (f[i] * f[j]) * (row[D + k] - stationary[k])
            covariance[i, j] = entry
            covariance[j, i] = entry
            k += 1


@_jit
def loading(at: float, h: Floats) -> None:
    """How a sample at ``at``, seconds, reads the elements: into ``h`` (D,)."""
    phase = (2 * math.pi / DAY_S) * (at % DAY_S)
    h[0] = h[1] = h[2] = 1.0
    h[3] = -1.0
    h[4] = math.cos(phase)
    h[5] = math.sin(phase)


@_jit
def _dot(a: Floats, b: Floats, start: int, end: int) -> float:
    total = 0.0
    for k in range(start, end):
        total += a[k] * b[k]
    return total


@_jit
def _quadratic(covariance: Floats, h: Floats, start: int, end: int) -> float:
    total = 0.0
    for i in range(start, end):
        for j in range(start, end):
            total += h[i] * covariance[i, j] * h[j]
    return total


@_jit
def follow(
    parameters: Parameters,
    state: Floats,
    signal: Ints,
    slots: Ints,
    times: Floats,
    values: Floats,
    marks: Ints,
    surprises: Shown,
    before: Floats,
) -> None:
    """Take samples into tracks, one after another.

    An innovation of more than :data:`OUTLIER` standard deviations counts as one of that size, its variance enlarged accordingly,
    unless the sample before was one to the same side: then it is a change, and is taken whole.

    Args:
        state: (N, WIDTH), changed in place. signal: (N,) row of ``parameters`` of each.
        slots, times, values: (M,), which track, when, and in the canonical unit; NaN is passed over.
        marks: numbers of the samples, increasing, before which the state is copied.
        surprises: (M,), filled with the standardised innovations, NaN where passed over.
        before: (len(marks), WIDTH), filled with these copies.
    """
    mean, covariance, f, h, ph = np.empty(D), np.empty((D, D)), np.empty(D), np.empty(D), np.empty(D)
    mark = 0
    for n in range(len(slots)):
        row = state[slots[n]]
        if mark < len(marks) and marks[mark] == n:
            before[mark] = row
            mark += 1
        if math.isnan(values[n]):
            surprises[n] = np.nan
            continue
        s, at = signal[slots[n]], times[n]
        gap = min(max(at - row[AT], 0.0), LONGEST_GAP_S)
        _predict(row, gap, parameters.rates[s], parameters.stationary[s], mean, covariance, f)
        loading(at, h)
        for i in range(D):
            ph[i] = _dot(covariance[i], h, 0, D)
        error = to_working(parameters.scale[s], values[n]) - parameters.means[s] - _dot(h, mean, 0, D)
        variance = _dot(h, ph, 0, D) + parameters.noise[s]
        z = error / math.sqrt(variance)
        side = 0.0
        if abs(z) > OUTLIER:
            side = 1.0 if z > 0 else -1.0
        trusted = error * error / (OUTLIER * OUTLIER) if side not in (0.0, row[OUTLIER_SIDE]) else variance
        k = D
        for i in range(D):
            row[i] = mean[i] + ph[i] * (error / trusted)
            for j in range(i, D):
                row[k] = covariance[i, j] - ph[i] * ph[j] / trusted
                k += 1
        row[AT] = at
        row[OUTLIER_SIDE] = side
        surprises[n] = z


LOOKS = (
    "level",
    "low",
    "high",
    "baseline",
    "deviation",
    "deviation_sd",
    "working_mean",
    "working_sd",
    "predictive_sd",
    "fence_low",
    "fence_high",
    "shown_level",
    "shown_low",
    "shown_high",
    "shown_baseline",
)
"""Columns of :func:`look`, see :class:`stream_twin.twin.belief.SignalBelief`. ``predictive_sd`` is of a sample, on the working
scale; beyond ``fence`` a sample is worth a look at once; what is shown has :data:`SHOWN_DIGITS` significant digits."""


@_jit
def look(parameters: Parameters, state: Floats, signal: Ints, slots: Ints, at: Floats) -> Floats:
    """What tracks ``slots`` (N,) are believed to be at ``at`` (N,), or at their last sample if that is later: (N, LOOKS)."""
    mean, covariance, f, h = np.empty(D), np.empty((D, D)), np.empty(D), np.empty(D)
    usual = np.empty((D, D))
    seen = np.empty((len(slots), len(LOOKS)))
    for n in range(len(slots)):
        row, s = state[slots[n]], signal[slots[n]]
        moment = max(at[n], row[AT])
        scale, noise = parameters.scale[s], parameters.noise[s]
        _predict(row, min(moment - row[AT], LONGEST_GAP_S), parameters.rates[s], parameters.stationary[s], mean, covariance, f)
        k = 0
        for i in range(D):
            for j in range(i, D):
                usual[i, j] = usual[j, i] = parameters.stationary[s, k]
                k += 1
        loading(moment, h)
        around = _dot(h, mean, 1, 4)
        baseline = parameters.means[s] + h[0] * mean[0] + _dot(h, mean, 4, D)
        level = baseline + around
        variance = max(_quadratic(covariance, h, 0, D), 0.0)
        predictive_sd = math.sqrt(variance + noise)
        spread = math.sqrt(max(_quadratic(usual, h, 1, 4), 1e-12))
        out = seen[n]
        out[0] = from_working(scale, level)
        out[1] = max(from_working(scale, level - SD90 * predictive_sd), parameters.plausible[s, 0])
        out[2] = min(from_working(scale, level + SD90 * predictive_sd), parameters.plausible[s, 1])
        out[3] = from_working(scale, baseline)
        out[4] = around / spread
        out[5] = math.sqrt(max(_quadratic(covariance, h, 1, 4), 0.0)) / spread
        out[6] = level
        out[7] = math.sqrt(variance)
        out[8] = predictive_sd
        out[9] = from_working(scale, level - FENCE * predictive_sd)
        out[10] = from_working(scale, level + FENCE * predictive_sd)
        for k in range(4):
            out[11 + k] = _rounded(out[k])
    return seen


@_jit
def _rounded(value: float) -> float:
    """To :data:`SHOWN_DIGITS` significant digits: enough for people, a third of the bytes."""
    if abs(value) < 1e-300 or not math.isfinite(value):
        return value
    places = SHOWN_DIGITS - 1 - math.floor(math.log10(abs(value)))
    if places >= 0:
        power = 10.0**places
        return float(np.rint(value * power) / power)
    power = 10.0**-places
    return float(np.rint(value / power) * power)
