"""The filter against independent oracles: filterpy, conditioning the joint Gaussian by brute force, integrals, closed forms."""

import itertools
import math
from math import inf, nan

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import log_ndtr

from stream_twin.twin import filter as kernel
from stream_twin.twin.filter import (
    ACCEPTED,
    CENSORED,
    CHANGE,
    FROZEN,
    LOOKS,
    SET_ASIDE,
    USED,
    advance,
    from_working,
    to_working,
    truncated,
)
from stream_twin.twin.state import COUNT, LAST_AT, K, Row, input_code
from tests.twin import made
from tests.twin.made import DAY, GAPS, HOUR, T0, YEAR, Textbook

MODEL, PLAIN = made.model(), made.model(plain=True)
PLAN, PLAIN_PLAN = made.plan(MODEL), made.plan(PLAIN)
NAMES = [signal.name for signal in PLAN.signals]
TEXTBOOK = Textbook(PLAIN, PLAIN_PLAN.elements, NAMES)


def close(found, mean, covariance, sds, relative):
    """Both in standard deviations of what is usual of each element."""
    np.testing.assert_allclose(made.mean(PLAIN_PLAN, found) / sds, mean / sds, rtol=0, atol=relative)
    scaled = np.outer(sds, sds)
    np.testing.assert_allclose(made.covariance(PLAIN_PLAN, found) / scaled, covariance / scaled, rtol=0, atol=relative)


def with_inputs(seed, n, gaps):
    """A person's samples, and between them amounts that go into inputs: -> what follow wants, and the same for an oracle."""
    random = np.random.default_rng(seed)
    times = T0 + np.cumsum(GAPS[gaps](random, n))
    is_input = random.random(n) < 0.2
    given_inputs = [random.choice(["insulin", "meal"]) for _ in range(n)]
    amounts = [(t, name, float(random.uniform(1, 5))) for t, name, it in zip(times, given_inputs, is_input, strict=True) if it]
    which = [NAMES[k] for k in random.integers(0, len(NAMES), n)]
    values = np.zeros(n)
    values[~is_input] = TEXTBOOK.drawn(
        random, times[~is_input], [w for w, it in zip(which, is_input, strict=True) if not it], amounts
    )
    values[is_input] = [amount for _, _, amount in amounts]
    codes = [
        input_code(PLAN.inputs.index(source)) if it else made.code(PLAN, name)
        for source, it, name in zip(given_inputs, is_input, which, strict=True)
    ]
    return times, values, codes, which, is_input, amounts


# ------------------------------------------------------------------------------------------------------ independent oracles


@pytest.mark.parametrize("gaps", GAPS)
def test_agrees_with_filterpy(gaps):
    times, values, codes, which, is_input, amounts = with_inputs(1, 300, gaps)
    row = made.empty(PLAIN_PLAN)
    oracle = KalmanFilter(dim_x=PLAIN_PLAN.d, dim_z=1)
    oracle.x, oracle.P = np.zeros((PLAIN_PLAN.d, 1)), TEXTBOOK.S.copy()
    before, samples = times[0], 0
    for n, (at, name) in enumerate(zip(times, which, strict=True)):
        seen, _ = made.follow(PLAIN_PLAN, row, times[n : n + 1], values[n : n + 1], codes[n : n + 1])
        F, Q = TEXTBOOK.transition(at - before)
        oracle.predict(F=F, Q=Q)
        before = at
        if not is_input[n]:
            left = TEXTBOOK.contents(amounts, at)
            error = made.working(name, values[n]) - TEXTBOOK.expected(name, left)
            oracle.update(error, R=TEXTBOOK.noise(name), H=TEXTBOOK.loading(name, at, left)[None, :])
            assert seen[0, 3] == USED
            assert seen[0, 1] == pytest.approx(math.sqrt(oracle.S[0, 0]), rel=1e-9)
            assert seen[0, 2] == pytest.approx(oracle.y[0, 0] / math.sqrt(oracle.S[0, 0]), rel=1e-9, abs=1e-9)
            samples += 1
        close(row[0], oracle.x[:, 0], oracle.P, TEXTBOOK.sds, 1e-9)
    assert samples > 200


@pytest.mark.parametrize("gaps", GAPS)
def test_is_what_conditioning_on_all_samples_at_once_gives(gaps):
    """From the covariances of the processes in closed form: no recursion anywhere. Some samples are of the same moment."""
    times, values, codes, which, is_input, _ = with_inputs(2, 90, gaps)
    times[1::7] = times[0::7][: len(times[1::7])]
    given_so_far, lefts = [], {}
    for n, at in enumerate(times):
        if is_input[n]:
            given_so_far.append((at, PLAN.inputs[-1 - codes[n]], values[n]))
        else:
            lefts[n] = TEXTBOOK.contents(given_so_far, at)
    used = list(lefts)
    h = [TEXTBOOK.loading(which[n], times[n], lefts[n]) for n in used]
    joint = np.array(
        [[h[a] @ TEXTBOOK.kernel(times[m], times[n]) @ h[b] for b, n in enumerate(used)] for a, m in enumerate(used)]
    )
    joint += np.diag([TEXTBOOK.noise(which[n]) for n in used])
    scale = np.sqrt(np.diag(joint))  # of very different units: else factors lose digits
    root = np.linalg.cholesky(joint / np.outer(scale, scale))
    y = scale * (root @ np.random.default_rng(3).standard_normal(len(used)))
    for n, error in zip(used, y, strict=True):
        values[n] = from_working(made.scale_of(which[n]), TEXTBOOK.expected(which[n], lefts[n]) + error)
    row = made.empty(PLAIN_PLAN)
    seen, _ = made.follow(PLAIN_PLAN, row, times, values, codes)
    assert (seen[used, 3] == USED).all()
    cross = np.array([TEXTBOOK.kernel(times[-1], times[n]) @ h[a] for a, n in enumerate(used)]).T
    gain = np.linalg.solve(root.T, np.linalg.solve(root, (cross / scale).T)).T / scale
    close(row[0], gain @ y, TEXTBOOK.S - gain @ cross.T, TEXTBOOK.sds, 1e-8)


def one(noise_sd=1.5, slow_sd=3.0, **parts):
    """One element."""
    by = made.single(slow_sd=slow_sd, noise_sd=noise_sd, slow_s=HOUR, **parts)
    return made.plan(by, "systolic_blood_pressure")


def test_closed_forms_of_one_element():
    plan, prior, noise = one(), 9.0, 2.25
    row = made.empty(plan)
    made.follow(plan, row, [0.0], [4.0], 1)
    assert row[0, 0] == pytest.approx(4 * prior / (prior + noise), rel=1e-12)
    assert row[0, 1] == pytest.approx(1 / (1 / prior + 1 / noise), rel=1e-12)
    made.follow(plan, row, [0.0], [7.0], 1)  # at the same moment: precisions add
    assert row[0, 1] == pytest.approx(1 / (1 / prior + 2 / noise), rel=1e-12)
    assert row[0, 0] == pytest.approx((4 + 7) / noise * row[0, 1], rel=1e-12)
    advance(plan.layout, row[0], HOUR * math.log(2))
    assert row[0, 0] == pytest.approx((4 + 7) / noise / (1 / prior + 2 / noise) / 2, rel=1e-12)
    assert row[0, 1] == pytest.approx(prior + (1 / (1 / prior + 2 / noise) - prior) / 4, rel=1e-12)


def test_with_equal_gaps_it_settles_where_riccati_s_equation_does():
    plan, prior, noise, gap = one(), 9.0, 2.25, 600.0
    row = made.empty(plan)
    random = np.random.default_rng(4)
    made.follow(plan, row, T0 + gap * np.arange(500), random.standard_normal(500), 1)
    f2 = math.exp(-2 * gap / HOUR)
    q = prior * (1 - f2)
    # M = f2 P + q before, P = M noise / (M + noise) after a sample: a quadratic equation in M.
    b = noise * (1 - f2) - q
    before = (-b + math.sqrt(b * b + 4 * q * noise)) / 2
    assert row[0, 1] == pytest.approx(before * noise / (before + noise), rel=1e-12)


# ---------------------------------------------------------------------------------------------------------------- censoring


@pytest.mark.parametrize("high", [40.0, 6.0, 2.0, 0.5, 0.0, -0.5, -3.0, -7.9, -8.1, -12.0, -24.9, -25.1, -30.0, -60.0, -1e4])
def test_moments_of_a_truncated_normal_are_those_of_integration(high):
    reach = 10.0 + high if high > 0 else min(10.0, 60.0 / max(-high, 1.0))

    def moment(power):  # of the distance below ``high``, with the density as a ratio of the largest
        top = max(high, 0.0)

        def inside(u):
            return u**power * math.exp(-((high - u) ** 2 - (high - top) ** 2) / 2)

        near = min(1 / max(-high, 1.0), reach / 2) if high < 0 else high if high < reach else reach / 2
        return quad(inside, 0, reach, points=[near], epsabs=0, epsrel=1e-10, limit=500)[0]

    below = moment(1) / moment(0)
    mean, variance = truncated(high)
    assert high - mean == pytest.approx(below, rel=1e-6)
    assert variance == pytest.approx(moment(2) / moment(0) - below * below, rel=1e-5)


@pytest.mark.parametrize("side", [-1, 1])
@pytest.mark.parametrize("z", [-25.0, -8.0, -4.0, -1.0, 0.0, 1.0, 3.0, 4.0, 4.9])
def test_a_sample_known_only_to_be_beyond_is_what_integration_gives(side, z):
    """By Bayes' rule over the element itself: its density times the chance of such a sample."""
    plan, prior, noise = one(), 9.0, 2.25
    limit = z * math.sqrt(prior + noise)

    def log_weight(x):
        return -x * x / (2 * prior) + log_ndtr((x - limit) / math.sqrt(noise))

    peak = limit * prior / (prior + noise) if z > 0 else 0.0
    peak = max(np.linspace(peak - 6, peak + 6, 2001), key=log_weight)
    top, sd = log_weight(peak), math.sqrt(prior)

    def moment(power):
        def inside(x):
            return (x - peak) ** power * math.exp(log_weight(x) - top)

        return quad(inside, peak - 8 * sd, peak + 8 * sd, points=[peak], epsabs=0, epsrel=1e-9, limit=500)[0]

    weight = moment(0)
    shift = moment(1) / weight
    row = made.empty(plan)
    seen, _ = made.follow(plan, row, [T0], [side * limit], made.code(plan, "systolic_blood_pressure", side=side))
    assert seen[0, 3] == CENSORED
    assert row[0, 0] == pytest.approx(side * (peak + shift), rel=1e-5, abs=1e-8)
    assert row[0, 1] == pytest.approx(moment(2) / weight - shift * shift, rel=1e-4)


@pytest.mark.parametrize("side", [-1, 1])
def test_what_is_beyond_an_implausible_limit_is_set_aside_as_a_value_there_is(side):
    """Or a CGM that somebody lies on would be believed at once, as it stops at its lowest value."""
    plan, row = one(), made.empty(one())
    limits = [side * 20 * math.sqrt(9.0 + 2.25)] * 2
    code = made.code(plan, "systolic_blood_pressure", side=side)
    seen, _ = made.follow(plan, row, [T0, T0 + 60], limits, code)
    assert seen[:, 3].tolist() == [SET_ASIDE, CHANGE]
    seen, _ = made.follow(plan, row, [T0 + 120], limits[:1], code)
    assert seen[0, 3] == CENSORED


@pytest.mark.parametrize("side", [-1, 1])
def test_a_sample_at_a_detection_limit_is_one_beyond_it(side):
    plan = one(detection=(-6.0, 6.0))
    at_limit, beyond, told = made.empty(plan), made.empty(plan), made.empty(plan)
    made.follow(plan, at_limit, [T0], [side * 6.0], 1)
    made.follow(plan, told, [T0], [side * 6.0], made.code(plan, "systolic_blood_pressure", side=side))
    seen, _ = made.follow(plan, beyond, [T0], [side * 5.999], 1)
    assert seen[0, 3] == USED
    assert at_limit[0, : plan.d + 1].tobytes() == told[0, : plan.d + 1].tobytes()
    assert abs(at_limit[0, 0]) > abs(beyond[0, 0])
    assert at_limit[0, 1] > beyond[0, 1]


# ------------------------------------------------------------------------------------------------------------- every update


@pytest.mark.parametrize("d", [24, 64])
def test_symmetric_and_positive_after_a_million_updates(d):
    plan = made.wide(d)
    m, n = len(plan.signals), 1_000_000
    random = np.random.default_rng(5)
    gaps = 10 ** random.uniform(-3, 5, n)
    which = random.integers(0, m, n)
    layout = plan.layout
    sds = np.sqrt(np.diag(made.covariance(plan, made.empty(plan)[0])))
    noisy = layout.means[which] + np.sqrt(layout.noise[which]) * 2 * random.standard_normal(n)
    values = np.where(
        layout.scale[which, 0] == 1, np.exp(noisy), np.where(layout.scale[which, 0] == 2, 101 - np.exp(-noisy), noisy)
    )
    row = made.empty(plan)
    seen, _ = made.follow(plan, row, T0 + np.cumsum(gaps), values, 3 * which + 1)
    assert np.mean(seen[:, 3] == USED) > 0.9
    scaled = made.covariance(plan, row[0]) / np.outer(sds, sds)
    assert np.isfinite(row).all()
    assert (np.diag(scaled) > 0).all()
    assert np.linalg.eigvalsh(scaled).min() > -1e-9
    assert scaled.max() <= 1 + 1e-9


@given(
    gaps=st.lists(st.floats(1e-3, 3 * YEAR), min_size=2, max_size=5),
    seed=st.integers(0, 1000),
)
@settings(deadline=None)
def test_splitting_a_step_changes_nothing(gaps, seed):
    samples = made.stream(PLAIN_PLAN, PLAIN, seed % 5, 40)
    start = made.empty(PLAIN_PLAN)
    made.follow(PLAIN_PLAN, start, samples.times, samples.values, samples.codes)
    at = float(samples.times[-1])
    whole, parts = start[0].copy(), start[0].copy()
    ends = at + np.cumsum(gaps)
    advance(PLAIN_PLAN.layout, whole, float(ends[-1]))
    for end in ends:
        advance(PLAIN_PLAN.layout, parts, float(end))
    close(parts, made.mean(PLAIN_PLAN, whole), made.covariance(PLAIN_PLAN, whole), TEXTBOOK.sds, 1e-12)


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 70), cuts=st.lists(st.integers(0, 70)), seed=st.integers(0, 10_000))
def test_a_batch_is_its_members_to_the_bit_wherever_it_ends(n, cuts, seed):
    """Five people, samples and amounts, artefacts, what is censored or was retracted: as one call, as several, each alone."""
    random = np.random.default_rng(seed)
    slots, times = random.integers(0, 5, n), np.sort(T0 + random.uniform(0, 10 ** random.uniform(0, 8), n))
    codes = random.integers(-len(PLAN.inputs), 3 * len(NAMES), n)
    usual = {name: from_working(made.scale_of(name), MODEL.models[name].mean) for name in NAMES}
    values = np.array([usual[NAMES[c // 3]] if c >= 0 else 3.0 for c in codes]) * random.choice([1, 1.02, 0.97, 1.6, nan], n)
    ages = random.choice([0.0, 0.0, 500.0], n)
    whole, parts, alone = made.empty(PLAN, 5), made.empty(PLAN, 5), made.empty(PLAN, 5)
    together, _ = made.follow(PLAN, whole, times, values, codes, slots, ages)
    ends = sorted({0, n, *(cut for cut in cuts if cut < n)})
    apart = [
        made.follow(PLAN, parts, times[a:b], values[a:b], codes[a:b], slots[a:b], ages[a:b])[0]
        for a, b in itertools.pairwise(ends)
    ]
    for person in range(5):
        own = slots == person
        seen, _ = made.follow(PLAN, alone[person : person + 1], times[own], values[own], codes[own], None, ages[own])
        assert seen.tobytes() == together[own].tobytes()
    assert whole.tobytes() == parts.tobytes() == alone.tobytes()
    assert together.tobytes() == np.concatenate(apart).tobytes()


def test_a_mark_keeps_the_state_before_its_sample_and_what_was_retracted_changes_nothing():
    row, expected = made.empty(PLAN), made.empty(PLAN)
    code = made.code(PLAN, "heart_rate")
    seen, before = made.follow(PLAN, row, [T0, T0 + 1, T0 + 2], [70.0, nan, 75.0], code, marks=(1, 2))
    made.follow(PLAN, expected, [T0], [70.0], code)
    assert before[0].tobytes() == before[1].tobytes() == expected[0].tobytes()
    assert np.isnan(seen[1]).all()
    made.follow(PLAN, expected, [T0 + 2], [75.0], code)
    assert row.tobytes() == expected.tobytes()


def test_an_observation_that_says_nothing_changes_nothing():
    """One with enormous noise is as good as the time that passed."""
    deaf = made.model(plain=True, respiratory_rate={**made.CHANGES["respiratory_rate"], "noise_sd": 1e9})
    plan = made.plan(deaf)
    row = made.empty(plan)
    others = [name for name in NAMES if name != "respiratory_rate"]
    random = np.random.default_rng(6)
    times = T0 + 300.0 * np.arange(100)
    which = [others[k] for k in random.integers(0, len(others), 100)]
    values = TEXTBOOK.drawn(random, times, which)
    made.follow(plan, row, times, values, [made.code(plan, name) for name in which])
    silent = row[0].copy()
    seen, _ = made.follow(plan, row, [times[-1] + 600], [17.0], made.code(plan, "respiratory_rate"))
    advance(plan.layout, silent, times[-1] + 600)
    assert seen[0, 3] == USED
    close(row[0], made.mean(plan, silent), made.covariance(plan, silent), TEXTBOOK.sds, 1e-14)


def test_who_is_silent_returns_to_the_population_and_never_beyond():
    samples = made.stream(PLAIN_PLAN, PLAIN, 7, 200)
    row = made.empty(PLAIN_PLAN)
    made.follow(PLAIN_PLAN, row, samples.times, samples.values, samples.codes)
    at, prior = float(samples.times[-1]), TEXTBOOK.S
    before = made.look(PLAIN_PLAN, row[0], at)[0]
    for gap in np.geomspace(1.0, 1e12, 60):
        later = row[0].copy()
        advance(PLAIN_PLAN.layout, later, at + gap)
        missing = (prior - made.covariance(PLAIN_PLAN, later)) / np.outer(TEXTBOOK.sds, TEXTBOOK.sds)
        assert np.linalg.eigvalsh(missing).min() > -1e-12  # never less certain than the population
        assert (np.abs(made.mean(PLAIN_PLAN, later)) <= np.abs(made.mean(PLAIN_PLAN, row[0]))).all()
    close(later, np.zeros(PLAIN_PLAN.d), prior, TEXTBOOK.sds, 1e-12)
    looked = made.look(PLAIN_PLAN, row[0], at + 1e12)[0]
    for name in NAMES:
        h = TEXTBOOK.loading(name, at + 1e12)
        assert looked[name]["working_mean"] == pytest.approx(PLAIN.models[name].mean, rel=1e-9)
        assert looked[name]["working_sd"] == pytest.approx(math.sqrt(h @ prior @ h), rel=1e-9)
        assert looked[name]["working_sd"] > before[name]["working_sd"]


def test_what_signals_contributed_to_a_driver_adds_up_to_it():
    """Also with changes, artefacts, what is censored, amounts, and after silence."""
    samples = made.stream(PLAN, MODEL, 8, 400)
    values = samples.values.copy()
    values[::37] *= 1.5
    values[150:170] = np.where(samples.signals[150:170] == 0, 230.0, values[150:170])
    row = made.empty(PLAN)
    fates = set()
    for n in range(400):
        seen, _ = made.follow(PLAN, row, samples.times[n : n + 1], values[n : n + 1], samples.codes[n : n + 1])
        fates.add(seen[0, 3])
        made.follow(PLAN, row, samples.times[n : n + 1] + 1, [2.0], input_code(n % 4))
        for mean, sd, *contributions in made.look(PLAN, row[0], samples.times[n] + 500.0 * (n % 3))[1].values():
            assert sum(contributions) == pytest.approx(mean, rel=1e-9, abs=1e-11)
            assert 0 < sd <= 1
    assert {USED, SET_ASIDE, CHANGE, CENSORED} <= fates
    moved = made.look(PLAN, row[0], samples.times[-1])[1]["load"][2:]
    assert moved[NAMES.index("glucose")] != 0  # which does not load on it: what it says of arousal explains a heart rate


# ----------------------------------------------------------------------------------------------------------- what is trusted


def calm(plan, value=72.0, code=None, n=300, every=60.0, jitter=1.0, seed=9):
    """Somebody around ``value`` for some hours: -> state and the moment after."""
    random = np.random.default_rng(seed)
    row, times = made.empty(plan), T0 + every * np.arange(n)
    made.follow(
        plan, row, times, value + jitter * random.standard_normal(n), made.code(plan, "heart_rate") if code is None else code
    )
    return row, float(times[-1] + every)


def level(plan, row, at):
    return made.look(plan, row[0], at)[0]["heart_rate"]["level"]


def test_one_implausible_sample_is_set_aside():
    row, at = calm(PLAN)
    predicted = row[0].copy()
    seen, _ = made.follow(PLAN, row, [at], [180.0], made.code(PLAN, "heart_rate"))
    advance(PLAN.layout, predicted, at)
    stats = Row.of(PLAN.layout).stats
    assert seen[0, 3] == SET_ASIDE
    assert seen[0, 2] > 5
    assert row[0, :stats].tobytes() == predicted[:stats].tobytes()
    assert made.look(PLAN, row[0], at)[0]["heart_rate"]["aside"] > 5


@pytest.mark.parametrize("to", [130.0, 42.0])
def test_a_second_that_agrees_makes_it_a_change_within_a_few_samples(to):
    row, at = calm(PLAN)
    random = np.random.default_rng(10)
    seen, _ = made.follow(PLAN, row, at + 60.0 * np.arange(5), to + random.standard_normal(5), made.code(PLAN, "heart_rate"))
    assert seen[:, 3].tolist() == [SET_ASIDE, CHANGE, USED, USED, USED]
    assert level(PLAN, row, at + 300) == pytest.approx(to, abs=0.06 * to)
    assert made.look(PLAN, row[0], at + 300)[0]["heart_rate"]["aside"] == 0


def test_one_that_does_not_agree_is_set_aside_again():
    row, at = calm(PLAN)
    expected, _ = calm(PLAN)
    code = made.code(PLAN, "heart_rate")
    seen, _ = made.follow(PLAN, row, [at, at + 60, at + 120, at + 180], [200.0, 30.0, 130.0, 72.0], code)
    assert seen[:, 3].tolist() == [SET_ASIDE, SET_ASIDE, SET_ASIDE, USED]
    made.follow(PLAN, expected, [at + 180], [72.0], code)
    assert level(PLAN, row, at + 180) == pytest.approx(level(PLAN, expected, at + 180), rel=1e-3)


def test_artefacts_between_usual_samples_never_make_a_change():
    row, at = calm(PLAN)
    values = [150.0, 72.0] * 20
    seen, _ = made.follow(PLAN, row, at + 60.0 * np.arange(40), values, made.code(PLAN, "heart_rate"))
    assert seen[:, 3].tolist() == [SET_ASIDE, USED] * 20
    assert level(PLAN, row, at + 2400) == pytest.approx(72, abs=2)


def test_an_artefact_of_one_device_does_not_vouch_for_another_s():
    two = made.plan(MODEL, *NAMES, heart_rate=2)
    row, at = calm(two)
    first, second = (made.code(two, "heart_rate", number) for number in (0, 1))
    seen, _ = made.follow(two, row, [at, at + 1], [180.0, 180.0], [first, second])
    assert seen[:, 3].tolist() == [SET_ASIDE, SET_ASIDE]


def test_a_change_is_as_uncertain_as_makes_its_innovation_two_standard_deviations():
    plan, prior = one(noise_sd=1.0), 9.0
    row = made.empty(plan)
    error = 10 * math.sqrt(prior + 1)
    made.follow(plan, row, [T0, T0], [error, error], 1)
    variance = (error / ACCEPTED) ** 2
    assert row[0, 0] == pytest.approx(error * (variance - 1) / variance, rel=1e-12)
    assert row[0, 1] == pytest.approx((variance - 1) / variance, rel=1e-12)


def test_student_s_tails_trust_a_surprising_sample_less():
    """Both samples move the element; relative to the normal filter's move by (nu + 1) / (nu + z^2)."""
    nu, normal, heavy = 4.0, one(), one(tail=4.0)
    for z in (0.5, 1.0, 2.0, 4.5):
        rows = made.empty(normal), made.empty(heavy)
        for plan, row in zip((normal, heavy), rows, strict=True):
            made.follow(plan, row, [T0], [z * math.sqrt(11.25)], 1)
        assert rows[1][0, 0] / rows[0][0, 0] == pytest.approx(min(1, (nu + 1) / (nu + z * z)), rel=1e-12)


def test_a_noise_with_tails_has_more_of_it_in_a_surprising_sample():
    nu, prior, noise = 4.0, 9.0, 2.25
    for z in (0.5, 1.0, 2.0, 4.5):
        row = made.empty(one())
        made.follow(one(noise_tail=nu), row, [T0], [z * math.sqrt(prior + noise)], 1)
        trusted = noise * max(1.0, (nu + z * z) / (nu + 1))
        assert row[0, 0] == pytest.approx(z * math.sqrt(prior + noise) * prior / (prior + trusted), rel=1e-12)
        assert row[0, 1] == pytest.approx(1 / (1 / prior + 1 / trusted), rel=1e-12)


def test_a_change_is_believed_whatever_the_tails():
    expected, row = made.empty(one()), made.empty(one())
    values = [60.0, 61.0]
    made.follow(one(), expected, [T0, T0 + 60], values, 1)
    seen, _ = made.follow(one(tail=4.0), row, [T0, T0 + 60], values, 1)
    assert seen[:, 3].tolist() == [SET_ASIDE, CHANGE]
    assert row.tobytes() == expected.tobytes()


def test_nothing_is_set_aside_of_a_signal_whose_noise_has_tails():
    row = made.empty(one())
    seen, _ = made.follow(one(noise_tail=4.0), row, [T0, T0 + 60], [60.0, 61.0], 1)
    assert (np.abs(seen[:, 2]) > 5).any()
    assert (seen[:, 3] == USED).all()
    assert row[0, 0] != 0


def test_a_frozen_sensor_stops_informing_and_is_heard_again_once_it_moves():
    row, at = calm(PLAN)
    code = made.code(PLAN, "heart_rate")
    after = int(PLAN.layout.frozen_after[0])
    assert 20 < after < 200
    seen, _ = made.follow(PLAN, row, at + 60.0 * np.arange(after + 50), np.full(after + 50, 75.0), code)
    assert (seen[:after, 3] == USED).all()
    assert (seen[after:, 3] == FROZEN).all()
    silent = row[0].copy()
    end = at + 60.0 * (after + 49)
    made.follow(PLAN, row, [end + 3 * HOUR], [75.0], code)
    advance(PLAN.layout, silent, end + 3 * HOUR)
    assert row[0, : Row.of(PLAN.layout).at].tobytes() == silent[: Row.of(PLAN.layout).at].tobytes()
    seen, _ = made.follow(PLAN, row, [end + 4 * HOUR], [76.0], code)
    assert seen[0, 3] == USED


@pytest.mark.parametrize("ratio", [0.25, 1.0, 4.0])
def test_a_person_s_noise_becomes_the_true_one(ratio):
    """Samples every 20 s of people whose samples vary more or less than the population's; the prior counts as one sample."""
    by = made.model(heart_rate={"noise_count": 1.0, "tail": inf, "effects": {}, "sensitivities": {}})
    plan = made.plan(by, "heart_rate")
    textbook = Textbook(by, plan.elements, ["heart_rate"])
    found = []
    for seed in range(8):
        random = np.random.default_rng(seed)
        times = T0 + 20.0 * np.arange(1500)
        values = textbook.drawn(random, times, ["heart_rate"] * 1500, noise_ratio=ratio)
        row = made.empty(plan)
        made.follow(plan, row, times[:-300], values[:-300], 1)
        for n in range(1200, 1500):
            made.follow(plan, row, times[n : n + 1], values[n : n + 1], 1)
            found.append(made.look(plan, row[0], times[n])[0]["heart_rate"]["noise"])
    assert np.mean(found) == pytest.approx(ratio, rel=0.15)
    assert min(found) >= 0.1
    assert max(found) <= 10


def test_a_sample_that_is_older_than_it_counts_says_less():
    """It says what one of its own time would say of now, had the elements moved on by themselves since."""
    plan, prior, noise, age = one(), 9.0, 2.25, 1800.0
    row = made.empty(plan)
    made.follow(plan, row, [T0], [4.0], 1, ages=[age])
    lost = prior * (1 - math.exp(-2 * age / HOUR))
    assert row[0, 0] == pytest.approx(4 * prior / (prior + noise + lost), rel=1e-12)
    assert row[0, Row.of(plan.layout).stats + LAST_AT] == T0 - age


# ------------------------------------------------------------------------------------------------------------------ inputs


def test_amounts_act_as_their_compartments_say():
    names = ["glucose"]
    plan = made.plan(PLAIN, *names)
    amounts = [(T0, "insulin", 4.0), (T0 + HOUR, "meal", 50.0), (T0 + 2 * HOUR, "insulin", 2.0)]
    row = made.empty(plan)
    made.follow(
        plan, row, [a[0] for a in amounts], [a[2] for a in amounts], [input_code(plan.inputs.index(a[1])) for a in amounts]
    )
    at = T0 + 5 * HOUR
    left = {"insulin": 4 * math.exp(-5 / 3) + 2 * math.exp(-3 / 3), "meal": 50 * math.exp(-4)}
    looked = made.look(plan, row[0], at)[0]["glucose"]
    assert looked["level"] == pytest.approx(150 - 25 * left["insulin"] + 1.8 * left["meal"], rel=1e-12)
    textbook = Textbook(PLAIN, plan.elements, names)
    h = textbook.loading("glucose", at, left)
    assert looked["working_sd"] == pytest.approx(math.sqrt(h @ textbook.S @ h), rel=1e-12)


def test_an_amount_that_comes_too_late_counts_as_what_is_left_of_it():
    plan = made.plan(PLAIN, "glucose")
    code = input_code(plan.inputs.index("insulin"))
    in_time, late = made.empty(plan), made.empty(plan)
    made.follow(plan, in_time, [T0, T0 + HOUR], [4.0, 1.0], code)
    made.follow(plan, late, [T0 + HOUR, T0 + HOUR], [1.0, 4.0], code, ages=[0.0, HOUR])
    inputs = slice(Row.of(plan.layout).inputs, Row.of(plan.layout).contributions)
    np.testing.assert_allclose(late[0, inputs], in_time[0, inputs], rtol=1e-12)


def test_samples_that_are_amounts_and_levels_act_on_other_signals():
    """Steps add up and wear off; effort is a level, counted from its offset."""
    by = made.model(plain=True)
    plan = made.plan(by, "heart_rate", "steps_per_minute", "motion_intensity")
    row = made.empty(plan)
    steps, effort = (made.code(plan, name) for name in ("steps_per_minute", "motion_intensity"))
    made.follow(plan, row, [T0, T0 + 600, T0 + 600, T0 + 900], [30.0, 50.0, 40.0, 60.0], [steps, steps, effort, effort])
    at = T0 + 1200
    activity, level = 30 * math.exp(-1) + 50 * math.exp(-0.5), (60 - 10) * math.exp(-0.5)
    expected = 0.002 * activity + 0.004 * level
    zero = made.empty(plan)
    zero[0, : Row.of(plan.layout).inputs] = row[0, : Row.of(plan.layout).inputs]
    lift = math.log(level_of(plan, row, at) / level_of(plan, zero, at))
    sensitivity = row[0, plan.elements.index("heart_rate.activity")]
    assert sensitivity == 0
    assert lift == pytest.approx(expected, rel=1e-9)


def test_a_sample_that_comes_too_late_acts_as_what_is_left_of_it():
    plan = made.plan(PLAIN, "heart_rate", "steps_per_minute")
    code, where = made.code(plan, "steps_per_minute"), Row.of(plan.layout)
    in_time, late = made.empty(plan), made.empty(plan)
    made.follow(plan, in_time, [T0, T0 + 900], [30.0, 50.0], code)
    made.follow(plan, late, [T0 + 900, T0 + 900], [50.0, 30.0], code, ages=[0.0, 900.0])
    inputs = slice(where.inputs, where.contributions)
    np.testing.assert_allclose(late[0, inputs], in_time[0, inputs], rtol=1e-12)


def level_of(plan, row, at):
    return made.look(plan, row[0], at)[0]["heart_rate"]["level"]


# -------------------------------------------------------------------------------------------------------------------- looks


@given(value=st.floats(0.1, 100))
def test_working_scales_keep_the_order_and_give_the_value_back(value):
    for scale in np.array([[0.0, 0.0, 0.5], [1.0, 0.0, 0.05], [2.0, 101.0, 0.5]]):
        assert from_working(scale, to_working(scale, value)) == pytest.approx(value, rel=1e-9)
        assert to_working(scale, value + 0.4) > to_working(scale, value)


@given(value=st.floats(1e-12, 1e12) | st.floats(-1e12, -1e-12) | st.just(0.0))
def test_what_is_shown_has_five_significant_digits(value):
    assert kernel._rounded(value) == pytest.approx(float(f"{value:.5g}"), rel=1.1e-5)
    assert float(f"{kernel._rounded(value):.5g}") == kernel._rounded(value)


def test_a_look_is_in_original_units_and_within_what_is_plausible():
    row = made.empty(PLAN)
    code = made.code(PLAN, "spo2")
    made.follow(PLAN, row, T0 + 60.0 * np.arange(20), np.tile([97.0, 98.0], 10), code)
    seen = made.look(PLAN, row[0], T0 + 1200)[0]["spo2"]
    assert 40 <= seen["low"] < seen["level"] < seen["high"] <= 100
    assert seen["level"] == pytest.approx(97.5, abs=1)
    assert seen["fence_low"] < seen["low"]
    assert seen["predictive_sd"] == pytest.approx(math.sqrt(seen["working_sd"] ** 2 + seen["noise"] * PLAN.layout.noise[2]))


def test_level_baseline_and_deviation_are_sums_of_the_elements():
    samples = made.stream(PLAIN_PLAN, PLAIN, 11, 150)
    row = made.empty(PLAIN_PLAN)
    made.follow(PLAIN_PLAN, row, samples.times, samples.values, samples.codes)
    at = float(samples.times[-1]) + 777.0
    later = row[0].copy()
    advance(PLAIN_PLAN.layout, later, at)
    mean, cov = made.mean(PLAIN_PLAN, later), made.covariance(PLAIN_PLAN, later)
    for name, seen in made.look(PLAIN_PLAN, row[0], at)[0].items():
        h = TEXTBOOK.loading(name, at)
        apart = [e in PLAIN_PLAN.drivers or e.partition(".")[2] in ("slow", "fast", "momentum") for e in PLAIN_PLAN.elements]
        deviation = h * np.array(apart)
        usual = math.sqrt(deviation @ TEXTBOOK.S @ deviation)
        assert seen["working_mean"] == pytest.approx(PLAIN.models[name].mean + h @ mean, rel=1e-9)
        assert seen["working_sd"] == pytest.approx(math.sqrt(h @ cov @ h), rel=1e-9)
        assert seen["deviation"] == pytest.approx(deviation @ mean / usual, rel=1e-6, abs=1e-9)
        assert seen["deviation_sd"] == pytest.approx(math.sqrt(deviation @ cov @ deviation) / usual, rel=1e-9)
        assert made.working(name, seen["baseline"]) == pytest.approx(PLAIN.models[name].mean + (h - deviation) @ mean, rel=1e-9)


def test_a_day_turns_the_rhythm_once():
    h = [TEXTBOOK.loading("heart_rate", at) for at in (0.0, DAY / 4, DAY, 10 * DAY)]
    layout, found = PLAIN_PLAN.layout, np.empty(len(PLAIN_PLAN.layout.reads_value))
    for at, expected in zip((0.0, DAY / 4, DAY, 10 * DAY), h, strict=True):
        start, end = layout.reads_start[:2]
        kernel._read(layout.reads_form, layout.reads_value, start, end, at, np.zeros(len(layout.input_rates)), found)
        reads = range(layout.reads_start[0], layout.reads_start[1])
        by_element = dict(zip(layout.reads_element[reads].tolist(), found[reads].tolist(), strict=True))
        np.testing.assert_allclose([by_element.get(i, 0.0) for i in range(PLAIN_PLAN.d)], expected, atol=1e-12)


def test_statistics_of_a_channel_count_what_came():
    row, at = calm(PLAN)
    stats = row[0, Row.of(PLAN.layout).stats :][:K]
    assert stats[COUNT] == 300
    assert stats[LAST_AT] == at - 60
    looked = made.look(PLAN, row[0], at)[0]["heart_rate"]
    assert 0 < looked["unrest"] < 1.5
    assert looked["frozen"] == 0
    assert set(looked) == set(LOOKS)
