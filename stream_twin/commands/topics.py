"""``stream-twin topics create | check | show | grow | skip-gap | skip``."""

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

topics = typer.Typer(no_args_is_help=True, help="Make the topics of the contract, compare them with it, look at them.")
LANES = (*BROKER, "partition_count")


@topics.command()
@from_settings(*LANES)
def create(
    settings: Settings, replication: Annotated[int, typer.Option(min=1, max=10, help="Copies of each partition.")] = 1
) -> None:
    """Make the topics that are missing and set the configuration of those that exist. Deletes nothing."""
    from stream_twin import app
    from stream_twin.kafka import admin
    from stream_twin.topics import TOPICS

    made = admin.create(app.broker(settings), settings.prefix, settings.partition_count, replication)
    for name in made:
        typer.echo(f"made {name}")
    typer.echo(f"{len(made)} topics made, {len(TOPICS) - len(made)} were there and have their configuration")
    _refuse_differences(settings)


@topics.command()
@from_settings(*LANES)
def check(settings: Settings) -> None:
    """Compare the topics with the contract; exit 1, with the command that mends it, where they differ."""
    _refuse_differences(settings)
    typer.echo("topics are as they must be")


def _refuse_differences(settings: Settings) -> None:
    from stream_twin import app
    from stream_twin.kafka import admin

    differences = admin.check(app.broker(settings), settings.prefix, settings.partition_count)
    for difference in differences:
        typer.echo(str(difference), err=True)
    if differences:
        raise typer.Exit(1)


@topics.command()
@from_settings(*BROKER)
def show(
    settings: Settings, names: Annotated[list[str] | None, typer.Argument(help="Without prefix; default: all.")] = None
) -> None:
    """What topics there are, with partitions and records."""
    from stream_twin import app
    from stream_twin.kafka import admin

    table = Table(Column("topic", no_wrap=True), "partitions", "copies", "records", "carries")
    for state in admin.show(app.broker(settings), settings.prefix, names):
        table.add_row(state.topic, str(state.partitions), str(state.replicas), f"{state.records:,}", state.summary)
    Console().print(table)


@topics.command()
@from_settings(*LANES, "group")
def grow(settings: Settings) -> None:
    """Give the service more lanes: --partition-count of them. Stop the workers first; start them with the new number after.

    Every twin goes on from the state it has. The logs before stay, to be audited. Stopped in the middle, it is run again.
    """
    from stream_twin import app
    from stream_twin.kafka.grow import grow as grow_lanes
    from stream_twin.lane import base_of

    lanes, console = settings.partition_count, Console(stderr=True)
    with console.status("looking") as status:
        stages = app.Service(settings).stages()
        tell = status.update if console.is_terminal else console.print
        twins = asyncio.run(grow_lanes(app.worker_settings(settings), stages, base_of, tell))
    if twins is None:
        typer.echo(f"there are {lanes} lanes already")
        return
    _refuse_differences(settings)
    typer.echo(f"{lanes} lanes, with {twins:,} twins; start the workers with --partition-count {lanes}")


@topics.command()
@from_settings(*LANES, "group")
def skip_gap(settings: Settings, lane: Annotated[int, typer.Option(min=0, help="The lane that stopped.")]) -> None:
    """Let a lane go on whose sources have lost records that it had not read yet, and say how many they were."""
    from stream_twin import app
    from stream_twin.kafka import admin

    skipped = asyncio.run(admin.skip_gap(app.worker_settings(settings), lane))
    for topic, count in skipped.items():
        typer.echo(f"{topic}/{lane}: goes on, without {count} records")
    if not skipped:
        typer.echo(f"lane {lane} has no gap")


@topics.command()
@from_settings(*LANES, "group")
def skip(
    settings: Settings,
    lane: Annotated[int, typer.Option(min=0, help="The lane whose topic cannot be read on.")],
    topic: Annotated[str, typer.Option(help="Without prefix.")],
    offset: Annotated[int, typer.Option(min=0, help="As the worker's log names it.")],
) -> None:
    """Let a lane pass over records that cannot be read, of which dead letters are written. What can be read is never skipped."""
    from stream_twin import app
    from stream_twin.kafka import admin

    skipped = asyncio.run(admin.skip(app.worker_settings(settings), lane, topic, offset))
    typer.echo(f"{topic}/{lane}: goes on at {skipped.stop}, without {len(skipped)} records; each has a dead letter, unreadable")


def register(app: typer.Typer) -> None:
    app.add_typer(topics, name="topics")
