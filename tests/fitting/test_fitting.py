"""Fitting: the likelihood is the filter's, its gradient is exact, and known numbers are found again in made recordings."""

import math

import msgspec
import numpy as np
import pytest

from stream_twin import signals
from stream_twin.fitting import toml
from stream_twin.fitting.estimate import assemble, estimate, quadrature, separate, working
from stream_twin.fitting.likelihood import AHEAD, log_likelihood
from stream_twin.fitting.parameters import gradient_of, parameters, with_values
from stream_twin.fitting.recordings import Recorded
from stream_twin.twin.filter import LOOKS as COLUMNS
from stream_twin.twin.filter import SEEN, follow, from_working, look
from stream_twin.twin.model import Driver, Input, Population, PopulationModel, key_of, read
from stream_twin.twin.state import code_of, empty

CATALOGUE = signals.load()
NAMES = ("heart_rate", "respiratory_rate", "body_temperature", "steps")
PRESSURES = ("systolic_blood_pressure", "diastolic_blood_pressure")


def population(**changes: object) -> Population:
    drivers = {
        name: Driver(display=name, scale="organ", time_s=time_s, source="made for the test")
        for name, time_s in (("load", 7200.0), ("inflammation", 90_000.0))
    }
    loadings = {
        "heart_rate": {"load": 0.06, "inflammation": 0.05},
        "respiratory_rate": {"load": 0.08},
        "body_temperature": {"inflammation": 0.25, "load": -0.05},
        "steps": {"load": 10.0},
    }
    models = {
        name: msgspec.structs.replace(
            CATALOGUE[name].model, loadings=loadings[name], **{"tail": 5.0, "noise_count": 20.0, **changes}
        )
        for name in NAMES
    }
    models["heart_rate"] = msgspec.structs.replace(
        models["heart_rate"], effects={"activity": 0.0004}, sensitivities={"activity": 0.0002}
    )
    activity = Input(display="Activity", unit="{steps}", time_s=1800.0, source="made for the test", signal="steps")
    return Population(
        name="made",
        version=1,
        date="2026-01-01",
        holds_for="nobody",
        drivers=drivers,
        inputs={"activity": activity},
        signals=models,
    )


def people(count: int, samples: int) -> list[Recorded]:
    """With a person's samples at shared moments, and heavy tails."""
    random = np.random.default_rng(5)
    middle, spread = np.array([[80.0, 9.0], [17.0, 2.0], [36.8, 0.3], [60.0, 120.0]]).T
    found = []
    for number in range(count):
        times = np.sort(np.floor(random.uniform(0, 2 * 86_400, samples) / 1800) * 1800)
        k = random.integers(0, len(NAMES), samples)
        values = np.round(np.maximum(middle[k] + spread[k] * random.standard_t(4, samples), 3 + random.uniform(0, 2, samples)), 1)
        found.append(Recorded(f"made-{number}", NAMES, times, k, values, np.zeros(samples, np.int64), None, None))
    return found


def test_the_likelihood_is_the_score_of_the_products_own_filter():
    model = PopulationModel(population(), CATALOGUE)
    plan = model.plan(key_of([(name, 1) for name in NAMES], CATALOGUE))
    (one,) = people(1, 250)
    _, kept = np.unique(one.times * 10 + one.signals, return_index=True)  # one sample of a signal at a moment
    one = one._replace(times=one.times[kept], signals=one.signals[kept], values=one.values[kept], sides=one.sides[kept])
    total = len(kept)
    codes = np.array([code_of(int(k)) for k in one.signals], np.int64)
    rows, seen = empty(plan.layout)[None, :].copy(), np.empty((total, len(SEEN)))
    marks = np.flatnonzero(np.diff(one.times, prepend=-1.0) > 0)
    before = np.empty((len(marks), rows.shape[1]))
    follow(plan.layout, rows, np.zeros(total, np.int64), one.times, one.values, np.zeros(total), codes, marks, seen, before)
    looked = look(plan.layout, before, np.arange(len(marks)), one.times[marks])[0]
    moment = np.searchsorted(marks, np.arange(total), side="right") - 1
    ahead = looked[moment, one.signals][:, [COLUMNS.index("working_mean"), COLUMNS.index("predictive_sd")]]
    nodes, weights = quadrature(plan, one.signals, one.values, one.steps({n: CATALOGUE[n].decimals for n in NAMES}))

    def score(mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
        nu = 5.0
        z2 = ((nodes - mean[:, None]) / sd[:, None]) ** 2
        constant = math.gamma((nu + 1) / 2) / math.gamma(nu / 2) / np.sqrt(math.pi * (nu - 2))
        return np.log(np.sum(weights * constant / sd[:, None] * (1 + z2 / (nu - 2)) ** (-(nu + 1) / 2), axis=1))

    last = int(np.flatnonzero(seen[:, 3] == 2)[0]) if np.any(seen[:, 3] == 2) else total  # a change is simpler there
    expected = (1 - AHEAD) * score(seen[:, 0], seen[:, 1]) + AHEAD * score(ahead[:, 0], ahead[:, 1])
    cut = one._replace(times=one.times[:last], signals=one.signals[:last], values=one.values[:last], sides=one.sides[:last])
    found, _ = log_likelihood(plan.layout, assemble([cut], plan))
    assert last > 50
    assert found[0] == pytest.approx(expected[:last].sum(), abs=1e-6)


def test_the_gradient_is_that_of_differences():
    start = population()
    model = PopulationModel(start, CATALOGUE)
    plan = model.plan(key_of([(name, 1) for name in NAMES], CATALOGUE))
    made = assemble(people(3, 120), plan)
    which = parameters(start, model.models, NAMES, {})
    at = np.array([parameter.start for parameter in which])

    def value(x: np.ndarray, *, decide: bool = False) -> tuple[float, np.ndarray]:
        there = PopulationModel(with_values(start, model.models, which, x), CATALOGUE)
        found, gradient = log_likelihood(there.plan(plan.key).layout, made, decide=decide)
        return found.sum(), gradient_of(which, there.plan(plan.key), there.models, gradient)

    _, slope = value(at, decide=True)
    for n, parameter in enumerate(which):
        small = 1e-5 * max(abs(at[n]), 0.01)
        step = np.eye(len(at))[n] * small
        numeric = (value(at + step)[0] - value(at - step)[0]) / (2 * small)
        assert slope[n] == pytest.approx(numeric, rel=1e-3, abs=1e-3), parameter


def simulated(truth: PopulationModel, count: int, samples: int) -> list[Recorded]:
    """People who are exactly as the model has it: blood pressure, hourly, both at once."""
    random = np.random.default_rng(11)
    plan = truth.plan(key_of([(name, 1) for name in PRESSURES], CATALOGUE))
    layout = plan.layout
    sd = np.sqrt(np.array([layout.stationary[i * plan.d - i * (i - 1) // 2] for i in range(plan.d)]))
    found = []
    for number in range(count):
        state = sd * random.standard_normal(plan.d)
        values = np.empty((samples, 2))
        left = np.exp(-layout.rates * 3600.0)
        for n in range(samples):
            state = left * state + sd * np.sqrt(1 - left**2) * random.standard_normal(plan.d)
            for k in range(2):
                part = slice(layout.reads_start[k], layout.reads_start[k + 1])
                level = layout.means[k] + layout.reads_value[part] @ state[layout.reads_element[part]]
                noise = math.sqrt(layout.noise[k]) * random.standard_normal()
                values[n, k] = from_working(layout.scale[k], level + noise)
        times = np.repeat(np.arange(samples) * 3600.0, 2)
        k = np.tile([0, 1], samples)
        found.append(
            Recorded(f"made-{number}", PRESSURES, times, k, np.round(values.ravel()), np.zeros(2 * samples, np.int64), None, None)
        )
    return found


def test_known_numbers_are_found_again():
    driver = Driver(display="tone", scale="organ", time_s=6 * 3600.0, source="made for the test")
    common = {"slow_sd": 0.0, "fast_sd": 0.0, "circadian_sd": 0.0}
    models = {
        name: msgspec.structs.replace(
            CATALOGUE[name].model, **common, mean=mean, between_sd=b, noise_sd=noise, loadings={"tone": w}
        )
        for name, mean, b, noise, w in zip(PRESSURES, (125.0, 70.0), (12.0, 9.0), (5.0, 4.0), (9.0, 6.0), strict=True)
    }
    truth = Population(name="made", version=1, date="", holds_for="nobody", drivers={"tone": driver}, signals=models)
    recorded = simulated(PopulationModel(truth, CATALOGUE), 60, 60)
    wrong = {
        name: msgspec.structs.replace(model, mean=model.mean * 1.1, between_sd=6.0, noise_sd=8.0, loadings={"tone": 3.0})
        for name, model in models.items()
    }
    started = msgspec.structs.replace(truth, drivers={"tone": msgspec.structs.replace(driver, time_s=20 * 3600.0)}, signals=wrong)
    fit = estimate(started, CATALOGUE, recorded, PRESSURES)
    assert fit.log_likelihood > fit.at_start
    for name, model in models.items():
        got = fit.population.signals[name]
        assert got.mean == pytest.approx(model.mean, abs=5)
        assert got.between_sd == pytest.approx(model.between_sd, rel=0.3)
        assert got.noise_sd == pytest.approx(model.noise_sd, rel=0.1)
        assert got.loadings["tone"] == pytest.approx(model.loadings["tone"], rel=0.15)
    assert fit.population.drivers["tone"].time_s == pytest.approx(driver.time_s, rel=0.35)
    apart = separate(started, CATALOGUE, recorded, PRESSURES)
    assert fit.log_likelihood > apart.log_likelihood + 0.05
    assert estimate(started, CATALOGUE, recorded, PRESSURES).population == fit.population


def test_nobody_with_a_sample_is_an_error():
    with pytest.raises(ValueError, match="nobody has a sample of glucose"):
        estimate(population(), CATALOGUE, people(1, 10), ["glucose"])


def test_the_text_of_a_population_reads_as_it(tmp_path):
    start = population(detection=(10.0, 200.0), noise_tail=4.0)
    file = tmp_path / "made.toml"
    file.write_text(toml.text(start, "made for a test\nin two lines"))
    assert read(file, CATALOGUE).population == start


def test_what_a_value_rounds_to_is_found_by_its_digits():
    (one,) = people(1, 50)
    assert set(one.steps(dict.fromkeys(NAMES, 0)).tolist()) == {0.1}
    assert set(one.steps(dict.fromkeys(NAMES, 1)).tolist()) == {0.1}
    whole = one._replace(values=np.round(one.values))
    assert set(whole.steps(dict.fromkeys(NAMES, 0)).tolist()) == {1.0}


def test_the_working_scale_is_the_kernels():
    for name in ("heart_rate", "spo2", "body_temperature"):
        signal = CATALOGUE[name]
        values = np.array([60.0, 97.0, 36.5, 100.0]) if name == "spo2" else np.array([36.5, 60.0])
        plan = PopulationModel(Population(name="bare", version=1, date="", holds_for=""), CATALOGUE).plan(((name, 1),))
        back = [from_working(plan.layout.scale[0], x) for x in working(signal, values)]
        np.testing.assert_allclose(back, values, rtol=1e-12)


def test_a_noise_with_tails_is_refused():
    with pytest.raises(ValueError, match="noise_tail"):
        estimate(population(noise_tail=4.0), CATALOGUE, people(1, 10), ["steps"])
