"""Terms and the risk they make, against arithmetic done by hand."""

from math import exp

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.events import ModelParameters
from stream_twin.learn.risk import RiskModel
from stream_twin.learn.terms import CLIP, Terms, features_of, spelled

MEANS, SCALES = {"a": 10.0, "b": 0.0}, {"a": 2.0, "b": 1.0}
NAMES = ["a", "a>0", "a>1", "a<-1", "b", "a*b"]


def model(**weights):
    return RiskModel(
        ModelParameters(
            cohort="c",
            version=3,
            schema=1,
            trained_on=0,
            effective_at=0.0,
            weights=weights or dict(zip(NAMES, (0.5, 0.25, -1.0, 2.0, 0.1, 0.3), strict=True)),
            intercept=-4.0,
            means=MEANS,
            scales=SCALES,
        )
    )


@given(st.floats(-5, 25), st.floats(-3, 3))
def test_probability_is_the_formula(a, b):
    z = max(-CLIP, min(CLIP, (a - 10) / 2))
    log_odds = -4 + 0.5 * z + 0.25 * max(z, 0) - max(z - 1, 0) + 2 * min(z + 1, 0) + 0.1 * b + 0.3 * z * b
    risk = model().predict({"a": a, "b": b, "unused": 7.0}, 12.0)
    assert risk.probability == pytest.approx(1 / (1 + exp(-log_odds)))
    assert (risk.cohort, risk.model_version, risk.at) == ("c", 3, 12.0)
    assert sum(risk.reasons.values()) - 4 == pytest.approx(log_odds, abs=2e-4)


def test_what_is_not_known_counts_as_usual():
    assert model().predict({}, 0.0).probability == pytest.approx(1 / (1 + exp(4)))
    assert model().predict({}, 0.0).reasons == {}
    assert model().predict({"b": 2.0}, 0.0) == model().predict({"a": 10.0, "b": 2.0}, 0.0)


def test_terms_that_are_none_are_refused():
    for name in ("a>>1", "A", "a*", "a+b"):
        with pytest.raises(ValueError, match="is no term"):
            Terms([name], MEANS, SCALES)
    with pytest.raises(ValueError, match="not known"):
        Terms(["a>-1"], MEANS, SCALES)
    with pytest.raises(ValueError, match="feature c has no mean"):
        Terms(["c"], MEANS, SCALES)


def test_parameters_of_another_schema_are_refused():
    with pytest.raises(ValueError, match="schema 2"):
        RiskModel(ModelParameters(cohort="c", version=1, schema=2, trained_on=0, effective_at=0, weights={}, intercept=0))


def test_spelling():
    assert spelled(["x"], ["y"], ["x", "y"]) == ["x", "x>0", "x>1", "x<-1", "y", "x*y"]
    assert features_of(["x>0", "y*z", "x"]) == ["x", "y", "z"]
