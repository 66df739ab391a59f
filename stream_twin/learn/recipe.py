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

    def concerns(self, label: Label) -> bool:
        return label.cohort == self.cohort and label.kind in (*self.positive, *self.negative)

    def outcomes(self, at: Floats, label: Label) -> tuple[Flags, Flags]:
        """Which of the examples made at ``at`` (n,) the label says something about, and what of those: (n,) and (used,)."""
        if label.kind not in self.positive:
            return np.ones(len(at), bool), np.zeros(len(at), bool)
        used = at <= label.occurred_at + self.after_s
        return used, at[used] >= label.occurred_at - self.before_s


STANDARDS = {"age": (60.0, 18.0), "sex": (0.5, 0.5), "shock_index": (0.7, 0.2), "pulse_pressure": (55.0, 18.0)}
"""Mean and scale of features that are not standardised already; round numbers for adults in hospital."""


def standards(features: Iterable[str]) -> tuple[dict[str, float], dict[str, float]]:
    """Means and scales; those of signals are standardised by the catalogue's models (:mod:`stream_twin.learn.features`)."""
    both = {feature: STANDARDS.get(feature, (0.0, 1.0)) for feature in features}
    return {f: mean for f, (mean, _) in both.items()}, {f: scale for f, (_, scale) in both.items()}


def vital_sign_terms() -> list[str]:
    levels = [f"{name}.level" for name in VITAL_SIGNS]
    unstable = [f"{name}.instability" for name in VITAL_SIGNS]
    return spelled([*levels, *unstable, "age"], ["sex", "shock_index", "pulse_pressure"], [*levels, "age"])


def laboratory_terms() -> list[str]:
    """Levels only: how much a laboratory value jumps is known of those whose tests are repeated."""
    return [*vital_sign_terms(), *spelled([f"{name}.level" for name in LABORATORY], [], [])]


_HOME = [
    f"{name}.{part}" for name in ("heart_rate", "respiratory_rate", "spo2", "body_temperature") for part in ("level", "deviation")
]
RECIPES = (
    Recipe(cohort="intensive_care", setting="vital_signs", terms=tuple(vital_sign_terms()), positive=("sepsis",)),
    Recipe(cohort="intensive_care", setting="laboratory", terms=tuple(laboratory_terms()), positive=("sepsis",)),
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
