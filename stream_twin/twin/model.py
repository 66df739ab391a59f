"""Models of populations, which are data, and layouts: which elements the state of a patient with certain signals has.

A population's file (``populations/NAME.toml``) says how signals move in it and on which latent drivers they load; a signal that
it does not name moves as the catalogue says. Signals that share drivers, directly or through others, form a **block**: one
Gaussian. Signals of different blocks are independent, so the zeros between blocks are not stored.

Elements of a signal are called ``SIGNAL.KIND``, drivers by their name. All are Ornstein-Uhlenbeck processes around 0; drivers
have a stationary standard deviation of 1, and what one of them does to a signal is the signal's loading, on its working scale.
"""

import math
import tomllib
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.special import stdtrit

from stream_twin.events import Profile
from stream_twin.signals import Catalogue, Scale, Signal, SignalModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = ("baseline", "slow", "fast", "momentum", "cosine", "sine", "cosine2", "sine2")
DAY_S = 86400.0
CIRCADIAN_S = 45 * DAY_S
"""Time constant with which a daily rhythm is forgotten."""
MOST_ELEMENTS = 64
SD90 = 1.6448536269514722
"""Half the width of a normal distribution's central 90 %, in standard deviations."""
CONSTANT, COSINE, SINE, COSINE2, SINE2, INPUT = range(6)
"""How a coefficient of a reading goes with time."""
FROZEN, LEAST_REPEAT = 1e-12, 0.7
"""A value repeated so often that chance would do it less than this is a frozen sensor's. Every sensor is granted the second as
the probability of repeating a value: devices average and hold."""
DEFAULT = "home"
WIDENED = ", wide"
WIDER = 2.0
"""How much more persons differ, in standard deviations, where a population's numbers are not for them."""
POPULATIONS = Path(__file__).with_name("populations")


class Driver(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A latent driver: no sensor reads it, several signals load on it. ``time_s``: its time constant."""

    display: str
    scale: Scale
    time_s: float
    source: str


class Input(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is known to act on signals: a compartment into which amounts go, and which empties with ``time_s``.

    ``unit``: of the amounts; ``signal``: whose samples are amounts, where one of the catalogue's is.
    """

    display: str
    unit: str
    time_s: float
    source: str
    signal: str | None = None
    level: bool = False
    """Each amount replaces what is there: a level, such as the temperature around, which is forgotten with ``time_s``."""
    offset: float = 0.0
    """Taken off each sample of ``signal``: where it has no effect."""


class Population(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file. ``signals`` replace the catalogue's models; ``holds_for``: on whom it was fitted, in words."""

    name: str
    version: int
    date: str
    holds_for: str
    attribution: list[str] = []
    youngest: float = 18.0
    """Years; for younger people, and in pregnancy unless it says so, the twin says that the model was made for others."""
    pregnancy: bool = False
    drivers: dict[str, Driver] = {}
    inputs: dict[str, Input] = {}
    signals: dict[str, SignalModel] = {}


class Layout(NamedTuple):
    """Which elements the state of one block has, and how its signals read them; arrays for the kernel.

    ``d`` elements, ``m`` signals, ``c`` channels (a device's samples of a signal), ``n`` inputs, ``r`` readings.

    rates: (d,) 1/s. stationary: (d (d + 1) / 2,) upper triangle, row by row. reads_start: (m + 1,) readings of signal k are
    ``reads_start[k]`` to ``reads_start[k + 1]``. reads_element, reads_form: (r,) which element, and :data:`CONSTANT`,
    :data:`COSINE`, :data:`SINE`, the same of half a day, or :data:`INPUT` plus the number of the input whose content it is
    multiplied with; reads_value: (r,) coefficient. around: (r,) whether it is deviation, and not what is usual; own: (r,) whether
    a change that is accepted goes there. means, noise, tail, noise_tail, prior_count: (m,) on the working scale: mean, variance
    of a sample, degrees of freedom of its tails and of its noise's (inf: normal), how many samples the population's noise counts
    for (inf: a person's is never learnt). scale: (m, 3), see :func:`scale`. limits: (m, 2) detection limits, plausible: (m, 2),
    canonical unit. frozen_after: (m,) repeats. channel_signal: (c,). input_rates: (n,) 1/s; input_levels, input_offsets: (n,) see
    :class:`Input`; effects: (m, n) per unit left in the compartment. input_of: (m,) the input into which samples of the signal
    go, or -1. reach: (m,) half the width of the central 90 % of a sample's predictive distribution, in its standard deviations.
    drivers: how many elements, the first ones, are drivers.
    """

    rates: Floats
    stationary: Floats
    reads_start: Ints
    reads_element: Ints
    reads_form: Ints
    reads_value: Floats
    around: Floats
    own: Floats
    means: Floats
    noise: Floats
    tail: Floats
    noise_tail: Floats
    prior_count: Floats
    scale: Floats
    limits: Floats
    plausible: Floats
    frozen_after: Floats
    channel_signal: Ints
    input_rates: Floats
    input_levels: Floats
    input_offsets: Floats
    effects: Floats
    input_of: Ints
    reach: Floats
    drivers: int


class Plan(Struct, frozen=True, eq=False, dict=True):
    """A layout with its names. ``key``: signals, in the catalogue's order, with how many channels each has."""

    key: tuple[tuple[str, int], ...]
    signals: tuple[Signal, ...]
    models: tuple[SignalModel, ...]
    elements: tuple[str, ...]
    drivers: tuple[str, ...]
    inputs: tuple[str, ...]
    layout: Layout
    driver_models: dict[str, Driver]

    @property
    def d(self) -> int:
        return len(self.elements)

    @cached_property
    def spelled(self) -> str:
        """See :meth:`Names.spelled`."""
        return self.names.spelled()

    @property
    def names(self) -> "Names":
        channels = tuple((name, number) for name, count in self.key for number in range(count))
        return Names(self.elements, self.drivers, self.inputs, tuple(name for name, _ in self.key), channels)


class Names(NamedTuple):
    """What the numbers of a state are called; ``channels``: signal and number."""

    elements: tuple[str, ...]
    drivers: tuple[str, ...]
    inputs: tuple[str, ...]
    signals: tuple[str, ...]
    channels: tuple[tuple[str, int], ...]

    def spelled(self) -> str:
        """In few bytes: ``driver driver|input|signal:kind kind,signal:kind|count count``."""
        kinds = [" ".join(e.partition(".")[2] for e in self.elements if e.startswith(f"{s}.")) for s in self.signals]
        counts = [sum(name == signal for name, _ in self.channels) for signal in self.signals]
        own = ",".join(f"{signal}:{kind}" for signal, kind in zip(self.signals, kinds, strict=True))
        return "|".join((" ".join(self.drivers), " ".join(self.inputs), own, " ".join(map(str, counts))))

    @classmethod
    def parsed(cls, spelled: str) -> "Names":
        drivers, inputs, own, counts = spelled.split("|")
        pairs = [part.split(":") for part in own.split(",")]
        elements = [f"{signal}.{kind}" for signal, kinds in pairs for kind in kinds.split()]
        channels = [(signal, n) for (signal, _), count in zip(pairs, counts.split(), strict=True) for n in range(int(count))]
        named = tuple(drivers.split())
        return cls((*named, *elements), named, tuple(inputs.split()), tuple(signal for signal, _ in pairs), tuple(channels))


def own_elements(model: SignalModel) -> list[tuple[str, float, float]]:
    """Kinds of the elements that a signal has of its own, with rate in 1/s and stationary standard deviation."""
    fast_sd, momentum_sd, _ = _momentum(model)
    parts = (
        ("baseline", model.baseline_s, model.between_sd),
        ("slow", model.slow_s, model.slow_sd),
        ("fast", model.fast_s, fast_sd),
        ("momentum", model.momentum_s, momentum_sd),
        ("cosine", CIRCADIAN_S, model.circadian_sd),
        ("sine", CIRCADIAN_S, model.circadian_sd),
        ("cosine2", CIRCADIAN_S, model.circadian2_sd),
        ("sine2", CIRCADIAN_S, model.circadian2_sd),
    )
    return [(kind, 1 / time, sd) for kind, time, sd in parts if sd > 0]


def _momentum(model: SignalModel) -> tuple[float, float, float]:
    """Standard deviations of fast deviation and momentum, and their covariance.

    Fast deviation minus momentum, both driven by one noise, is a second-order process: it carries on in its direction.
    With ``a = 1/fast_s``, ``b = 1/momentum_s`` and noise intensity ``q``: variances ``q/2a`` and ``m^2 q/2b``,
    covariance ``m q/(a+b)``; ``q`` is chosen so that the difference has ``fast_sd``.
    """
    a, b, m = 1 / model.fast_s, 1 / model.momentum_s, model.momentum
    fast, momentum, shared = 1 / (2 * a), m * m / (2 * b), m / (a + b)
    q = model.fast_sd**2 / (fast + momentum - 2 * shared)
    return math.sqrt(q * fast), math.sqrt(q * momentum), q * shared


def scale(signal: Signal) -> Floats:
    """(3,): which transform (0 none, 1 logarithm, 2 logarithm of the headroom), its ceiling, how near its argument comes to 0.

    Values where the logarithm ends are taken half a display step inside it.
    """
    kind, ceiling = {"log": (1.0, 0.0), "log_headroom": (2.0, signal.ceiling + 1)}.get(signal.transform, (0.0, 0.0))
    return np.array([kind, ceiling, 0.5 * 10.0**-signal.decimals])


class PopulationModel:
    """A population together with the catalogue: the model of every signal, its block, and layouts on demand."""

    def __init__(self, population: Population, catalogue: Catalogue) -> None:
        _check(population, catalogue)
        self.population = population
        self.catalogue = catalogue
        self.models: dict[str, SignalModel] = {
            name: population.signals.get(name, signal.model) for name, signal in catalogue.signals.items()
        }
        self.blocks = self._blocks()
        """Signal -> the first, in the catalogue's order, of those with which it shares drivers or inputs that are signals."""
        self.surroundings: dict[str, list[tuple[str, str, float]]] = {
            name: found for name, model in self.models.items() if (found := self._surroundings(model))
        }
        """Signal -> inputs that come from the patient's place: input, signal of the environment, and what is taken off it."""
        self._check_size()
        self.plan = lru_cache(maxsize=4096)(self._plan)

    def _blocks(self) -> dict[str, str]:
        first: dict[str, str] = {name: name for name in self.models}
        inputs = self.population.inputs
        for name, model in self.models.items():
            sources = [inputs[effect].signal for effect in model.effects]
            fed = {source for source in sources if source is not None and self.catalogue[source].scale != "environment"}
            shared = {other for other, its in self.models.items() if not model.loadings.keys().isdisjoint(its.loadings)}
            joined = {first[other] for other in fed | shared | {name}}
            head = next(other for other in self.models if other in joined)
            for other, block in first.items():
                if block in joined:
                    first[other] = head
        return first

    def _surroundings(self, model: SignalModel) -> list[tuple[str, str, float]]:
        inputs = ((name, self.population.inputs[name]) for name in model.effects)
        return [
            (name, its.signal, its.offset)
            for name, its in inputs
            if its.signal is not None and self.catalogue[its.signal].scale == "environment"
        ]

    def _check_size(self) -> None:
        for head in set(self.blocks.values()):
            names = [name for name, block in self.blocks.items() if block == head]
            d = len({driver for name in names for driver in self.models[name].loadings})
            d += sum(len(own_elements(self.models[name])) + len(self.models[name].sensitivities) for name in names)
            if d > MOST_ELEMENTS:
                raise ValueError(
                    f"population {self.population.name}: the block of {head} has {d} elements with all its signals, at most"
                    f" {MOST_ELEMENTS} are supported: load fewer signals on shared drivers, or give them fewer elements"
                )

    def _plan(self, key: tuple[tuple[str, int], ...]) -> Plan:
        """Layout of a block with the signals of ``key``, (name, number of channels), in the catalogue's order."""
        signals = tuple(self.catalogue[name] for name, _ in key)
        models = [self.models[signal.name] for signal in signals]
        drivers = tuple(driver for driver in self.population.drivers if any(driver in model.loadings for model in models))
        # Also those on which no signal that is here reacts yet: it finds them when it comes.
        others = [model for name, model in self.models.items() if self.blocks[name] == self.blocks[key[0][0]]]
        inputs = tuple(name for name in self.population.inputs if any(name in model.effects for model in others))
        forms = {"cosine": COSINE, "sine": SINE, "cosine2": COSINE2, "sine2": SINE2} | {
            name: INPUT + number for number, name in enumerate(inputs)
        }
        rates = [1 / self.population.drivers[name].time_s for name in drivers]
        elements, sds = list(drivers), [1.0] * len(drivers)
        reads: list[list[tuple[int, int, float, float, float]]] = []
        pairs: dict[tuple[int, int], float] = {}
        for signal, model in zip(signals, models, strict=True):
            own = {}
            for kind, rate, sd in own_elements(model):
                own[kind] = len(elements)
                elements.append(f"{signal.name}.{kind}")
                rates.append(rate)
                sds.append(sd)
            for name, sd in model.sensitivities.items():
                own[name] = len(elements)
                elements.append(f"{signal.name}.{name}")
                rates.append(1 / model.baseline_s)
                sds.append(sd)
            if "momentum" in own:
                pairs[own["fast"], own["momentum"]] = _momentum(model)[2]
            alone = {"slow", "fast"}.isdisjoint(own)
            reads.append(
                [(drivers.index(name), CONSTANT, loading, 1.0, 0.0) for name, loading in model.loadings.items()]
                + [
                    (
                        index,
                        forms.get(kind, CONSTANT),
                        -1.0 if kind == "momentum" else 1.0,
                        float(kind in ("slow", "fast", "momentum")),
                        float(kind in ("slow", "fast") or (alone and kind == "baseline")),
                    )
                    for kind, index in own.items()
                ]
            )
        flat = [reading for readings in reads for reading in readings]
        layout = Layout(
            rates=np.array(rates),
            stationary=_stationary(sds, pairs),
            reads_start=np.cumsum([0, *map(len, reads)]),
            reads_element=np.array([reading[0] for reading in flat], np.int64),
            reads_form=np.array([reading[1] for reading in flat], np.int64),
            reads_value=np.array([reading[2] for reading in flat]),
            around=np.array([reading[3] for reading in flat]),
            own=np.array([reading[4] for reading in flat]),
            means=np.array([model.mean for model in models]),
            noise=np.array([model.noise_sd**2 for model in models]),
            tail=np.array([model.tail for model in models]),
            noise_tail=np.array([model.noise_tail for model in models]),
            prior_count=np.array([model.noise_count for model in models]),
            scale=np.array([scale(signal) for signal in signals]),
            limits=np.array([_limits(model) for model in models]),
            plausible=np.array([signal.plausible for signal in signals], float),
            frozen_after=np.array([_frozen_after(signal, model) for signal, model in zip(signals, models, strict=True)]),
            channel_signal=np.array([k for k, (_, count) in enumerate(key) for _ in range(count)], np.int64),
            input_rates=np.array([1 / self.population.inputs[name].time_s for name in inputs]),
            input_levels=np.array([float(self.population.inputs[name].level) for name in inputs]),
            input_offsets=np.array([self.population.inputs[name].offset for name in inputs]),
            effects=np.array([[model.effects.get(name, 0.0) for name in inputs] for model in models]).reshape(len(models), -1),
            input_of=np.array([_fed(self.population, signal.name, inputs) for signal in signals], np.int64),
            reach=np.array([_reach(model.tail) for model in models]),
            drivers=len(drivers),
        )
        driving = {name: self.population.drivers[name] for name in drivers}
        return Plan(key, signals, tuple(models), tuple(elements), drivers, inputs, layout, driving)


def _limits(model: SignalModel) -> tuple[float, float]:
    low, high = model.detection
    return -math.inf if low is None else low, math.inf if high is None else high


def _reach(tail: float) -> float:
    if math.isinf(tail):
        return SD90
    return float(stdtrit(tail, 0.95)) * math.sqrt((tail - 2) / tail)


def _fed(population: Population, signal: str, inputs: tuple[str, ...]) -> int:
    return next((number for number, name in enumerate(inputs) if population.inputs[name].signal == signal), -1)


def _stationary(sds: list[float], pairs: Mapping[tuple[int, int], float]) -> Floats:
    full = np.diag(np.array(sds) ** 2)
    for (i, j), covariance in pairs.items():
        full[i, j] = full[j, i] = covariance
    upper: Floats = full[np.triu_indices(len(sds))]
    return upper


def _frozen_after(signal: Signal, model: SignalModel) -> float:
    """Repeats of one displayed value that chance explains less often than :data:`FROZEN`; inf for what may stand still."""
    if signal.scale in ("behaviour", "environment"):
        return math.inf
    same = _step(signal, model) / (2 * math.sqrt(math.pi) * model.noise_sd)  # two normal draws within half a step of each other
    return math.inf if same >= 1 else math.ceil(math.log(FROZEN) / math.log(max(same, LEAST_REPEAT)))


def _step(signal: Signal, model: SignalModel) -> float:
    """One display step on the working scale, at the population's mean."""
    step = 10.0**-signal.decimals
    if signal.transform == "log":
        return step / math.exp(model.mean)
    return step * math.exp(model.mean) if signal.transform == "log_headroom" else step


def _check(population: Population, catalogue: Catalogue) -> None:
    for name, model in population.signals.items():
        if name not in catalogue:
            raise ValueError(f"population {population.name}: {name} is not in the catalogue")
        model.check(name)
    for name in catalogue.signals:
        model = population.signals.get(name, catalogue[name].model)
        for driver in model.loadings:
            if driver not in population.drivers:
                raise ValueError(f"population {population.name}: {name} loads on {driver}, which is no driver of it")
        for effect in model.effects:
            if effect not in population.inputs:
                raise ValueError(f"population {population.name}: {name} reacts to {effect}, which is no input of it")
        if not model.sensitivities.keys() <= model.effects.keys():
            raise ValueError(f"population {population.name}: {name} has a sensitivity to what has no effect on it")


class Populations:
    """Which model is whose."""

    def __init__(self, models: Mapping[str, PopulationModel]) -> None:
        self._models = models
        self._wide: dict[str, PopulationModel] = {}

    def of(self, profile: Profile | None) -> PopulationModel:
        """The model of a person's population; for whom it does not hold, one that expects less of a person's usual."""
        model = self._models[self._name(profile)]
        if unfit(model.population, profile) is None:
            return model
        name = model.population.name
        if name not in self._wide:
            self._wide[name] = _widened(model)
        return self._wide[name]

    def _name(self, profile: Profile | None) -> str:
        if profile is None:
            return DEFAULT
        return profile.population or (profile.cohort if profile.cohort in self._models else DEFAULT)  # type: ignore[return-value]

    def belongs(self, cohort: str, model: PopulationModel) -> bool:
        """Whether a risk model of ``cohort`` reads beliefs of ``model``: not where the cohort is called as another population."""
        return cohort not in self._models or self._models[cohort].population.name == model.population.name.removesuffix(WIDENED)


def unfit(population: Population, profile: Profile | None) -> str | None:
    """Why a population's numbers do not hold for a person, in words; None where they do, or nothing is known."""
    if profile is None:
        return None
    if profile.age_years is not None and profile.age_years < population.youngest:
        return f"fitted on {population.holds_for}, not on people under {population.youngest:.0f}"
    if profile.pregnant and not population.pregnancy:
        return f"fitted on {population.holds_for}, not in pregnancy"
    return None


def _widened(model: PopulationModel) -> PopulationModel:
    replaced = {name: replace(own, between_sd=WIDER * own.between_sd) for name, own in model.models.items()}
    return PopulationModel(replace(model.population, name=f"{model.population.name}{WIDENED}", signals=replaced), model.catalogue)


def read(path: Path, catalogue: Catalogue) -> PopulationModel:
    """A population from a file.

    Raises:
        ValueError: it contradicts itself or the catalogue; the message names what.
    """
    try:
        population = msgspec.convert(tomllib.loads(path.read_text()), Population)
    except (msgspec.ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path.name}: {error}") from error
    return PopulationModel(population, catalogue)


def shipped(catalogue: Catalogue) -> dict[str, PopulationModel]:
    """The product's own populations, by name."""
    return {path.stem: read(path, catalogue) for path in sorted(POPULATIONS.glob("*.toml"))}


def key_of(channels: Iterable[tuple[str, int]], catalogue: Catalogue) -> tuple[tuple[str, int], ...]:
    """Signals with their numbers of channels, as :meth:`PopulationModel.plan` wants them."""
    return tuple(sorted(channels, key=lambda channel: catalogue.order[channel[0]]))
