"""``stream-twin fit``: estimate a population's numbers from recorded people, by maximum likelihood."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, track

from stream_twin import signals
from stream_twin.datasets.published import DATASETS
from stream_twin.fitting import toml
from stream_twin.fitting.estimate import STEPS, estimate, separate
from stream_twin.fitting.recordings import Reader
from stream_twin.twin.model import Population, read

STARTS = Path(__file__).parent.parent / "fitting" / "starts"
USUAL = {"sepsis2019": "intensive_care", "lifesnaps": "home", "welltory": "home", "t1d": "home"}
ATTRIBUTION = {
    "sepsis2019": (
        "Reyna MA, Josef CS, Jeter R, et al. Early Prediction of Sepsis from Clinical Data: The PhysioNet/Computing in Cardiology"
        " Challenge 2019. Crit Care Med 2020;48(2):210-217. PhysioNet, https://doi.org/10.13026/v64v-d857. CC BY 4.0. Changed:"
        " only fitted numbers are kept."
    ),
    "lifesnaps": (
        "Yfantidou S, Karagianni C, Efstathiou S, et al. LifeSnaps, a 4-month multi-modal dataset capturing unobtrusive snapshots"
        " of our lives in the wild. Sci Data 2022;9:663. Zenodo, https://doi.org/10.5281/zenodo.6826682. CC BY 4.0. Changed: only"
        " fitted numbers are kept."
    ),
    "welltory": "Welltory COVID-19 research, https://github.com/Welltory/hrv-covid19. CC0.",
    "t1d": (
        "T1D-UOM, a longitudinal multimodal dataset of type 1 diabetes. Zenodo, https://doi.org/10.5281/zenodo.15169263. CC BY"
        " 4.0. Changed: only fitted numbers are kept."
    ),
}


def fit(
    dataset: Annotated[str, typer.Argument(help=f"Which recordings: {', '.join(USUAL)}.")],
    path: Annotated[Path, typer.Argument(help="Their directory, as published.", exists=True)],
    out: Annotated[Path, typer.Option(help="File to write; the same input gives the same bytes.")],
    start: Annotated[
        str | None, typer.Option(help="File, or name of a shipped start, with the drivers, loadings and numbers to begin with.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--with", help="Together with others: DATASET=PATH, or DATASET:DAYS=PATH: only first days."),
    ] = None,
    people: Annotated[str | None, typer.Option(help="Only these: FROM..TO (by name) or A,B,C.")] = None,
    folds: Annotated[int, typer.Option(min=1, help="Deal the people out in turn into so many folds ...")] = 1,
    leave_out: Annotated[int, typer.Option(min=0, help="... and fit without this one, counted from 1; 0: with all.")] = 0,
    only: Annotated[
        str | None, typer.Option("--signals", help="Only these signals: A,B,C. Default: all of the start file.")
    ] = None,
    alone: Annotated[bool, typer.Option("--alone", help="Each signal for itself: what joining is measured against.")] = False,
    steps: Annotated[int, typer.Option(min=1, help="Of the optimiser, at most.")] = STEPS,
    date: Annotated[str, typer.Option(help="Written into the file.")] = "",
) -> None:
    """Estimate the numbers of a population from recorded people."""
    if leave_out > folds:
        raise typer.BadParameter(f"fold {leave_out} of {folds} is none: choose 1 to {folds}", param_hint="--leave-out")
    catalogue = signals.load()
    begin = read(start_file(start or USUAL.get(dataset, dataset)), catalogue).population
    wanted = [name for name in begin.signals if only is None or name in only.split(",")]
    if only and set(only.split(",")) - begin.signals.keys():
        strange = ", ".join(sorted(set(only.split(",")) - begin.signals.keys()))
        raise typer.BadParameter(f"{strange}: not in the start file", param_hint="--signals")
    recorded, sources = [], []
    for what, _, place in [(dataset, "=", str(path)), *(other.partition("=") for other in also or [])]:
        name, _, days = what.partition(":")
        if name not in USUAL or not Path(place).is_dir() or (days and not days.isdigit()):
            raise typer.BadParameter(f"{what}={place}: want one of {', '.join(USUAL)}, and its directory")
        source = DATASETS[name]
        everybody = source.people(Path(place)) if place != str(path) else chosen_people(source.people(path), people)
        chosen = [person for n, person in enumerate(everybody) if leave_out == 0 or n % folds != leave_out - 1]
        reader = Reader(source, Path(place), catalogue)
        read_ = [reader.read(person) for person in track(chosen, f"reading {name}")]
        recorded += [one.first(int(days)) for one in read_] if days else read_
        sources.append((name, len(chosen)))
    with Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()) as progress:
        task = progress.add_task("fitting", total=steps)

        def told(step: int, value: float) -> None:
            progress.update(task, completed=step, description=f"fitting: step {step}, {value:.4f} nats per sample")

        how = separate if alone else estimate
        found = how(begin, catalogue, recorded, wanted, steps=steps, told=told)
    out.write_text(toml.text(_labelled(found.population, sources, wanted, date), _remark([name for name, _ in sources])))
    typer.echo(
        f"{out}: {len(wanted)} signals, {found.samples} samples of {len(recorded)} people,"
        f" {found.at_start:.4f} -> {found.log_likelihood:.4f} nats per sample in {found.steps} steps"
    )


def start_file(name: str) -> Path:
    """A file, or the shipped start of this name. Raises typer.BadParameter where there is neither."""
    found = Path(name) if Path(name).suffix == ".toml" else STARTS / f"{name}.toml"
    if not found.exists():
        shipped = ", ".join(sorted(path.stem for path in STARTS.glob("*.toml")))
        raise typer.BadParameter(f"{name} is neither a file nor one of {shipped}", param_hint="--start")
    return found


def chosen_people(everybody: list[str], wanted: str | None) -> list[str]:
    """``FROM..TO`` or ``A,B,C``; in the order of the data set. Raises typer.BadParameter where nobody is left."""
    if wanted is None:
        return everybody
    first, dots, last = wanted.partition("..")
    found = [p for p in everybody if first <= p <= last] if dots else [p for p in everybody if p in wanted.split(",")]
    if not found:
        raise typer.BadParameter(f"{wanted}: nobody of the recorded {everybody[0]} to {everybody[-1]}", param_hint="--people")
    return found


def _labelled(population: Population, sources: list[tuple[str, int]], fitted: list[str], date: str) -> Population:
    said = "fitted to " + " and ".join(f"{DATASETS[name].title} ({people} people)" for name, people in sources)
    said += f", {date}" if date else ""
    drivers = {name for signal in fitted for name in population.signals[signal].loadings}
    return msgspec.structs.replace(
        population,
        date=date or population.date,
        attribution=[*dict.fromkeys([*population.attribution, *(ATTRIBUTION[name] for name, _ in sources)])],
        signals={
            name: msgspec.structs.replace(model, source=said if name in fitted else model.source)
            for name, model in population.signals.items()
        },
        drivers={
            name: msgspec.structs.replace(driver, source=said if name in drivers else driver.source)
            for name, driver in population.drivers.items()
        },
    )


def _remark(datasets: list[str]) -> str:
    return (
        f"Made by `stream-twin fit` from {', '.join(datasets)} (docs/twin.md). Means, standard deviations and\n"
        "loadings are on each signal's working scale (signals.toml: its unit, or a logarithm), times in seconds."
    )


def register(app: typer.Typer) -> None:
    app.command("fit")(fit)
