"""Estimate a population's numbers from recorded people: L-BFGS on the log-likelihood and its gradient. Deterministic."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from stream_twin.fitting.likelihood import NODES, People, log_likelihood
from stream_twin.fitting.parameters import Parameter, gradient_of, parameters, spread, with_values
from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Catalogue, Signal
from stream_twin.twin.model import Plan, Population, PopulationModel, key_of, scale

Floats = NDArray[np.float64]

STEPS = 200
"""Of the optimiser, at most."""
SMALL = 2e-6
"""Relative gain of a round below which it stops."""
ROUND = 40
"""Steps after which is decided anew which samples are set aside."""
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
        return np.asarray(np.log(np.maximum(values, least)))
    if kind == 2:
        return np.asarray(-np.log(np.maximum(ceiling - values, least)))
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
        nodes, weights = quadrature(
            plan, own.signals[kept], own.values[kept], own.steps({signal.name: signal.decimals for signal in plan.signals})[kept]
        )
        parts.append((own.times[kept], own.signals[kept], values[kept], nodes, weights, own.values[kept]))
        used = np.unique(np.concatenate([reads[k] for k in np.unique(own.signals[kept])]))
        elements.append(used.astype(np.int64))
    times, places, worked, nodes, weights, amounts = (np.concatenate(column) for column in zip(*parts, strict=True))
    return People(
        np.cumsum([0, *(len(part[0]) for part in parts)]),
        times,
        places,
        worked,
        nodes,
        weights,
        amounts,
        np.zeros(len(times), np.bool_),
        np.cumsum([0, *map(len, elements)]),
        np.concatenate(elements),
    )


def quadrature(plan: Plan, signals: NDArray[np.int64], values: Floats, steps: Floats) -> tuple[Floats, Floats]:
    """``nodes`` and ``weights`` of :class:`People`, Gauss-Legendre over what rounds to each value."""
    at, weight = np.polynomial.legendre.leggauss(NODES)
    nodes, weights = np.empty((len(values), NODES)), np.empty((len(values), NODES))
    for k, signal in enumerate(plan.signals):
        here = signals == k
        kind, ceiling, least = scale(signal)
        written = values[here, None] + 0.5 * steps[here, None] * at
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
        signals: those whose numbers are fitted; the others stay. Blocks are fitted one after another.
        steps: of each block, at most.
        told: called after each step with the number of steps and the block's log-likelihood per sample.

    Raises:
        ValueError: nobody has a sample of these signals, or one has ``noise_tail``, which the likelihood does not know.
    """
    seen = {name for one in recorded for name in one.names}
    names = [name for name in catalogue.signals if name in set(signals) & seen]
    if not names:
        raise ValueError(f"nobody has a sample of {', '.join(signals)}: nothing to fit")
    start = PopulationModel(population, catalogue)
    if jumping := [name for name in names if math.isfinite(start.models[name].noise_tail)]:
        raise ValueError(f"{', '.join(jumping)}: a noise with tails (noise_tail) is not fitted here, leave it out of the signals")
    fits = []
    for block in dict.fromkeys(start.blocks[name] for name in names):
        own = [name for name in names if start.blocks[name] == block]
        fits.append(_block(population, catalogue, recorded, own, steps, told))
        population = fits[-1].population
    return _together(population, fits)


def _together(population: Population, fits: Sequence[Fit]) -> Fit:
    samples = sum(fit.samples for fit in fits)
    end = sum(fit.log_likelihood * fit.samples for fit in fits) / samples
    start = sum(fit.at_start * fit.samples for fit in fits) / samples
    return Fit(population, end, start, samples, sum(fit.steps for fit in fits))


def _block(
    population: Population,
    catalogue: Catalogue,
    recorded: Sequence[Recorded],
    names: Sequence[str],
    steps: int,
    told: Callable[[int, float], None],
) -> Fit:
    start = PopulationModel(population, catalogue)
    plan = start.plan(key_of([(name, 1) for name in names], catalogue))
    people = assemble(recorded, plan)
    which = parameters(population, start.models, names, dict(zip(names, _rounding(people, plan.signals), strict=True)))
    at_start = np.array([parameter.start for parameter in which])
    counts = np.bincount(people.signals, minlength=len(names))
    weight = dict(zip(names, np.sqrt(counts.max() / np.maximum(counts, 1)), strict=True))
    unit = np.array([_unit(p, spread(start.models[p.of]) if p.of in weight else 1.0) * weight.get(p.of, 1.0) for p in which])
    prior = np.array([parameter.prior for parameter in which])
    samples = len(people.times)

    def lost(x: Floats, decide: bool = False) -> tuple[float, Floats]:
        values = at_start + x * unit
        there = PopulationModel(with_values(population, start.models, which, values), catalogue)
        found, gradient = log_likelihood(there.plan(plan.key).layout, people, decide=decide)
        away = (values - at_start) / prior
        slope = gradient_of(which, there.plan(plan.key), there.models, gradient) - away / prior
        return -(found.sum() - 0.5 * float(away @ away)) / samples, -slope * unit / samples

    done = [0]

    def after(intermediate_result: object) -> None:
        done[0] += 1
        told(done[0], -float(intermediate_result.fun))  # type: ignore[attr-defined]  # scipy has no types

    bounds = [((p.low - p.start) / u, (p.high - p.start) / u) for p, u in zip(which, unit, strict=True)]
    x, before = np.zeros(len(which)), math.inf
    first = now = lost(x, decide=True)[0]
    # In each round the same samples are set aside: where one begins or ceases to be, the likelihood has a step.
    while done[0] < steps and before - now > SMALL * abs(now):
        result = minimize(
            lost,
            x,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            callback=after,
            options={"maxiter": min(ROUND, steps - done[0]), "ftol": SMALL / 10, "gtol": 1e-7, "maxcor": 30},
        )
        before, found = now, lost(result.x, decide=True)[0]
        if found < now:
            x, now = result.x, found
    fitted = with_values(population, start.models, which, at_start + x * unit)
    return Fit(_short(fitted), -now, -first, samples, done[0])


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
    freed = {}
    for name, model in population.signals.items():
        shared = sum(loading * loading for loading in model.loadings.values())
        part = "slow_sd" if model.slow_sd > 0 else "between_sd"
        freed[name] = msgspec.structs.replace(model, loadings={}, **{part: math.sqrt(getattr(model, part) ** 2 + shared)})
    apart = msgspec.structs.replace(population, drivers={}, signals=freed)
    return estimate(apart, catalogue, recorded, signals, steps=steps, told=told)


def _rounding(people: People, signals: Sequence[Signal]) -> list[float]:
    """Standard deviation of rounding to a display step at the middle sample of each signal, on its working scale.

    Less noise has none: who rounds more finely would make it vanish, and the next device, which does not, be mistrusted for ever.
    """
    found = []
    for k, signal in enumerate(signals):
        middle = people.amounts[people.signals == k]
        ends = np.median(middle) + np.array([-0.5, 0.5]) * 10.0**-signal.decimals if len(middle) else np.zeros(2)
        found.append(float(np.diff(working(signal, ends))[0]) / math.sqrt(12))
    return found


def _unit(parameter: Parameter, signal: float) -> float:
    """About how well many samples tell a parameter: steps of the optimiser are measured in it; ``signal``: its spread."""
    field = parameter.what.partition(":")[0]
    if field == "mean":
        return 0.3 * signal
    if field == "loadings":
        return 0.2 * signal
    if field == "effects":
        return 0.01 * signal
    return 1.0 if field in ("noise_count", "tail") else 0.5 if field in ("slow_s", "fast_s", "time_s") else 0.2


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
