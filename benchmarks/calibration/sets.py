"""Who is fitted on, who is reported on, and with which model: nobody is in both."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_twin.commands.fit_population import STARTS
from stream_twin.datasets.published import DATASETS
from stream_twin.fitting.estimate import separate
from stream_twin.fitting.recordings import Reader, Recorded
from stream_twin.fitting.toml import text
from stream_twin.signals import Catalogue
from stream_twin.twin.model import Population, PopulationModel, read, shipped

KEPT = Path("build/calibration")
"""Models that are fitted here and not shipped: each signal for itself, on the same people."""
FIRST_DAYS = 14
"""Of each person of T1D-UOM on whom is fitted."""
THIRDS = 3
"""LifeSnaps, Welltory: the last of every three people is reported on."""
NESTED = ("heart_rate", "stress", "steps")
"""Signals of T1D-UOM that are fitted again without the person who is reported on, each for itself."""


class Set(NamedTuple):
    """``fitted``: people on whom rules and models were fitted; ``reported``: others."""

    name: str
    title: str
    fitted: list[Recorded]
    reported: list[Recorded]
    models: list[PopulationModel]
    """Of each who is reported on."""
    alone: list[PopulationModel]
    """Each signal fitted for itself, on the same people."""
    names: list[str]
    """Signals, in the catalogue's order."""


def build(name: str, path: Path, catalogue: Catalogue, limit: int | None) -> Set:
    """One data set. ``limit``: of people reported on, for a quick look."""
    source = DATASETS[name]
    people, reader = source.people(path), Reader(source, path, catalogue)
    population = shipped(catalogue)["intensive_care" if name == "sepsis2019" else "home"].population
    if name == "t1d":
        return _nested(path, population, catalogue, limit)
    if name == "sepsis2019":
        fitted = [p for p in people if "p100001" <= p <= "p102000"]
        reported = [p for p in people if "p104001" <= p <= "p106000"]
    else:
        fitted = [p for n, p in enumerate(people) if n % THIRDS != THIRDS - 1]
        reported = [p for n, p in enumerate(people) if n % THIRDS == THIRDS - 1]
    on, about = [reader.read(p) for p in fitted], [reader.read(p) for p in reported[:limit]]
    names = [n for n in catalogue.signals if n in population.signals and any(n in one.names for one in about)]
    model = PopulationModel(population, catalogue)
    alone = _kept(f"alone-{name}", lambda: separate(_start(population), catalogue, on, names).population, catalogue)
    return Set(name, source.title, on, about, [model] * len(about), [alone] * len(about), names)


def _nested(path: Path, population: Population, catalogue: Catalogue, limit: int | None) -> Set:
    """T1D-UOM: everybody is reported on, by a fit to the eleven others."""
    source = DATASETS["t1d"]
    reader = Reader(source, path, catalogue)
    people = [reader.read(person) for person in source.people(path)]
    start = _start(population)
    models = []
    for person in people[:limit]:
        others = [one.first(FIRST_DAYS) for one in people if one is not person]

        def fit(others: list[Recorded] = others) -> Population:
            found = separate(start, catalogue, others, NESTED).population
            own = {name: found.signals[name] for name in NESTED}
            return msgspec.structs.replace(found, signals=own)

        models.append(_kept(f"t1d-without-{person.person}", fit, catalogue))
    return Set("t1d", source.title, people, people[:limit], models, models, ["heart_rate", "glucose", "stress", "steps"])


def _start(population: Population) -> Population:
    """Where fitting began."""
    return msgspec.toml.decode((STARTS / f"{population.name}.toml").read_bytes(), type=Population)


def _kept(name: str, make: Callable[[], Population], catalogue: Catalogue) -> PopulationModel:
    file = KEPT / f"{name}.toml"
    if not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        file.write_text(text(make(), "Made by benchmarks.calibration; remove it to have it fitted again."))
    return read(file, catalogue)
