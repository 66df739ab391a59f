"""Features against a belief made by hand."""

from math import log, nan

import pytest

from stream_twin import signals
from stream_twin.events import Profile
from stream_twin.learn.features import features, instability, strain
from stream_twin.learn.recipe import RECIPES
from stream_twin.learn.terms import features_of
from stream_twin.twin.belief import Belief, SignalBelief

CATALOGUE = signals.load()
AT = 1_700_000_000.0


def signal(name, level, working, unrest=0.25, noise=1.0, bias=0.0):
    return SignalBelief(
        signal=CATALOGUE[name],
        model=CATALOGUE[name].model,
        level=level,
        low=0.0,
        high=0.0,
        baseline=0.0,
        deviation=0.25,
        deviation_sd=0.1,
        surprise=0.5,
        last_value=level,
        last_at=AT,
        working_mean=working,
        working_sd=0.1,
        unrest=unrest,
        noise=noise,
        bias=bias,
    )


def belief(*known, **profile):
    found = Belief("p", AT, AT, AT, Profile(patient_id="p", valid_from=0, **profile))
    found.signals = {one.signal.name: one for one in known}
    return found


def test_nobody_measured_has_age_and_sex_only():
    assert features(belief(age_years=71, sex="female")) == {"age": 71.0, "sex": 0.0}
    assert features(belief()) == {}


def test_levels_are_in_standard_deviations_of_the_population():
    model = CATALOGUE["heart_rate"].model
    spread = (model.between_sd**2 + model.slow_sd**2 + model.fast_sd**2) ** 0.5
    known = features(belief(signal("heart_rate", 110, model.mean + 2 * spread)))
    assert known["heart_rate.level"] == pytest.approx(2.0)
    assert known["heart_rate.deviation"] == 0.25
    assert "shock_index" not in known


def test_pairs():
    pressures = signal("systolic_blood_pressure", 100, 100.0), signal("diastolic_blood_pressure", 60, 60.0)
    known = features(belief(signal("heart_rate", 90, 4.5), *pressures))
    assert known["shock_index"] == pytest.approx(0.9)
    assert known["pulse_pressure"] == pytest.approx(40.0)


def test_instability_is_that_of_the_surprises():
    assert instability(signal("heart_rate", 90, 4.5, unrest=4.0)) == pytest.approx(log(4.1))
    assert instability(signal("heart_rate", 90, 4.5, unrest=nan)) is None


def test_scatter_and_bias_are_the_persons():
    known = features(belief(signal("heart_rate", 90, 4.5, noise=4.0, bias=-2.5)))
    assert known["heart_rate.noise"] == pytest.approx(log(4.0))
    assert known["heart_rate.bias"] == -2.5


def test_strain_adds_what_is_beyond_the_usual_on_the_bad_side():
    assert strain({"heart_rate.level": 1.0, "mean_blood_pressure.level": -0.8}) == pytest.approx(0.7 + 0.5)
    assert strain({"heart_rate.level": -2.0, "mean_blood_pressure.level": 2.0, "spo2.level": 1.0}) == 0.0
    assert strain({"body_temperature.level": 1.3}) == strain({"body_temperature.level": -1.3}) == pytest.approx(1.0)
    assert "strain" not in features(belief(signal("creatinine", 1.0, 0.0)))


def test_no_feature_says_what_the_staff_did():
    """A value of one moment gives the same features whenever the stay began; and recipes ask for values only."""
    for recipe in RECIPES:
        for name in features_of(recipe.terms):
            signal_name, _, part = name.partition(".")
            assert name in ("age", "sex", "shock_index", "pulse_pressure", "strain") or (
                signal_name in CATALOGUE and part in ("level", "deviation", "instability", "noise", "bias")
            )
