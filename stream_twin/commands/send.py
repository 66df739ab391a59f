"""``stream-twin send``: one's own table onto the source topics, judged by the real ingest before anything is sent."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from stream_twin.clock import wall
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.datasets.table import FromRow, Table

SHOWN = 20
"""So many rejections are printed; all are counted."""


class Refused(NamedTuple):
    """A message that ingest refuses, and why."""

    line: int
    column: str
    reason: str
    detail: str


class _Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


def judge(messages: Iterable["FromRow"], now: float) -> Iterator[Refused]:
    """What ingest refuses of ``messages``, where they are read at ``now``. The twin may refuse more: it knows the patients."""
    from stream_twin import signals
    from stream_twin.ingest.ingest import Ingest

    ingest = Ingest(signals.load())
    for number, (line, column, message) in enumerate(messages):
        record = _Record(number, message.key, message.value, int(now * 1000))
        for letter in ingest.run(message.topic, 0, [record], now).rejected:
            headers = dict(letter.headers)
            yield Refused(line, column, headers["reason"].decode(), headers["detail"].decode())


def send(
    settings: Settings,
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A table with a header.")],
    map_: Annotated[Path, typer.Option("--map", exists=True, dir_okay=False, help="Which column is what; see docs/send.md.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say which rows would be rejected and why; send nothing.")] = False,
    ticks: Annotated[
        bool, typer.Option("--ticks", help="Also write clock.ticks, for a worker with --clock stream: the table sets its time.")
    ] = False,
) -> None:
    """Send one's own table (CSV). Exit code 1 of a dry run: rows would be rejected."""
    from stream_twin.datasets.table import Table, read_map

    mapping = read_map(map_)
    if dry_run:
        _dry_run(Table(file, mapping))
        return
    from stream_twin import app
    from stream_twin.datasets.recording import by_time
    from stream_twin.kafka.player import Pacing, Player

    messages = by_time(row.sent for row in Table(file, mapping))
    done = Player(app.broker(settings), settings.prefix, Pacing(ticks=ticks)).play(messages)
    typer.echo(f"{done.sent} records sent; rejected ones end in {settings.prefix}dead.letters")


def _dry_run(table: "Table") -> None:
    reasons: Counter[str] = Counter()
    count = 0

    def counted() -> Iterator["FromRow"]:
        nonlocal count
        for row in table:
            count += 1
            yield row

    for refused in judge(counted(), wall()):
        reasons[refused.reason] += 1
        if reasons.total() <= SHOWN:
            column = f", column {refused.column}" if refused.column else ""
            typer.echo(f"line {refused.line}{column}: {refused.reason}: {refused.detail}")
    if reasons.total() > SHOWN:
        typer.echo(f"... and {reasons.total() - SHOWN} more")
    by_reason = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    typer.echo(f"{count} messages, {reasons.total()} would be rejected{': ' + by_reason if reasons else ''}; nothing was sent")
    if reasons:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    app.command("send")(from_settings(*BROKER)(send))
