"""Models of populations: which elements a state has, which signals share a block, and what a file may not say."""

import math
from math import inf
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from stream_twin.events import Profile
from stream_twin.signals import SignalModel
from stream_twin.twin.model import (
    MOST_ELEMENTS,
    POPULATIONS,
    WIDER,
    Input,
    Names,
    PopulationModel,
    Populations,
    key_of,
    own_elements,
    read,
    shipped,
    unfit,
)
from stream_twin.twin.state import Row, empty
from tests.twin import made
from tests.twin.made import CATALOGUE, CHANGES, Textbook

BY = made.model()
SHIPPED = shipped(CATALOGUE)


def test_a_signal_has_the_elements_that_its_model_speaks_of():
    bare = {"mean": 0.0, "between_sd": 0.0, "slow_sd": 0.0, "fast_sd": 0.0, "noise_sd": 1.0}
    kinds = {
        "between_sd": ["baseline"],
        "slow_sd": ["slow"],
        "fast_sd": ["fast"],
        "circadian_sd": ["cosine", "sine"],
        "circadian2_sd": ["cosine2", "sine2"],
    }
    for part, expected in kinds.items():
        found = own_elements(SignalModel(**{**bare, part: 3.0}))
        assert [kind for kind, _, _ in found] == expected
        assert all(sd == 3.0 for _, _, sd in found)
    moving = own_elements(SignalModel(**{**bare, "fast_sd": 3.0, "momentum": 0.5}))
    assert [kind for kind, _, _ in moving] == ["fast", "momentum"]
    assert {round(1 / rate) for _, rate, _ in moving} == {1800, 600}


def test_rates_stationary_covariance_and_loadings_are_the_textbook_s():
    """Momentum among them: there by Lyapunov's equation."""
    plan = made.plan(BY)
    textbook = Textbook(BY, plan.elements, list(CHANGES))
    np.testing.assert_allclose(plan.layout.rates, textbook.rates, rtol=1e-12)
    np.testing.assert_allclose(made.covariance(plan, empty(plan.layout)), textbook.S, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(plan.layout.means, [BY.models[name].mean for name in CHANGES])
    np.testing.assert_allclose(plan.layout.noise, [textbook.noise(name) for name in CHANGES])


@pytest.mark.parametrize("momentum", [0.3, 0.8, 1.0])
def test_momentum_keeps_the_variance_and_makes_the_deviation_smooth(momentum):
    by = made.single(fast_sd=3.0, fast_s=1800.0, momentum=momentum, momentum_s=600.0)
    plan = made.plan(by, "systolic_blood_pressure")
    S, sign = made.covariance(plan, empty(plan.layout)), np.array([1.0, -1.0])
    assert plan.elements == ("systolic_blood_pressure.fast", "systolic_blood_pressure.momentum")
    assert sign @ S @ sign == pytest.approx(9.0)
    assert np.linalg.eigvalsh(S).min() > 0

    def increment(dt):
        return 2 * (9.0 - sign @ (S * np.exp(-plan.layout.rates * dt)[None, :]) @ sign)

    # The variance of a small increment goes with dt for a rough process, and with its square for a differentiable one.
    power = math.log2(increment(2.0) / increment(1.0))
    assert power == pytest.approx(2.0, abs=0.01) if momentum == 1 else 1.0 < power < 1.3


def test_signals_that_share_drivers_directly_or_through_others_form_a_block():
    assert {name for name, head in BY.blocks.items() if head == "heart_rate"} == {
        *CHANGES,
        "steps_per_minute",
        "motion_intensity",
    }
    assert BY.blocks["lactate"] == BY.blocks["glucose"]  # which have no driver in common
    assert BY.blocks["platelets"] == "platelets"
    alone = made.model(**{name: {"loadings": {}, "effects": {}, "sensitivities": {}} for name in CHANGES})
    assert all(alone.blocks[name] == name for name in CHANGES)


def test_an_environment_s_signal_acts_but_is_not_of_the_block():
    warmth = Input(display="", unit="Cel", time_s=600.0, source="made", signal="ambient_temperature", level=True, offset=20.0)
    skin = msgspec.structs.replace(CATALOGUE["skin_temperature"].model, effects={"warmth": 0.1})
    warm = msgspec.structs.replace(
        BY.population,
        inputs={**BY.population.inputs, "warmth": warmth},
        signals={**BY.population.signals, "skin_temperature": skin},
    )
    by = PopulationModel(warm, CATALOGUE)
    assert by.blocks["skin_temperature"] == "skin_temperature"
    assert by.surroundings == {"skin_temperature": [("warmth", "ambient_temperature", 20.0)]}


def test_elements_and_names_of_a_plan():
    plan = made.plan(BY, "heart_rate", "body_temperature", heart_rate=2)
    assert plan.drivers == ("load", "inflammation", "arousal")
    assert plan.elements[:3] == plan.drivers
    assert plan.elements[3:10] == tuple(
        f"heart_rate.{kind}" for kind in ("baseline", "slow", "fast", "momentum", "cosine", "sine", "activity")
    )
    assert plan.names.channels == (("heart_rate", 0), ("heart_rate", 1), ("body_temperature", 0))
    assert plan.layout.channel_signal.tolist() == [0, 0, 1]
    assert plan.inputs == ("insulin", "meal", "activity", "effort")  # also of what has not come yet
    few = made.plan(BY, "lactate")
    assert few.drivers == ("load", "inflammation")
    assert BY.plan(plan.key) is plan


@settings(deadline=None)
@given(chosen=st.lists(st.tuples(st.sampled_from(list(CHANGES)), st.integers(1, 4)), min_size=1, unique_by=lambda pair: pair[0]))
def test_names_are_spelled_and_read_back(chosen):
    plan = BY.plan(key_of(chosen, CATALOGUE))
    assert Names.parsed(plan.spelled) == plan.names
    where = Row.of(plan.layout)
    parts = Names.parsed(plan.spelled)
    assert where == Row.sized(len(parts.elements), len(parts.signals), len(parts.channels), len(parts.inputs), len(parts.drivers))
    assert len(empty(plan.layout)) == where.width


def test_repeats_after_which_a_sensor_is_frozen():
    layout, names = made.plan(BY).layout, list(CHANGES)
    after = dict(zip(names, layout.frozen_after.tolist(), strict=True))
    assert all(10 < count < 100 for count in after.values())
    steps = made.plan(BY, "steps_per_minute").layout
    assert steps.frozen_after.tolist() == [inf]  # who rests makes none for hours
    coarse = made.single(fast_sd=1.0, noise_sd=0.1)  # every sample is the same whole number
    assert made.plan(coarse, "systolic_blood_pressure").layout.frozen_after.tolist() == [inf]


@pytest.mark.parametrize("tail", [2.5, 4.0, 30.0, inf])
def test_the_central_90_percent_are_the_tail_s(tail):
    layout = made.plan(made.single(fast_sd=1.0, tail=tail), "systolic_blood_pressure").layout
    unit = 1.0 if math.isinf(tail) else math.sqrt(tail / (tail - 2))  # standard deviation of Student's t
    assert layout.reach[0] == pytest.approx(student.ppf(0.95, tail) / unit, rel=1e-9)


# ---------------------------------------------------------------------------------------------------- what may not be said


def population(**signals):
    models = {name: msgspec.structs.replace(CATALOGUE[name].model, **parts) for name, parts in signals.items()}
    return made.population(models)


@pytest.mark.parametrize(
    ("signals", "words"),
    [
        ({"heart_rate": {"loadings": {"joy": 0.1}}}, "heart_rate loads on joy"),
        ({"heart_rate": {"effects": {"joy": 0.1}}}, "heart_rate reacts to joy"),
        ({"heart_rate": {"sensitivities": {"meal": 0.1}}}, "heart_rate has a sensitivity"),
        ({"heart_rate": {"noise_sd": 0.0}}, "noise_sd is 0"),
        ({"heart_rate": {"tail": 1.5}}, "tail must be above 2"),
        ({"heart_rate": {"momentum": 1.5}}, "momentum must be in 0..1"),
        ({"heart_rate": {"slow_sd": -1.0}}, "slow_sd is -1"),
    ],
)
def test_a_population_that_contradicts_itself_is_refused_by_name(signals, words):
    with pytest.raises(ValueError, match=words):
        PopulationModel(population(**signals), CATALOGUE)


def test_a_signal_that_is_not_in_the_catalogue_is_refused():
    with pytest.raises(ValueError, match="luck is not in the catalogue"):
        PopulationModel(made.population({"luck": CATALOGUE["heart_rate"].model}), CATALOGUE)


def test_a_block_of_too_many_elements_is_refused_with_the_way_out():
    names = [name for name, its in CATALOGUE.signals.items() if its.scale != "environment"][:30]
    with pytest.raises(ValueError, match=rf"at most {MOST_ELEMENTS} are supported: load fewer signals"):
        PopulationModel(population(**{name: {"loadings": {"load": 0.1}} for name in names}), CATALOGUE)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('name = "mine"\nversion = "first"\n')
    with pytest.raises(ValueError, match=r"mine\.toml: .*version"):
        read(path, CATALOGUE)


def test_a_word_in_a_file_that_nobody_knows_is_refused(tmp_path):
    """Else a number with a slip in its name would silently do nothing."""
    whole = Path(POPULATIONS, "intensive_care.toml").read_text()
    for known, slip in (("noise_sd", "noise_ds"), ("time_s", "times"), ("holds_for", "hold_for"), ("version", "revision")):
        path = tmp_path / "slip.toml"
        path.write_text(whole.replace(f"{known} =", f"{slip} = 1\n{known} =", 1))
        with pytest.raises(ValueError, match=rf"slip\.toml: .*{slip}"):
            read(path, CATALOGUE)


# --------------------------------------------------------------------------------------------------------------- for whom


def test_for_whom_a_population_does_not_hold_it_expects_less_of_what_is_usual():
    populations = Populations({"home": BY, "ward": BY})
    adult = Profile(patient_id="p", valid_from=0.0, age_years=40)
    child = Profile(patient_id="p", valid_from=0.0, age_years=9)
    pregnant = Profile(patient_id="p", valid_from=0.0, pregnant=True)
    assert populations.of(None) is populations.of(adult) is BY
    assert unfit(BY.population, adult) is None
    assert "under 18" in unfit(BY.population, child)
    assert "pregnancy" in unfit(BY.population, pregnant)
    wide = populations.of(child)
    assert wide is populations.of(pregnant)
    for name, its in wide.models.items():
        assert its.between_sd == WIDER * BY.models[name].between_sd
        assert its.slow_sd == BY.models[name].slow_sd


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_population_says_what_a_file_must(name):
    by: PopulationModel = SHIPPED[name]
    assert by.population.name == name
    assert by.population.holds_for
    assert by.population.date >= "2026"
    assert all(driver.source and driver.time_s > 0 for driver in by.population.drivers.values())
    assert all(its.source and its.time_s > 0 for its in by.population.inputs.values())
    for head in set(by.blocks.values()):
        whole = by.plan(key_of([(signal, 1) for signal, block in by.blocks.items() if block == head], CATALOGUE))
        S = made.covariance(whole, empty(whole.layout))
        sds = np.sqrt(np.diag(S))
        assert whole.d <= MOST_ELEMENTS
        assert np.linalg.eigvalsh(S / np.outer(sds, sds)).min() > 0
        assert (whole.layout.rates > 0).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_signs_of_drivers_are_fixed_by_a_signal_that_loads_on_each(name):
    """A driver on which nothing loads cannot be known; one whose loadings are all 0 neither."""
    by: PopulationModel = SHIPPED[name]
    for driver in by.population.drivers:
        assert any(its.loadings.get(driver) for its in by.models.values()), driver
