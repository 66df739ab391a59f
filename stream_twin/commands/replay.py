"""``stream-twin replay``: a recording onto the source topics, as its devices and hospitals would have sent it."""

from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Literal, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from stream_twin.clock import elapsed, wall
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.kafka.player import Progress as Played

Name = Literal["t1d", "sepsis2019", "mimic-fhir", "lifesnaps", "welltory", "beijing-pm25"]
LINE_EVERY_S = 10.0


def replay(
    settings: Settings,
    dataset: Annotated[Name, typer.Argument(help="Which data set; docs/recordings.md has more on each.", show_default=False)],
    path: Annotated[Path, typer.Argument(exists=True, file_okay=False, help="Where its publisher's files are.")],
    speed: Annotated[
        float | None, typer.Option(min=0.001, metavar="N", help="N times as fast as life [default: as fast as possible]")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Only the first N people or stays.")] = None,
    as_recorded: Annotated[bool, typer.Option("--as-recorded", help="Keep the recorded dates.")] = False,
    tick: Annotated[
        float | None,
        typer.Option(min=0.1, metavar="SECONDS", help="Stream time between two ticks [default: 1 s of wall time, at most 300]"),
    ] = None,
) -> None:
    """Play a published recording onto the source topics.

    Dates are shifted by whole weeks to the present, so that weekday and time of day stay. The clock of the worker must be
    the stream's (--clock stream): ticks on clock.ticks tell it the time of the recording.
    """
    from stream_twin import app
    from stream_twin.datasets.published import DATASETS
    from stream_twin.datasets.recording import Recording
    from stream_twin.kafka.player import Pacing, Player

    console = Console(stderr=True)
    console.print(f"reading {DATASETS[dataset].title} in {path} ...", highlight=False)
    recording = Recording(DATASETS[dataset], path, now=None if as_recorded else wall(), limit=limit)
    with Bar(console, recording.count, recording.last) as bar:
        player = Player(app.broker(settings), settings.prefix, Pacing(speed=speed, tick_s=tick), bar.update)
        done = player.play(recording)
    typer.echo(
        f"{done.sent} records of {len(recording.people)} people or places and {done.ticks} ticks sent to {player.partitions} "
        f"partitions in {done.seconds:.1f} s ({done.rate:.0f} records/s)"
    )


class Bar:
    """How far a player is: on a terminal a bar, elsewhere a line now and then.

    ``count`` records are played; ``last``: stream time of the last one, in seconds.
    """

    def __init__(self, console: Console, count: int, last: float) -> None:
        self._console, self._count, self._last = console, count, last
        self._told = elapsed()
        self._bar = Progress(
            TextColumn("{task.fields[at]}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} records"),
            TextColumn("{task.fields[rate]:.0f}/s"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("", total=count, at="", rate=0.0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    def update(self, played: "Played") -> None:
        at = "" if played.at != played.at else f"{datetime.fromtimestamp(min(played.at, self._last), UTC):%Y-%m-%d %H:%M} UTC"
        self._bar.update(self._task, completed=played.sent, at=at, rate=played.rate)
        if not self._console.is_terminal and elapsed() - self._told >= LINE_EVERY_S:
            self._told = elapsed()
            left = (self._count - played.sent) / played.rate if played.rate else 0.0
            self._console.print(
                f"{at}: {played.sent} of {self._count} records, {played.rate:.0f}/s, about {left:.0f} s left", highlight=False
            )


def register(app: typer.Typer) -> None:
    app.command("replay")(from_settings(*BROKER)(replay))
