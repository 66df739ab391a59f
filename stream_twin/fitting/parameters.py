"""A population's numbers as one vector for the optimiser, and back; and how the likelihood's gradient becomes the vector's.

Standard deviations and times are fitted by their logarithm, degrees of freedom by that of what they have above 2. A weak normal
prior around the starting numbers keeps small recordings from running away with what they hardly show; the bounds are physical
or the kernel's.
"""

import math
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream_twin.fitting.likelihood import Gradient
from stream_twin.signals import SignalModel
from stream_twin.twin.model import Plan, Population

Floats = NDArray[np.float64]

HOUR = 3600.0
DAY = 86400.0
BOUNDS = {"slow_s": (2 * HOUR, 400 * DAY), "fast_s": (300.0, 2 * DAY), "time_s": (0.5 * HOUR, 400 * DAY)}
TAIL = (3.0, 200.0)
COUNT = (3.0, 2000.0)
LOOSE = 1.5
"""Standard deviation of the prior of a logarithm: a factor of 4.5."""
LOADING = 0.5
"""Of a loading, in standard deviations that the signal has at the start."""


class Parameter(NamedTuple):
    """``of``: signal or driver; ``what``: field of its model, or (loading or effect) ``field:name``."""

    of: str
    what: str
    start: float
    low: float
    high: float
    prior: float
    """Standard deviation."""


def spread(model: SignalModel) -> float:
    """Standard deviation that a signal's samples have in the population, loadings included."""
    parts = [model.between_sd, model.slow_sd, model.fast_sd, model.circadian_sd, model.noise_sd, *model.loadings.values()]
    return math.sqrt(sum(part * part for part in parts))


def parameters(
    population: Population, models: dict[str, SignalModel], signals: Iterable[str], rounding: Mapping[str, float]
) -> list[Parameter]:
    """What is fitted for some signals; starting values are the population's. ``models`` of each of them.

    ``rounding``: standard deviation that rounding alone gives the samples of a signal, on its working scale: less noise has none.
    """
    found: list[Parameter] = []
    drivers: dict[str, None] = {}
    for name in signals:
        model = models[name]
        unit = spread(model)
        found.append(Parameter(name, "mean", model.mean, -math.inf, math.inf, math.inf))
        parts = ["between_sd", "slow_sd", "circadian_sd", "noise_sd"] + ["fast_sd"] * (model.momentum == 0)
        for part in parts:
            if getattr(model, part) > 0:
                least = rounding.get(name, 0.0) if part == "noise_sd" else 0.0
                found.append(_log(name, part, getattr(model, part), max(1e-3 * unit, least), 10 * unit))
        for part, sd in (("slow_s", model.slow_sd), ("fast_s", model.fast_sd)):
            if sd > 0 and model.momentum == 0:
                found.append(_log(name, part, getattr(model, part), *BOUNDS[part]))
        if math.isfinite(model.tail):
            found.append(Parameter(name, "tail", math.log(model.tail - 2), math.log(TAIL[0] - 2), math.log(TAIL[1] - 2), LOOSE))
        if math.isfinite(model.noise_count):
            found.append(_log(name, "noise_count", model.noise_count, *COUNT))
        for driver, loading in model.loadings.items():
            first = driver not in drivers
            drivers[driver] = None
            low = (0.0, math.inf) if loading > 0 else (-math.inf, 0.0)
            bounds = low if first else (-math.inf, math.inf)
            found.append(Parameter(name, f"loadings:{driver}", loading, *bounds, LOADING * unit))
        for name_of, effect in model.effects.items():
            found.append(Parameter(name, f"effects:{name_of}", effect, -math.inf, math.inf, math.inf))
    found += [_log(driver, "time_s", population.drivers[driver].time_s, *BOUNDS["time_s"]) for driver in drivers]
    return found


def _log(of: str, what: str, value: float, low: float, high: float) -> Parameter:
    value = min(max(value, low), high)
    return Parameter(of, what, math.log(value), math.log(low), math.log(high), LOOSE)


def with_values(population: Population, models: dict[str, SignalModel], which: list[Parameter], values: Floats) -> Population:
    """The population with these numbers."""
    signals: dict[str, dict[str, object]] = {}
    drivers = dict(population.drivers)
    for parameter, value in zip(which, values.tolist(), strict=True):
        field, _, name = parameter.what.partition(":")
        if field == "time_s":
            drivers[parameter.of] = msgspec.structs.replace(drivers[parameter.of], time_s=math.exp(value))
            continue
        changes = signals.setdefault(parameter.of, {})
        if name:
            there = changes.setdefault(field, dict(getattr(models[parameter.of], field)))
            assert isinstance(there, dict)
            there[name] = value
        else:
            changes[field] = value if field == "mean" else 2 + math.exp(value) if field == "tail" else math.exp(value)
    fitted = {name: msgspec.structs.replace(models[name], **changes) for name, changes in signals.items()}
    return msgspec.structs.replace(population, drivers=drivers, signals={**population.signals, **fitted})


def gradient_of(which: list[Parameter], plan: Plan, models: dict[str, SignalModel], gradient: Gradient) -> Floats:
    """Of the log-likelihood by the vector; ``models``: with the numbers at which ``gradient`` was taken."""
    layout = plan.layout
    numbers = {signal.name: k for k, signal in enumerate(plan.signals)}
    element = {name: i for i, name in enumerate(plan.elements)}
    found = np.empty(len(which))
    for place, (of, what, *_) in enumerate(which):
        field, _, name = what.partition(":")
        if field == "time_s":
            i = element[of]
            found[place] = -gradient.rates[i] * layout.rates[i]
            continue
        k, model = numbers[of], models[of]
        if field == "mean":
            found[place] = gradient.means[k]
        elif field == "noise_sd":
            found[place] = 2 * gradient.noise[k] * layout.noise[k]
        elif field == "tail":
            found[place] = gradient.tail[k] * (layout.tail[k] - 2)
        elif field == "noise_count":
            found[place] = gradient.prior_count[k] * layout.prior_count[k]
        elif field in ("slow_s", "fast_s"):
            i = element[f"{of}.{field[:4]}"]
            found[place] = -gradient.rates[i] * layout.rates[i]
        elif field == "loadings":
            r = layout.reads_start[k] + list(model.loadings).index(name)
            found[place] = gradient.reads_value[r]
        elif field == "effects":
            found[place] = gradient.effects[k, plan.inputs.index(name)]
        else:
            kinds = {"between_sd": ("baseline",), "slow_sd": ("slow",), "fast_sd": ("fast",), "circadian_sd": ("cosine", "sine")}
            sd = getattr(model, field)
            found[place] = sum(2 * sd * sd * gradient.stationary[element[f"{of}.{kind}"]] for kind in kinds[field])
    return found
