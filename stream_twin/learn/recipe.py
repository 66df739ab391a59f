"""What a cohort's model is asked to predict, and from what."""

from collections.abc import Iterable

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_twin.events import Label
from stream_twin.learn.terms import Floats, spelled

Flags = NDArray[np.bool_]

VITAL_SIGNS = (
    "heart_rate",
    "spo2",
    "body_temperature",
    "systolic_blood_pressure",
    "mean_blood_pressure",
    "diastolic_blood_pressure",
    "respiratory_rate",
)
LABORATORY = (
    "fio2",
    "ph",
    "paco2",
    "sao2",
    "ast",
    "bun",
    "alkaline_phosphatase",
    "calcium",
    "creatinine",
    "glucose_lab",
    "lactate",
    "magnesium",
    "phosphate",
    "potassium",
    "bilirubin_total",
    "troponin_i",
    "hematocrit",
    "hemoglobin",
    "ptt",
    "wbc",
    "fibrinogen",
    "platelets",
)


class Recipe(Struct, frozen=True, kw_only=True):
    """``positive``: kinds of outcome that are what the model predicts; ``negative``: kinds that say it did not happen.

    An example is positive from ``before_s`` before the outcome until ``after_s`` after it, and negative before that; what
    comes later is treatment, and nothing is learnt from it.
    """

    cohort: str
    setting: str
    """What the model may look at: ``vital_signs`` (with age and sex), or also ``laboratory`` values."""
    terms: tuple[str, ...]
    positive: tuple[str, ...]
    negative: tuple[str, ...] = ("well",)
    before_s: float = 6 * 3600.0
    after_s: float = 3 * 3600.0
    rate: float = 0.015
    """How many of the examples are expected to be positive, before anything was learnt."""
    precision: float = 100.0
    product_precision: float = 100.0
    """Of the prior of a weight, see :func:`stream_twin.learn.logistic.prior_precision`."""

    def concerns(self, label: Label) -> bool:
        return label.cohort == self.cohort and label.kind in (*self.positive, *self.negative)

    def outcomes(self, at: Floats, label: Label) -> tuple[Flags, Flags]:
        """Which of the examples made at ``at`` (n,) the label says something about, and what of those: (n,) and (used,)."""
        if label.kind not in self.positive:
            return np.ones(len(at), bool), np.zeros(len(at), bool)
        used = at <= label.occurred_at + self.after_s
        return used, at[used] >= label.occurred_at - self.before_s


STANDARDS = {
    "age": (60.0, 18.0),
    "sex": (0.5, 0.5),
    "shock_index": (0.7, 0.2),
    "pulse_pressure": (55.0, 18.0),
    "strain": (0.8, 0.8),
}
"""Mean and scale of features that are not standardised already; round numbers for adults in hospital."""
LEVEL = (0.0, 0.55)
"""Of levels: in those who are watched and treated they differ less than the population's model has it."""


def standards(features: Iterable[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Means and scales; those of signals are standardised by the catalogue's models (:mod:`stream_twin.learn.features`)."""
    both = {f: STANDARDS.get(f, LEVEL if f.endswith(".level") else (0.0, 1.0)) for f in features}
    return {f: mean for f, (mean, _) in both.items()}, {f: scale for f, (_, scale) in both.items()}


def vital_sign_terms() -> list[str]:
    levels = [f"{name}.level" for name in VITAL_SIGNS]
    restless = [f"{name}.{part}" for part in ("instability", "noise", "bias") for name in VITAL_SIGNS]
    return spelled([*levels, *restless, "strain", "age"], ["sex", "shock_index", "pulse_pressure"], [*levels, "age"])


def laboratory_terms() -> list[str]:
    """Levels only: how much a laboratory value jumps is known of those whose tests are repeated."""
    return [*vital_sign_terms(), *spelled([f"{name}.level" for name in LABORATORY], [], [])]


_HOME = [
    f"{name}.{part}" for name in ("heart_rate", "respiratory_rate", "spo2", "body_temperature") for part in ("level", "deviation")
]
RECIPES = (
    *(
        Recipe(
            cohort="intensive_care",
            setting=setting,
            terms=tuple(terms),
            positive=("sepsis",),
            precision=400.0,
            product_precision=10_000.0,
        )
        for setting, terms in (("vital_signs", vital_sign_terms()), ("laboratory", laboratory_terms()))
    ),
    Recipe(
        cohort="home",
        setting="vital_signs",
        terms=tuple(spelled(_HOME, ["age"], [])),
        positive=("deterioration", "admitted", "died", "illness"),
        before_s=24 * 3600.0,
        after_s=0.0,
    ),
)


def recipe_of(cohort: str, setting: str = "vital_signs") -> Recipe:
    """The cohort's own recipe; a cohort without one is asked what a cohort at home is.

    Raises:
        ValueError: the cohort has no such setting.
    """
    own = {recipe.setting: recipe for recipe in RECIPES if recipe.cohort == cohort}
    if not own:
        home = next(recipe for recipe in RECIPES if recipe.cohort == "home")
        own = {home.setting: msgspec.structs.replace(home, cohort=cohort)}
    if setting not in own:
        raise ValueError(f"cohort {cohort} has no setting {setting}: choose one of {', '.join(own)}")
    return own[setting]
