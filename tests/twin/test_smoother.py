"""The smoother against filterpy's, and against conditioning everything at once."""

import msgspec
import numpy as np
import pytest
from filterpy.kalman import KalmanFilter, rts_smoother
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stream_twin import signals
from stream_twin.twin.filter import CENSORED, CHANGE, SEEN, SET_ASIDE, USED, follow, to_working
from stream_twin.twin.model import COSINE, SINE, Driver, Plan, Population, PopulationModel, key_of
from stream_twin.twin.smoother import SEGMENT, smooth
from stream_twin.twin.state import code_of, empty

CATALOGUE = signals.load()
LOADINGS = {
    "heart_rate": {"load": 0.06, "inflammation": 0.04},
    "respiratory_rate": {"load": 0.1},
    "body_temperature": {"inflammation": 0.3},
}


def plan_of(**changes: object) -> Plan:
    drivers = {
        name: Driver(display=name, scale="organ", time_s=time_s, source="made for the test")
        for name, time_s in (("load", 5400.0), ("inflammation", 80_000.0))
    }
    models = {
        name: msgspec.structs.replace(CATALOGUE[name].model, loadings=loadings, **changes) for name, loadings in LOADINGS.items()
    }
    population = Population(name="made", version=1, date="", holds_for="nobody", drivers=drivers, signals=models)
    model = PopulationModel(population, CATALOGUE)
    return model.plan(key_of([(name, 1) for name in LOADINGS], CATALOGUE))


def full(plan: Plan) -> np.ndarray:
    covariance = np.zeros((plan.d, plan.d))
    covariance[np.triu_indices(plan.d)] = plan.layout.stationary
    return covariance + np.triu(covariance, 1).T


def reading(plan: Plan, k: int, at: float) -> np.ndarray:
    layout, h = plan.layout, np.zeros(plan.d)
    phase = 2 * np.pi * (at % 86400.0) / 86400.0
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        factor = {COSINE: np.cos(phase), SINE: np.sin(phase)}.get(layout.reads_form[r], 1.0)
        h[layout.reads_element[r]] += layout.reads_value[r] * factor
    return h


def made(plan: Plan, seed: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, values and signals of somebody near the population's mean."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.choice([0.0, 1.0, 300.0, 3600.0, 90_000.0], count))
    k = random.integers(0, len(plan.signals), count)
    middle, spread = np.array([[80.0, 6.0], [17.0, 1.5], [37.0, 0.3]]).T
    return times, np.round(middle[k] + spread[k] * random.standard_normal(count), 1), k


def smoothed(plan: Plan, times: np.ndarray, values: np.ndarray, k: np.ndarray, at: np.ndarray):
    codes = np.array([code_of(int(c)) for c in k], np.int64)
    return smooth(plan.layout, empty(plan.layout), times, values, np.zeros(len(times)), codes, at)


def test_agrees_with_filterpy():
    plan = plan_of()
    times, values, k = made(plan, 1, 60)
    times += 1.7 * np.arange(len(times))  # all different: filterpy smooths one sample a step
    oracle = KalmanFilter(dim_x=plan.d, dim_z=1)
    oracle.x, oracle.P = np.zeros((plan.d, 1)), full(plan)
    means, covariances, transitions, noises = [], [], [], []
    for n in range(len(times)):
        f = np.exp(-plan.layout.rates * (times[n] - times[max(n - 1, 0)]))
        transitions.append(np.diag(f))
        noises.append(full(plan) * (1 - np.outer(f, f)))
        oracle.predict(F=transitions[-1], Q=noises[-1])
        working = to_working(plan.layout.scale[k[n]], values[n]) - plan.layout.means[k[n]]
        oracle.update(working, R=plan.layout.noise[k[n]], H=reading(plan, k[n], times[n])[None, :])
        means.append(oracle.x)
        covariances.append(oracle.P)
    after = [np.roll(part, -1, axis=0) for part in (transitions, noises)]  # it wants the step that follows each sample
    mean, covariance, _, _ = rts_smoother(np.array(means), np.array(covariances), *after)
    found = smoothed(plan, times, values, k, times)
    assert np.all(found.seen[:, 3] == USED)
    np.testing.assert_allclose(found.mean, mean[:, :, 0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.covariance, covariance, rtol=0, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 2 * SEGMENT + 40))
def test_is_what_conditioning_on_everything_at_once_gives(seed, count):
    plan = plan_of()
    times, values, k = made(plan, seed, count)
    last = times[-1]
    at = np.sort(np.random.default_rng(seed).uniform(0, 1.2 * last + 1, 4))
    found = smoothed(plan, times, values, k, at)
    assume(CHANGE not in found.seen[:, 3])  # which no Gaussian has
    stationary, rates = full(plan), plan.layout.rates
    h = np.array([reading(plan, k[n], times[n]) for n in range(count)])
    used = found.seen[:, 3] == USED
    y = np.array([to_working(plan.layout.scale[c], v) - plan.layout.means[c] for c, v in zip(k, values, strict=True)])
    h, y, times, noise = h[used], y[used], times[used], plan.layout.noise[k[used]]
    decay = np.exp(-np.abs(times[:, None] - times[None, :])[:, :, None] * rates)
    shared = np.einsum("abi,ai,bi->ab", decay, h, h * np.diag(stationary))
    gain = np.linalg.inv(shared + np.diag(noise))
    for n, moment in enumerate(at):
        cross = np.exp(-np.abs(times - moment)[:, None] * rates) * h * np.diag(stationary)
        np.testing.assert_allclose(found.mean[n], cross.T @ gain @ y, rtol=0, atol=1e-8)
        np.testing.assert_allclose(found.covariance[n], stationary - cross.T @ gain @ cross, rtol=0, atol=1e-8)


def test_at_the_last_sample_it_is_the_filter():
    plan = plan_of(tail=4.0, noise_count=20.0)
    times, values, k = made(plan, 3, 300)
    values[200] = 150.0  # one that is set aside
    found = smoothed(plan, times, values, k, times[-1:])
    rows = empty(plan.layout)[None, :].copy()
    codes = np.array([code_of(int(c)) for c in k], np.int64)
    none = np.zeros(0, np.int64)
    follow(
        plan.layout, rows, np.zeros(300, np.int64), times, values, np.zeros(300), codes, none, np.empty((300, len(SEEN))),
        np.empty((0, rows.shape[1])),
    )  # fmt: skip
    np.testing.assert_allclose(found.mean[0], rows[0, : plan.d], rtol=0, atol=1e-12)


@pytest.mark.parametrize("low", [None, 60.0])
def test_a_censored_sample_and_a_change_are_smoothed_as_they_were_filtered(low):
    """Back at the first moment, what is believed is between what was believed then and what the later samples say."""
    plan = plan_of(detection=(low, None))
    heart = next(n for n, signal in enumerate(plan.signals) if signal.name == "heart_rate")
    times = np.arange(12) * 600.0
    values = np.array([80.0] * 6 + [60.0] * 6) if low else np.array([70.0] * 6 + [190.0, 189.0, 191.0, 190.0, 190.0, 189.0])
    found = smoothed(plan, times, values, np.full(12, heart), times)
    fates = found.seen[:, 3]
    assert (CENSORED in fates) if low else (SET_ASIDE in fates and CHANGE in fates)
    level = [plan.layout.means[heart] + reading(plan, heart, t) @ m for t, m in zip(times, found.mean, strict=True)]
    assert abs(np.exp(level[0]) - values[0]) < 5
    assert abs(np.exp(level[-1]) - values[-1]) < 12
    assert np.all(np.linalg.eigvalsh(found.covariance) > 0)
