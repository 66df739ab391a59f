"""The Kalman filter, compiled: sample after sample, block after block, the same bits whatever the batch.

The state of a block has the elements of its :class:`~stream_twin.twin.model.Layout`. Every element is an Ornstein-Uhlenbeck
process with rate ``r`` (1/s) and the elements share a stationary covariance ``S``, so with ``f = exp(-r * gap)`` prediction is
exact for any gap, elementwise, and never diverges:

    x' = f * x        P' = S + f f^T * (P - S)

Who is silent returns to the population. ``predict(a)`` then ``predict(b)`` equals ``predict(a + b)`` to rounding. All coupling
sits in how a sample reads the elements, so an element that no sample has read yet stays independent of the others, to the bit:
a state can be extended at any time as if the element had been there from the start.

Compiled by Numba, without its fast mathematics. Every use of a layout's array, and every slice, counts its owner's references,
which takes as long as ten multiplications: so loops use local names, and indices without a sign, which need no check.
"""

import math

import numba
import numpy as np

from stream_twin.twin.model import COSINE, COSINE2, DAY_S, INPUT, SINE, SINE2, Layout
from stream_twin.twin.state import (
    ASIDE,
    ASIDE_Z,
    BIAS_SUM,
    CHUNK_MEAN,
    CHUNK_SUM,
    COUNT,
    LAST_AT,
    LAST_VALUE,
    LAST_Z,
    NOISE_COUNT,
    NOISE_SUM,
    REPEATS,
    UNREST_COUNT,
    UNREST_SAMPLES,
    UNREST_SUM,
    Floats,
    Ints,
    K,
)

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

USED, SET_ASIDE, CHANGE, CENSORED, FROZEN = range(5)
"""What became of a sample."""
SEEN = ("mean", "sd", "z", "fate")
"""Columns that :func:`follow` gives of each sample: what was predicted for it, on the working scale; innovation in standard
deviations; what became of it. NaN where it was retracted."""

_jit = numba.njit(cache=True, error_model="numpy", nogil=True)  # a heartbeat must not wait for a restore


@_jit
def _to_working(kind: float, ceiling: float, least: float, value: float) -> float:
    if kind == 1.0:
        return math.log(max(value, least))
    if kind == 2.0:
        return -math.log(max(ceiling - value, least))
    return value


@_jit
def _from_working(kind: float, ceiling: float, working: float) -> float:
    if kind == 1.0:
        return math.exp(min(working, 700.0))
    if kind == 2.0:
        return ceiling - math.exp(min(-working, 700.0))
    return working


@_jit
def to_working(scale: Floats, value: float) -> float:
    """A value on the working scale; ``scale``: (3,), see :func:`stream_twin.twin.model.scale`."""
    return float(_to_working(scale[0], scale[1], scale[2], value))


@_jit
def from_working(scale: Floats, working: float) -> float:
    """Back to the canonical unit."""
    return float(_from_working(scale[0], scale[1], working))


@_jit
def _predict(rates: Floats, stationary: Floats, row: Floats, gap: float, mean: Floats, covariance: Floats, f: Floats) -> None:
    """Mean (d,) and upper triangle of the covariance after ``gap`` seconds; ``f`` (d,) is what is left of each element."""
    d, k = np.uint64(len(rates)), np.uint64(0)
    if gap == 0.0:
        for i in range(d):
            f[i], mean[i] = 1.0, row[i]
        for i in range(np.uint64(len(covariance))):
            covariance[i] = row[d + i]
        return
    for i in range(d):
        f[i] = math.exp(-rates[i] * gap)
        mean[i] = row[i] * f[i]
    for i in range(d):
        left = f[i]
        for j in range(d - i):
            usual = stationary[k + j]
            covariance[k + j] = usual + (left * f[i + j]) * (row[d + k + j] - usual)
        k += d - i


@_jit
def _read(forms: Ints, values: Floats, start: int, end: int, at: float, inputs: Floats, h: Floats) -> None:
    """How a sample at ``at``, seconds, reads the elements: coefficients of readings ``start`` to ``end`` into ``h``."""
    phase = (2 * math.pi / DAY_S) * (at % DAY_S)
    for r in range(start, end):
        form, value = forms[r], values[r]
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


@_jit
def _by_inputs(effects: Floats, k: int, inputs: Floats) -> float:
    """What the inputs add to signal ``k``."""
    total = 0.0
    for j in range(len(inputs)):
        total += effects[k, j] * inputs[j]
    return total


@_jit
def _project(elements: Ints, start: int, end: int, covariance: Floats, h: Floats, ph: Floats) -> float:
    """``P h`` into ``ph`` (d,), of the upper triangle; -> ``h^T P h``."""
    d = np.uint64(len(ph))
    for i in range(d):
        ph[i] = 0.0
    for r in range(start, end):
        element, value = np.uint64(elements[r]), h[r]
        at = element
        for i in range(element):
            ph[i] += value * covariance[at]
            at += d - i - np.uint64(1)
        for i in range(d - element):
            ph[element + i] += value * covariance[at + i]
    variance = 0.0
    for r in range(start, end):
        variance += h[r] * ph[elements[r]]
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
def _noise(total: float, count: float, prior: float) -> float:
    """A person's noise as a ratio of the population's variance."""
    if not math.isfinite(prior):
        return 1.0
    return min(max((prior + total) / (prior + count), LEAST_NOISE), MOST_NOISE)


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
    rates, stationary, starts, elements = layout.rates, layout.stationary, layout.reads_start, layout.reads_element
    forms, coefficients, means, noises, scales = (
        layout.reads_form,
        layout.reads_value,
        layout.means,
        layout.noise,
        layout.scale,
    )
    tails, noise_tails, prior_counts, limits = layout.tail, layout.noise_tail, layout.prior_count, layout.limits
    frozen_after, channel_signal, effects = layout.frozen_after, layout.channel_signal, layout.effects
    input_rates, input_levels, input_of = layout.input_rates, layout.input_levels, layout.input_of
    d, m, drivers = len(rates), len(means), layout.drivers
    where_at = d + d * (d + 1) // 2
    where_stats = where_at + 1
    where_inputs = where_stats + K * len(channel_signal)
    where_contributions = where_inputs + len(input_rates)
    mean, covariance, f, ph = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d), np.empty(d)
    h = np.empty(len(coefficients))
    mark = 0
    for n in range(len(slots)):
        row = rows[slots[n]]
        if mark < len(marks) and marks[mark] == n:
            before[mark] = row
            mark += 1
        if math.isnan(values[n]):
            seen[n] = np.nan
            continue
        at, code, age = times[n], codes[n], ages[n]
        gap = min(max(at - row[where_at], 0.0), LONGEST_GAP_S)
        inputs = row[where_inputs:where_contributions]
        if gap > 0.0:
            for j in range(len(inputs)):
                inputs[j] *= math.exp(-input_rates[j] * gap)
        _predict(rates, stationary, row, gap, mean, covariance, f)
        if code < 0:
            _store(row, mean, covariance, f, at, drivers, m)
            j = -1 - code
            amount = values[n] * math.exp(-input_rates[j] * age)
            inputs[j] = amount if input_levels[j] > 0.0 else inputs[j] + amount
            seen[n] = np.nan
            continue
        channel, side = code // 3, code % 3 - 1
        k = channel_signal[channel]
        stats = row[where_stats + K * channel : where_stats + K * channel + K]
        start, end = starts[k], starts[k + 1]
        _read(forms, coefficients, start, end, at, inputs, h)
        expected = means[k] + _by_inputs(effects, k, inputs)
        for r in range(start, end):
            expected += h[r] * mean[elements[r]]
        known = _project(elements, start, end, covariance, h, ph)
        noise = noises[k] * _noise(stats[NOISE_SUM], stats[NOISE_COUNT], prior_counts[k])
        if age > 0.0:  # what the signal may have done since
            for r in range(start, end):
                i = elements[r]
                left = math.exp(-2.0 * rates[i] * age)
                noise += h[r] * h[r] * stationary[_diagonal(d, i)] * (1.0 - left)
        variance = known + noise
        working = _to_working(scales[k, 0], scales[k, 1], scales[k, 2], values[n])
        error = working - expected
        sd = math.sqrt(variance)
        z = error / sd
        fate = USED
        below = side < 0 or (side == 0 and values[n] <= limits[k, 0])
        censored = side != 0 or below or values[n] >= limits[k, 1]
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
            if stats[REPEATS] >= frozen_after[k]:
                fate = FROZEN
            elif abs(z) > IMPLAUSIBLE and not math.isfinite(noise_tails[k]):
                agrees = stats[ASIDE_Z] * z > 0.0 and abs(working - stats[ASIDE]) < 0.5 * abs(error)
                fate = CHANGE if agrees else SET_ASIDE
            else:
                nu, noise_nu = tails[k], noise_tails[k]
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
                known = _project(elements, start, end, covariance, h, ph)
                trusted = known + noise
            shrink = 1.0 / trusted
        if fate in (SET_ASIDE, FROZEN):
            _store(row, mean, covariance, f, at, drivers, m)
        else:
            gain = error / trusted
            _update(row, mean, covariance, ph, gain, shrink)
            row[where_at] = at
            for i in range(drivers):
                for s in range(m):
                    row[where_contributions + i * m + s] *= f[i]
                row[where_contributions + i * m + k] += ph[i] * gain
            if fate == USED and math.isfinite(prior_counts[k]):
                share = noise / trusted
                residual = min(error * error, CLIP * CLIP * variance) * share * share + known * share
                stats[NOISE_COUNT] = NOISE_MEMORY * stats[NOISE_COUNT] + 1.0
                stats[NOISE_SUM] = NOISE_MEMORY * stats[NOISE_SUM] + residual / noises[k]
        if fate != FROZEN:
            _take_z(stats, at, z)
        stats[LAST_AT], stats[LAST_VALUE] = at - age, values[n]
        into = input_of[k]
        if into >= 0 and not _heard(channel_signal, row, where_stats, channel, at - age):
            amount = (values[n] - layout.input_offsets[into]) * math.exp(-input_rates[into] * age)
            inputs[into] = amount if input_levels[into] > 0.0 else inputs[into] + amount
        seen[n, 0], seen[n, 1], seen[n, 2], seen[n, 3] = expected, sd, z, fate


@_jit
def _update(row: Floats, mean: Floats, covariance: Floats, ph: Floats, gain: float, shrink: float) -> None:
    """Mean and covariance after a sample, into the row."""
    d, c = np.uint64(len(mean)), np.uint64(0)
    for i in range(d):
        row[i] = mean[i] + ph[i] * gain
        scaled = ph[i] * shrink
        for j in range(d - i):
            row[d + c + j] = covariance[c + j] - scaled * ph[i + j]
        c += d - i


@_jit
def _heard(channel_signal: Ints, row: Floats, where_stats: int, channel: int, at: float) -> bool:
    """Whether another device before this one counts the same: what two count went in once."""
    other = channel - 1
    while other >= 0 and channel_signal[other] == channel_signal[channel]:
        if at - row[where_stats + K * other + LAST_AT] < COUNTS_S:
            return True
        other -= 1
    return False


@_jit
def _diagonal(d: int, i: int) -> int:
    """Where an element's variance is in the upper triangle."""
    return i * d - i * (i - 1) // 2


@_jit
def _store(row: Floats, mean: Floats, covariance: Floats, f: Floats, at: float, drivers: int, m: int) -> None:
    """What was predicted, without an update."""
    d, c = np.uint64(len(mean)), np.uint64(len(covariance))
    for i in range(d):
        row[i] = mean[i]
    for i in range(c):
        row[d + i] = covariance[i]
    row[d + c] = at
    end = len(row) - drivers * m
    for i in range(drivers):
        for s in range(m):
            row[end + i * m + s] *= f[i]


@_jit
def _widen(layout: Layout, k: int, extra: float, covariance: Floats) -> None:
    """Make a change of signal ``k`` possible: ``extra`` variance for its own elements, by what is usual for each."""
    total = 0.0
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        total += layout.own[r] * layout.stationary[_diagonal(len(layout.rates), layout.reads_element[r])]
    if total <= 0.0 or extra <= 0.0:
        return
    for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
        i = layout.reads_element[r]
        place = _diagonal(len(layout.rates), i)
        covariance[place] += extra * layout.own[r] * layout.stationary[place] / total


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
    rates, stationary, starts, elements = layout.rates, layout.stationary, layout.reads_start, layout.reads_element
    forms, coefficients, of_around, means = layout.reads_form, layout.reads_value, layout.around, layout.means
    noises, scales, prior_counts, reach = layout.noise, layout.scale, layout.prior_count, layout.reach
    plausible, frozen_after, channel_signal = layout.plausible, layout.frozen_after, layout.channel_signal
    effects, input_rates, drivers_count = layout.effects, layout.input_rates, layout.drivers
    d, m = len(rates), len(means)
    where_at = d + d * (d + 1) // 2
    where_stats = where_at + 1
    channels = len(channel_signal)
    where_inputs = where_stats + K * channels
    where_contributions = where_inputs + len(input_rates)
    mean, covariance, f, ph = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d), np.empty(d)
    h, around = np.empty(len(coefficients)), np.empty(len(coefficients))
    inputs = np.empty(len(input_rates))
    looked, drivers = np.empty((len(slots), m, len(LOOKS))), np.empty((len(slots), drivers_count, 2 + m))
    for n in range(len(slots)):
        row = rows[slots[n]]
        moment = max(at[n], row[where_at])
        gap = min(moment - row[where_at], LONGEST_GAP_S)
        _predict(rates, stationary, row, gap, mean, covariance, f)
        for j in range(len(inputs)):
            inputs[j] = row[where_inputs + j] * math.exp(-input_rates[j] * gap)
        for i in range(drivers_count):
            drivers[n, i, 0] = mean[i]
            drivers[n, i, 1] = math.sqrt(max(covariance[_diagonal(d, i)], 0.0))
            for s in range(m):
                drivers[n, i, 2 + s] = row[where_contributions + i * m + s] * f[i]
        channel = 0
        for k in range(m):
            newest = channel  # of its channels, the one that spoke last
            while channel < channels and channel_signal[channel] == k:
                if row[where_stats + K * channel + LAST_AT] >= row[where_stats + K * newest + LAST_AT]:
                    newest = channel
                channel += 1
            stats = row[where_stats + K * newest : where_stats + K * newest + K]
            start, end = starts[k], starts[k + 1]
            _read(forms, coefficients, start, end, moment, inputs, h)
            level = means[k] + _by_inputs(effects, k, inputs)
            baseline, apart = means[k], 0.0
            for r in range(start, end):
                part = h[r] * mean[elements[r]]
                level += part
                around[r] = h[r] * of_around[r]
                if of_around[r] > 0.0:
                    apart += part
                elif forms[r] < INPUT:  # what inputs do is not usual, neither to all nor to this person
                    baseline += part
            variance = _project(elements, start, end, covariance, h, ph)
            apart_sd = math.sqrt(_project(elements, start, end, covariance, around, ph))
            spread = math.sqrt(max(_project(elements, start, end, stationary, around, ph), 1e-12))
            ratio = _noise(stats[NOISE_SUM], stats[NOISE_COUNT], prior_counts[k])
            predictive_sd = math.sqrt(variance + noises[k] * ratio)
            scale, ceiling, out = scales[k, 0], scales[k, 1], looked[n, k]
            out[0] = _from_working(scale, ceiling, level)
            out[1] = max(_from_working(scale, ceiling, level - reach[k] * predictive_sd), plausible[k, 0])
            out[2] = min(_from_working(scale, ceiling, level + reach[k] * predictive_sd), plausible[k, 1])
            out[3] = _from_working(scale, ceiling, baseline)
            out[4] = apart / spread
            out[5] = apart_sd / spread
            out[6] = level
            out[7] = math.sqrt(variance)
            out[8] = predictive_sd
            out[9] = _from_working(scale, ceiling, level - FENCE * predictive_sd)
            out[10] = _from_working(scale, ceiling, level + FENCE * predictive_sd)
            out[11] = stats[LAST_Z]
            out[12] = ratio
            count = stats[UNREST_COUNT]
            out[13] = stats[UNREST_SUM] / count if count > 0.0 else np.nan
            out[14] = count / stats[UNREST_SAMPLES] if count > 0.0 else 1.0
            out[15] = stats[BIAS_SUM] / math.sqrt(count) if count > 0.0 else 0.0
            out[16] = 1.0 if stats[REPEATS] >= frozen_after[k] else 0.0
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
    d, drivers, m = len(layout.rates), layout.drivers, len(layout.means)
    where_at = d + d * (d + 1) // 2
    where_inputs = where_at + 1 + K * len(layout.channel_signal)
    mean, covariance, f = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d)
    gap = min(max(at - row[where_at], 0.0), LONGEST_GAP_S)
    _predict(layout.rates, layout.stationary, row, gap, mean, covariance, f)
    for j in range(len(layout.input_rates)):
        row[where_inputs + j] *= math.exp(-layout.input_rates[j] * gap)
    _store(row, mean, covariance, f, max(at, row[where_at]), drivers, m)
