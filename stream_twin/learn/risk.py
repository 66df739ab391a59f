"""Risk of one patient by a cohort's current parameters: a logistic model, numbers in, numbers out."""

from collections.abc import Mapping
from math import exp

import numpy as np

from stream_twin.events import ModelParameters, Risk
from stream_twin.learn.terms import Floats, Terms

SCHEMA = 1
REASONS = 5


class RiskModel:
    """``parameters.weights`` are named by terms (:mod:`stream_twin.learn.terms`).

    Raises:
        ValueError: parameters of another schema, or terms without their features' means and scales.
    """

    def __init__(self, parameters: ModelParameters) -> None:
        if parameters.schema != SCHEMA:
            of = f"{parameters.cohort} version {parameters.version}"
            raise ValueError(f"parameters {of} have schema {parameters.schema}; this version reads {SCHEMA}")
        self.parameters = parameters
        self._terms = Terms(parameters.weights, parameters.means, parameters.scales)
        self._weights = np.array(list(parameters.weights.values()), dtype=np.float64)

    def predict(self, known: Mapping[str, float], at: float) -> Risk:
        """Probability, with each feature's contribution to the log odds; a product's is shared equally by its two."""
        terms = self._terms
        shares = terms.columns(terms.standardise(known)) * self._weights
        log_odds = self.parameters.intercept + float(shares.sum())
        return Risk(
            probability=sigmoid(log_odds),
            cohort=self.parameters.cohort,
            model_version=self.parameters.version,
            at=at,
            reasons=self._reasons(shares),
        )

    def _reasons(self, shares: Floats) -> dict[str, float]:
        names = self._terms.features
        halves = 0.5 * shares
        by_feature = np.bincount(self._terms.first, halves, len(names)) + np.bincount(self._terms.second, halves, len(names))
        largest = np.argsort(-np.abs(by_feature), kind="stable")[:REASONS].tolist()
        return {names[index]: round(float(by_feature[index]), 4) for index in largest if by_feature[index]}


def sigmoid(log_odds: float) -> float:
    return 1.0 / (1.0 + exp(-log_odds)) if log_odds >= 0 else (e := exp(log_odds)) / (1.0 + e)
