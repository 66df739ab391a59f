"""The Kalman filter, compiled: sample after sample, block after block, the same bits whatever the batch.

The state of a block has the elements of its :class:`~stream_twin.twin.model.Layout`. Every element is an Ornstein-Uhlenbeck
process with rate ``r`` (1/s) and the elements share a stationary covariance ``S``, so with ``f = exp(-r * gap)`` prediction is
exact for any gap, elementwise, and never diverges:

    x' = f * x        P' = S + f f^T * (P - S)

Who is silent returns to the population. ``predict(a)`` then ``predict(b)`` equals ``predict(a + b)`` to rounding. All coupling
sits in how a sample reads the elements, so an element that no sample has read yet stays independent of the others, to the bit:
a state can be extended at any time as if the element had been there from the start.

Compiled by Numba, without its fast mathematics. A state is one row of numbers, see :class:`Row`.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stream_twin.twin.model import COSINE, COSINE2, DAY_S, INPUT, SINE, SINE2, Layout, Names, Plan

IMPLAUSIBLE = 5.0
"""An innovation beyond so many standard deviations is set aside until the next one agrees with it."""
ACCEPTED = 2.0
"""When it does, the signal's own elements get as uncertain as makes an innovation of this many standard deviations of it."""
FENCE = 5.0
"""A sample beyond so many standard deviations of what is predicted is worth a look at once."""
NOISE_MEMORY = 0.99
"""What a sample's squared residual still counts for in a person's noise when the next comes: about the last 100 count."""
LEAST_NOISE, MOST_NOISE = 0.1, 10.0
"""Bounds of a person's noise, as a ratio of the population's variance."""
UNREST_S = 48 * 3600.0
"""Time constant with which surprises are forgotten."""
UNREST_STEP_S = 3600.0
"""Surprises count by the time they stand for, at most this: else who is measured each minute would be another than each hour."""
CLIP = 4.0
"""A surprise beyond counts as this one in a channel's statistics: an artefact is no unrest."""
COUNTS_S = 3600.0
"""A device that has spoken within so many seconds counts for an input; further devices that count the same do not."""
CHUNK = 16
"""Standardised innovations of which the mean is looked at, for drift."""
LONGEST_GAP_S = 1e12
"""Of a block without samples."""
SHOWN_DIGITS = 5

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

USED, SET_ASIDE, CHANGE, CENSORED, FROZEN = range(5)
"""What became of a sample."""
SEEN = ("mean", "sd", "z", "fate")
"""Columns that :func:`follow` gives of each sample: what was predicted for it, on the working scale; innovation in standard
deviations; what became of it. NaN where it was retracted."""

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


_jit = numba.njit(cache=True, error_model="numpy", nogil=True)  # a heartbeat must not wait for a restore


@_jit
def to_working(scale: Floats, value: float) -> float:
    if scale[0] == 1.0:
        return math.log(max(value, float(scale[2])))
    if scale[0] == 2.0:
        return -math.log(max(scale[1] - value, scale[2]))
    return value


@_jit
def from_working(scale: Floats, working: float) -> float:
    if scale[0] == 1.0:
        return math.exp(min(working, 700.0))
    if scale[0] == 2.0:
        return float(scale[1]) - math.exp(min(-working, 700.0))
    return working


@_jit
def _predict(layout: Layout, row: Floats, gap: float, mean: Floats, covariance: Floats, f: Floats) -> None:
    """Mean (d,) and upper triangle of the covariance after ``gap`` seconds; ``f`` (d,) is what is left of each element."""
    d = len(layout.rates)
    stationary = layout.stationary
    if gap == 0.0:
        f[:] = 1.0
        mean[:] = row[:d]
        covariance[:] = row[d : d + len(covariance)]
        return
    for i in range(d):
        f[i] = math.exp(-layout.rates[i] * gap)
        mean[i] = row[i] * f[i]
    k = 0
    for i in range(d):  # line by line, in slices, which the compiler turns into vector instructions
        left, n = f[i], d - i
        line, usual, known, f_rest = covariance[k : k + n], stationary[k : k + n], row[d + k : d + k + n], f[i:]
        for j in range(n):
            line[j] = usual[j] + (left * f_rest[j]) * (known[j] - usual[j])
        k += n


@_jit
def _read(layout: Layout, k: int, at: float, inputs: Floats, h: Floats) -> float:
    """How a sample of signal ``k`` at ``at``, seconds, reads the elements: coefficients of its readings into ``h``.

    -> What is expected of it with all elements at 0.
    """
    phase = (2 * math.pi / DAY_S) * (at % DAY_S)
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        form, value = layout.reads_form[r], layout.reads_value[r]
        if form == COSINE:
            value *= math.cos(phase)
        elif form == SINE:
            value *= math.sin(phase)
        elif form == COSINE2:
            value *= math.cos(2.0 * phase)
        elif form == SINE2:
            value *= math.sin(2.0 * phase)
        elif form >= INPUT:
            value *= inputs[form - INPUT]
        h[r] = value
    expected = float(layout.means[k])
    for j in range(len(inputs)):
        expected += layout.effects[k, j] * inputs[j]
    return expected


@_jit
def _project(layout: Layout, k: int, covariance: Floats, h: Floats, ph: Floats) -> float:
    """``P h`` into ``ph`` (d,), of the upper triangle; -> ``h^T P h``."""
    start, end = layout.reads_start[k], layout.reads_start[k + 1]
    d = len(ph)
    ph[:] = 0.0
    for r in range(start, end):
        element, value = layout.reads_element[r], h[r]
        at = element
        for i in range(element):
            ph[i] += value * covariance[at]
            at += d - i - 1
        rest, line = ph[element:], covariance[at : at + d - element]
        for i in range(d - element):
            rest[i] += value * line[i]
    variance = 0.0
    for r in range(start, end):
        variance += h[r] * ph[layout.reads_element[r]]
    return max(variance, 0.0)


@_jit
def _cumulative(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2.0))


@_jit
def truncated(high: float) -> tuple[float, float]:
    """Mean and variance of a standard normal variable of which only ``x <= high`` is known."""
    if high < -25.0:  # asymptotic series of Mills' ratio, Abramowitz and Stegun 26.2.12: the closed form cancels
        small = 1.0 / (high * high)
        return high * (1.0 + small * (1.0 - small * (2.0 - 10.0 * small))), small * (1.0 - small * (6.0 - 50.0 * small))
    mean = -math.exp(-0.5 * high * high) / (math.sqrt(2.0 * math.pi) * _cumulative(high))
    return mean, 1.0 + mean * (high - mean)


@_jit
def _noise(stats: Floats, prior: float) -> float:
    """A person's noise as a ratio of the population's variance."""
    if not math.isfinite(prior):
        return 1.0
    return float(min(max((prior + stats[NOISE_SUM]) / (prior + stats[NOISE_COUNT]), LEAST_NOISE), MOST_NOISE))


@_jit
def _take_z(stats: Floats, at: float, z: float) -> None:
    kept, weight = 0.0, 1.0
    if stats[UNREST_COUNT] > 0.0:
        gap = max(at - stats[LAST_AT], 0.0)
        kept, weight = math.exp(-gap / UNREST_S), min(gap / UNREST_STEP_S, 1.0)
    clipped = min(max(z, -CLIP), CLIP)
    stats[UNREST_COUNT] = kept * stats[UNREST_COUNT] + weight
    stats[UNREST_SAMPLES] = kept * stats[UNREST_SAMPLES] + 1.0
    stats[UNREST_SUM] = kept * stats[UNREST_SUM] + weight * clipped * clipped
    stats[BIAS_SUM] = kept * stats[BIAS_SUM] + weight * clipped
    stats[COUNT] += 1.0
    stats[CHUNK_SUM] += z
    if stats[COUNT] % CHUNK == 0.0:
        stats[CHUNK_MEAN], stats[CHUNK_SUM] = stats[CHUNK_SUM] / CHUNK, 0.0
    stats[LAST_Z] = z


@_jit
def follow(
    layout: Layout,
    rows: Floats,
    slots: Ints,
    times: Floats,
    values: Floats,
    ages: Floats,
    codes: Ints,
    marks: Ints,
    seen: Floats,
    before: Floats,
) -> None:
    """Take samples into states of one layout, one after another.

    An innovation of more than :data:`IMPLAUSIBLE` standard deviations is set aside, unless the sample before it of the same
    channel was set aside too and is nearer to it than to what was predicted: then it is a change, and is believed. A sample that
    is censored updates by the moments of the truncated normal distribution. With ``tail`` degrees of freedom a surprising sample
    is trusted as Student's t has it. With ``noise_tail`` its noise is, and nothing is set aside: such a signal really jumps. A
    person's noise is learnt as in Sarkka and Nummenmaa, IEEE Trans. Autom. Control 54 (2009) 596.

    Args:
        rows: (N, width), changed in place.
        slots, times, values, ages, codes: (M,), which row; when, seconds; canonical unit, NaN is passed over; how much older it
            is than its time says, seconds; see :func:`code_of` and :func:`input_code`.
        marks: numbers of the samples, increasing, before which the row is copied.
        seen: (M, len(SEEN)), filled. before: (len(marks), width), filled with these copies.
    """
    d, m = len(layout.rates), len(layout.means)
    where_at = d + d * (d + 1) // 2
    where_stats = where_at + 1
    where_inputs = where_stats + K * len(layout.channel_signal)
    where_contributions = where_inputs + len(layout.input_rates)
    mean, covariance, f, ph = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d), np.empty(d)
    h = np.empty(len(layout.reads_value))
    mark = 0
    for n in range(len(slots)):
        row = rows[slots[n]]
        if mark < len(marks) and marks[mark] == n:
            before[mark] = row
            mark += 1
        if math.isnan(values[n]):
            seen[n] = np.nan
            continue
        at, code = times[n], codes[n]
        gap = min(max(at - row[where_at], 0.0), LONGEST_GAP_S)
        inputs = row[where_inputs:where_contributions]
        if gap > 0.0:
            for j in range(len(inputs)):
                inputs[j] *= math.exp(-layout.input_rates[j] * gap)
        if code < 0:
            _predict(layout, row, gap, mean, covariance, f)
            _store(layout, row, mean, covariance, f, at)
            j = -1 - code
            amount = values[n] * math.exp(-layout.input_rates[j] * ages[n])
            inputs[j] = amount if layout.input_levels[j] > 0.0 else inputs[j] + amount
            seen[n] = np.nan
            continue
        channel, side = code // 3, code % 3 - 1
        k = layout.channel_signal[channel]
        stats = row[where_stats + K * channel : where_stats + K * channel + K]
        _predict(layout, row, gap, mean, covariance, f)
        expected = _read(layout, k, at, inputs, h)
        start, end = layout.reads_start[k], layout.reads_start[k + 1]
        for r in range(start, end):
            expected += h[r] * mean[layout.reads_element[r]]
        known = _project(layout, k, covariance, h, ph)
        noise = layout.noise[k] * _noise(stats, layout.prior_count[k])
        if ages[n] > 0.0:  # what the signal may have done since
            for r in range(start, end):
                i = layout.reads_element[r]
                left = math.exp(-2.0 * layout.rates[i] * ages[n])
                noise += h[r] * h[r] * _variance(layout, i) * (1.0 - left)
        variance = known + noise
        scale = layout.scale[k]
        working = to_working(scale, values[n])
        error = working - expected
        sd = math.sqrt(variance)
        z = error / sd
        low_limit, high_limit = layout.limits[k, 0], layout.limits[k, 1]
        fate = USED
        below = side < 0 or (side == 0 and values[n] <= low_limit)
        censored = side != 0 or below or values[n] >= high_limit
        if censored and (z > -IMPLAUSIBLE if below else z < IMPLAUSIBLE):  # else it is as doubtful as a value there would be
            fate = CENSORED
            shift, left = truncated(z if below else -z)
            z = shift if below else -shift
            error = z * sd
            trusted, shrink = variance, (1.0 - left) / variance
            stats[ASIDE_Z] = 0.0
        else:
            repeated = values[n] == stats[LAST_VALUE]
            stats[REPEATS] = stats[REPEATS] + 1.0 if repeated else 0.0
            trusted = variance
            if stats[REPEATS] >= layout.frozen_after[k]:
                fate = FROZEN
            elif abs(z) > IMPLAUSIBLE and not math.isfinite(layout.noise_tail[k]):
                agrees = stats[ASIDE_Z] * z > 0.0 and abs(working - stats[ASIDE]) < 0.5 * abs(error)
                fate = CHANGE if agrees else SET_ASIDE
            else:
                nu, noise_nu = layout.tail[k], layout.noise_tail[k]
                if math.isfinite(noise_nu):
                    noise *= max(1.0, (noise_nu + z * z) / (noise_nu + 1.0))
                    trusted = known + noise
                if math.isfinite(nu):
                    trusted *= max(1.0, (nu + z * z) / (nu + 1.0))
            if fate == SET_ASIDE:
                stats[ASIDE], stats[ASIDE_Z] = working, z
            else:
                stats[ASIDE_Z] = 0.0
            if fate == CHANGE:
                _widen(layout, k, error * error / (ACCEPTED * ACCEPTED) - variance, covariance)
                known = _project(layout, k, covariance, h, ph)
                trusted = known + noise
            shrink = 1.0 / trusted
        if fate in (SET_ASIDE, FROZEN):
            _store(layout, row, mean, covariance, f, at)
        else:
            c = 0
            gain = error / trusted
            for i in range(d):
                row[i] = mean[i] + ph[i] * gain
                scaled = ph[i] * shrink
                into, line, rest = row[d + c : d + c + d - i], covariance[c : c + d - i], ph[i:]
                for j in range(d - i):
                    into[j] = line[j] - scaled * rest[j]
                c += d - i
            row[where_at] = at
            for i in range(layout.drivers):
                for s in range(m):
                    row[where_contributions + i * m + s] *= f[i]
                row[where_contributions + i * m + k] += ph[i] * gain
            if fate == USED and math.isfinite(layout.prior_count[k]):
                share = noise / trusted
                residual = min(error * error, CLIP * CLIP * variance) * share * share + known * share
                stats[NOISE_COUNT] = NOISE_MEMORY * stats[NOISE_COUNT] + 1.0
                stats[NOISE_SUM] = NOISE_MEMORY * stats[NOISE_SUM] + residual / layout.noise[k]
        if fate != FROZEN:
            _take_z(stats, at, z)
        stats[LAST_AT], stats[LAST_VALUE] = at - ages[n], values[n]
        into = layout.input_of[k]
        if into >= 0 and not _heard(layout, row, channel, at - ages[n]):
            amount = (values[n] - layout.input_offsets[into]) * math.exp(-layout.input_rates[into] * ages[n])
            inputs[into] = amount if layout.input_levels[into] > 0.0 else inputs[into] + amount
        seen[n, 0], seen[n, 1], seen[n, 2], seen[n, 3] = expected, sd, z, fate


@_jit
def _heard(layout: Layout, row: Floats, channel: int, at: float) -> bool:
    """Whether another device before this one counts the same: what two count went in once."""
    start = len(layout.rates) * (len(layout.rates) + 3) // 2 + 1
    other = channel - 1
    while other >= 0 and layout.channel_signal[other] == layout.channel_signal[channel]:
        if at - row[start + K * other + LAST_AT] < COUNTS_S:
            return True
        other -= 1
    return False


@_jit
def _variance(layout: Layout, i: int) -> float:
    """Stationary variance of element ``i``."""
    return float(layout.stationary[_diagonal(len(layout.rates), i)])


@_jit
def _diagonal(d: int, i: int) -> int:
    """Where an element's variance is in the upper triangle."""
    return i * d - i * (i - 1) // 2


@_jit
def _store(layout: Layout, row: Floats, mean: Floats, covariance: Floats, f: Floats, at: float) -> None:
    """What was predicted, without an update."""
    d, m = len(layout.rates), len(layout.means)
    row[:d] = mean
    row[d : d + len(covariance)] = covariance
    row[d + len(covariance)] = at
    end = len(row) - layout.drivers * m
    for i in range(layout.drivers):
        for s in range(m):
            row[end + i * m + s] *= f[i]


@_jit
def _widen(layout: Layout, k: int, extra: float, covariance: Floats) -> None:
    """Make a change of signal ``k`` possible: ``extra`` variance for its own elements, by what is usual for each."""
    total = 0.0
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        total += layout.own[r] * _variance(layout, layout.reads_element[r])
    if total <= 0.0 or extra <= 0.0:
        return
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        i = layout.reads_element[r]
        covariance[_diagonal(len(layout.rates), i)] += extra * layout.own[r] * _variance(layout, i) / total


LOOKS = (
    "level",
    "low",
    "high",
    "baseline",
    "deviation",
    "deviation_sd",
    "working_mean",
    "working_sd",
    "predictive_sd",
    "fence_low",
    "fence_high",
    "surprise",
    "noise",
    "unrest",
    "sparse",
    "bias",
    "frozen",
    "aside",
    "shown_level",
    "shown_low",
    "shown_high",
    "shown_baseline",
)
"""Columns of :func:`look`, see :class:`stream_twin.twin.belief.SignalBelief`. ``predictive_sd`` is of a sample, on the working
scale; beyond ``fence`` a sample is worth a look at once; what is shown has :data:`SHOWN_DIGITS` significant digits."""
SHOWN = LOOKS.index("shown_level")


@_jit
def look(layout: Layout, rows: Floats, slots: Ints, at: Floats) -> tuple[Floats, Floats]:
    """What is believed of the blocks ``slots`` (N,) at ``at`` (N,), or at their last sample if that is later.

    -> (N, m, LOOKS) of each signal, and (N, L, 2 + m) of each driver: mean, standard deviation, and what the samples of each
    signal contributed to the mean; these add up to it.
    """
    d, m = len(layout.rates), len(layout.means)
    where_at = d + d * (d + 1) // 2
    where_stats = where_at + 1
    channels = len(layout.channel_signal)
    where_inputs = where_stats + K * channels
    where_contributions = where_inputs + len(layout.input_rates)
    mean, covariance, f, ph = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d), np.empty(d)
    h, around = np.empty(len(layout.reads_value)), np.empty(len(layout.reads_value))
    inputs = np.empty(len(layout.input_rates))
    looked, drivers = np.empty((len(slots), m, len(LOOKS))), np.empty((len(slots), layout.drivers, 2 + m))
    for n in range(len(slots)):
        row = rows[slots[n]]
        moment = max(at[n], row[where_at])
        gap = min(moment - row[where_at], LONGEST_GAP_S)
        _predict(layout, row, gap, mean, covariance, f)
        for j in range(len(inputs)):
            inputs[j] = row[where_inputs + j] * math.exp(-layout.input_rates[j] * gap)
        for i in range(layout.drivers):
            drivers[n, i, 0] = mean[i]
            drivers[n, i, 1] = math.sqrt(max(covariance[_diagonal(d, i)], 0.0))
            for s in range(m):
                drivers[n, i, 2 + s] = row[where_contributions + i * m + s] * f[i]
        channel = 0
        for k in range(m):
            newest = channel  # of its channels, the one that spoke last
            while channel < channels and layout.channel_signal[channel] == k:
                if row[where_stats + K * channel + LAST_AT] >= row[where_stats + K * newest + LAST_AT]:
                    newest = channel
                channel += 1
            stats = row[where_stats + K * newest : where_stats + K * newest + K]
            level = _read(layout, k, moment, inputs, h)
            start, end = layout.reads_start[k], layout.reads_start[k + 1]
            baseline, apart = float(layout.means[k]), 0.0
            for r in range(start, end):
                part = h[r] * mean[layout.reads_element[r]]
                level += part
                around[r] = h[r] * layout.around[r]
                if layout.around[r] > 0.0:
                    apart += part
                elif layout.reads_form[r] < INPUT:  # what inputs do is not usual, neither to all nor to this person
                    baseline += part
            variance = _project(layout, k, covariance, h, ph)
            apart_sd = math.sqrt(_project(layout, k, covariance, around, ph))
            spread = math.sqrt(max(_project(layout, k, layout.stationary, around, ph), 1e-12))
            ratio = _noise(stats, layout.prior_count[k])
            predictive_sd = math.sqrt(variance + layout.noise[k] * ratio)
            scale, out = layout.scale[k], looked[n, k]
            out[0] = from_working(scale, level)
            out[1] = max(from_working(scale, level - layout.reach[k] * predictive_sd), layout.plausible[k, 0])
            out[2] = min(from_working(scale, level + layout.reach[k] * predictive_sd), layout.plausible[k, 1])
            out[3] = from_working(scale, baseline)
            out[4] = apart / spread
            out[5] = apart_sd / spread
            out[6] = level
            out[7] = math.sqrt(variance)
            out[8] = predictive_sd
            out[9] = from_working(scale, level - FENCE * predictive_sd)
            out[10] = from_working(scale, level + FENCE * predictive_sd)
            out[11] = stats[LAST_Z]
            out[12] = ratio
            count = stats[UNREST_COUNT]
            out[13] = stats[UNREST_SUM] / count if count > 0.0 else np.nan
            out[14] = count / stats[UNREST_SAMPLES] if count > 0.0 else 1.0
            out[15] = stats[BIAS_SUM] / math.sqrt(count) if count > 0.0 else 0.0
            out[16] = 1.0 if stats[REPEATS] >= layout.frozen_after[k] else 0.0
            out[17] = stats[ASIDE_Z]
            for c in range(4):
                out[18 + c] = _rounded(out[c])
    return looked, drivers


@_jit
def _rounded(value: float) -> float:
    """To :data:`SHOWN_DIGITS` significant digits: enough for people, a third of the bytes."""
    if abs(value) < 1e-300 or not math.isfinite(value):
        return value
    places = SHOWN_DIGITS - 1 - math.floor(math.log10(abs(value)))
    if places >= 0:
        power = 10.0**places
        return float(np.rint(value * power) / power)
    power = 10.0**-places
    return float(np.rint(value / power) * power)


@_jit
def advance(layout: Layout, row: Floats, at: float) -> None:
    """Predict a state to ``at``, seconds, in place."""
    d = len(layout.rates)
    where_at = d + d * (d + 1) // 2
    where_inputs = where_at + 1 + K * len(layout.channel_signal)
    mean, covariance, f = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d)
    gap = min(max(at - row[where_at], 0.0), LONGEST_GAP_S)
    _predict(layout, row, gap, mean, covariance, f)
    for j in range(len(layout.input_rates)):
        row[where_inputs + j] *= math.exp(-layout.input_rates[j] * gap)
    _store(layout, row, mean, covariance, f, max(at, float(row[where_at])))
