"""Logistic regression that learns one example at a time and remembers how sure it is of every weight.

River's :class:`~river.linear_model.BayesianLinearRegression` keeps the exact Gaussian posterior of a *linear* model. Each
logistic example is handed to it as the linear one that has the same slope and curvature at the current weights (one step of
iteratively reweighted least squares): with log odds ``e``, probability ``p`` and ``w = p (1 - p)``, the row ``sqrt(w) x`` and
the target ``sqrt(w) (e + (y - p) / w)``. That is the extended Kalman filter of logistic regression. It needs no learning
rate, is not led astray by rare positives, and starts from a fitted model as from a prior.
"""

from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river.linear_model import BayesianLinearRegression

Floats = NDArray[np.float64]
INTERCEPT = "intercept"
LEAST = 0.002
"""Probabilities are kept this far from 0 and 1 where an example is made linear: one surprise must not undo what is known."""
INTERCEPT_PRECISION = 1.0


class Posterior(Struct, kw_only=True):
    """Gaussian belief about the weights, the intercept first: what was learnt, as sums.

    ``precision``: the upper triangle of the inverse covariance, row by row; ``natural_mean``: precision times mean.
    """

    names: list[str]
    natural_mean: list[float]
    precision: list[float]


def posterior(names: Sequence[str], mean: Floats, precision: Floats) -> Posterior:
    """From the mean (n,) and precision (n, n) of intercept and terms; ``names`` of the terms."""
    return Posterior(names=[INTERCEPT, *names], natural_mean=(precision @ mean).tolist(), precision=upper(precision))


def prior(terms: Sequence[str], rate: float, precision: float = 100.0, of_products: float = 100.0) -> Posterior:
    """Nothing learnt yet; ``rate``: how often the outcome is expected among the examples."""
    mean = np.zeros(len(terms) + 1)
    mean[0] = np.log(rate / (1 - rate))
    return posterior(terms, mean, prior_precision(terms, precision, of_products))


def prior_precision(terms: Sequence[str], precision: float, of_products: float) -> Floats:
    """(1 + terms, 1 + terms). With 100, weights of standardised terms beyond 0.2 need evidence; hours of one stay are much
    alike, so there is less of it than there are examples. Products are many, and each is worth little."""
    found: Floats = np.diag([INTERCEPT_PRECISION, *(of_products if "*" in term else precision for term in terms)])
    return found


class OnlineLogistic:
    """``learn`` rows of term values (:meth:`stream_twin.learn.terms.Terms.columns`), in order."""

    def __init__(self, start: Posterior) -> None:
        self.names = start.names
        size = len(self.names)
        self._river = BayesianLinearRegression(alpha=1.0, beta=1.0)
        self._river.learn_one(dict.fromkeys(self.names, 0.0), 0.0)  # has it make room for the names, in this order
        self._river._ss_arr[:size, :size] = full(start.precision, size)
        self._river._eta_arr[:size] = start.natural_mean
        self._refresh()

    def _refresh(self) -> None:
        """Take the covariance from the precision, which is exact: so rounding never piles up, and restored is the same."""
        river, size = self._river, len(self.names)
        river._ss_inv_arr[:size, :size] = np.linalg.inv(river._ss_arr[:size, :size])
        river._m_dirty = True

    def learn(self, rows: Floats, occurred: Sequence[bool], worth: float = 1.0) -> None:
        """``rows`` (n, terms), what belongs together: afterwards the covariance is taken anew. Each counts ``worth``."""
        for row, outcome in zip(rows.tolist(), occurred, strict=True):
            values = [1.0, *row]
            log_odds = self._river.predict_one(dict(zip(self.names, values, strict=True)))
            p = min(max(1 / (1 + float(np.exp(-log_odds))), LEAST), 1 - LEAST)
            weight = p * (1 - p)
            root = (worth * weight) ** 0.5
            target = root * (log_odds + (outcome - p) / weight)
            self._river.learn_one({name: root * value for name, value in zip(self.names, values, strict=True)}, target)
        self._refresh()

    @property
    def weights(self) -> Floats:
        """Intercept first."""
        self._river._ensure_m()
        mean: Floats = self._river._m_arr[: len(self.names)].copy()
        return mean

    @property
    def posterior(self) -> Posterior:
        river, size = self._river, len(self.names)
        return Posterior(
            names=self.names, natural_mean=river._eta_arr[:size].tolist(), precision=upper(river._ss_arr[:size, :size])
        )


def upper(symmetric: Floats) -> list[float]:
    values: list[float] = symmetric[np.triu_indices(len(symmetric))].tolist()
    return values


def full(values: Sequence[float], size: int) -> Floats:
    symmetric = np.zeros((size, size))
    symmetric[np.triu_indices(size)] = values
    symmetric.T[np.triu_indices(size)] = values
    return symmetric
