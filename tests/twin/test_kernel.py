"""The kernel against independent oracles: filterpy, Gaussian conditioning by brute force, closed forms."""

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.signals import SignalModel
from stream_twin.twin import kernel
from stream_twin.twin.kernel import CIRCADIAN_S, DAY_S, D

MODEL = SignalModel(
    mean=72,
    between_sd=9,
    slow_sd=4,
    fast_sd=7,
    noise_sd=2,
    circadian_sd=3,
    slow_s=6 * 3600,
    fast_s=1500,
    momentum=0.8,
    momentum_s=400,
)
RATES, STATIONARY = np.array(kernel.rates(MODEL)), kernel.stationary(MODEL)


def run(times, values):
    """One track through the kernel, no outlier ever doubted: -> means, covariances, standardised innovations."""
    mean, covariance, at = np.zeros((1, D)), STATIONARY[None].copy(), times[0]
    states, surprises = [], []
    for now, value in zip(times, values, strict=True):
        mean, covariance = kernel.predict(mean, covariance, np.array([now - at]), RATES[None], STATIONARY[None])
        h = kernel.loading(np.array([now]))
        _, variance, _ = kernel.innovation(mean, covariance, h, np.array([4.0]), np.array([0.0]))
        residual = np.array([value - MODEL.mean])
        z_before = (residual - kernel.dot(h, mean)) / np.sqrt(variance)
        same_side = np.sign(z_before).astype(np.int8)
        mean, covariance, z, _ = kernel.update(mean, covariance, h, np.array([4.0]), residual, same_side)
        at = now
        states.append((mean[0].copy(), covariance[0].copy()))
        surprises.append(z[0])
    return states, surprises


def samples(seed, n=40):
    rng = np.random.default_rng(seed)
    times = np.cumsum(rng.exponential(600, n)) + 1e6
    return times, 72 + 10 * rng.standard_normal(n)


def test_agrees_with_filterpy():
    times, values = samples(1)
    states, surprises = run(times, values)
    reference = KalmanFilter(dim_x=D, dim_z=1)
    reference.x, reference.P, reference.R = np.zeros((D, 1)), STATIONARY.copy(), np.array([[4.0]])
    at = times[0]
    for now, value, (mean, covariance), surprise in zip(times, values, states, surprises, strict=True):
        f = np.exp(-RATES * (now - at))
        reference.F = np.diag(f)
        reference.Q = STATIONARY - np.outer(f, f) * STATIONARY
        reference.H = kernel.loading(np.array([now]))
        reference.predict()
        reference.update(value - MODEL.mean)
        at = now
        np.testing.assert_allclose(mean, reference.x[:, 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance, reference.P, rtol=1e-9, atol=1e-9)
        assert surprise == pytest.approx(float(reference.y[0, 0] / np.sqrt(reference.S[0, 0])), rel=1e-9)


def test_agrees_with_conditioning_the_joint_gaussian():
    """The posterior from the joint covariance of all samples at once: no recursion anywhere."""
    times, values = samples(2, 25)
    states, _ = run(times, values)
    h = kernel.loading(times)
    decay = np.exp(-RATES[None, None, :] * np.abs(times[:, None] - times[None, :])[:, :, None])
    # Cov(x_i(s), x_j(t)) for s <= t is S_ij exp(-r_j (t - s)).
    n = len(times)
    joint = np.zeros((n, n))
    for a in range(n):
        for b in range(n):
            early, late = (a, b) if times[a] <= times[b] else (b, a)
            joint[a, b] = h[early] @ (STATIONARY * decay[a, b][None, :]) @ h[late]
    joint += 4.0 * np.eye(n)
    cross = np.array([(STATIONARY * np.exp(-RATES * (times[-1] - t))[None, :]).T @ h[k] for k, t in enumerate(times)]).T
    gain = np.linalg.solve(joint, cross.T).T
    np.testing.assert_allclose(states[-1][0], gain @ (values - MODEL.mean), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(states[-1][1], STATIONARY - gain @ cross.T, rtol=1e-8, atol=1e-8)


@given(a=st.floats(1e-3, 1e8), b=st.floats(1e-3, 1e8), seed=st.integers(0, 1000))
def test_splitting_a_step_changes_nothing(a, b, seed):
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((D, D))
    mean, covariance = rng.standard_normal((1, D)), (root @ root.T)[None]
    once = kernel.predict(mean, covariance, np.array([a + b]), RATES[None], STATIONARY[None])
    twice = kernel.predict(
        *kernel.predict(mean, covariance, np.array([a]), RATES[None], STATIONARY[None]),
        np.array([b]),
        RATES[None],
        STATIONARY[None],
    )
    for left, right in zip(once, twice, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9)


def test_silence_returns_to_the_population():
    mean, covariance = kernel.predict(np.full((1, D), 50.0), np.zeros((1, D, D)), np.array([1e12]), RATES[None], STATIONARY[None])
    np.testing.assert_allclose(mean, 0, atol=1e-9)
    np.testing.assert_allclose(covariance[0], STATIONARY)


def test_momentum_is_a_smooth_process_with_the_variance_asked_for():
    fast = np.zeros(D)
    fast[2], fast[3] = 1, -1
    assert fast @ STATIONARY @ fast == pytest.approx(MODEL.fast_sd**2)
    smooth = kernel.stationary(
        SignalModel(mean=0, between_sd=1, slow_sd=1, fast_sd=1, noise_sd=1, momentum=1.0, fast_s=1800, momentum_s=600)
    )
    step = 1.0  # the variance of an increment over dt of a differentiable process goes with dt squared, not with dt
    rates = np.array([1 / 1800, 1 / 600])
    block, sign = smooth[2:4, 2:4], np.array([1, -1])

    def increment(dt):
        return 2 * (sign @ block @ sign - sign @ (block * np.exp(-rates * dt)[None, :]) @ sign)

    assert increment(2 * step) / increment(step) == pytest.approx(4, rel=0.01)


def test_symmetric_and_positive_after_very_many_updates():
    rng = np.random.default_rng(3)
    n = 200
    mean, covariance, outlier = np.zeros((n, D)), np.repeat(STATIONARY[None], n, 0), np.zeros(n, np.int8)
    rate, stationary, noise = np.repeat(RATES[None], n, 0), np.repeat(STATIONARY[None], n, 0), np.full(n, 4.0)
    at = np.zeros(n)
    for _ in range(5000):
        gap = rng.exponential(1.0, n)
        at = at + gap
        mean, covariance = kernel.predict(mean, covariance, gap, rate, stationary)
        mean, covariance, _, outlier = kernel.update(
            mean, covariance, kernel.loading(at), noise, 10 * rng.standard_normal(n), outlier
        )
    assert np.array_equal(covariance, covariance.transpose(0, 2, 1))
    assert np.linalg.eigvalsh(covariance).min() > -1e-9


@settings(max_examples=30)
@given(n=st.integers(1, 70), seed=st.integers(0, 10_000))
def test_a_batch_equals_its_members_bit_for_bit(n, seed):
    rng = np.random.default_rng(seed)
    mean, root = rng.standard_normal((n, D)), rng.standard_normal((n, D, D))
    covariance = np.einsum("nij,nkj->nik", root, root) + np.eye(D)
    gap, at, residual = rng.exponential(900, n), rng.uniform(1.7e9, 1.8e9, n), 20 * rng.standard_normal(n)
    rate, stationary, noise = np.repeat(RATES[None], n, 0), np.repeat(STATIONARY[None], n, 0), np.full(n, 4.0)
    outlier = rng.integers(-1, 2, n).astype(np.int8)

    def step(rows):
        m, p = kernel.predict(mean[rows], covariance[rows], gap[rows], rate[rows], stationary[rows])
        return kernel.update(m, p, kernel.loading(at[rows]), noise[rows], residual[rows], outlier[rows])

    together = step(slice(None))
    for k in range(n):
        for whole, alone in zip(together, step(slice(k, k + 1)), strict=True):
            assert whole[k].tobytes() == alone[0].tobytes()


def test_an_outlier_is_doubted_once_and_believed_when_the_next_agrees():
    mean, covariance = np.zeros((1, D)), 0.05 * STATIONARY[None]
    h, noise, residual = kernel.loading(np.array([0.0])), np.array([4.0]), np.array([60.0])
    doubted, _, z, outlier = kernel.update(mean, covariance, h, noise, residual, np.zeros(1, np.int8))
    assert z[0] > 10
    assert outlier[0] == 1
    believed, _, _, _ = kernel.update(mean, covariance, h, noise, residual, outlier)
    assert kernel.dot(h, doubted)[0] < kernel.dot(h, believed)[0] / 5


def test_a_day_turns_the_rhythm_once():
    h = kernel.loading(np.array([0.0, DAY_S / 4, DAY_S, 10 * DAY_S]))
    np.testing.assert_allclose(h[:, 4], [1, 0, 1, 1], atol=1e-9)
    np.testing.assert_allclose(h[:, 5], [0, 1, 0, 0], atol=1e-9)
    assert CIRCADIAN_S > 10 * DAY_S
