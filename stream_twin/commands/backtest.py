"""``stream-twin backtest``: recorded people through the same pipeline as live, without Kafka, into files that can be judged."""

import csv
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import typer
from rich.progress import track

from stream_twin import backtest as player
from stream_twin import nights, signals
from stream_twin.alerts.budget import Budget
from stream_twin.alerts.onset import MONTH
from stream_twin.datasets import sepsis2019, t1d
from stream_twin.learn import crossing, shipped
from stream_twin.learn.cohort import CohortLearner
from stream_twin.learn.recipe import VITAL_SIGNS, recipe_of

Jobs = Annotated[int, typer.Option(min=1, max=64, help="Processes. Changes the speed, never a byte of what is written.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Only the first so many people.")]
START = 0.12
"""Probability of a low from which people are told before anything is known of a person: twice as many false alerts as the budget
has, for most, so that its threshold is found from below."""
SEPSIS_START, SEPSIS_LEAST, SEPSIS_WINDOW_DAYS = 0.08, 0.02, 90.0
"""A window as long as a stay: what came of alarms is known at its end, and until then they count as false."""
_T = TypeVar("_T")
_P = TypeVar("_P")


def backtest(
    dataset: Annotated[Literal["t1d", "sepsis2019", "nights"], typer.Argument(help="Which recordings; nights: any, in --csv.")],
    out: Annotated[
        Path, typer.Option(help="Directory for preds.csv and alerts.csv, or scores.csv, and told.csv; nights: a file.")
    ],
    path: Annotated[Path | None, typer.Argument(help="Their directory, as published; not for nights.", exists=True)] = None,
    jobs: Jobs = 1,
    limit: Limit = None,
    setting: Annotated[
        str, typer.Option(help="sepsis2019: what the model may look at: vital_signs, laboratory.")
    ] = "vital_signs",
    model: Annotated[Path | None, typer.Option(help="sepsis2019: a file of fit-risk instead of the shipped model.")] = None,
    alone: Annotated[
        bool, typer.Option("--filter-alone", help="t1d: forecasts of the twin's filter, nothing learnt on top.")
    ] = False,
    cold: Annotated[bool, typer.Option("--cold", help="sepsis2019: start from no model.")] = False,
    in_sample: Annotated[
        bool, typer.Option("--in-sample", help="sepsis2019: use the whole model, also on those on whom it was fitted.")
    ] = False,
    table: Annotated[
        Path | None, typer.Option("--csv", exists=True, dir_okay=False, help="nights: columns patient,date,signal,value.")
    ] = None,
    budget: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=30,
            help="nights: most alerts per person and 30 days with data, 1 unless given; t1d, sepsis2019: false ones per person "
            "and day, 1 and 0.08.",
        ),
    ] = None,
) -> None:
    """Back-test on recordings; every row uses only what was known at its time."""
    if dataset == "nights":
        if table is None or path is not None:
            raise typer.BadParameter("nights reads one file: give --csv FILE and no directory", param_hint="--csv")
        _nights(table, out, 1.0 if budget is None else budget)
        return
    if path is None or table is not None:
        raise typer.BadParameter(f"{dataset} reads a directory: give it, and no --csv", param_hint="PATH")
    out.mkdir(parents=True, exist_ok=True)
    if dataset == "sepsis2019":
        allowed = Budget(
            per_day=0.08 if budget is None else budget, start=SEPSIS_START, least=SEPSIS_LEAST, window_days=SEPSIS_WINDOW_DAYS
        )
        _sepsis2019(path, out, jobs, limit, setting, model, allowed, cold=cold, in_sample=in_sample)
    else:
        _t1d(path, out, jobs, limit, 1.0 if budget is None else budget, alone=alone)


# ------------------------------------------------------------------------------------------------------- sepsis2019


def _sepsis2019(
    path: Path,
    out: Path,
    jobs: int,
    limit: int | None,
    setting: str,
    model: Path | None,
    allowed: Budget,
    *,
    cold: bool,
    in_sample: bool,
) -> None:
    people = sepsis2019.people(path)[:limit]
    fitted = None if cold else shipped.load(sepsis2019.COHORT, setting, model)
    if fitted is None and not cold:
        raise typer.BadParameter(f"no model of setting {setting} is shipped: choose vital_signs or laboratory, or use --cold")
    wards: dict[int | None, player.Ward] = {}
    alarms = player.Alarms(allowed)
    with (out / "scores.csv").open("w", newline="") as file, (out / "told.csv").open("w", newline="") as told:
        write, write_told = (csv.writer(each, lineterminator="\n").writerow for each in (file, told))
        write(["patient", "hour", "score"])
        write_told(["patient", "hour", "score", "alarm"])
        for stay in played(path, people, jobs, "stays", setting):
            fold = None if fitted is None else fitted.fold_of(stay.person, in_sample=in_sample)
            if fold not in wards:
                learner = CohortLearner(recipe_of(sepsis2019.COHORT, setting)) if fitted is None else fitted.learner(fold)
                wards[fold] = player.Ward(learner, cold=cold)
            scores = wards[fold].play(stay)
            for score, alarm in zip(scores, alarms.play(stay, scores), strict=True):
                row = [score.person, f"{score.hour:g}", f"{score.probability:.6g}"]
                write(row)
                write_told([*row, int(alarm)])
    started = "no model" if fitted is None else f"model {fitted.cohort} {fitted.setting} of {fitted.date or 'no date'}"
    folds = sorted(fold + 1 for fold in wards if fold is not None)
    typer.echo(f"{out / 'scores.csv'}: {len(people)} stays, from {started}" + (f", folds {folds}" if folds else ""))


def played(path: Path, people: list[str], jobs: int, what: str, setting: str) -> Iterator[player.Stay]:
    """Stays in the order of ``people``, their twins in ``jobs`` processes, told what the setting may look at."""
    parts = [people[first : first + player.TOGETHER] for first in range(0, len(people), player.TOGETHER)]
    for part in track(in_parallel(partial(_stays, path, setting), parts, jobs), f"{what} of {len(people)}", total=len(parts)):
        yield from part


def _stays(path: Path, setting: str, people: list[str]) -> list[player.Stay]:
    return player.stays(signals.load(), path, people, VITAL_SIGNS if setting == "vital_signs" else None)


def in_parallel(work: Any, parts: Iterable[_P], jobs: int) -> Iterator[Any]:
    """Results in the order of ``parts``; one job runs here."""
    if jobs == 1:
        yield from map(work, parts)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(work, parts)


# -------------------------------------------------------------------------------------------------------------- t1d


def _t1d(path: Path, out: Path, jobs: int, limit: int | None, budget: float, *, alone: bool) -> None:
    people = t1d.people(path)[:limit]
    with (
        (out / "preds.csv").open("w", newline="") as preds,
        (out / "alerts.csv").open("w", newline="") as alerts,
        (out / "told.csv").open("w", newline="") as told,
    ):
        write_pred, write_alert, write_told = (csv.writer(file, lineterminator="\n").writerow for file in (preds, alerts, told))
        write_pred(["subject", "time", "horizon_min", "pred_mgdl", "lo90", "hi90"])
        write_alert(["subject", "time", "score", "probability", "threshold"])
        write_told(["subject", "time", "score"])
        work = partial(_person, path, alone, budget)
        for forecasts in track(in_parallel(work, people, jobs), "people", total=len(people)):
            for row in forecasts:
                for minutes, forecast in zip(player.HORIZONS_MIN, row.horizons, strict=True):
                    write_pred(
                        [row.person, row.time, minutes, *(f"{v:.2f}" for v in (forecast.mean, forecast.low, forecast.high))]
                    )
                write_alert([row.person, row.time, *(f"{v:.5f}" for v in (row.news, row.low, row.threshold))])
                write_told([row.person, row.time, int(row.told)])
    typer.echo(f"{', '.join(str(out / name) for name in ('preds.csv', 'alerts.csv', 'told.csv'))}: {len(people)} people")


def _person(path: Path, alone: bool, budget: float, person: str) -> Any:
    start = crossing.shipped().of(person)
    return player.glucose(signals.load(), path, person, start, Budget(per_day=budget, start=START), alone=alone)


# ----------------------------------------------------------------------------------------------------------- nights


def _nights(table: Path, out: Path, budget: float) -> None:
    try:
        found = nights.read(table)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--csv") from None
    for line in nights.reported(found.faults):
        typer.echo(f"{table}, {line}", err=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    counts = nights.write(out, found.people, budget)
    months = counts["days"] / MONTH
    rate = f", {counts['alerts'] / months:.2f} in 30 days of a person" if months else ""
    typer.echo(f"{out}: {len(found.people)} people, {counts['days']} days, {counts['alerts']} alerts{rate}")


def register(app: typer.Typer) -> None:
    app.command("backtest")(backtest)
