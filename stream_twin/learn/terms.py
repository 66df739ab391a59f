"""Terms of a linear model: how features become the columns that have weights.

A term is written as its name says: ``a`` is the standardised feature, ``a>1`` what it has above one, ``a<-1`` what it has
below minus one (a negative number), ``a*b`` a product. Lines that bend at fixed places and a few products bring a linear
model close to a boosted one, while every weight still has a meaning. A feature that is not known counts as its mean.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CLIP = 4.0
"""Standardised features are cut off here: far outside a straight line is no knowledge."""
_TERM = re.compile(r"(?P<a>[a-z0-9_.]+)(?:(?P<side>[<>])(?P<knot>-?\d+(?:\.\d+)?)|\*(?P<b>[a-z0-9_.]+))?")


class Terms:
    """Columns of ``names`` from features standardised by ``means`` and ``scales``.

    Raises:
        ValueError: a name is not a term, or a feature has no mean or scale.
    """

    def __init__(self, names: Iterable[str], means: Mapping[str, float], scales: Mapping[str, float]) -> None:
        self.names = list(names)
        parsed = [_parse(name) for name in self.names]
        self.features = features_of(self.names)
        missing = [f for f in self.features if f not in means or not scales.get(f, 0.0) > 0]
        if missing:
            raise ValueError(f"feature {missing[0]} has no mean or no positive scale: the parameters must have both")
        place = {feature: index for index, feature in enumerate(self.features)}
        self._means = np.array([means[f] for f in self.features])
        self._scales = np.array([scales[f] for f in self.features])
        self.first = np.array([place[a] for a, _, _, _ in parsed], dtype=np.intp)
        self.second = np.array([place[a if b is None else b] for a, _, _, b in parsed], dtype=np.intp)
        """Features of each term; the same twice where it is no product."""
        self._products = np.flatnonzero([b is not None for _, _, _, b in parsed])
        # max(z - knot, 0) above, min(z - knot, 0) below, z itself with a knot of 0 between two infinities
        self._knots = np.array([knot for _, _, knot, _ in parsed])
        self._low = np.array([0.0 if side == ">" else -np.inf for _, side, _, _ in parsed])
        self._high = np.array([0.0 if side == "<" else np.inf for _, side, _, _ in parsed])

    def standardise(self, known: Mapping[str, float]) -> Floats:
        """(features,), 0 where not known."""
        nan = float("nan")
        raw = np.array([known.get(f, nan) for f in self.features])
        return self.standardised(raw)

    def standardised(self, raw: Floats) -> Floats:
        """From values in the order of ``features``, NaN where not known; any number of rows."""
        z = (raw - self._means) / self._scales
        z[np.isnan(z)] = 0.0
        clipped: Floats = np.minimum(np.maximum(z, -CLIP), CLIP)
        return clipped

    def columns(self, z: Floats) -> Floats:
        """(..., features) standardised -> (..., terms)."""
        columns: Floats = np.minimum(np.maximum(z[..., self.first] - self._knots, self._low), self._high)
        columns[..., self._products] = z[..., self.first[self._products]] * z[..., self.second[self._products]]
        return columns


def features_of(names: Iterable[str]) -> list[str]:
    """Which features the terms are made of, in the order in which they first come."""
    parts = (part for name in names for part in (_parse(name)[0], _parse(name)[3]))
    return list(dict.fromkeys(part for part in parts if part is not None))


def _parse(name: str) -> tuple[str, str | None, float, str | None]:
    match = _TERM.fullmatch(name)
    if match is None:
        raise ValueError(f"{name!r} is no term: write feature, feature>knot, feature<knot or feature*feature")
    knot = float(match["knot"] or 0.0)
    if (match["side"] == ">" and knot < 0) or (match["side"] == "<" and knot > 0):
        raise ValueError(
            f"term {name!r} would be on where the feature is not known: a knot above is 0 or more, one below 0 or less"
        )
    return match["a"], match["side"], knot, match["b"]


def spelled(levels: Sequence[str], plain: Sequence[str], products: Sequence[str]) -> list[str]:
    """Terms of a recipe: ``levels`` bend at -1, 0 and 1 standard deviation, ``plain`` are lines, ``products`` meet in pairs."""
    bent = [f"{f}{bend}" for f in levels for bend in ("", ">0", ">1", "<-1")]
    pairs = [f"{a}*{b}" for i, a in enumerate(products) for b in products[i + 1 :]]
    return [*bent, *plain, *pairs]
