"""``stream-twin fit-risk``: fit a cohort's risk model to recorded people, with folds, so that it can be back-tested on them."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from stream_twin import signals
from stream_twin.commands.backtest import Jobs, Limit, played
from stream_twin.datasets import sepsis2019
from stream_twin.events import Example, Label
from stream_twin.learn.fit import Labelled
from stream_twin.learn.recipe import recipe_of
from stream_twin.learn.shipped import Fitted, ShippedModel, numbers_of
from stream_twin.twin.model import shipped as populations

ATTRIBUTION = (
    "Reyna MA, Josef CS, Jeter R, et al. Early Prediction of Sepsis from Clinical Data: The PhysioNet/Computing in Cardiology"
    " Challenge 2019. Crit Care Med 2020;48(2):210-217. PhysioNet, https://doi.org/10.13026/v64v-d857. Changed: only fitted"
    " numbers are kept."
)


def fit_risk(
    path: Annotated[Path, typer.Argument(help="Directory with the stays of sepsis2019 (pNNNNNN.psv).", exists=True)],
    out: Annotated[Path, typer.Option(help="File to write; the same input gives the same bytes.")],
    setting: Annotated[str, typer.Option(help="What the model may look at: vital_signs, laboratory.")] = "vital_signs",
    folds: Annotated[int, typer.Option(min=2, max=20, help="Parts by number of stay; each gets a model fitted without it.")] = 3,
    date: Annotated[str, typer.Option(help="Written into the file.")] = "",
    jobs: Jobs = 1,
    limit: Limit = None,
) -> None:
    """Fit the risk model of intensive care to recorded stays."""
    recipe = recipe_of(sepsis2019.COHORT, setting)
    people = sepsis2019.people(path)[:limit]
    labelled = Labelled(recipe)
    decode = msgspec.json.Decoder(Example | Label).decode
    for stay in played(path, people, jobs, "twins", setting):
        messages = [decode(value) for value in stay.examples]
        label = next(m for m in reversed(messages) if isinstance(m, Label))
        labelled.add([m for m in messages if isinstance(m, Example)], label)
    size = -(-len(people) // folds)
    parts = [range(first, min(first + size, len(people))) for first in range(0, len(people), size)]
    fitted = [
        Fitted.of([people[n] for n in part], *labelled.fit(n for n in range(len(people)) if n not in part)) for part in parts
    ]
    model = ShippedModel(
        cohort=recipe.cohort,
        setting=setting,
        data_set=sepsis2019.DATASET.title,
        licence="CC BY 4.0",
        attribution=ATTRIBUTION,
        date=date,
        command=f"stream-twin fit-risk PATH --out FILE --setting {setting} --folds {folds}",
        terms=list(recipe.terms),
        signals=numbers_of(recipe.terms, populations(signals.load())[recipe.cohort].models),
        whole=Fitted.of(people, *labelled.fit(range(len(people)))),
        folds=fitted,
    )
    out.write_bytes(msgspec.json.encode(model) + b"\n")
    typer.echo(f"{out}: {len(recipe.terms)} terms, {model.whole.examples} examples of {len(people)} stays, {len(fitted)} folds")


def register(app: typer.Typer) -> None:
    app.command("fit-risk")(fit_risk)
