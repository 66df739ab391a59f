"""Fitted models that the product ships: for whom, on whom they were fitted, and what they say of somebody they never saw.

A file holds one model fitted on everybody and one for each fold, fitted without the people of that fold. Whoever back-tests a
person of the file gets the fold fitted without that person.
"""

from collections.abc import Mapping, Sequence
from importlib import resources
from math import isfinite
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from stream_twin.events import ModelParameters
from stream_twin.learn.cohort import CohortLearner
from stream_twin.learn.logistic import Posterior, full, posterior, upper
from stream_twin.learn.recipe import Recipe, recipe_of
from stream_twin.learn.terms import Floats, features_of
from stream_twin.signals import SignalModel

SCHEMA = 1


class InSample(ValueError):
    """The person is among those on whom the model was fitted, and no fold was fitted without."""

    exit_code = 2


class Fitted(Struct, kw_only=True):
    """Mean and precision (upper triangle, row by row) of intercept and terms, with five digits."""

    people: tuple[str, str]
    """First and last: of the whole model on whom it was fitted, of a fold without whom."""
    examples: int
    mean: list[float]
    precision: list[float]

    @classmethod
    def of(cls, people: Sequence[str], mean: Floats, precision: Floats, examples: int) -> "Fitted":
        short = [[float(f"{value:.5g}") for value in values] for values in (mean.tolist(), upper(precision))]
        return cls(people=(people[0], people[-1]), examples=examples, mean=short[0], precision=short[1])

    def holds(self, person: str) -> bool:
        first, last = self.people
        return len(first) == len(person) and first <= person <= last


class ShippedModel(Struct, kw_only=True):
    """``attribution`` and ``licence`` are of the data; ``command`` made the file."""

    schema: int = SCHEMA
    cohort: str
    setting: str
    data_set: str
    licence: str
    attribution: str
    date: str
    command: str
    terms: list[str]
    signals: dict[str, list[float]]
    """Of each signal of the terms the numbers of its population's model (:func:`numbers_of`): with others features change."""
    whole: Fitted
    folds: list[Fitted]

    @property
    def recipe(self) -> Recipe:
        """Raises ValueError where this version's recipe has other terms."""
        recipe = recipe_of(self.cohort, self.setting)
        if list(recipe.terms) != self.terms:
            raise ValueError(f"the shipped model {self.cohort} {self.setting} has other terms than this version: {self.command}")
        return recipe

    def fold_of(self, person: str | None, *, in_sample: bool = False) -> int | None:
        """Number of the fold fitted without the person; None: the whole model may be used.

        Raises:
            InSample: everything here was fitted with that person.
        """
        if person is None or in_sample or not self.whole.holds(person):
            return None
        for number, fold in enumerate(self.folds):
            if fold.holds(person):
                return number
        first, last = self.whole.people
        raise InSample(f"{person} is among those on whom the model was fitted ({first} to {last}): use --in-sample or --cold")

    def learner(self, fold: int | None = None, *, frozen: bool = False) -> CohortLearner:
        """A learner that starts from here."""
        fitted = self.whole if fold is None else self.folds[fold]
        return CohortLearner(self.recipe, self._posterior(fitted), trained_on=fitted.examples, frozen=frozen)

    def parameters(self, excluding: str | None = None, *, in_sample: bool = False) -> ModelParameters:
        """For a lane. ``excluding``: fitted without this person.

        Raises:
            InSample: as :meth:`fold_of`.
        """
        return self.learner(self.fold_of(excluding, in_sample=in_sample)).parameters(0.0)

    def _posterior(self, fitted: Fitted) -> Posterior:
        return posterior(self.terms, np.array(fitted.mean), full(fitted.precision, len(self.terms) + 1))


def numbers_of(terms: Sequence[str], models: Mapping[str, SignalModel]) -> dict[str, list[float]]:
    """Mean, standard deviations, time constants and loadings of the models of the signals in ``terms``; no infinite ones."""
    names = dict.fromkeys(feature.split(".")[0] for feature in features_of(terms) if "." in feature)
    return {
        name: [v for v in msgspec.structs.astuple(models[name]) if isinstance(v, float) and isfinite(v)]
        + list(models[name].loadings.values())
        for name in names
    }


def file_of(cohort: str, setting: str) -> str:
    return f"{cohort}.{setting}.json"


def load(cohort: str, setting: str = "vital_signs", path: Path | None = None) -> ShippedModel | None:
    """The product's own model of a cohort, or that of a file; None where none is shipped.

    Raises:
        ValueError: written for another schema.
    """
    found = path or resources.files("stream_twin.learn") / "models" / file_of(cohort, setting)
    if path is None and not found.is_file():
        return None
    shipped = msgspec.json.decode(found.read_bytes(), type=ShippedModel)
    if shipped.schema != SCHEMA:
        raise ValueError(f"model {cohort} {setting} has schema {shipped.schema}; this version reads {SCHEMA}")
    return shipped
