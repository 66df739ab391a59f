"""Estimate a population's numbers from recorded people: L-BFGS on the log-likelihood and its gradient. Deterministic."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from stream_twin.fitting.likelihood import NODES, People, log_likelihood
from stream_twin.fitting.parameters import gradient_of, parameters, spread, with_values
from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Catalogue, Signal
from stream_twin.twin.model import Plan, Population, PopulationModel, key_of, scale

Floats = NDArray[np.float64]

STEPS = 200
"""Of the optimiser, at most."""
SMALL = 1e-6
"""Relative gain of a step at which it stops."""
DIGITS = 4
"""Significant digits of what is written: about a hundredth of the standard error."""


class Fit(NamedTuple):
    population: Population
    log_likelihood: float
    """Nats per sample at the end, densities in canonical units."""
    at_start: float
    samples: int
    steps: int


def working(signal: Signal, values: Floats) -> Floats:
    """Values on the signal's working scale, as the kernel makes them."""
    kind, ceiling, least = scale(signal)
    if kind == 1:
        return np.log(np.maximum(values, least))
    if kind == 2:
        return -np.log(np.maximum(ceiling - values, least))
    return values


def assemble(recorded: Iterable[Recorded], plan: Plan) -> People:
    """Arrays of the likelihood, of the plan's signals. What a detection limit or a comparator censors is left out."""
    names = [signal.name for signal in plan.signals]
    layout = plan.layout
    reads = [layout.reads_element[layout.reads_start[k] : layout.reads_start[k + 1]] for k in range(len(names))]
    parts: list[tuple[NDArray[Any], ...]] = []
    elements: list[NDArray[np.int64]] = []
    for one in recorded:
        own = one.only(names)
        values = own.values.copy()
        for k, signal in enumerate(plan.signals):
            here = own.signals == k
            values[here] = working(signal, own.values[here])
        kept = (own.sides == 0) & (own.values > layout.limits[own.signals, 0]) & (own.values < layout.limits[own.signals, 1])
        if not kept.any():
            continue
        nodes, weights = quadrature(plan, own.signals[kept], own.values[kept])
        amounts = np.maximum(own.values[kept], 0.0)
        parts.append((own.times[kept], own.signals[kept], values[kept], nodes, weights, amounts))
        used = np.unique(np.concatenate([reads[k] for k in np.unique(own.signals[kept])]))
        elements.append(used.astype(np.int64))
    return People(
        np.cumsum([0, *(len(part[0]) for part in parts)]),
        *(np.concatenate(column) for column in zip(*parts, strict=True)),
        np.cumsum([0, *map(len, elements)]),
        np.concatenate(elements),
    )


def quadrature(plan: Plan, signals: NDArray[np.int64], values: Floats) -> tuple[Floats, Floats]:
    """``nodes`` and ``weights`` of :class:`People`, Gauss-Legendre over what rounds to each value."""
    at, weight = np.polynomial.legendre.leggauss(NODES)
    nodes, weights = np.empty((len(values), NODES)), np.empty((len(values), NODES))
    for k, signal in enumerate(plan.signals):
        here = signals == k
        kind, ceiling, least = scale(signal)
        written = values[here, None] + 0.5 * 10.0**-signal.decimals * at
        if kind == 1:
            slope = 1 / np.maximum(written, least)
        elif kind == 2:
            slope = 1 / np.maximum(ceiling - written, least)
        else:
            slope = np.ones_like(written)
        nodes[here], weights[here] = working(signal, written), 0.5 * weight * slope
    return nodes, weights


def estimate(
    population: Population,
    catalogue: Catalogue,
    recorded: Sequence[Recorded],
    signals: Sequence[str],
    *,
    steps: int = STEPS,
    told: Callable[[int, float], None] = lambda step, value: None,
) -> Fit:
    """Maximum of the likelihood (times a weak prior around the starting numbers), for some signals of one population.

    Args:
        population: where it starts: which drivers and loadings there are, and from which numbers.
        signals: those whose numbers are fitted; the others stay.
        told: called after each step with its number and the log-likelihood per sample.

    Raises:
        ValueError: nobody has a sample of these signals.
    """
    start = PopulationModel(population, catalogue)
    names = [name for name in catalogue.signals if name in set(signals)]
    plan = start.plan(key_of([(name, 1) for name in names], catalogue))
    if not any(np.isin(one.signals, [one.names.index(n) for n in names if n in one.names]).any() for one in recorded):
        raise ValueError(f"nobody has a sample of {', '.join(names)}: nothing to fit")
    people = assemble(recorded, plan)
    which = parameters(population, start.models, names, {signal.name: _rounding(signal) for signal in plan.signals})
    at_start = np.array([parameter.start for parameter in which])
    unit = np.array([_unit(p.what, p.prior, spread(start.models[p.of]) if p.of in start.models else 1.0) for p in which])
    prior = np.array([parameter.prior for parameter in which])
    samples = len(people.times)

    def lost(x: Floats) -> tuple[float, Floats]:
        values = at_start + x * unit
        there = PopulationModel(with_values(population, start.models, which, values), catalogue)
        found, gradient = log_likelihood(there.plan(plan.key).layout, people)
        away = (values - at_start) / prior
        slope = gradient_of(which, there.plan(plan.key), there.models, gradient) - away / prior
        return -(found.sum() - 0.5 * float(away @ away)) / samples, -slope * unit / samples

    done = [0]

    def after(intermediate_result: object) -> None:
        done[0] += 1
        told(done[0], -float(intermediate_result.fun))  # type: ignore[attr-defined]  # scipy has no types

    bounds = [((p.low - p.start) / u, (p.high - p.start) / u) for p, u in zip(which, unit, strict=True)]
    first = lost(np.zeros(len(which)))[0]
    result = minimize(
        lost,
        np.zeros(len(which)),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        callback=after,
        options={"maxiter": steps, "ftol": SMALL, "maxcor": 30},
    )
    fitted = with_values(population, start.models, which, at_start + result.x * unit)
    return Fit(_short(fitted), -float(result.fun), -first, samples, done[0])


def separate(
    population: Population,
    catalogue: Catalogue,
    recorded: Sequence[Recorded],
    signals: Sequence[str],
    *,
    steps: int = STEPS,
    told: Callable[[int, float], None] = lambda step, value: None,
) -> Fit:
    """As :func:`estimate`, but each signal for itself, without drivers: what joining signals is measured against.

    What the loadings did goes into the slowest part that the signal has, to begin with.
    """
    seen = {name for one in recorded for name in one.names}
    found, start, end, samples, most = dict(population.signals), 0.0, 0.0, 0, 0
    for name in signals:
        model = population.signals[name]
        shared = sum(loading * loading for loading in model.loadings.values())
        part = "slow_sd" if model.slow_sd > 0 else "between_sd"
        freed = msgspec.structs.replace(model, loadings={}, **{part: math.sqrt(getattr(model, part) ** 2 + shared)})
        found[name] = freed
        if name in seen:
            own = msgspec.structs.replace(population, drivers={}, signals={name: freed})
            fit = estimate(own, catalogue, recorded, [name], steps=steps, told=told)
            found[name] = fit.population.signals[name]
            start, end = start + fit.at_start * fit.samples, end + fit.log_likelihood * fit.samples
            samples, most = samples + fit.samples, max(most, fit.steps)
    whole = msgspec.structs.replace(population, drivers={}, signals=found)
    return Fit(whole, end / samples, start / samples, samples, most)


def _rounding(signal: Signal) -> float:
    """Standard deviation of rounding to a display step, on the working scale, at the signal's mean."""
    step, mean = 10.0**-signal.decimals / math.sqrt(12), signal.model.mean
    return (
        step / math.exp(mean)
        if signal.transform == "log"
        else step * math.exp(mean)
        if signal.transform == "log_headroom"
        else step
    )


def _unit(what: str, prior: float, signal: float) -> float:
    """Step of the optimiser in which a parameter is measured."""
    return (
        0.3 * signal
        if what == "mean"
        else prior
        if math.isfinite(prior) and what.startswith("loadings")
        else 0.3
        if math.isfinite(prior)
        else 0.01 * signal
    )


def _short(population: Population) -> Population:
    def short(value: object) -> object:
        if isinstance(value, float):
            return float(f"{value:.{DIGITS}g}")
        if isinstance(value, dict):
            return {name: short(part) for name, part in value.items()}
        return value

    signals = {
        name: msgspec.structs.replace(model, **{f: short(getattr(model, f)) for f in model.__struct_fields__})
        for name, model in population.signals.items()
    }
    drivers = {name: msgspec.structs.replace(driver, time_s=short(driver.time_s)) for name, driver in population.drivers.items()}
    return msgspec.structs.replace(population, signals=signals, drivers=drivers)
