"""The numbers that a block's state consists of: one row of them, see :class:`Row`, by the names of a layout."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream_twin.twin.model import Layout, Names, Plan

STATS = (
    "last_at",
    "last_value",
    "last_z",
    "aside",
    "aside_z",
    "noise_count",
    "noise_sum",
    "unrest_count",
    "unrest_sum",
    "unrest_samples",
    "bias_sum",
    "repeats",
    "count",
    "chunk_sum",
    "chunk_mean",
)
"""What a state has of each channel: time, value and standardised innovation of its last sample; working value and innovation of a
sample set aside (innovation 0: none); a person's noise; surprises of the last two days: how many, sum of squares, how many
samples, sum, all but the samples by the time they stand for; how often the last value came again; how many standardised
innovations there were, the sum of those since the last full :data:`CHUNK`, and that one's mean."""
(
    LAST_AT,
    LAST_VALUE,
    LAST_Z,
    ASIDE,
    ASIDE_Z,
    NOISE_COUNT,
    NOISE_SUM,
    UNREST_COUNT,
    UNREST_SUM,
    UNREST_SAMPLES,
    BIAS_SUM,
    REPEATS,
    COUNT,
    CHUNK_SUM,
    CHUNK_MEAN,
) = range(len(STATS))
K = len(STATS)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Row(NamedTuple):
    """Where in a state is what, for a layout: mean (d,), upper triangle of the covariance row by row, time, statistics (c, K),
    contents of inputs (n,), and what the samples of each signal contributed to each driver (L, m)."""

    covariance: int
    at: int
    stats: int
    inputs: int
    contributions: int
    width: int

    @classmethod
    def of(cls, layout: Layout) -> "Row":
        return cls.sized(
            len(layout.rates), len(layout.means), len(layout.channel_signal), len(layout.input_rates), layout.drivers
        )

    @classmethod
    def sized(cls, d: int, signals: int, channels: int, inputs: int, drivers: int) -> "Row":
        at = d + d * (d + 1) // 2
        filled = at + 1 + K * channels
        return cls(d, at, at + 1, filled, filled + inputs, filled + inputs + drivers * signals)


def empty(layout: Layout) -> Floats:
    """State before the first sample, (width,)."""
    where = Row.of(layout)
    row = np.zeros(where.width)
    row[where.covariance : where.at] = layout.stationary
    row[where.at] = -np.inf
    stats = row[where.stats : where.inputs].reshape(-1, K)
    stats[:, LAST_AT], stats[:, LAST_VALUE] = -np.inf, np.nan
    return row


def code_of(channel: int, side: int = 0) -> int:
    """A sample's code; ``side``: -1 and 1 where the value is only known to be below or above what was written."""
    return 3 * channel + 1 + side


def input_code(number: int) -> int:
    """Code of an amount that goes into input ``number``."""
    return -1 - number


def converted(row: Floats, names: Names, plan: Plan) -> Floats:
    """A state whose numbers are called ``names``, in another layout: what both have is kept by name, the rest is new."""
    layout = plan.layout
    old, new, target = _parts(names), plan.names, empty(layout)
    where = Row.of(layout)
    kept = [(names.elements.index(name), place) for place, name in enumerate(new.elements) if name in names.elements]
    before, after = [pair[0] for pair in kept], [pair[1] for pair in kept]
    fresh = [place for place in range(plan.d) if place not in after]
    target[after] = row[before]
    full = _full(layout.stationary, plan.d)
    full[np.ix_(fresh, after)] = full[np.ix_(after, fresh)] = 0.0  # of a momentum that comes to what is known better than usual
    full[np.ix_(after, after)] = _full(row[old.covariance : old.at], len(names.elements))[np.ix_(before, before)]
    target[where.covariance : where.at] = full[np.triu_indices(plan.d)]
    target[where.at] = row[old.at]
    for start, width, of, others in (
        (where.stats, K, new.channels, names.channels),
        (where.inputs, 1, new.inputs, names.inputs),
    ):
        begin = old.stats if width == K else old.inputs
        for place, name in enumerate(of):
            if name in others:
                source = begin + width * others.index(name)
                target[start + width * place : start + width * (place + 1)] = row[source : source + width]
    for i, driver in enumerate(new.drivers):
        own = target[where.contributions + i * len(new.signals) :][: len(new.signals)]
        for k, signal in enumerate(new.signals):
            if driver in names.drivers and signal in names.signals:
                own[k] = row[old.contributions + names.drivers.index(driver) * len(names.signals) + names.signals.index(signal)]
        if driver in names.drivers and not set(names.signals) <= set(new.signals):
            own += (target[i] - own.sum()) / len(own)  # what signals that are gone contributed is shared out
    return target


def _parts(names: Names) -> Row:
    return Row.sized(len(names.elements), len(names.signals), len(names.channels), len(names.inputs), len(names.drivers))


def _full(upper: Floats, d: int) -> Floats:
    full = np.zeros((d, d))
    full[np.triu_indices(d)] = upper
    symmetric: Floats = full + np.triu(full, 1).T
    return symmetric
