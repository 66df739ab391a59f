"""The cohort's learner on a made-up cohort whose risk is known."""

from math import exp, log
from random import Random
from typing import NamedTuple

import msgspec
import pytest

from stream_twin.events import Example, Label, ModelParameters
from stream_twin.learn import cohort
from stream_twin.learn.cohort import PER_PATIENT, PUBLISH_EVERY, WAITING, CohortLearner, auroc
from stream_twin.learn.recipe import Recipe
from stream_twin.learn.risk import RiskModel

HOUR = 3600.0
RECIPE = Recipe(cohort="ward", setting="s", terms=("x.level", "x.level>1", "y.level"), positive=("sepsis",), rate=0.1)
_encode = msgspec.json.encode


class Record(NamedTuple):
    partition: int
    offset: int
    value: bytes


def example(patient, at, x, probability=None, **more):
    return Example(patient_id=patient, cohort="ward", at=at, features={"x.level": x, **more}, probability=probability)


def label(patient, kind, at):
    return Label(patient_id=patient, cohort="ward", kind=kind, occurred_at=at, known_at=at + 60)


def records(messages, partition=0, start=0):
    return [Record(partition, start + n, _encode(m)) for n, m in enumerate(messages)]


def stream(people, seed=1, x_matters=1.5):
    """People of 12 hours each; high x, and sepsis at the end."""
    draw = Random(seed)
    for person in range(people):
        x = draw.gauss(0, 1)
        ill = draw.random() < 1 / (1 + exp(2 - x_matters * x))
        for hour in range(12):
            yield example(f"p{person}", hour * HOUR, x + draw.gauss(0, 0.2), **{"y.level": draw.gauss(0, 1)})
        yield label(f"p{person}", "sepsis" if ill else "well", 12 * HOUR)


def published(outputs):
    return [msgspec.json.decode(output.value, type=ModelParameters) for output in outputs]


def test_learns_what_matters_and_numbers_its_versions():
    learner = CohortLearner(RECIPE)
    outputs = learner.apply(records(stream(300)))
    models = published(outputs)
    assert [m.version for m in models] == list(range(1, 300 // PUBLISH_EVERY + 1))
    assert {(output.topic, output.key) for output in outputs} == {("models", b"ward")}
    last = models[-1]
    assert last.weights["x.level"] > 0.4 > abs(last.weights["y.level"]) * 4
    assert last.trained_on == 300 * 12
    model = RiskModel(last)
    assert model.predict({"x.level": 2.0}, 0.0).probability > 3 * model.predict({"x.level": -2.0}, 0.0).probability


def test_window_of_an_outcome():
    """Positive from six hours before until three after; what comes later is not learnt from."""
    kept = []
    learner = CohortLearner(RECIPE)
    learner._model.learn = lambda rows, occurred: kept.append(occurred)
    learner.apply(records([*(example("p", h * HOUR, 0.0) for h in range(20)), label("p", "sepsis", 10 * HOUR)]))
    assert kept == [[False] * 4 + [True] * 10]


def test_what_others_have_and_what_says_nothing_is_left_alone():
    learner = CohortLearner(RECIPE)
    other = msgspec.structs.replace(example("p", 0.0, 1.0), cohort="other")
    unmeasured = Example(patient_id="p", cohort="ward", at=0.0, features={"age": 50.0})
    assert not learner.apply(records([other, unmeasured, label("p", "well", HOUR), label("q", "admitted", HOUR)]))
    assert learner.labels == 0
    assert learner.metrics()["examples_waiting"] == 0


def test_scored_by_the_prediction_made_before_learning():
    learner = CohortLearner(RECIPE)
    made = [0.9, 0.2, 0.6, 0.1]
    people = [("a", "sepsis"), ("b", "well"), ("c", "well"), ("d", "well")]
    for (person, kind), p in zip(people, made, strict=True):
        start = 0 if not learner.positions else learner.positions[0]
        learner.apply(records([example(person, 0.0, 0.0, p), label(person, kind, HOUR)], start=start))
    metrics = learner.metrics()
    assert metrics["auroc"] == 1.0
    assert metrics["expected"] == pytest.approx(sum(made) / 4)
    assert metrics["observed"] == 0.25
    assert metrics["log_loss"] == pytest.approx(-(log(0.9) + log(0.8) + log(0.4) + log(0.9)) / 4, abs=1e-6)


@pytest.mark.parametrize("cut", [1, 100, 655, 1299])
def test_restored_goes_on_with_the_same_bytes(cut):
    everything = records(stream(100))
    learner = CohortLearner(RECIPE)
    expected = learner.apply(everything)
    before = CohortLearner(RECIPE)
    first = before.apply(everything[:cut])
    after = CohortLearner.restore(RECIPE, before.snapshot())
    assert first + after.apply(everything[max(0, cut - 50) :]) == expected  # what comes again is passed over
    assert after.snapshot() == learner.snapshot()


def test_batches_do_not_matter():
    everything = records(stream(60))
    whole, single = CohortLearner(RECIPE), CohortLearner(RECIPE)
    outputs = [output for record in everything for output in single.apply([record])]
    assert whole.apply(everything) == outputs
    assert whole.snapshot() == single.snapshot()


def test_frozen_judges_but_does_not_learn():
    learner = CohortLearner(RECIPE, frozen=True)
    made = [msgspec.structs.replace(m, probability=0.1) if isinstance(m, Example) else m for m in stream(40)]
    before = learner.parameters(0.0).weights
    assert learner.apply(records(made)) == []
    assert learner.parameters(0.0).weights == before
    assert learner.metrics()["labels"] == 40
    assert learner.metrics()["observed"] > 0


def test_bounded(monkeypatch):
    monkeypatch.setattr(cohort, "WAITING", 500)
    assert WAITING > 500
    learner = CohortLearner(RECIPE)
    learner.apply(records([example("long", h * HOUR, 0.0) for h in range(PER_PATIENT + 20)]))
    assert learner.metrics()["examples_waiting"] == PER_PATIENT
    learner.apply(records([example(f"p{n}", 0.0, 0.0) for n in range(700)], partition=1))
    assert learner.metrics()["examples_waiting"] == 500
    assert len(learner.snapshot()) < 100_000


def test_state_of_another_cohort_is_refused():
    snapshot = CohortLearner(RECIPE).snapshot()
    other = msgspec.structs.replace(RECIPE, terms=("x.level",))
    with pytest.raises(ValueError, match="other terms"):
        CohortLearner.restore(other, snapshot)


def test_drift_of_the_score_is_seen():
    """Outcomes come far more often than predicted, from some day on."""
    learner = CohortLearner(RECIPE, frozen=True)
    draw = Random(2)
    messages = []
    for person in range(400):
        ill = draw.random() < (0.1 if person < 200 else 0.9)
        messages += [example(f"p{person}", 0.0, 0.0, 0.1), label(f"p{person}", "sepsis" if ill else "well", HOUR)]
    learner.apply(records(messages[:400]))
    assert learner.metrics()["drifts"] == 0
    learner.apply(records(messages[400:], start=400))
    assert learner.metrics()["drifts"] >= 1


def test_auroc_by_counting():
    import numpy as np

    p, y = np.array([0.1, 0.4, 0.4, 0.8, 0.2]), np.array([False, True, False, True, False])
    pairs = [(a > b) + 0.5 * (a == b) for a in p[y] for b in p[~y]]
    assert auroc(p, y) == pytest.approx(sum(pairs) / len(pairs))
