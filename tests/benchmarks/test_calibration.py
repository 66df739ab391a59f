"""No prediction knows the future; scores are what closed forms say; rules learn from the past only."""

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.calibration.comparators import Pooled, average, rule, series
from benchmarks.calibration.predictions import predicted
from benchmarks.calibration.scores import Predicted, scored
from stream_twin import signals
from stream_twin.fitting.recordings import Recorded
from stream_twin.twin.model import shipped

CATALOGUE = signals.load()
NAMES = ("heart_rate", "respiratory_rate", "systolic_blood_pressure", "mean_blood_pressure", "lactate")
MIDDLE = np.array([[85.0, 9.0], [18.0, 3.0], [120.0, 12.0], [85.0, 9.0], [1.8, 0.4]])


def stay(seed: int, samples: int = 200) -> Recorded:
    """Made: five signals by the hour."""
    random = np.random.default_rng(seed)
    times = np.repeat(np.arange(samples // 4), 4) * 3600.0
    k = random.integers(0, len(NAMES), samples)
    values = np.round(np.maximum(MIDDLE[k, 0] + MIDDLE[k, 1] * random.standard_t(5, samples), 0.3), 1)
    return Recorded(f"made-{seed}", NAMES, times, k, values, np.zeros(samples, np.int64), None, None)


@pytest.mark.parametrize("change", ["shuffled", "truncated", "another's"])
def test_what_is_predicted_does_not_know_the_future(change):
    model = shipped(CATALOGUE)["intensive_care"]
    one = stay(1)
    now = one.times[100]
    known = one.times <= now
    if change == "truncated":
        other = one._replace(**{field: getattr(one, field)[known] for field in ("times", "signals", "values", "sides")})
    else:
        later = np.flatnonzero(~known)
        values = one.values.copy()
        for k in range(len(NAMES)):
            same = later[one.signals[later] == k]
            values[same] = np.random.default_rng(2).permutation(values[same]) if change == "shuffled" else 1.3 * values[same]
        other = one._replace(values=values)
    before, after = predicted(model, one), predicted(model, other)
    for field in ("mean", "sd", "mean_joint", "sd_joint"):
        np.testing.assert_array_equal(getattr(before, field)[known], getattr(after, field)[: known.sum()])
    if change != "truncated":
        assert np.any(before.mean[~known] != after.mean[~known])


def test_strictly_ahead_knows_nothing_of_its_own_moment():
    model = shipped(CATALOGUE)["intensive_care"]
    one = stay(3)
    last = one.times == one.times[-1]
    assert last.sum() > 1
    other = one._replace(values=np.where(last, 1.2 * one.values, one.values))
    before, after = predicted(model, one), predicted(model, other)
    np.testing.assert_array_equal(before.mean, after.mean)
    assert np.any(before.mean_joint != after.mean_joint)


def test_scores_are_those_of_the_closed_forms():
    signal = CATALOGUE["body_temperature"]
    random = np.random.default_rng(4)
    values, mean, sd = 37 + random.standard_normal(500), 37 + 0.3 * random.standard_normal(500), random.uniform(0.5, 1.5, 500)
    found = scored(signal, values, np.full(500, 1e-4), Predicted(mean, sd))
    z = (values - mean) / sd
    np.testing.assert_allclose(found.log_score, norm.logpdf(values, mean, sd), atol=1e-5)
    crps = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))  # Gneiting and Raftery 2007
    assert found.crps.mean() == pytest.approx(crps.mean(), rel=0.01)
    assert found.covered() == pytest.approx(np.mean(np.abs(z) < 1.6449), abs=0.01)
    assert found.histogram().sum() == pytest.approx(1)


def test_the_log_score_of_a_transformed_signal_is_a_density_in_its_own_unit():
    signal = CATALOGUE["lactate"]
    values = np.arange(0.1, 60.0, 0.1)
    twice = scored(
        signal, values, np.full(len(values), 0.1), Predicted(np.full(len(values), 0.6), np.full(len(values), 0.4), 5.0)
    )
    assert np.sum(np.exp(twice.log_score) * 0.1) == pytest.approx(1, abs=1e-3)


def test_rules_know_the_past_only():
    np.testing.assert_allclose(average(np.array([1.0, 2.0, 4.0]), 0.5)[1:], [1.0, 1.5])
    signal = CATALOGUE["heart_rate"]
    one = series(stay(5), signal)
    start = Pooled(1.0, 4.4, 0.2, 0.1)
    whole, cut = rule(one, start), rule(one._replace(working=one.working[:10]), start)
    np.testing.assert_array_equal(whole.mean[:10], cut.mean)
    np.testing.assert_array_equal(whole.sd[:10], cut.sd)
    assert (whole.mean[0], whole.sd[0]) == (4.4, 0.2)
