"""What the twin is measured against: simple rules, each with the best honest predictive distribution that it can have.

A rule's errors are normal on the signal's working scale. Their variance is learnt from the person's own past errors with this
signal, beginning with that of the people on whom it was fitted, which counts for :data:`COUNT` samples. A person's first
sample is predicted by the mean and spread of those people.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration.scores import Predicted, Scored, scored
from stream_twin.fitting.estimate import working
from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Signal

Floats = NDArray[np.float64]

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.45, 0.6, 0.8)
"""Of the newest sample in an exponential average; the best on the people fitted on is taken."""
COUNT = 5.0
LOCAL_LEVEL_LEAST = 20
"""A person's samples of a signal from which a local level is fitted: on the first half, scored on the second."""


class Series(NamedTuple):
    """One person's samples of one signal: moments, values in canonical units, on the working scale, and rounding steps."""

    times: Floats
    values: Floats
    working: Floats
    steps: Floats


def series(one: Recorded, signal: Signal) -> Series:
    own = one.only([signal.name])
    return Series(own.times, own.values, working(signal, own.values), own.steps({signal.name: signal.decimals}))


class Pooled(NamedTuple):
    """What a rule has from the people fitted on: ``mean``, ``sd`` of a first sample; ``sd_error`` of the following ones."""

    weight: float
    mean: float
    sd: float
    sd_error: float


def average(x: Floats, weight: float) -> Floats:
    """Exponential average of what came before each of ``x``, NaN for the first; weight 1: the last value."""
    found = np.full(len(x), np.nan)
    level = np.nan
    for n, value in enumerate(x.tolist()):
        found[n] = level
        level = value if n == 0 else level + weight * (value - level)
    return found


def pooled(people: Sequence[Series], weight: float) -> Pooled:
    everything = np.concatenate([one.working for one in people])
    errors = np.concatenate([(one.working - average(one.working, weight))[1:] for one in people])
    spread = float(np.sqrt(np.mean(errors**2))) if len(errors) else float(everything.std())
    return Pooled(weight, float(everything.mean()), max(float(everything.std()), 1e-6), max(spread, 1e-6))


def best(people: Sequence[Series]) -> Pooled:
    """The exponential average with the least error on the people fitted on."""
    return min((pooled(people, weight) for weight in WEIGHTS), key=lambda one: one.sd_error)


def rule(one: Series, start: Pooled) -> Predicted:
    """What the rule says of each sample, by the person's samples before it."""
    mean = average(one.working, start.weight)
    squares = np.nan_to_num(one.working - mean) ** 2
    before = np.concatenate([[0.0], np.cumsum(squares)[:-1]])
    count = np.maximum(np.arange(len(mean)) - 1.0, 0.0)
    sd = np.sqrt((COUNT * start.sd_error**2 + before) / (COUNT + count))
    mean[:1], sd[:1] = start.mean, start.sd
    return Predicted(mean, sd)


def local_level(one: Series) -> tuple[Predicted, int] | None:
    """statsmodels' local level, fitted to the person's first half; of the second half, and where it begins. None: too short."""
    half = len(one.working) // 2
    if half < LOCAL_LEVEL_LEAST // 2 or np.std(one.working[:half]) == 0:
        return None
    import warnings

    from statsmodels.tsa.statespace.structural import UnobservedComponents

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence: what it ends with is used as it is
        fitted = UnobservedComponents(one.working[:half], "local level").fit(disp=0)
        whole = UnobservedComponents(one.working, "local level").filter(fitted.params)
    mean = whole.forecasts[0][half:] if hasattr(whole, "forecasts") else whole.filter_results.forecasts[0][half:]
    variance = whole.filter_results.forecasts_error_cov[0, 0][half:]
    return Predicted(np.asarray(mean), np.sqrt(np.maximum(variance, 1e-12))), half


def score(signal: Signal, people: Sequence[Series], start: Pooled) -> Scored:
    parts = [scored(signal, one.values, one.steps, rule(one, start)) for one in people]
    return Scored(*(np.concatenate(column) for column in zip(*parts, strict=True)))
