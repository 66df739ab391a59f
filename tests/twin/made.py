"""A made population with everything that a model can have, people drawn from it, and a second reading of what it means.

:class:`Textbook` is the oracle: it builds rates, stationary covariance and loadings from the numbers of the population by the
definitions in ``docs/twin.md``, with other formulas and none of the product's layouts; tests compare by the names of elements.
"""

import math
from collections.abc import Sequence
from math import inf
from typing import Any, NamedTuple

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.linalg import solve_continuous_lyapunov

from stream_twin import signals
from stream_twin.signals import SignalModel
from stream_twin.twin import filter as kernel
from stream_twin.twin import state
from stream_twin.twin.block import Block
from stream_twin.twin.blocks import Blocks
from stream_twin.twin.filter import SEEN, from_working
from stream_twin.twin.model import Driver, Input, Plan, Population, PopulationModel, key_of
from stream_twin.twin.state import Row, code_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
CATALOGUE = signals.load()
T0 = 1_760_000_000.0
HOUR, DAY, YEAR = 3600.0, 86400.0, 365.25 * 86400.0

DRIVERS = {"load": 1.5 * HOUR, "inflammation": 1.2 * DAY, "arousal": 900.0}
INPUTS: dict[str, dict[str, Any]] = {
    "insulin": {"unit": "U", "time_s": 3 * HOUR},
    "meal": {"unit": "g", "time_s": HOUR},
    "activity": {"unit": "{steps}", "time_s": 1200.0, "signal": "steps_per_minute"},
    "effort": {"unit": "%", "time_s": 600.0, "signal": "motion_intensity", "level": True, "offset": 10.0},
}
CHANGES: dict[str, dict[str, Any]] = {
    "heart_rate": {
        "loadings": {"load": 0.06, "arousal": 0.08, "inflammation": 0.04},
        "effects": {"activity": 0.002, "effort": 0.004},
        "sensitivities": {"activity": 0.001},
        "momentum": 0.8,
        "tail": 6.0,
        "noise_count": 30.0,
    },
    "respiratory_rate": {"loadings": {"load": 0.1}, "tail": 4.0},
    "spo2": {"loadings": {"load": -0.2}, "detection": (None, 100.0), "noise_count": 60.0},
    "body_temperature": {"loadings": {"inflammation": 0.4}, "noise_count": 20.0},
    "glucose": {
        "loadings": {"arousal": 12.0},
        "effects": {"insulin": -25.0, "meal": 1.8},
        "sensitivities": {"insulin": 8.0, "meal": 0.5},
        "circadian2_sd": 6.0,
        "detection": (40.0, 400.0),
        "noise_tail": 4.0,
        "noise_count": 40.0,
    },
    "lactate": {"loadings": {"load": 0.2, "inflammation": 0.15}, "effects": {"meal": 0.001}},
}
"""The signals of one block: what is not said here is as the catalogue has it."""
PLAIN: dict[str, Any] = {"tail": inf, "noise_tail": inf, "noise_count": inf, "detection": (None, None)}
"""What makes a model linear and Gaussian, for oracles that know nothing else."""


def model(plain: bool = False, version: int = 1, name: str = "made", **changes: dict[str, Any]) -> PopulationModel:
    """``changes``: of models, by signal, over :data:`CHANGES`."""
    models = {}
    for signal in {**CHANGES, **changes}:
        own = {**CHANGES.get(signal, {}), **(PLAIN if plain else {}), **changes.get(signal, {})}
        models[signal] = replace(CATALOGUE[signal].model, **own)
    return PopulationModel(population(models, version, name), CATALOGUE)


def population(models: dict[str, SignalModel], version: int = 1, name: str = "made") -> Population:
    return Population(
        name=name,
        version=version,
        date="2026-01-01",
        holds_for="people made for tests",
        drivers={k: Driver(display=k, scale="whole_body", time_s=time_s, source="made") for k, time_s in DRIVERS.items()},
        inputs={k: Input(display=k, source="made", **parts) for k, parts in INPUTS.items()},
        signals=models,
    )


def single(**parts: Any) -> PopulationModel:
    """A population in which systolic blood pressure, which is not transformed, has only the elements asked for."""
    bare = {
        "between_sd": 0.0,
        "slow_sd": 0.0,
        "fast_sd": 0.0,
        "circadian_sd": 0.0,
        "noise_sd": 1.0,
        "mean": 0.0,
        "source": "made",
    }
    return PopulationModel(population({"systolic_blood_pressure": SignalModel(**{**bare, **parts})}), CATALOGUE)


def plan(by: PopulationModel, *names: str, **channels: int) -> Plan:
    """Layout with these signals, or all of :data:`CHANGES`; ``channels`` where a signal has more than one."""
    return by.plan(key_of([(name, channels.get(name, 1)) for name in names or CHANGES], CATALOGUE))


def wide(d: int) -> Plan:
    """A layout of ``d`` elements: drivers, and signals with baseline, slow and fast deviation that load on two of them."""
    counts = {8: (2, 2), 16: (4, 4), 24: (3, 7), 32: (5, 9), 64: (4, 20)}
    drivers, number = counts[d]
    names = [name for name, its in CATALOGUE.signals.items() if its.scale != "environment"][:number]
    parts = {"baseline_s": 30 * DAY, "slow_s": 12 * HOUR, "fast_s": 1800.0, "mean": 0.0, "source": "made"}
    models = {}
    for n, name in enumerate(names):
        low, high = CATALOGUE[name].plausible
        kind = CATALOGUE[name].transform
        middle = 0.0 if kind == "log_headroom" else (low + high) / 2
        sd = (high - low) / 40 if kind == "identity" else 0.1
        models[name] = SignalModel(
            **{**parts, "mean": math.log(middle) if kind == "log" else middle},
            between_sd=2 * sd,
            slow_sd=sd,
            fast_sd=sd,
            noise_sd=sd / 2,
            tail=6.0,
            noise_count=50.0,
            loadings={f"driver{n % drivers}": sd, f"driver{(n + 1) % drivers}": -sd},
        )
    made = Population(
        name=f"wide {d}",
        version=1,
        date="2026-01-01",
        holds_for="nobody",
        drivers={f"driver{k}": Driver(display="", scale="organ", time_s=HOUR * 3**k, source="made") for k in range(drivers)},
        signals=models,
    )
    found = PopulationModel(made, CATALOGUE).plan(key_of([(name, 1) for name in names], CATALOGUE))
    assert found.d == d
    return found


# ------------------------------------------------------------------------------------------------------------ the kernel


class Samples(NamedTuple):
    """In order of time; ``signals``: numbers of the plan's, each with one channel."""

    times: Floats
    values: Floats
    signals: Ints

    @property
    def codes(self) -> Ints:
        return 3 * self.signals + 1


def empty(of: Plan, n: int = 1) -> Floats:
    return np.repeat(state.empty(of.layout)[None], n, 0)


def follow(
    of: Plan,
    rows: Floats,
    times: Sequence[float] | Floats,
    values: Sequence[float] | Floats,
    codes: Any,
    slots: Any = None,
    ages: Any = None,
    marks: Sequence[int] = (),
) -> tuple[Floats, Floats]:
    """The kernel over samples: -> what it gives of each, and the states before ``marks``. ``codes`` may be one for all."""
    count = len(times)
    seen, before = np.empty((count, len(SEEN))), np.empty((len(marks), rows.shape[1]))
    kernel.follow(
        of.layout,
        rows,
        np.zeros(count, np.int64) if slots is None else np.asarray(slots, np.int64),
        np.asarray(times, float),
        np.asarray(values, float),
        np.zeros(count) if ages is None else np.asarray(ages, float),
        np.full(count, codes, np.int64) if np.isscalar(codes) else np.asarray(codes, np.int64),
        np.asarray(marks, np.int64),
        seen,
        before,
    )
    return seen, before


def block(blocks: Blocks, of: Plan, lateness_s: float) -> Block:
    """One that knows all signals of the plan."""
    return Block(b"p", blocks.slab(of), tuple((name, None) for name, _ in of.key), lateness_s)


def channel(of: Plan, signal: str, number: int = 0) -> int:
    return of.names.channels.index((signal, number))


def code(of: Plan, signal: str, number: int = 0, side: int = 0) -> int:
    return code_of(channel(of, signal, number), side)


def mean(of: Plan, row: Floats) -> Floats:
    return row[: of.d]


def covariance(of: Plan, row: Floats) -> Floats:
    full = np.zeros((of.d, of.d))
    full[np.triu_indices(of.d)] = row[of.d : Row.of(of.layout).at]
    return full + np.triu(full, 1).T


def look(of: Plan, row: Floats, at: float) -> tuple[dict[str, dict[str, float]], dict[str, Floats]]:
    """By signal the kernel's look, by driver mean, standard deviation and contributions."""
    looked, drivers = kernel.look(of.layout, row.reshape(1, -1), np.zeros(1, np.int64), np.array([at]))
    by_signal = {its.name: dict(zip(kernel.LOOKS, own, strict=True)) for its, own in zip(of.signals, looked[0], strict=True)}
    return by_signal, dict(zip(of.drivers, drivers[0], strict=True))


# ------------------------------------------------------------------------------------------------------------ the oracle


class Textbook:
    """What the population's file means for a patient with the signals ``names``; elements in the order of ``elements``."""

    def __init__(self, by: PopulationModel, elements: Sequence[str], names: Sequence[str]) -> None:
        self.elements, self.models, self.inputs = list(elements), by.models, by.population.inputs
        self.names = list(names)
        self.rates, self.S = np.zeros(len(elements)), np.zeros((len(elements), len(elements)))
        drivers = {driver for name in names for driver in by.models[name].loadings}
        for driver in drivers:
            self._set(driver, by.population.drivers[driver].time_s, 1.0)
        for name in names:
            m = by.models[name]
            self._set(f"{name}.baseline", m.baseline_s, m.between_sd)
            self._set(f"{name}.slow", m.slow_s, m.slow_sd)
            if m.momentum and m.fast_sd:
                self._set_smooth(name, m)
            else:
                self._set(f"{name}.fast", m.fast_s, m.fast_sd)
            for part in ("cosine", "sine"):
                self._set(f"{name}.{part}", 45 * DAY, m.circadian_sd)
                self._set(f"{name}.{part}2", 45 * DAY, m.circadian2_sd)
            for source, sd in m.sensitivities.items():
                self._set(f"{name}.{source}", m.baseline_s, sd)
        assert (self.rates > 0).all(), "an element that the definitions do not know"
        self.sds = np.sqrt(np.diag(self.S))

    def _set(self, element: str, time_s: float, sd: float) -> None:
        if sd > 0:
            i = self.elements.index(element)
            self.rates[i], self.S[i, i] = 1 / time_s, sd * sd

    def _set_smooth(self, name: str, m: SignalModel) -> None:
        """One noise drives both: the stationary covariance by Lyapunov's equation."""
        drift = np.diag([-1 / m.fast_s, -1 / m.momentum_s])
        into = np.array([1.0, m.momentum])
        pair = solve_continuous_lyapunov(drift, -np.outer(into, into))
        both = [self.elements.index(f"{name}.fast"), self.elements.index(f"{name}.momentum")]
        sign = np.array([1.0, -1.0])
        self.S[np.ix_(both, both)] = pair * m.fast_sd**2 / (sign @ pair @ sign)
        self.rates[both] = -np.diag(drift)

    def loading(self, name: str, at: float, contents: dict[str, float] | None = None) -> Floats:
        """``contents``: what is left in inputs."""
        h, m = np.zeros(len(self.elements)), self.models[name]
        angle = 2 * math.pi * math.fmod(at, DAY) / DAY
        parts = {"baseline": 1.0, "slow": 1.0, "fast": 1.0, "momentum": -1.0, "cosine": math.cos(angle), "sine": math.sin(angle)}
        parts |= {"cosine2": math.cos(2 * angle), "sine2": math.sin(2 * angle)}
        for part, factor in parts.items():
            if f"{name}.{part}" in self.elements:
                h[self.elements.index(f"{name}.{part}")] = factor
        for driver, loading in m.loadings.items():
            h[self.elements.index(driver)] = loading
        for source in m.sensitivities:
            h[self.elements.index(f"{name}.{source}")] = (contents or {}).get(source, 0.0)
        return h

    def expected(self, name: str, contents: dict[str, float] | None = None) -> float:
        m = self.models[name]
        return m.mean + sum(effect * (contents or {}).get(source, 0.0) for source, effect in m.effects.items())

    def noise(self, name: str) -> float:
        return self.models[name].noise_sd ** 2

    def transition(self, gap: float) -> tuple[Floats, Floats]:
        """F and Q; Q by the integral over the gap, which is exact for short ones too."""
        both = self.rates[:, None] + self.rates[None, :]
        return np.diag(np.exp(-self.rates * gap)), -self.S * np.expm1(-both * gap)

    def kernel(self, s: float, t: float) -> Floats:
        """Covariance of the elements at ``s`` with those at ``t``."""
        if s <= t:
            return self.S * np.exp(-self.rates * (t - s))[None, :]
        return self.S * np.exp(-self.rates * (s - t))[:, None]

    def contents(self, amounts: Sequence[tuple[float, str, float]], at: float) -> dict[str, float]:
        """What is left at ``at`` of amounts (when, input, how much)."""
        left: dict[str, float] = {}
        for when, name, amount in amounts:
            if when <= at:
                rest = amount * math.exp(-(at - when) / self.inputs[name].time_s)
                left[name] = rest if self.inputs[name].level else left.get(name, 0.0) + rest
        return left

    def drawn(
        self,
        random: np.random.Generator,
        times: Floats,
        which: Sequence[str],
        amounts: Sequence[tuple[float, str, float]] = (),
        noise_ratio: float = 1.0,
    ) -> Floats:
        """Values, in canonical units, of a person who moves as the model says."""
        x, before, values = random.multivariate_normal(np.zeros(len(self.S)), self.S), times[0], []
        for at, name in zip(times, which, strict=True):
            F, Q = self.transition(at - before)
            x, before = F @ x + random.multivariate_normal(np.zeros(len(x)), Q, method="eigh"), at
            left = self.contents(amounts, at)
            y = self.expected(name, left) + self.loading(name, at, left) @ x
            y += math.sqrt(noise_ratio * self.noise(name)) * random.standard_normal()
            values.append(from_working(scale_of(name), y))
        return np.array(values)


def scale_of(name: str) -> Floats:
    its = CATALOGUE[name]
    kind = {"identity": 0.0, "log": 1.0, "log_headroom": 2.0}[its.transform]
    return np.array([kind, its.ceiling + 1 if kind == 2.0 else 0.0, 0.0])


def working(name: str, value: float) -> float:
    """By the definition in ``signals.toml``."""
    its = CATALOGUE[name]
    return {
        "identity": lambda: value,
        "log": lambda: math.log(value),
        "log_headroom": lambda: -math.log(its.ceiling + 1 - value),
    }[its.transform]()


GAPS = {
    "milliseconds": lambda random, n: random.uniform(1e-3, 5e-3, n),
    "minutes": lambda random, n: random.exponential(300.0, n),
    "days": lambda random, n: random.exponential(2 * DAY, n),
    "anything": lambda random, n: 10 ** random.uniform(-3, math.log10(3 * YEAR), n),
}
"""Irregular gaps, seconds."""


def stream(of: Plan, by: PopulationModel, seed: int, n: int, gaps: str = "minutes") -> Samples:
    """A person's samples of all signals of the plan in random order."""
    random = np.random.default_rng(seed)
    times = T0 + np.cumsum(GAPS[gaps](random, n))
    which = random.integers(0, len(of.signals), n)
    names = [of.signals[k].name for k in which]
    textbook = Textbook(by, of.elements, [its.name for its in of.signals])
    return Samples(times, textbook.drawn(random, times, names), which)
