"""The kernel against independent oracles: filterpy, Gaussian conditioning by brute force, closed forms."""

import itertools

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.signals import SignalModel
from stream_twin.twin import kernel
from stream_twin.twin.kernel import CIRCADIAN_S, DAY_S, LOOKS, OUTLIER_SIDE, PAIRS, UPPER, WIDTH, D, Parameters

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
PLAIN, LOG, HEADROOM = (1.0 * np.array(row) for row in ([0, 0, 0.5], [1, 0, 0.05], [2, 101, 0.5]))


def parameters(scale=PLAIN, model=MODEL, plausible=(-1e300, 1e300)):
    return Parameters(
        rates=np.array([kernel.rates(model)]),
        stationary=kernel.stationary(model)[UPPER][None],
        means=np.array([model.mean]),
        noise=np.array([model.noise_sd**2]),
        scale=scale[None],
        plausible=np.array([plausible]),
    )


NO_MARKS = np.zeros(0, np.int64), np.zeros((0, WIDTH))


def follow(state, slots, times, values, marks=NO_MARKS, by=None):
    """Samples into tracks of one signal: -> standardised innovations."""
    surprises = np.empty(len(times), np.float32)
    signal = np.zeros(len(state), np.int64)
    kernel.follow(
        by or parameters(), state, signal, np.array(slots), np.array(times), np.array(values), marks[0], surprises, marks[1]
    )
    return surprises


def start(n=1):
    return np.repeat(kernel.empty(parameters(), 0)[None], n, 0)


def matrix(row):
    full = np.zeros((D, D))
    full[UPPER] = row[D : D + PAIRS]
    return full + full.T - np.diag(np.diag(full))


def loading(times):
    h = np.empty((len(times), D))
    for row, at in zip(h, times, strict=True):
        kernel.loading(at, row)
    return h


def run(times, values):
    """One track through the kernel, no outlier ever doubted: -> means, covariances, standardised innovations."""
    state, states, surprises = start(), [], []
    for now, value in zip(times, values, strict=True):
        predicted = kernel.look(parameters(), state, np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([now]))[0]
        state[0, OUTLIER_SIDE] = np.sign(value - predicted[LOOKS.index("level")])  # as if the one before had been off so, too
        surprises.append(float(follow(state, [0], [now], [value])[0]))
        states.append((state[0, :D].copy(), matrix(state[0])))
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
        reference.H = loading([now])
        reference.predict()
        reference.update(value - MODEL.mean)
        at = now
        np.testing.assert_allclose(mean, reference.x[:, 0], rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(covariance, reference.P, rtol=1e-9, atol=1e-9)
        assert surprise == pytest.approx(float(reference.y[0, 0] / np.sqrt(reference.S[0, 0])), rel=1e-6)


def test_agrees_with_conditioning_the_joint_gaussian():
    """The posterior from the joint covariance of all samples at once: no recursion anywhere."""
    times, values = samples(2, 25)
    states, _ = run(times, values)
    h = loading(times)
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
    row = np.concatenate([rng.standard_normal(D), (root @ root.T)[UPPER], [0.0, 0.0]])

    def predicted(row, gap):
        mean, covariance = np.empty(D), np.empty((D, D))
        kernel._predict(row, gap, RATES, STATIONARY[UPPER], mean, covariance, np.empty(D))
        return np.concatenate([mean, covariance[UPPER], [0.0, 0.0]])

    np.testing.assert_allclose(predicted(row, a + b), predicted(predicted(row, a), b), rtol=1e-9, atol=1e-9)


def test_silence_returns_to_the_population():
    state = start()
    follow(state, [0], [0.0], [150.0])
    looked = kernel.look(parameters(), state, np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([1e12]))[0]
    h = loading([1e12])[0]
    assert looked[LOOKS.index("level")] == pytest.approx(MODEL.mean)
    assert looked[LOOKS.index("working_sd")] == pytest.approx(np.sqrt(h @ STATIONARY @ h))


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


def test_positive_after_very_many_updates():
    rng = np.random.default_rng(3)
    n, rounds = 200, 5000
    state = start(n)
    times = np.cumsum(rng.exponential(1.0, (rounds, n)), 0).ravel()
    follow(state, np.tile(np.arange(n), rounds), times, 72 + 10 * rng.standard_normal(n * rounds))
    assert min(np.linalg.eigvalsh(matrix(row)).min() for row in state) > -1e-9


@settings(max_examples=30)
@given(n=st.integers(1, 70), cuts=st.lists(st.integers(0, 70)), seed=st.integers(0, 10_000))
def test_where_a_call_ends_changes_no_bit(n, cuts, seed):
    rng = np.random.default_rng(seed)
    slots, times, values = rng.integers(0, 5, n), np.sort(rng.uniform(1.7e9, 1.8e9, n)), 72 + 20 * rng.standard_normal(n)
    whole, parts = start(5), start(5)
    together = follow(whole, slots, times, values)
    ends = sorted({0, n, *(cut for cut in cuts if cut < n)})
    apart = [follow(parts, slots[a:b], times[a:b], values[a:b]) for a, b in itertools.pairwise(ends)]
    assert whole.tobytes() == parts.tobytes()
    assert together.tobytes() == np.concatenate(apart).tobytes()


def test_a_mark_keeps_the_state_before_its_sample_and_what_was_retracted_changes_nothing():
    state, before = start(), np.zeros((2, WIDTH))
    values = [70.0, float("nan"), 75.0]
    surprises = follow(state, [0, 0, 0], [1.0, 2.0, 3.0], values, (np.array([1, 2]), before))
    expected = start()
    follow(expected, [0], [1.0], [70.0])
    assert before[0].tobytes() == before[1].tobytes() == expected[0].tobytes()
    assert np.isnan(surprises[1])
    follow(expected, [0], [3.0], [75.0])
    assert state.tobytes() == expected.tobytes()


def test_an_outlier_is_doubted_once_and_believed_when_the_next_agrees():
    known = start()
    follow(known, np.zeros(200, int), np.arange(200.0), np.full(200, 72.0))
    doubted, believed = known.copy(), known.copy()
    believed[0, OUTLIER_SIDE] = 1
    surprise = follow(doubted, [0], [200.0], [132.0])
    assert surprise[0] > 10
    assert doubted[0, OUTLIER_SIDE] == 1
    follow(believed, [0], [200.0], [132.0])
    levels = [
        kernel.look(parameters(), state, np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([200.0]))[0, 0]
        for state in (known, doubted, believed)
    ]
    assert levels[1] - levels[0] < (levels[2] - levels[0]) / 4


@given(value=st.floats(0.1, 100))
def test_working_scales_keep_the_order_and_give_the_value_back(value):
    for scale in (PLAIN, LOG, HEADROOM):
        assert kernel.from_working(scale, kernel.to_working(scale, value)) == pytest.approx(value, rel=1e-9)
        assert kernel.to_working(scale, value + 0.4) > kernel.to_working(scale, value)


@given(value=st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12) | st.just(0.0))
def test_what_is_shown_has_five_significant_digits(value):
    assert kernel._rounded(value) == pytest.approx(float(f"{value:.5g}"), rel=1.1e-5)
    assert float(f"{kernel._rounded(value):.5g}") == kernel._rounded(value)


def test_a_look_is_in_original_units_and_within_what_is_plausible():
    by = parameters(HEADROOM, SignalModel(mean=-1.5, between_sd=0.3, slow_sd=0.2, fast_sd=0.2, noise_sd=0.3), (50.0, 100.0))
    state = np.repeat(kernel.empty(by, 0)[None], 1, 0)
    follow(state, np.zeros(5, int), np.arange(5.0), np.full(5, 97.0), by=by)
    seen = dict(zip(LOOKS, kernel.look(by, state, np.zeros(1, np.int64), np.zeros(1, np.int64), np.array([5.0]))[0], strict=True))
    assert 50 <= seen["low"] < seen["level"] < seen["high"] <= 100
    assert seen["level"] == pytest.approx(97, abs=1)
    assert seen["fence_low"] < seen["low"]
    assert seen["predictive_sd"] == pytest.approx(np.hypot(seen["working_sd"], 0.3))


def test_a_day_turns_the_rhythm_once():
    h = loading([0.0, DAY_S / 4, DAY_S, 10 * DAY_S])
    np.testing.assert_allclose(h[:, 4], [1, 0, 1, 1], atol=1e-9)
    np.testing.assert_allclose(h[:, 5], [0, 1, 0, 0], atol=1e-9)
    assert CIRCADIAN_S > 10 * DAY_S
