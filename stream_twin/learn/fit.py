"""Fits a cohort's model to many labelled examples at once: the most probable weights under the learner's own prior.

Newton's method on the logistic likelihood; the precision is the curvature there. What comes out is what the online learner
would have come to had it passed over the examples until nothing changed, and it goes on from there.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from stream_twin.events import Example, Label
from stream_twin.learn.logistic import prior_precision
from stream_twin.learn.recipe import Flags, Recipe, standards
from stream_twin.learn.terms import Floats, Terms, features_of

STEPS = 12
ROWS = 20_000
"""How many rows are multiplied at once."""


class Labelled:
    """Examples of one cohort with their outcomes, person by person; features standardised, as four-byte numbers."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.terms = Terms(recipe.terms, *standards(features_of(recipe.terms)))
        self._z: list[NDArray[np.float32]] = []
        self._occurred: list[Flags] = []

    def add(self, examples: Iterable[Example], label: Label) -> None:
        """One person's examples, oldest first; those of somebody not measured yet are left out, as the learner does."""
        known = [e for e in examples if any(name in e.features for name in self.terms.features if "." in name)]
        used, occurred = self.recipe.outcomes(np.array([e.at for e in known]), label)
        rows = [self.terms.standardise(e.features) for e, keep in zip(known, used, strict=True) if keep]
        self._z.append(np.array(rows, dtype=np.float32).reshape(len(rows), len(self.terms.features)))
        self._occurred.append(occurred)

    @property
    def people(self) -> int:
        return len(self._z)

    def fit(self, people: Iterable[int]) -> tuple[Floats, Floats, int]:
        """Mean (1 + terms,), precision (1 + terms, 1 + terms) and how many examples, of the people with these numbers."""
        people = list(people)
        z = np.concatenate([self._z[n] for n in people])
        y = np.concatenate([self._occurred[n] for n in people]).astype(float)
        start = prior_precision(self.recipe.terms, self.recipe.precision, self.recipe.product_precision)
        middle = np.zeros(len(start))
        middle[0] = np.log(self.recipe.rate / (1 - self.recipe.rate))
        mean = middle.copy()
        for _ in range(STEPS):
            slope, precision = -start @ (mean - middle), start.copy()
            for first in range(0, len(z), ROWS):
                columns = self.terms.columns(z[first : first + ROWS].astype(np.float64))
                x = np.hstack([np.ones((len(columns), 1)), columns])
                p = 1 / (1 + np.exp(-(x @ mean)))
                slope += x.T @ (y[first : first + ROWS] - p)
                precision += (x * (p * (1 - p))[:, None]).T @ x
            step = np.linalg.solve(precision, slope)
            mean = mean + step
            if np.abs(step).max() < 1e-6:
                break
        return mean, precision, len(z)
