"""``stream-twin dead-letters list | show | replay``: what was refused, by reason, and its way back after a fix."""

import math
import re
import sys
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from stream_twin.clock import wall
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.kafka.dead_letters import DeadLetter, Place

dead_letters = typer.Typer(
    no_args_is_help=True, help="Look at what was refused, by reason, and put it through again after a fix."
)
UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
SHOWN_BYTES = 4096
TOGETHER = 500
"""Letters put again in one transaction."""

Reason = Annotated[str | None, typer.Option(help="Only of this reason.", show_default=False)]
Topic = Annotated[str | None, typer.Option(help="Only from this source topic, named without the prefix.", show_default=False)]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Only what was refused since then: RFC 3339, or an age such as 30m, 2h, 7d.", show_default=False
    ),
]


class DeadLettersError(Exception):
    """What was asked for cannot be done; the message says why."""

    exit_code = 2


@dead_letters.command("list")
@from_settings(*BROKER)
def list_(
    settings: Settings,
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=0, help="So many of the newest are named one by one.")] = 10,
) -> None:
    """Count dead letters by topic and reason, and name the newest."""
    from stream_twin import app
    from stream_twin.kafka.dead_letters import DeadLetter, read

    groups: dict[tuple[str, str], _Group] = {}
    newest: deque[DeadLetter] = deque(maxlen=limit)
    replayed = set()
    with Console(stderr=True).status("reading"):
        for one in read(app.broker(settings), settings.prefix, _moment(since)):
            if not _wanted(one.topic, one.reason, topic, reason):
                continue
            group = groups.setdefault((one.topic, one.reason), _Group())
            if isinstance(one, DeadLetter):
                group.add(one.at)
                newest.append(one)
            else:
                group.replayed += 1
                replayed.add(one.place)
    console = Console()
    if not any(group.count for group in groups.values()):
        console.print("no dead letters")
        return
    table = Table("topic", "reason", _right("letters"), _right("put again"), "first", "last", title="Dead letters")
    for (came_from, why), group in sorted(groups.items(), key=lambda item: -item[1].count):
        times = (_written(group.first), _written(group.last)) if group.count else ("", "")
        table.add_row(*map(safe, (came_from, why, f"{group.count:,}", f"{group.replayed:,}", *times)))
    console.print(table)
    if newest:
        table = Table(Column("letter", no_wrap=True), "refused", "source", "reason", "because", "put again", title="The newest")
        for letter in sorted(newest, key=lambda letter: letter.at, reverse=True):
            again = "yes" if letter.place in replayed else ""
            cells = (str(letter.place), _written(letter.at), letter.source, letter.reason, letter.header("detail"), again)
            table.add_row(*map(safe, cells))
        console.print(table)


@dead_letters.command()
@from_settings(*BROKER)
def show(
    settings: Settings,
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="Which letter, as list names it.")],
    as_hex: Annotated[bool, typer.Option("--hex", help="The value in hexadecimal, also where it is text.")] = False,
    raw: Annotated[bool, typer.Option("--raw", help="Nothing but the value's bytes, all of them, for a file or a pipe.")] = False,
) -> None:
    """Show one dead letter: why, from where, and what came, made safe for a terminal."""
    from stream_twin import app
    from stream_twin.kafka.dead_letters import DeadLetter, read_one

    letter = read_one(app.broker(settings), settings.prefix, _place(place))
    if not isinstance(letter, DeadLetter):
        says = f"says that {letter.place} was put again" if letter else "is not there, or not any more"
        raise DeadLettersError(
            f"{settings.prefix}dead.letters {place} {says}: stream-twin dead-letters list names those there are"
        )
    value = letter.value or b""
    if raw:
        sys.stdout.buffer.write(value)
        return
    table = Table.grid(padding=(0, 2))
    table.add_row("refused", _written(letter.at))
    for name, content in letter.headers.items():
        text = content.decode(errors="backslashreplace")
        table.add_row(safe(name), safe(f"{text}  ({_written(int(text) / 1000)})" if name == "at" and text.isdigit() else text))
    table.add_row("key", safe(readable(letter.key)))
    size = "none (null)" if letter.value is None else f"{len(value):,} bytes"
    table.add_row("value", size + (f", the first {SHOWN_BYTES:,} are shown: --raw gives all" if len(value) > SHOWN_BYTES else ""))
    console = Console()
    console.print(table)
    head = value[:SHOWN_BYTES]
    # Not by rich, which would wrap: what is copied from here should be what came.
    typer.echo("\n".join(hex_lines(head)) if as_hex or not is_text(value) else printable(head.decode(errors="ignore")))


@dead_letters.command()
@from_settings(*BROKER)
def replay(
    settings: Settings,
    places: Annotated[list[str] | None, typer.Argument(metavar="[PARTITION:OFFSET]...", help="Just these letters.")] = None,
    reason: Reason = None,
    topic: Topic = None,
    since: Since = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be put again; write nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Put refused records onto their source topics again, each once, after what was wrong with them has been put right.

    Passed over are letters that were put again before, letters that were cut, and what ingest would refuse again. Exit code 1:
    a letter that was named is one of these.
    """
    from stream_twin import app
    from stream_twin.kafka.dead_letters import DeadLetter, Marker, Replayer, read

    broker, named = app.broker(settings), {_place(text) for text in places or ()}
    began = _moment(since)
    with nullcontext() if dry_run else Replayer(broker, settings.prefix) as replayer:
        done = {one.place for one in read(broker, settings.prefix, began) if isinstance(one, Marker)}
        may = _obstacles(settings, done)
        chosen: set[Place] = set()
        passed_over: Counter[str] = Counter()
        groups: Counter[tuple[str, str]] = Counter()
        missing = set(named)
        for one in read(broker, settings.prefix, began):
            if not isinstance(one, DeadLetter) or not _wanted(one.topic, one.reason, topic, reason):
                continue
            if named and one.place not in named:
                continue
            missing.discard(one.place)
            if (obstacle := may(one)) is not None:
                passed_over[obstacle] += 1
            elif limit is None or len(chosen) < limit:
                chosen.add(one.place)
                groups[one.topic, one.reason] += 1
        for (came_from, why), count in groups.most_common():
            typer.echo(printable(f"{count:,} refused for {why}: back to {settings.prefix}{came_from}"))
        for obstacle, count in passed_over.most_common():
            typer.echo(printable(f"{count:,} passed over: {obstacle}"))
        for place in sorted(missing):
            typer.echo(f"{place} is not there, or not any more, or not of the kind asked for")
        if chosen and replayer is not None:
            if not yes and not typer.confirm(f"Put {len(chosen):,} records again?"):
                raise typer.Exit(1)
            letters = (one for one in read(broker, settings.prefix, began) if isinstance(one, DeadLetter) and one.place in chosen)
            while some := list(islice(letters, TOGETHER)):
                replayer.put(some)
        typer.echo(f"{len(chosen):,} records {'would be put' if dry_run else 'were put'} again")
    if named and len(chosen) < len(named):
        raise typer.Exit(1)


def _obstacles(settings: Settings, done: Collection["Place"]) -> Callable[["DeadLetter"], str | None]:
    """Why a letter is passed over, as a sentence; None: it may go."""
    from stream_twin import signals
    from stream_twin.ingest import Ingest

    ingest = Ingest(signals.load(), settings.bounds)

    def obstacle(letter: "DeadLetter") -> str | None:
        if letter.place in done:
            return "was put again before"
        if (why := letter.obstacle) is not None:
            return why
        record = _Record(0, letter.key, letter.value, round(wall() * 1000))
        for refused in ingest.run(letter.topic, 0, [record], wall()).rejected:
            return f"would be refused again for {dict(refused.headers)['reason'].decode()}"
        return None

    return obstacle


class _Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class _Group:
    """Letters of one topic and reason; times in seconds."""

    def __init__(self) -> None:
        self.count = self.replayed = 0
        self.first, self.last = math.inf, -math.inf

    def add(self, at: float) -> None:
        self.count += 1
        self.first, self.last = min(self.first, at), max(self.last, at)


def _wanted(came_from: str, why: str, topic: str | None, reason: str | None) -> bool:
    return topic in (None, came_from) and reason in (None, why)


def _place(text: str) -> "Place":
    from stream_twin.kafka.dead_letters import Place

    try:
        return Place.of(text)
    except ValueError:
        raise DeadLettersError(f"{text} names no letter: give PARTITION:OFFSET, such as 3:1041, as list prints it") from None


def _moment(text: str | None) -> float | None:
    """Seconds of an instant or an age."""
    if text is None:
        return None
    if age := re.fullmatch(r"(\d+)([smhd])", text):
        return wall() - int(age[1]) * UNIT_S[age[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise DeadLettersError(
            f"--since {text}: give a time such as 2026-03-01T08:30:00Z, or an age such as 30m, 2h, 7d"
        ) from None
    if moment.tzinfo is None:
        raise DeadLettersError(f"--since {text} has no offset from UTC: give {text}Z, or the offset that is meant")
    return moment.timestamp()


def _written(at: float) -> str:
    try:
        return datetime.fromtimestamp(at, UTC).isoformat(sep=" ", timespec="seconds").replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"{at:g} s"


def _right(title: str) -> Column:
    return Column(title, justify="right")


def safe(text: str) -> Text:
    """A table's cell: nothing in it is markup or moves the cursor."""
    return Text(printable(text, keep=""))


def readable(value: bytes) -> str:
    return value.decode(errors="backslashreplace")


def printable(text: str, keep: str = "\n\t") -> str:
    """Control characters, also those that change the direction of writing, as escapes; ``keep``: but not these."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def is_text(value: bytes) -> bool:
    try:
        return "\0" not in value.decode()
    except UnicodeDecodeError:
        return False


def hex_lines(value: bytes) -> Iterator[str]:
    """16 bytes a line: offset, hexadecimal, and what of it is ASCII."""
    for start in range(0, len(value), 16):
        part = value[start : start + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        yield f"{start:08x}  {part.hex(' '):<47}  {text}"


def register(app: typer.Typer) -> None:
    app.add_typer(dead_letters, name="dead-letters")
