"""``stream-twin audit``: nothing lost, nothing twice, proven from the topics."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stream_twin.audit import READING_ORDER, Audit, Row
from stream_twin.events import AnyInput, LaneBase
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings
from stream_twin.topics import BY_NAME, SOURCES

ADVANCE_EVERY = 20_000


@from_settings(*BROKER)
def audit(
    settings: Settings,
    as_json: Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the rows there as well.")] = None,
) -> None:
    """Read every topic and prove that nothing was lost or counted twice, against one plain process reading the same log.

    The service may go on meanwhile. Exit code 1: something does not add up, and the table names the first offenders.
    """
    from stream_twin import app

    console = Console(stderr=True)
    with console.status("reading") as status:
        rows = read_and_judge(app.broker(settings), settings.prefix, status.update)
    Console().print(as_table(rows))
    if as_json:
        as_json.write_bytes(msgspec.json.format(msgspec.json.encode([row._asdict() for row in rows])))
    wrong = [row for row in rows if row.ok is False]
    for row in wrong:
        for offender in row.offenders:
            typer.echo(f"{row.name}: {offender}", err=True)
        if row.wrong > len(row.offenders):
            typer.echo(f"{row.name}: and {row.wrong - len(row.offenders)} more", err=True)
    if wrong:
        raise typer.Exit(1)


def read_and_judge(broker: Any, prefix: str, tell: Callable[[str], object] = lambda _: None) -> list[Row]:
    """Audit everything that ``broker`` (of :mod:`stream_twin.kafka`) holds under ``prefix``; ``tell`` hears how far it is."""
    from stream_twin import signals
    from stream_twin.kafka import reader
    from stream_twin.kafka.placing import full_name, generation_of, lane_of

    lanes, suffix = generation_of(broker, prefix)
    # Of topics that go through the generations, what belongs to those before begins and ends elsewhere.
    starts = _starts(broker, full_name(prefix, "twin.inputs", suffix), lanes) if suffix else {}
    names = {topic: full_name(prefix, topic, suffix) for topic in READING_ORDER}
    found = Audit(signals.load(), lanes, lambda key: lane_of(key, lanes))
    parts = [(names[topic], lane) for topic in READING_ORDER for lane in range(lanes)]
    firsts = broker.first_offsets(parts)
    # What is written to a source after this is not looked for in the log; the other topics are read as far as they go.
    ends = broker.end_offsets(parts)
    for topic in READING_ORDER:
        for lane in range(lanes):
            first, start = firsts[names[topic], lane], starts.get((topic, lane), 0)
            begin = max(first, start) if BY_NAME[topic] in SOURCES else first if first > start else 0
            found.bounds(topic, lane, begin, ends[names[topic], lane])
    count = 0
    for topic in READING_ORDER:
        begins = {lane: max(starts.get((topic, lane), 0), firsts[names[topic], lane]) for lane in range(lanes)}
        for record in reader.read(broker, names[topic], start=begins):
            found.feed(topic, record.partition, record)
            count += 1
            if count % ADVANCE_EVERY == 0:
                tell(f"{count:,} records, reading {topic}")
                if topic == "twin.inputs":
                    found.advance()
    tell(f"{count:,} records, comparing")
    return found.report()


def _starts(broker: Any, inputs: str, lanes: int) -> dict[tuple[str, int], int]:
    """(topic, partition) -> offset of the first record that a later generation's logs speak of, by their first records."""
    from stream_twin.kafka import reader

    starts: dict[tuple[str, int], int] = {}
    for lane in range(lanes):
        for record in reader.read(broker, inputs, [lane]):
            base = msgspec.json.decode(record.value or b"", type=AnyInput)
            if isinstance(base, LaneBase):
                starts.update({(topic, lane): offset for topic, offset in base.positions.items()})
            break
    return starts


def as_table(rows: Sequence[Row]) -> Table:
    table = Table("", "counted", "", "note", title="Accounting")
    marks = {True: "[green]holds", False: "[red]does not hold", None: ""}
    for row in rows:
        if row.ok is None and not row.counted:
            continue
        table.add_row(row.name, f"{row.counted:,}", marks[row.ok] + (f" ({row.wrong:,})" if row.wrong else ""), row.note)
    return table


def register(app: typer.Typer) -> None:
    app.command()(audit)
