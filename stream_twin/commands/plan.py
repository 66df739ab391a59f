"""``stream-twin plan``: how large an installation has to be."""

import re
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from stream_twin.options import from_settings
from stream_twin.plan import MEASURED, Demand
from stream_twin.plan import plan as planned
from stream_twin.settings import Settings

SECONDS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def every_s(text: str) -> float:
    """``10s``, ``5min``, ``1h``, ``1d`` or a number of seconds -> seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(s|min|m|h|d)?", text.strip())
    if not found or float(found[1]) <= 0:
        raise typer.BadParameter(f"{text!r} is not a time above 0: give it as 10s, 5min, 1h or 1d")
    return float(found[1]) * SECONDS[found[2] or "s"]


@from_settings("checkpoint_every_s")
def plan(
    settings: Settings,
    patients: Annotated[int, typer.Option(min=1, help="How many are watched.")],
    signals: Annotated[int, typer.Option(min=1, max=200, help="Signals of each patient.")] = 8,
    every: Annotated[str, typer.Option(metavar="TIME", help="Between two samples of a signal: 10s, 5min, 1h.")] = "10s",
    replication: Annotated[int, typer.Option(min=1, max=10, help="Copies of each partition.")] = 3,
    measured: Annotated[
        bool, typer.Option("--measured", help="Also what it is calculated from, and what measures that.")
    ] = False,
) -> None:
    """Print partitions, workers, memory, network and disk, calculated from what was measured on one worker."""
    demand = Demand(
        patients, signals, every_s(every), settings.lane.estimate_every_s, settings.checkpoint_every_s, replication
    )  # fmt: skip
    try:
        rows = planned(demand)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--patients") from None
    table = Table("", "wanted", "because")
    for row in rows:
        table.add_row(row.what, row.amount, row.how)
    Console().print(table)
    if measured:
        facts = Table("measured", "", "by")
        for name, fact in MEASURED.items():
            facts.add_row(name, f"{fact.value:,.6g} {fact.unit}", fact.command)
        Console().print(facts)


def register(app: typer.Typer) -> None:
    app.command()(plan)
