"""Who is fitted on, who is reported on, and with which model: nobody is in both."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from stream_twin.commands.fit_population import STARTS
from stream_twin.datasets.published import DATASETS
from stream_twin.fitting.estimate import estimate, separate
from stream_twin.fitting.recordings import Reader, Recorded
from stream_twin.fitting.toml import text
from stream_twin.signals import Catalogue
from stream_twin.twin.model import Population, PopulationModel, read, shipped

KEPT = Path("build/calibration")
"""Models that are fitted here and not shipped: each signal for itself, and those of which one person is left out."""
THIRDS = 3
"""LifeSnaps and Welltory: the last of every three people is reported on."""
NESTED = ("heart_rate", "stress", "steps")
"""Signals of T1D-UOM that are fitted again without the person who is reported on."""


class Set(NamedTuple):
    """``fitted``: people on whom rules and models were fitted; ``reported``: with the model for each."""

    name: str
    title: str
    fitted: list[Recorded]
    reported: list[Recorded]
    models: list[PopulationModel]
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
        return _nested(name, path, population, catalogue, people[:limit])
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


def _start(population: Population) -> Population:
    """Where fitting began."""
    return msgspec.toml.decode((STARTS / f"{population.name}.toml").read_bytes(), type=Population)


def _nested(name: str, path: Path, population: Population, catalogue: Catalogue, people: Sequence[str]) -> Set:
    source = DATASETS[name]
    reader = Reader(source, path, catalogue)
    everybody = [reader.read(p) for p in source.people(path)]
    start = _start(population)
    models = []
    for person in people:

        def without(person: str = person) -> Population:
            others = [one for one in everybody if one.person != person]
            own = {signal: start.signals[signal] for signal in NESTED}
            found = separate(msgspec.structs.replace(start, signals=own), catalogue, others, NESTED).population
            return msgspec.structs.replace(population, signals={**population.signals, **found.signals})

        models.append(_kept(f"{name}-without-{person}", without, catalogue))
    about = [one for one in everybody if one.person in people]
    return Set(name, source.title, everybody, about, models, models, ["glucose", *NESTED])


def _kept(name: str, make, catalogue: Catalogue) -> PopulationModel:
    file = KEPT / f"{name}.toml"
    if not file.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        file.write_text(text(make(), "Made by benchmarks.calibration; remove it to have it fitted again."))
    return read(file, catalogue)


__all__ = ["Set", "build", "estimate"]
