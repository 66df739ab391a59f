"""``stream-twin alerts``: what is open, what became of it, and answers to it, each one message on ``alert.commands``."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stream_twin.clock import elapsed, wall
from stream_twin.commands.dead_letters import safe
from stream_twin.events import SERVICE, AlertChange, AlertCommand
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.kafka.broker import Broker

ALERTS, COMMANDS, DEAD_LETTERS = "alerts", "alert.commands", "dead.letters"
RANK = {"high": 0, "medium": 1, "low": 2}
OVER = ("resolved", "expired")
REMARKS = ("commented", "repeated")
"""Changes after which the alert's state is what it was."""
alerts = typer.Typer(no_args_is_help=True, help="Alerts: list, answer, and look up what became of them.")
Action = Literal["acknowledge", "snooze", "resolve", "comment"]
AlertId = Annotated[str, typer.Argument(metavar="ALERT", help="The alert's id as list prints it, or how it begins.")]
By = Annotated[str, typer.Option(metavar="NAME", help="Who answers.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="Why, in a sentence; it is kept with the alert.")]
Wait = Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long to wait for the worker.")]
_decode = msgspec.json.Decoder(AlertChange).decode
_encode = msgspec.json.Encoder().encode


class UnknownAlert(Exception):
    """The alert that was named cannot be found, or not be answered; the message says what to do."""

    exit_code = 2


class NotFollowed(Exception):
    """The command was refused, or nobody has followed it yet; the message says why."""

    exit_code = 1


@dataclass
class Life:
    """One alert: its changes in order."""

    changes: list[AlertChange] = field(default_factory=list)

    @property
    def last(self) -> AlertChange:
        return self.changes[-1]

    @property
    def state(self) -> str:
        return next((change.state for change in reversed(self.changes) if change.state not in REMARKS), "raised")

    @property
    def told(self) -> AlertChange:
        """The newest change that says what the alert is about: those of people do not."""
        return next((change for change in reversed(self.changes) if change.by is None), self.last)


@alerts.command("list")
@from_settings(*BROKER)
def list_(
    settings: Settings,
    patient: Annotated[str | None, typer.Option(metavar="PATIENT", help="Only of this patient.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: the last change of each.")] = False,
) -> None:
    """What is open, the most urgent first."""
    from stream_twin import app

    lives = [life for life in _read(app.broker(settings), settings.prefix, patient).values() if everything or _is_open(life)]
    lives.sort(key=lambda life: (life.state in OVER, RANK[life.last.priority], life.changes[0].at))
    if as_json:
        for life in lives:
            typer.echo(_encode(life.last))
        return
    table = Table("since", "priority", "state", "patient", "rule", "about", "reason", "alert")
    for life in lives:
        told = life.told
        cells = (_clock(life.changes[0].at), told.priority, life.state, told.patient_id, told.rule, told.subject, told.reason)
        table.add_row(*map(safe, cells), safe(told.alert_id))
    Console().print(table)


@alerts.command()
@from_settings(*BROKER)
def history(
    settings: Settings,
    alert: AlertId,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line: each change as it is on the topic.")] = False,
) -> None:
    """All changes of one alert: when, what, who was told or who answered, why."""
    from stream_twin import app

    life = _find(_read(app.broker(settings), settings.prefix), alert)
    if as_json:
        for change in life.changes:
            typer.echo(_encode(change))
        return
    table = Table("at", "state", "priority", "reason", "told", "comment", title=f"{life.last.alert_id} of {life.last.patient_id}")
    for change in life.changes:
        cells = (_clock(change.at), change.state, change.priority, change.reason, ", ".join(change.told), change.comment or "")
        table.add_row(*map(safe, cells))
    Console().print(table)
    if life.told.next_step:
        typer.echo(f"Next: {life.told.next_step}")


@alerts.command()
@from_settings(*BROKER)
def ack(settings: Settings, alert: AlertId, by: By, why: Why = "", wait: Wait = 20.0) -> None:
    """Say that somebody has seen it: it stays open, and nobody is told again unless it gets worse."""
    _answer(settings, alert, "acknowledge", by, why, wait)


@alerts.command()
@from_settings(*BROKER)
def snooze(
    settings: Settings,
    alert: AlertId,
    by: By,
    why: Why,
    minutes: Annotated[float, typer.Option(min=1, help="How long; docs/alerts.md says how long each rule allows.")] = 30.0,
    wait: Wait = 20.0,
) -> None:
    """Be quiet about it for a while; something worse ends that early."""
    _answer(settings, alert, "snooze", by, why, wait, minutes=minutes)


@alerts.command()
@from_settings(*BROKER)
def resolve(settings: Settings, alert: AlertId, by: By, why: Why, wait: Wait = 20.0) -> None:
    """End what cannot be judged any more, or is over and was kept to be seen."""
    _answer(settings, alert, "resolve", by, why, wait)


@alerts.command()
@from_settings(*BROKER)
def comment(settings: Settings, alert: AlertId, by: By, why: Why, wait: Wait = 20.0) -> None:
    """Add a remark; nothing else changes."""
    _answer(settings, alert, "comment", by, why, wait)


def _answer(
    settings: Settings, alert: str, action: Action, by: str, why: str, wait_s: float, minutes: float | None = None
) -> None:
    """Send a command, wait for what became of it, and say it."""
    from stream_twin import app
    from stream_twin.datasets.recording import sent
    from stream_twin.kafka.placing import lane_of, lanes_of
    from stream_twin.kafka.player import Pacing, Player

    broker, prefix = app.broker(settings), settings.prefix
    last = _find(_read(broker, prefix), alert).last
    if last.patient_id == SERVICE:
        raise UnknownAlert(f"alert {last.alert_id} is about the service itself: it ends by itself when what it says is mended")
    now = wall()
    given: dict[str, Any] = {"id": f"cli/{uuid4().hex}", "patient_id": last.patient_id, "alert_id": last.alert_id}
    given |= {
        "action": action,
        "by": by,
        "at": now,
        "comment": why or None,
        "until": None if minutes is None else now + 60 * minutes,
    }
    try:
        command = msgspec.convert(given, AlertCommand)
    except msgspec.ValidationError as error:
        raise UnknownAlert(f"{action} by {by!r}: {error}") from None
    lane = lane_of(last.patient_id.encode(), lanes_of(broker, prefix + ALERTS))
    begins = broker.end_offsets([(prefix + topic, lane) for topic in (ALERTS, DEAD_LETTERS)])
    Player(broker, prefix, Pacing(ticks=False)).play([sent(now, COMMANDS, command)])
    change = _outcome(broker, prefix, lane, begins, command, wait_s)
    until = "" if change.until is None else f" until {_clock(change.until)}"
    typer.echo(f"{change.state}{until}: {change.rule} {change.subject} of {change.patient_id}, alert {change.alert_id}")


def _outcome(
    broker: "Broker", prefix: str, lane: int, begins: dict[tuple[str, int], int], command: AlertCommand, wait_s: float
) -> AlertChange:
    from stream_twin.kafka import reader

    def new(topic: str) -> Iterator[Any]:
        return reader.read(broker, prefix + topic, [lane], start={lane: begins[prefix + topic, lane]})

    deadline = elapsed() + wait_s
    while elapsed() < deadline:
        for record in new(ALERTS):
            change = _decode(record.value or b"")
            if change.command_id == command.id:
                return change
        for letter in new(DEAD_LETTERS):
            headers = dict(letter.headers)
            if headers.get("topic") == COMMANDS.encode() and command.id.encode() in (letter.value or b""):
                raise NotFollowed(f"refused: {headers['reason'].decode()}: {headers['detail'].decode()}")
    raise NotFollowed(
        f"the {command.action} of alert {command.alert_id} is sent, but no worker has come to it within {wait_s:g} s: it will"
        " when one runs; stream-twin doctor looks closer"
    )


def _read(broker: "Broker", prefix: str, patient: str | None = None) -> dict[str, Life]:
    from stream_twin.kafka import reader

    lives: dict[str, Life] = {}
    for record in reader.read(broker, prefix + ALERTS):
        if patient is None or record.key == patient.encode():
            change = _decode(record.value or b"")
            lives.setdefault(change.alert_id, Life()).changes.append(change)
    for life in lives.values():
        life.changes.sort(key=lambda change: change.sequence)
    return lives


def _find(lives: dict[str, Life], alert: str) -> Life:
    found = [name for name in lives if name.startswith(alert)]
    if len(found) == 1 or alert in lives:
        return lives[alert if alert in lives else found[0]]
    if not found:
        raise UnknownAlert(f"there is no alert {alert}: stream-twin alerts list shows what is open, --all what was")
    raise UnknownAlert(f"{len(found)} alerts begin with {alert}: give more of the id")


def _is_open(life: Life) -> bool:
    return life.state not in OVER


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S}Z"


def register(app: typer.Typer) -> None:
    app.add_typer(alerts, name="alerts")
