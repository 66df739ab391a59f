"""The online model against an offline optimum found by something else."""

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.optimize import minimize

from stream_twin.learn.fit import Labelled
from stream_twin.learn.logistic import OnlineLogistic, posterior, prior, prior_precision
from stream_twin.learn.recipe import Recipe

NAMES = ["a.deviation", "b.deviation", "c.deviation"]
TRUE = np.array([-2.0, 0.8, -0.5, 0.0])


def drawn(n, seed=4):
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 3))
    return rows, random.random(n) < 1 / (1 + np.exp(-(TRUE[0] + rows @ TRUE[1:])))


def optimum(rows, occurred, rate, precision=100.0):
    """Most probable weights by a general optimiser."""
    x, y = np.hstack([np.ones((len(rows), 1)), rows]), occurred.astype(float)
    middle = np.array([np.log(rate / (1 - rate)), 0, 0, 0])
    strength = np.array([1.0, *[precision] * 3])

    def loss(w):
        e = x @ w
        return float(np.sum(np.logaddexp(0, e) - y * e) + 0.5 * np.sum(strength * (w - middle) ** 2))

    return minimize(loss, middle, method="BFGS", options={"gtol": 1e-8}).x


def test_learns_what_an_optimiser_finds():
    rows, occurred = drawn(5000)
    online = OnlineLogistic(prior(NAMES, 0.1))
    for first in range(0, 5000, 50):
        online.learn(rows[first : first + 50], occurred[first : first + 50].tolist())
    assert online.weights == pytest.approx(optimum(rows, occurred, 0.1), abs=0.03)


def test_restored_goes_on_with_the_same_bits():
    rows, occurred = drawn(400)
    online = OnlineLogistic(prior(NAMES, 0.1))
    online.learn(rows[:200], occurred[:200].tolist())
    restored = OnlineLogistic(online.posterior)
    for model in (online, restored):
        model.learn(rows[200:], occurred[200:].tolist())
    assert restored.posterior == online.posterior
    assert restored.weights.tolist() == online.weights.tolist()


def test_one_surprise_does_not_undo_what_is_known():
    known = OnlineLogistic(posterior(NAMES, np.array([-6.0, 0.5, 0.0, 0.0]), np.diag([400.0, 400.0, 400.0, 400.0])))
    before = known.weights
    known.learn(np.array([[-4.0, 0.0, 0.0]]), [True])
    assert np.abs(known.weights - before).max() < 1.5


def test_fit_is_the_optimum():
    from stream_twin.events import Example, Label

    rows, occurred = drawn(600)
    recipe = Recipe(cohort="c", setting="s", terms=tuple(NAMES), positive=("sepsis",), rate=0.1, before_s=0.5, after_s=10.0)
    recipe = replace(recipe, precision=30.0)
    labelled = Labelled(recipe)
    for n, (row, outcome) in enumerate(zip(rows.tolist(), occurred.tolist(), strict=True)):
        example = Example(patient_id=str(n), cohort="c", at=10.0, features=dict(zip(NAMES, row, strict=True)))
        kind = "sepsis" if outcome else "well"
        labelled.add([example], Label(patient_id=str(n), cohort="c", kind=kind, occurred_at=10.0, known_at=11.0))
    mean, precision, examples = labelled.fit(range(600))
    assert examples == 600
    clipped = np.clip(rows, -4, 4)
    assert mean == pytest.approx(optimum(clipped, occurred, 0.1, 30.0), abs=1e-4)
    assert np.linalg.eigvalsh(precision).min() > 0


def test_products_have_a_prior_of_their_own():
    assert np.diag(prior_precision(["a", "a>1", "a*b"], 400.0, 9.0)).tolist() == [1.0, 400.0, 400.0, 9.0]
