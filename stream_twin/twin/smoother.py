"""Retrospective view of one patient's block: what is believed of a moment once everything, earlier and later, is known.

Fixed-interval smoothing by the backward recursions of Bryson and Frazier, one scalar observation after another (de Jong,
Biometrika 76 (1989) 143): they give what the Rauch-Tung-Striebel recursions give and need no inverse of a covariance. The
forward pass is :func:`stream_twin.twin.filter.follow` itself. So a sample that it set aside says nothing here either, one that
it trusted less counts less, a change is as sudden, and a censored one is the normal observation that would have done the same.
"""

import math
from typing import NamedTuple

import numpy as np

from stream_twin.twin.filter import (
    ACCEPTED,
    CENSORED,
    CHANGE,
    FROZEN,
    LONGEST_GAP_S,
    SEEN,
    SET_ASIDE,
    _jit,
    _predict,
    _project,
    _read,
    _widen,
    follow,
    to_working,
    truncated,
)
from stream_twin.twin.model import Layout
from stream_twin.twin.state import Floats, Ints, K

SEGMENT = 256
"""Samples whose states are kept at once; of the others they are made again when it is their turn."""


class Smoothed(NamedTuple):
    """``mean`` (N, d) and ``covariance`` (N, d, d) of the layout's elements at each moment asked for; ``inputs`` (N, n), what is
    left in each input; ``seen`` (T, len(SEEN)): of each sample what :func:`~stream_twin.twin.filter.follow` gives.
    """

    mean: Floats
    covariance: Floats
    inputs: Floats
    seen: Floats


def smooth(layout: Layout, row: Floats, times: Floats, values: Floats, ages: Floats, codes: Ints, at: Floats) -> Smoothed:
    """Beliefs at some moments, from a state and all samples after it.

    Args:
        row: (width,), the state to begin with, :func:`~stream_twin.twin.filter.empty` or one that was kept; not changed.
        times, values, ages, codes: (T,), as ``follow`` wants them, ``times`` not decreasing and none before the state's.
        at: (N,) moments, not decreasing, seconds; none before the state's. Samples of the moment itself are known.
    """
    d, total = len(layout.rates), len(times)
    starts = np.arange(0, total, SEGMENT)
    rows, kept = row[None, :].copy(), np.empty((len(starts), len(row)))
    seen = np.empty((total, len(SEEN)))
    follow(layout, rows, np.zeros(total, np.int64), times, values, ages, codes, starts, seen, kept)
    mean, covariance = np.empty((len(at), d)), np.empty((len(at), d, d))
    inputs = np.empty((len(at), len(layout.input_rates)))
    r, n = np.zeros(d), np.zeros((d, d))
    first = np.searchsorted(times, at, side="right")  # so many samples are known at each moment
    moment, now = len(at), max(times[-1] if total else -math.inf, at[-1] if len(at) else -math.inf)
    end = rows[0]
    for segment in range(len(starts) - 1, -1, -1):
        a, b = int(starts[segment]), min(int(starts[segment]) + SEGMENT, total)
        before = np.empty((b - a + 1, len(row)))
        before[b - a] = end
        again, few = kept[segment : segment + 1].copy(), np.empty((b - a, len(SEEN)))
        part = slice(a, b)
        marks = np.arange(b - a)
        follow(layout, again, np.zeros(b - a, np.int64), times[part], values[part], ages[part], codes[part], marks, few, before)
        moment, now = _back(
            layout,
            before,
            times[part],
            values[part],
            codes[part],
            few,
            at,
            first - a,
            moment,
            now,
            r,
            n,
            mean,
            covariance,
            inputs,
        )
        end = kept[segment]
    rest = row[None, :]
    none = np.zeros(0)
    _back(layout, rest, none, none, np.zeros(0, np.int64), seen[:0], at, first, moment, now, r, n, mean, covariance, inputs)
    return Smoothed(mean, covariance, inputs, seen)


@_jit
def _back(
    layout: Layout,
    rows: Floats,
    times: Floats,
    values: Floats,
    codes: Ints,
    seen: Floats,
    at: Floats,
    first: Ints,
    moment: int,
    now: float,
    r: Floats,
    n: Floats,
    mean: Floats,
    covariance: Floats,
    inputs: Floats,
) -> tuple[int, float]:
    """Backwards over some samples, ``rows`` (T + 1, width): the states before each and after the last.

    ``first`` (N,): how many of these samples are known at each moment of ``at``; those from ``moment`` on are done.
    ``r`` and ``n``, changed in place: with a mean m and covariance P at ``now``, all later samples make it m + P r and P - P n P.
    -> The same for the samples before these: ``moment``, ``now``.
    """
    d = len(layout.rates)
    where_at = d + d * (d + 1) // 2
    where_inputs = where_at + 1 + K * len(layout.channel_signal)
    m, upper, f, ph, nph = np.empty(d), np.empty(d * (d + 1) // 2), np.empty(d), np.empty(d), np.empty(d)
    p = np.empty((d, d))
    h, left = np.empty(len(layout.reads_value)), np.empty(len(layout.input_rates))
    for s in range(len(times), -1, -1):
        row = rows[s]
        while moment > 0 and first[moment - 1] >= s:
            moment -= 1
            then = at[moment]
            _decay(layout, now - then, f, r, n)
            now = then
            gap = min(max(then - row[where_at], 0.0), LONGEST_GAP_S)
            _predict(layout.rates, layout.stationary, row, gap, m, upper, f)
            k = 0
            for i in range(d):
                for j in range(i, d):
                    p[i, j] = p[j, i] = upper[k]
                    k += 1
            pn = p @ n @ p
            for i in range(d):
                total = m[i]
                for j in range(d):
                    total += p[i, j] * r[j]
                    covariance[moment, i, j] = p[i, j] - 0.5 * (pn[i, j] + pn[j, i])
                mean[moment, i] = total
            for j in range(len(left)):
                inputs[moment, j] = row[where_inputs + j] * math.exp(-layout.input_rates[j] * gap)
        if s == 0:
            break
        u = s - 1
        row, code = rows[u], codes[u]
        if code < 0 or math.isnan(values[u]) or seen[u, 3] in (SET_ASIDE, FROZEN):
            continue
        _decay(layout, now - times[u], f, r, n)
        now = times[u]
        gap = min(max(now - row[where_at], 0.0), LONGEST_GAP_S)
        for j in range(len(left)):
            left[j] = row[where_inputs + j] * math.exp(-layout.input_rates[j] * gap)
        k = layout.channel_signal[code // 3]
        _predict(layout.rates, layout.stationary, row, gap, m, upper, f)
        start, end = layout.reads_start[k], layout.reads_start[k + 1]
        _read(layout.reads_form, layout.reads_value, start, end, now, left, h)
        known = _project(layout.reads_element, start, end, upper, h, ph)
        gain, shrink = _weights(layout, k, code % 3 - 1, values[u], seen[u], known, upper, h, ph)
        both, along = 0.0, 0.0
        for i in range(d):
            total = 0.0
            for j in range(d):
                total += n[i, j] * ph[j]
            nph[i] = total
            along += ph[i] * r[i]
        for i in range(d):
            both += ph[i] * nph[i]
        for a in range(start, end):
            i, x = layout.reads_element[a], h[a]
            r[i] += x * (gain - along * shrink)
            for j in range(d):
                n[i, j] -= shrink * x * nph[j]
                n[j, i] -= shrink * x * nph[j]
        for a in range(start, end):
            for b in range(start, end):
                n[layout.reads_element[a], layout.reads_element[b]] += h[a] * h[b] * (shrink + shrink * shrink * both)
    return moment, now


@_jit
def _decay(layout: Layout, gap: float, f: Floats, r: Floats, n: Floats) -> None:
    """Take ``r`` and ``n`` back over ``gap`` seconds."""
    if gap <= 0.0:
        return
    for i in range(len(r)):
        f[i] = math.exp(-layout.rates[i] * gap)
        r[i] *= f[i]
    for i in range(len(r)):
        for j in range(len(r)):
            n[i, j] *= f[i] * f[j]


@_jit
def _weights(
    layout: Layout, k: int, side: int, value: float, seen: Floats, known: float, p: Floats, h: Floats, ph: Floats
) -> tuple[float, float]:
    """What a sample's update was: the mean moved by ``ph`` times the first, the covariance lost ``ph ph^T`` times the second.

    For a change, ``p`` and ``ph`` are made those after the widening.
    """
    variance = seen[1] * seen[1]
    error = to_working(layout.scale[k], value) - seen[0]
    if seen[3] == CENSORED:
        below = side < 0 or (side == 0 and value <= layout.limits[k, 0])
        z = error / seen[1]
        shift, spread = truncated(z if below else -z)
        return (shift if below else -shift) / seen[1], (1.0 - spread) / variance
    if seen[3] == CHANGE:
        _widen(layout, k, error * error / (ACCEPTED * ACCEPTED) - variance, p)
        start, end = layout.reads_start[k], layout.reads_start[k + 1]
        trusted = _project(layout.reads_element, start, end, p, h, ph) + (variance - known)
        return error / trusted, 1.0 / trusted
    nu, noise_nu, trusted, z = layout.tail[k], layout.noise_tail[k], variance, error / seen[1]
    if math.isfinite(noise_nu):
        trusted = known + (variance - known) * max(1.0, (noise_nu + z * z) / (noise_nu + 1.0))
    if math.isfinite(nu):
        trusted *= max(1.0, (nu + z * z) / (nu + 1.0))
    return error / trusted, 1.0 / trusted
