"""What the twin's own filter predicts for recorded people: the product's kernel, not a copy of it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Catalogue
from stream_twin.twin.filter import LOOKS, SEEN, SET_ASIDE, follow, look
from stream_twin.twin.model import PopulationModel, key_of
from stream_twin.twin.state import code_of, empty

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
WORKING_MEAN, PREDICTIVE_SD = LOOKS.index("working_mean"), LOOKS.index("predictive_sd")


class Predictions(NamedTuple):
    """For the samples of one person, (T,), in the order of :class:`Recorded`; working scale.

    ``mean``, ``sd``: by what was measured strictly before the sample's moment. ``mean_joint``, ``sd_joint``: by that and the
    samples of the same moment that stand before it: what the filter's innovations are made of.
    """

    mean: Floats
    sd: Floats
    mean_joint: Floats
    sd_joint: Floats
    aside: NDArray[np.bool_]


def predicted(model: PopulationModel, one: Recorded) -> Predictions:
    total = len(one.times)
    columns = np.full((4, total), np.nan)
    aside = np.zeros(total, np.bool_)
    blocks: dict[str, list[str]] = {}
    for name in np.unique(one.signals):
        blocks.setdefault(model.blocks[one.names[name]], []).append(one.names[name])
    for names in blocks.values():
        plan = model.plan(key_of([(name, 1) for name in names], model.catalogue))
        layout = plan.layout
        place = {signal.name: k for k, signal in enumerate(plan.signals)}
        own = np.array([place.get(name, -1) for name in one.names])[one.signals]
        at = np.flatnonzero(own >= 0)
        k, times, values = own[at], one.times[at], one.values[at]
        codes = np.array([code_of(int(c), int(s)) for c, s in zip(k, one.sides[at], strict=True)], np.int64)
        marks = np.flatnonzero(np.diff(times, prepend=-np.inf) > 0)
        rows = empty(layout)[None, :].copy()
        seen, before = np.empty((len(at), len(SEEN))), np.empty((len(marks), rows.shape[1]))
        follow(layout, rows, np.zeros(len(at), np.int64), times, values, np.zeros(len(at)), codes, marks, seen, before)
        columns[2, at], columns[3, at], aside[at] = seen[:, 0], seen[:, 1], seen[:, 3] == SET_ASIDE
        looked, _ = look(layout, before, np.arange(len(marks)), times[marks])
        moment = np.searchsorted(marks, np.arange(len(at)), side="right") - 1
        columns[0, at], columns[1, at] = looked[moment, k, WORKING_MEAN], looked[moment, k, PREDICTIVE_SD]
    return Predictions(*columns, aside)


def alone(model: PopulationModel, catalogue: Catalogue) -> PopulationModel:
    """The catalogue's models, each signal for itself: the project's own per-signal filter."""
    population = model.population
    return PopulationModel(type(population)(name="alone", version=1, date="", holds_for=""), catalogue)


def each_alone(model: PopulationModel, people: Iterable[Recorded], wanted: Sequence[str]) -> list[list[Predictions]]:
    """The same model, but of each person only one signal at a time is seen: what the other signals are worth."""
    return [[predicted(model, one.only([name])) for name in wanted] for one in people]
