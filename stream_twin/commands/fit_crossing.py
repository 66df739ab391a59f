"""``stream-twin fit-crossing``: fit what the online probability of a low glucose starts from, with and without each person."""

from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.progress import track

from stream_twin import backtest, signals
from stream_twin.alerts.budget import Budget
from stream_twin.commands.backtest import Jobs, Limit, in_parallel
from stream_twin.datasets import t1d
from stream_twin.learn.crossing import TERMS, Learnt, Start, fit, unlearnt
from stream_twin.learn.shipped import Fitted

ATTRIBUTION = (
    "Alsuhaymi A, Bilal A, Rashid A, et al. T1D-UOM: a longitudinal multimodal dataset of type 1 diabetes. Zenodo,"
    " https://doi.org/10.5281/zenodo.15169263. Changed: only fitted numbers are kept."
)


def fit_crossing(
    path: Annotated[Path, typer.Argument(help="Directory of T1D-UOM, as published.", exists=True)],
    out: Annotated[Path, typer.Option(help="File to write; the same input gives the same bytes.")],
    date: Annotated[str, typer.Option(help="Written into the file.")] = "",
    jobs: Jobs = 1,
    limit: Limit = None,
) -> None:
    """Fit the start of the glucose alert's online model to recorded people."""
    people = t1d.people(path)[:limit]
    rows = dict(zip(people, track(in_parallel(partial(_rows, path), people, jobs), "people", total=len(people)), strict=True))

    def without(left_out: str) -> Fitted:
        return fit([row for person in people if person != left_out for row in rows[person]], [left_out])

    start = Start(
        data_set=t1d.DATASET.title,
        licence="CC BY 4.0",
        attribution=ATTRIBUTION,
        date=date,
        command="stream-twin fit-crossing PATH --out FILE",
        terms=list(TERMS),
        whole=fit([row for person in people for row in rows[person]], people),
        folds={person: without(person) for person in people},
    )
    out.write_bytes(msgspec.json.encode(start) + b"\n")
    typer.echo(f"{out}: {len(TERMS)} terms, {start.whole.examples} readings of {len(people)} people")


def _rows(path: Path, person: str) -> list[Learnt]:
    kept = list[Learnt]()
    backtest.glucose(signals.load(), path, person, unlearnt(), Budget(per_day=1.0), kept=kept)
    return kept


def register(app: typer.Typer) -> None:
    app.command("fit-crossing")(fit_crossing)
