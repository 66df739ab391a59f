"""What is believed of a patient at many moments of the past, from all samples in order of time. Pure.

Either as a twin would have it at each moment if nothing came late (the filter), or once everything, earlier and later, is known
(the fixed-interval smoother). Signals of different blocks are independent, so each block goes by itself.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from stream_twin.lane.patient import INPUT, Accepted
from stream_twin.twin import filter as kalman
from stream_twin.twin.model import Plan, PopulationModel, key_of
from stream_twin.twin.smoother import smooth
from stream_twin.twin.state import Row, code_of, empty, input_code

Floats = NDArray[np.float64]


@dataclass
class Trace:
    """Belief about one signal at the moments ``at`` (N,), in its canonical unit.

    ``low`` to ``high`` hold 90 % of what a sample would read, ``lower`` to ``upper`` 50 %. ``baseline``: usual for this person
    at this time of day.
    """

    at: Floats
    level: Floats
    low: Floats
    lower: Floats
    upper: Floats
    high: Floats
    baseline: Floats


@dataclass
class DriverTrace:
    """Belief about a latent driver, in its standard deviations in the population.

    ``contributions``: at the last moment that is not the future, what the samples of each signal have moved the mean by;
    they add up to it.
    """

    display: str
    at: Floats
    mean: Floats
    sd: Floats
    contributions: dict[str, float] = field(default_factory=dict)


@dataclass
class Retrospect:
    """``aside``: (signal, time) of samples that were set aside as implausible or frozen."""

    traces: dict[str, Trace] = field(default_factory=dict)
    drivers: dict[str, DriverTrace] = field(default_factory=dict)
    aside: set[tuple[str, float]] = field(default_factory=set)


def retrospect(
    model: PopulationModel, samples: Sequence[Accepted], moments: Floats, until: float, *, smoothed: bool
) -> Retrospect:
    """Beliefs at ``moments`` (N,), seconds, increasing; those after ``until`` are forecasts, which know of no sample after it.

    Args:
        samples: in order of time. smoothed: what came later is known as well.
    """
    made = Retrospect()
    known = [sample for sample in samples if sample.at <= until]
    heads = dict.fromkeys(model.blocks[sample.signal] for sample in known if sample.device != INPUT)
    for head in heads:
        _follow(model, head, known, moments, until, smoothed, made)
    return made


def _follow(
    model: PopulationModel,
    head: str,
    known: Sequence[Accepted],
    moments: Floats,
    until: float,
    smoothed: bool,
    made: Retrospect,
) -> None:
    worn: dict[str, set[str | None]] = {}
    for sample in known:
        if sample.device != INPUT and model.blocks[sample.signal] == head:
            worn.setdefault(sample.signal, set()).add(sample.device)
    devices = {  # by name, which is how a block orders their samples of one moment
        name: {device: number for number, device in enumerate(sorted(channels, key=lambda device: device or ""))}
        for name, channels in worn.items()
    }
    plan = model.plan(key_of(((name, len(channels)) for name, channels in devices.items()), model.catalogue))
    first = dict(zip((name for name, _ in plan.key), accumulate((count for _, count in plan.key), initial=0), strict=False))
    order = {name: number for number, (name, _) in enumerate(plan.key)} | {n: -1 - i for i, n in enumerate(plan.inputs)}
    samples = [s for s in known if s.signal in (plan.inputs if s.device == INPUT else devices)]
    samples.sort(key=lambda s: (s.at, order[s.signal], s.identity))  # those of one moment as a block has them
    codes = np.array(
        [
            input_code(plan.inputs.index(s.signal))
            if s.device == INPUT
            else code_of(first[s.signal] + devices[s.signal][s.device], s.side)
            for s in samples
        ],
        np.int64,
    )
    times, values = np.array([s.at for s in samples]), np.array([s.value for s in samples])
    ages = np.zeros(len(samples))
    rows, seen = _rows(plan, times, values, ages, codes, moments)
    if smoothed:
        past = moments[moments <= until]
        back = smooth(plan.layout, empty(plan.layout), times, values, ages, codes, past)
        rows[: len(past)] = _as_rows(plan, rows[: len(past)], past, back)
    looked, drivers = kalman.look(plan.layout, rows, np.arange(len(rows)), moments)
    for k, signal in enumerate(plan.signals):
        made.traces[signal.name] = _trace(plan, k, looked[:, k], moments)
    now = max(int(np.searchsorted(moments, until, side="right")) - 1, 0)
    for j, name in enumerate(plan.drivers):
        parts = {signal.name: float(part) for signal, part in zip(plan.signals, drivers[now, j, 2:], strict=True)}
        made.drivers[name] = DriverTrace(
            model.population.drivers[name].display, moments, drivers[:, j, 0], drivers[:, j, 1], parts
        )
    for sample, fate in zip(samples, seen[:, kalman.SEEN.index("fate")], strict=True):
        if fate in (kalman.SET_ASIDE, kalman.FROZEN):
            made.aside.add((sample.signal, sample.at))


def _rows(plan: Plan, times: Floats, values: Floats, ages: Floats, codes: Any, moments: Floats) -> tuple[Floats, Floats]:
    """States after the samples up to each moment, (N, width), and what became of the samples."""
    known = np.searchsorted(times, moments, side="right")
    marks = np.unique(known[known < len(times)])
    row = empty(plan.layout)[None, :]
    before, seen = np.empty((len(marks), row.shape[1])), np.empty((len(times), len(kalman.SEEN)))
    kalman.follow(plan.layout, row, np.zeros(len(times), np.int64), times, values, ages, codes, marks, seen, before)
    states = np.concatenate([before, row])
    at_moments: Floats = states[np.searchsorted(marks, known)]
    return at_moments, seen


def _as_rows(plan: Plan, rows: Floats, moments: Floats, back: Any) -> Floats:
    """Smoothed means and covariances as states of these moments; the rest of a state stays."""
    where, upper = Row.of(plan.layout), np.triu_indices(plan.d)
    made = rows.copy()
    made[:, : where.covariance] = back.mean
    made[:, where.covariance : where.at] = back.covariance[:, upper[0], upper[1]]
    made[:, where.at] = moments
    made[:, where.inputs : where.contributions] = back.inputs
    return made


def _trace(plan: Plan, k: int, looked: Floats, moments: Floats) -> Trace:
    column = {name: looked[:, number] for number, name in enumerate(kalman.LOOKS)}
    scale, half = plan.layout.scale[k], _half(plan.models[k].tail)

    def at(sds: float) -> Floats:
        """So many standard deviations from the level, but not where no value can be."""
        bounds = (kalman.from_working(scale, x) for x in column["working_mean"] + sds * column["predictive_sd"])
        clipped: Floats = np.clip(np.array(list(bounds)), *plan.layout.plausible[k])
        return clipped

    return Trace(moments, at(0.0), column["low"], at(-half), at(half), column["high"], column["baseline"])


def _half(tail: float) -> float:
    """Half the width of the central 50 % of a sample's predictive distribution, in its standard deviations."""
    return float(ndtri(0.75)) if math.isinf(tail) else float(stdtrit(tail, 0.75)) * math.sqrt((tail - 2) / tail)
