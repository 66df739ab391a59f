"""Log-likelihood of a population's model by prediction-error decomposition, and its exact gradient.

The filter is that of :mod:`stream_twin.twin.filter`: one scalar observation after another, Student's t tails, a person's own
noise level, implausible samples set aside (only that a change is believed faster is left out: it is rare). The log-likelihood
is the sum of the log scores of the samples, each given those before it. A recorded value stands for all that round to it: its
score is the logarithm of the predicted density's mean over the rounding interval, in canonical units, by quadrature; scored
at a point, repeated values would make the noise vanish.

The gradient comes from running the filter backwards: the adjoints of mean and covariance are the ``r`` and ``N`` of the
disturbance smoother (Koopman and Shephard 1992; de Jong 1989), so this is Fisher's identity, carried through the tails and
the adaptive noise as well. Both together cost about three times the filter.
"""

import math
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from stream_twin.twin.filter import CLIP, IMPLAUSIBLE, LEAST_NOISE, MOST_NOISE, NOISE_MEMORY
from stream_twin.twin.model import CONSTANT, COSINE, DAY_S, INPUT, SINE, Layout

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

AHEAD = 0.5
"""Weight of a sample's score given only what is strictly older; the rest is that given also what came before it at its moment.
Maximum likelihood has 0 here. But signals that say nearly the same at the same moment then take the drivers for themselves, and
what is predicted for the next moment suffers."""
NODES = 7
"""Of the quadrature over a rounding interval."""


class People(NamedTuple):
    """Ragged arrays over people; those of person ``p`` are ``start[p]`` to ``start[p + 1]``.

    ``times``, ``signals``, ``values`` (T,): seconds, number of the layout's signal, value on the working scale. ``nodes``,
    ``weights`` (T, NODES): values on the working scale and weights by which a density there becomes its mean over the rounding
    interval in canonical units. ``amounts`` (T,) in canonical units, which go into inputs. ``aside`` (T,): whether it is set
    aside. ``elements`` (E,), from ``elements_start``: which elements of the layout a person's state has.
    """

    start: Ints
    times: Floats
    signals: Ints
    values: Floats
    nodes: Floats
    weights: Floats
    amounts: Floats
    aside: Flags
    elements_start: Ints
    elements: Ints


class Gradient(NamedTuple):
    """Of the log-likelihood, by the layout's arrays; ``stationary`` (d,): by the diagonal."""

    means: Floats
    noise: Floats
    tail: Floats
    prior_count: Floats
    stationary: Floats
    rates: Floats
    reads_value: Floats
    effects: Floats


def log_likelihood(layout: Layout, people: People, *, decide: bool = True) -> tuple[Floats, Gradient]:
    """Of each person, (P,), and the gradient of the sum. Nats; densities are in canonical units.

    ``decide``: set samples aside as the filter does, and write that into ``people.aside``; otherwise what is written there holds,
    and the likelihood is smooth.
    """
    m, d, r, n = len(layout.means), len(layout.rates), len(layout.reads_value), layout.effects.shape[1]
    sizes = (m, m, m, m, d, d, r, m * n)
    persons = len(people.start) - 1
    found, gradient = np.zeros(persons), np.zeros((persons, sum(sizes)))
    full = np.zeros((d, d))
    full[np.triu_indices(d)] = layout.stationary
    full = full + np.triu(full, 1).T
    _all(layout, people, full, found, gradient, decide)
    means, noise, tail, count, stationary, rates, reads, effects = np.split(gradient.sum(axis=0), np.cumsum(sizes)[:-1])
    return found, Gradient(means, noise, tail, count, stationary, rates, reads, effects.reshape(m, n))


@numba.njit(cache=True, parallel=True, error_model="numpy")
def _all(layout: Layout, people: People, full: Floats, found: Floats, gradient: Floats, decide: bool) -> None:
    for p in numba.prange(len(people.start) - 1):
        a, b = people.start[p], people.start[p + 1]
        found[p] = _one(
            layout,
            full,
            people.times[a:b],
            people.signals[a:b],
            people.values[a:b],
            people.nodes[a:b],
            people.weights[a:b],
            people.amounts[a:b],
            people.aside[a:b],
            people.elements[people.elements_start[p] : people.elements_start[p + 1]],
            gradient[p],
            decide,
        )


@numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract"})
def _one(
    layout: Layout,
    full: Floats,
    times: Floats,
    signals: Ints,
    values: Floats,
    nodes: Floats,
    weights: Floats,
    amounts: Floats,
    aside: Flags,
    own: Ints,
    gradient: Floats,
    decide: bool,
) -> float:
    """One person: returns the log-likelihood, and fills ``gradient`` in the order of :class:`Gradient`'s fields."""
    means, noise, tail, count = layout.means, layout.noise, layout.tail, layout.prior_count
    reads_start, reads_element, reads_form = layout.reads_start, layout.reads_element, layout.reads_form
    rates, reads_value, input_rates, effects = layout.rates, layout.reads_value, layout.input_rates, layout.effects
    d, m, total, n_inputs = len(own), len(means), len(times), len(input_rates)
    full_d, n_reads = len(rates), len(reads_value)
    place = np.full(full_d, -1)
    for i in range(d):
        place[own[i]] = i
    stationary, rate = np.empty((d, d)), np.empty(d)
    for i in range(d):
        rate[i] = rates[own[i]]
        for j in range(d):
            stationary[i, j] = full[own[i], own[j]]
    # Forward. Kept for the way back: states before each step of time, and of each sample what its update was made of.
    steps = 1
    for t in range(1, total):
        if times[t] > times[t - 1]:
            steps += 1
    kept_mean, kept_covariance = np.empty((steps, d)), np.empty((steps, d, d))
    ph, mean_before = np.empty((total, d)), np.empty((total, d))
    error, spread, trusted, quadratic = np.empty(total), np.empty(total), np.empty(total), np.empty(total)
    ratio, free, taken = np.empty(total), np.empty(total), np.zeros(total, np.bool_)
    level = np.zeros((total, max(n_inputs, 1)))
    seen, squares = np.zeros(m), np.zeros(m)
    seen_at, squares_at = np.empty(total), np.empty(total)
    outlier, outlier_at = np.zeros(m), np.zeros(m)
    mean, covariance, content = np.zeros(d), stationary.copy(), np.zeros(n_inputs)
    f = np.empty(d)
    h_at, h_value = np.empty((total, 64), np.int64), np.empty((total, 64))
    h_count = np.zeros(total, np.int64)
    begin, begin_of = 0, np.empty(total, np.int64)
    kept_first_mean, kept_first = np.empty((steps, d)), np.empty((steps, d, d))
    ahead_mean, ahead_spread, ahead_part = np.empty(total), np.empty(total), np.empty((total, NODES))
    later_mean_bar, later_cov_bar = np.zeros(d), np.zeros((d, d))
    part, constant = np.empty((total, NODES)), np.full(m, 1 / math.sqrt(2 * math.pi))
    for k in range(m):
        nu = tail[k]
        if math.isfinite(nu):
            constant[k] = math.exp(math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)) / math.sqrt(math.pi * (nu - 2))
    likelihood, step = 0.0, 0
    for t in range(total):
        k = signals[t]
        if t > 0 and times[t] > times[t - 1]:
            gap = times[t] - times[t - 1]
            kept_mean[step] = mean
            kept_covariance[step] = covariance
            step += 1
            for i in range(d):
                f[i] = math.exp(-rate[i] * gap)
                mean[i] *= f[i]
            for i in range(d):
                for j in range(d):
                    covariance[i, j] = stationary[i, j] + f[i] * f[j] * (covariance[i, j] - stationary[i, j])
            for j in range(n_inputs):
                content[j] *= math.exp(-input_rates[j] * gap)
        phase = 2 * math.pi / DAY_S * (times[t] % DAY_S)
        expected = means[k]
        for j in range(n_inputs):
            level[t, j] = content[j]
            expected += effects[k, j] * content[j]
        expected_fixed = expected
        c = 0
        for r in range(reads_start[k], reads_start[k + 1]):
            x = reads_value[r]
            if reads_form[r] == COSINE:
                x *= math.cos(phase)
            elif reads_form[r] == SINE:
                x *= math.sin(phase)
            elif reads_form[r] >= INPUT:
                x *= content[reads_form[r] - INPUT]
            h_at[t, c], h_value[t, c] = place[reads_element[r]], x
            c += 1
        h_count[t] = c
        row = ph[t]
        row[:] = 0.0
        for a in range(c):
            i, x = h_at[t, a], h_value[t, a]
            expected += x * mean[i]
            for j in range(d):
                row[j] += x * covariance[i, j]
        q = 0.0
        for a in range(c):
            q += h_value[t, a] * row[h_at[t, a]]
        free[t] = 1.0
        if math.isfinite(count[k]):
            free[t] = (count[k] + squares[k]) / (count[k] + seen[k])
        ratio[t] = min(max(free[t], LEAST_NOISE), MOST_NOISE)
        if t == 0 or times[t] > times[t - 1]:
            kept_first_mean[begin] = mean
            kept_first[begin] = covariance
            begin += 1
        begin_of[t] = begin - 1
        moment_mean, moment_covariance = kept_first_mean[begin - 1], kept_first[begin - 1]
        ahead, V = expected_fixed, noise[k] * ratio[t]
        for a in range(c):
            ahead += h_value[t, a] * moment_mean[h_at[t, a]]
            for b in range(c):
                V += h_value[t, a] * h_value[t, b] * moment_covariance[h_at[t, a], h_at[t, b]]
        ahead_mean[t], ahead_spread[t] = ahead, V
        mass = 0.0
        for a in range(NODES):
            ahead_part[t, a] = weights[t, a] * _density(nodes[t, a] - ahead, V, tail[k], constant[k])
            mass += ahead_part[t, a]
        likelihood += AHEAD * math.log(max(mass, 1e-300))
        seen_at[t], squares_at[t] = seen[k], squares[k]
        nu = tail[k]
        v, V = values[t] - expected, q + noise[k] * ratio[t]
        error[t], spread[t], quadratic[t] = v, V, q
        mean_before[t] = mean
        z2 = v * v / V
        mass = 0.0
        for a in range(NODES):
            part[t, a] = weights[t, a] * _density(nodes[t, a] - expected, V, nu, constant[k])
            mass += part[t, a]
        likelihood += (1 - AHEAD) * math.log(max(mass, 1e-300))
        if decide:
            side = 0.0
            if z2 > IMPLAUSIBLE * IMPLAUSIBLE:
                side = 1.0 if v > 0 else -1.0
            agrees = outlier[k] == side and abs(values[t] - outlier_at[k]) < 0.5 * abs(v)
            aside[t] = side != 0.0 and not agrees
            outlier[k] = side if aside[t] else 0.0
            outlier_at[k] = values[t]
        if not aside[t]:
            taken[t] = True
            w = V
            if math.isfinite(nu) and z2 > 1:
                w = (nu * V + v * v) / (nu + 1)
            trusted[t] = w
            for i in range(d):
                mean[i] += row[i] * (v / w)
            for i in range(d):
                x = row[i] / w
                for j in range(d):
                    covariance[i, j] -= x * row[j]
            share = noise[k] * ratio[t] / w
            residual = min(v * v, CLIP * CLIP * V) * share * share + q * share
            squares[k] = NOISE_MEMORY * squares[k] + residual / noise[k]
            seen[k] = NOISE_MEMORY * seen[k] + 1
        into = layout.input_of[k]
        if into >= 0:
            amount = amounts[t] - layout.input_offsets[into]
            content[into] = amount if layout.input_levels[into] > 0 else content[into] + amount
    # Backward.
    g_means, g_noise, g_tail, g_count = gradient[:m], gradient[m : 2 * m], gradient[2 * m : 3 * m], gradient[3 * m : 4 * m]
    at = 4 * m
    g_stationary, g_rates = gradient[at : at + full_d], gradient[at + full_d : at + 2 * full_d]
    at += 2 * full_d
    g_reads, g_effects = gradient[at : at + n_reads], gradient[at + n_reads :]
    mean_bar, cov_bar, squares_bar = np.zeros(d), np.zeros((d, d)), np.zeros(m)
    slope = np.zeros(m)
    for k in range(m):
        if math.isfinite(tail[k]):
            slope[k] = 0.5 * (_digamma((tail[k] + 1) / 2) - _digamma(tail[k] / 2))
    product, ph_bar = np.empty(d), np.empty(d)
    for t in range(total - 1, -1, -1):
        k, c = signals[t], h_count[t]
        nu = tail[k]
        v, V, q, row = error[t], spread[t], quadratic[t], ph[t]
        v_bar, V_bar, q_bar, nu_bar, noise_bar = 0.0, 0.0, 0.0, 0.0, 0.0
        ph_bar[:] = 0.0
        if taken[t]:
            w = trusted[t]
            # The person's noise: squares' = NOISE_MEMORY squares + residual / noise.
            share, clipped = noise[k] * ratio[t] / w, v * v > CLIP * CLIP * V
            size = CLIP * CLIP * V if clipped else v * v
            residual_bar = squares_bar[k] / noise[k]
            g_noise[k] -= residual_bar * (size * share * share + q * share) / noise[k]
            share_bar = residual_bar * (2 * size * share + q)
            q_bar += residual_bar * share
            if clipped:
                V_bar += residual_bar * share * share * CLIP * CLIP
            else:
                v_bar += residual_bar * share * share * 2 * v
            noise_bar += share_bar / w
            w_bar = -share_bar * share / w
            squares_bar[k] *= NOISE_MEMORY
            # The update: mean' = mean + ph v/w, covariance' = covariance - ph ph^T / w.
            g_bar, both = 0.0, 0.0
            for i in range(d):
                x = 0.0
                for j in range(d):
                    x += cov_bar[i, j] * row[j]
                product[i] = x
            for i in range(d):
                g_bar += mean_bar[i] * row[i]
                both += row[i] * product[i]
                ph_bar[i] = mean_bar[i] * v / w - 2 * product[i] / w
            v_bar += g_bar / w
            w_bar += both / (w * w) - g_bar * v / (w * w)
            for i in range(d):  # back to the covariance before the update, for the loadings
                x = row[i] / w
                for j in range(d):
                    covariance[i, j] += x * row[j]
            if math.isfinite(nu) and v * v > V:
                V_bar += w_bar * nu / (nu + 1)
                v_bar += w_bar * 2 * v / (nu + 1)
                nu_bar += w_bar * (V - v * v) / ((nu + 1) * (nu + 1))
            else:
                V_bar += w_bar
        x, y, z = _score(nodes[t], part[t], values[t] - v, V, nu, slope[k])
        v_bar, V_bar, nu_bar = v_bar + (1 - AHEAD) * x, V_bar + (1 - AHEAD) * y, nu_bar + (1 - AHEAD) * z
        x, ahead_V_bar, z = _score(nodes[t], ahead_part[t], ahead_mean[t], ahead_spread[t], nu, slope[k])
        ahead_bar, ahead_V_bar, nu_bar = AHEAD * x, AHEAD * ahead_V_bar, nu_bar + AHEAD * z
        g_tail[k] += nu_bar
        q_bar += V_bar
        noise_bar += V_bar + ahead_V_bar
        g_noise[k] += noise_bar * ratio[t]
        if math.isfinite(count[k]) and LEAST_NOISE < free[t] < MOST_NOISE:
            bottom = count[k] + seen_at[t]
            free_bar = noise_bar * noise[k]
            squares_bar[k] += free_bar / bottom
            g_count[k] += free_bar * (1 - free[t]) / bottom
        g_means[k] -= v_bar + ahead_bar
        for j in range(n_inputs):
            g_effects[k * n_inputs + j] -= (v_bar + ahead_bar) * level[t, j]
        # What was predicted at the moment's start is kept apart until the way back comes to it.
        begins = begin_of[t]
        before_mean, before_covariance = kept_first_mean[begins], kept_first[begins]
        for a in range(c):
            i, x, r = h_at[t, a], h_value[t, a], reads_start[k] + a
            later_mean_bar[i] -= x * ahead_bar
            along = 0.0
            for b in range(c):
                along += before_covariance[i, h_at[t, b]] * h_value[t, b]
                later_cov_bar[i, h_at[t, b]] += ahead_V_bar * x * h_value[t, b]
            if reads_form[r] == CONSTANT:
                g_reads[r] += 2 * ahead_V_bar * along - ahead_bar * before_mean[i]
        for a in range(c):
            ph_bar[h_at[t, a]] += q_bar * h_value[t, a]
        before = mean_before[t]
        for a in range(c):
            i, x, r = h_at[t, a], h_value[t, a], reads_start[k] + a
            if reads_form[r] == CONSTANT:
                h_bar = row[i] * q_bar - before[i] * v_bar
                for j in range(d):
                    h_bar += covariance[i, j] * ph_bar[j]
                g_reads[r] += h_bar
            mean_bar[i] -= x * v_bar
            for j in range(d):
                cov_bar[i, j] += 0.5 * x * ph_bar[j]
            for j in range(d):
                cov_bar[j, i] += 0.5 * x * ph_bar[j]
        if t == 0 or times[t] > times[t - 1]:
            for i in range(d):
                mean_bar[i] += later_mean_bar[i]
                later_mean_bar[i] = 0.0
                for j in range(d):
                    cov_bar[i, j] += later_cov_bar[i, j]
                    later_cov_bar[i, j] = 0.0
        if t > 0 and times[t] > times[t - 1]:
            gap = times[t] - times[t - 1]
            step -= 1
            mean = kept_mean[step]
            covariance = kept_covariance[step]
            for i in range(d):
                f[i] = math.exp(-rate[i] * gap)
            for i in range(d):
                x = 0.0
                for j in range(d):
                    x += cov_bar[i, j] * f[j] * (covariance[i, j] - stationary[i, j])
                g_rates[own[i]] -= gap * f[i] * (mean_bar[i] * mean[i] + 2 * x)
                g_stationary[own[i]] += cov_bar[i, i] * (1 - f[i] * f[i])
                mean_bar[i] *= f[i]
                for j in range(d):
                    cov_bar[i, j] *= f[i] * f[j]
    for i in range(d):
        g_stationary[own[i]] += cov_bar[i, i]
    return likelihood


@numba.njit(cache=True, error_model="numpy")
def _score(nodes: Floats, part: Floats, expected: float, variance: float, nu: float, slope: float) -> tuple[float, float, float]:
    """Derivatives of the logarithm of the sum of ``part`` (NODES,), densities at ``nodes``: by error, variance, and ``nu``."""
    mass = 0.0
    for a in range(NODES):
        mass += part[a]
    error_bar, variance_bar, nu_bar = 0.0, 0.0, 0.0
    for a in range(NODES):
        share, x = part[a] / max(mass, 1e-300), nodes[a] - expected
        z2 = x * x / variance
        if math.isfinite(nu):
            variance_bar += share * (-0.5 / variance + (nu + 1) / 2 * z2 / (variance * (nu - 2 + z2)))
            error_bar -= share * (nu + 1) * x / (variance * (nu - 2 + z2))
            nu_bar += share * (
                slope - 0.5 / (nu - 2) - 0.5 * math.log1p(z2 / (nu - 2)) + (nu + 1) / 2 * z2 / ((nu - 2) * (nu - 2 + z2))
            )
        else:
            variance_bar += share * 0.5 * (z2 - 1) / variance
            error_bar -= share * x / variance
    return error_bar, variance_bar, nu_bar


@numba.njit(cache=True, error_model="numpy")
def _density(error: float, variance: float, nu: float, constant: float) -> float:
    """Of Student's t with ``nu`` degrees of freedom and this variance; normal for inf. ``constant``: at 0, with variance 1."""
    if not math.isfinite(nu):
        return constant / math.sqrt(variance) * math.exp(-0.5 * error * error / variance)
    return constant / math.sqrt(variance) * math.exp(-(nu + 1) / 2 * math.log1p(error * error / (variance * (nu - 2))))


@numba.njit(cache=True, error_model="numpy")
def _digamma(x: float) -> float:
    """Recurrence up to 6, then the asymptotic series (Abramowitz and Stegun 6.3.18)."""
    found = 0.0
    while x < 6:
        found -= 1 / x
        x += 1
    y = 1 / (x * x)
    return found + math.log(x) - 0.5 / x - y * (1 / 12 - y * (1 / 120 - y * (1 / 252 - y * (1 / 240 - y / 132))))
