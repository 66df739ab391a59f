"""``stream-twin patients``: the life of a patient, each step one message on ``patient.profiles`` or ``device.assignments``."""

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar, get_args

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from stream_twin.events import AssignedDevice, DeviceAssignments, DeviceKind, Limits, Profile
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.kafka.broker import Broker

PROFILES, DEVICES = "patient.profiles", "device.assignments"
patients = typer.Typer(no_args_is_help=True, help="The life of a patient: enrol, pause, resume, discharge, assign devices.")
Patient = Annotated[str, typer.Argument(help="The patient's id.")]
Reason = Annotated[str | None, typer.Option(help="Why, in a sentence.")]
Message = TypeVar("Message", Profile, DeviceAssignments)


class PatientError(Exception):
    """What was asked for cannot be done; the message says why."""

    exit_code = 2


class _Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int


@patients.command()
@from_settings(*BROKER)
def enrol(
    settings: Settings,
    patient: Patient,
    time_zone: Annotated[str | None, typer.Option(help="IANA name; without one no rule about nights runs.")] = None,
    place: Annotated[str | None, typer.Option(help="Whose air and weather count.")] = None,
    sex: Annotated[str | None, typer.Option(metavar="female|male")] = None,
    age_years: Annotated[int | None, typer.Option()] = None,
    pregnant: Annotated[bool | None, typer.Option("--pregnant/--not-pregnant")] = None,
    spinal_cord_injury: Annotated[bool | None, typer.Option("--spinal-cord-injury/--no-spinal-cord-injury")] = None,
    spo2_scale: Annotated[int | None, typer.Option(metavar="1|2", help="NEWS2's scale for oxygen saturation.")] = None,
    cohort: Annotated[str | None, typer.Option(help="Whose risk model is used and taught.")] = None,
    limit: Annotated[
        list[str] | None, typer.Option(metavar="SIGNAL=LOW..HIGH", help="Own limits; one side may be empty.")
    ] = None,
    consent: Annotated[bool | None, typer.Option("--consent/--no-consent", help="Withdrawn consent stops processing.")] = None,
) -> None:
    """Enrol a patient, or change what is known of one: what is not given stays as it is."""
    given = {
        "time_zone": time_zone,
        "place": place,
        "sex": sex,
        "age_years": age_years,
        "pregnant": pregnant,
        "spinal_cord_injury": spinal_cord_injury,
        "spo2_scale": spo2_scale,
        "cohort": cohort,
        "consent": consent,
        "limits": dict(map(_limit, limit)) if limit else None,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    _amend(settings, patient, state="enrolled", new=True, **changes)


@patients.command()
@from_settings(*BROKER)
def pause(
    settings: Settings,
    patient: Patient,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; without it until resumed.")] = None,
    reason: Reason = None,
) -> None:
    """Stop watching for a while: no alerts, no silence."""
    _amend(settings, patient, state="paused", paused_until=until, state_reason=reason)


@patients.command()
@from_settings(*BROKER)
def resume(settings: Settings, patient: Patient, reason: Reason = None) -> None:
    """Watch again after a pause or a discharge."""
    _amend(settings, patient, state="enrolled", paused_until=None, state_reason=reason)


@patients.command()
@from_settings(*BROKER)
def discharge(
    settings: Settings,
    patient: Patient,
    died: Annotated[bool, typer.Option("--died", help="The patient has died.")] = False,
    reason: Reason = None,
) -> None:
    """End watching."""
    _amend(settings, patient, state="died" if died else "discharged", paused_until=None, state_reason=reason)


@patients.command()
@from_settings(*BROKER)
def assign_device(
    settings: Settings,
    patient: Patient,
    device: Annotated[str, typer.Argument(help="The device's id.")],
    kind: Annotated[
        str, typer.Option(metavar="|".join(get_args(DeviceKind)), help="Sets how late its samples may come.")
    ] = "streaming",
    every_s: Annotated[float | None, typer.Option(help="How often it speaks; without it nobody is told of its silence.")] = None,
    start: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; default: now.")] = None,
    end: Annotated[str | None, typer.Option(metavar="TIME", help="RFC 3339; default: until it is ended.")] = None,
) -> None:
    """Give a patient a device; of one that the patient has, end or change the assignment."""
    from stream_twin.clock import wall

    broker = _broker(settings)
    known = _newest(broker, settings.prefix, DEVICES, patient, DeviceAssignments)
    devices = list(known.devices) if known else []
    current = next((one for one in devices if one.device_id == device and one.end is None), None)
    if current is not None:
        devices.remove(current)
    began = start if start is not None else current.start if current else wall()
    new = {
        "device_id": device,
        "kind": kind,
        "start": began,
        "end": end,
        "every_s": every_s or (current.every_s if current else None),
    }
    devices.append(_converted(new, AssignedDevice))
    message = DeviceAssignments(patient_id=patient, version=known.version + 1 if known else 1, devices=devices)
    _send(broker, settings.prefix, DEVICES, message)
    typer.echo(f"{patient}: device {device} from {began}{f' to {end}' if end else ''}")


@patients.command("list")
@from_settings(*BROKER)
def list_(settings: Settings) -> None:
    """All patients with their state and devices."""
    broker = _broker(settings)
    devices = dict(_all(broker, settings.prefix, DEVICES, DeviceAssignments))
    table = Table("patient", "state", "reason", "cohort", "zone", "place", "devices")
    for key, profile in sorted(_all(broker, settings.prefix, PROFILES, Profile)):
        worn = [one.device_id for one in devices[key].devices if one.end is None] if key in devices else []
        state = profile.state if profile.consent else f"{profile.state}, no consent"
        cells = (
            profile.patient_id,
            state,
            profile.state_reason,
            profile.cohort,
            profile.time_zone,
            profile.place,
            ", ".join(worn),
        )
        table.add_row(*(cell or "" for cell in cells))
    Console().print(table)


def _limit(text: str) -> tuple[str, Limits]:
    signal, _, bounds = text.partition("=")
    low, dots, high = bounds.partition("..")
    try:
        if dots:
            return signal, Limits(low=float(low) if low else None, high=float(high) if high else None)
    except ValueError:
        pass
    raise PatientError(f"--limit {text}: give SIGNAL=LOW..HIGH, such as heart_rate=45..130 or spo2=90..")


def _broker(settings: Settings) -> "Broker":
    from stream_twin import app

    return app.broker(settings)


def _amend(settings: Settings, patient: str, *, new: bool = False, **changes: Any) -> None:
    from stream_twin.clock import wall

    broker = _broker(settings)
    profile = _newest(broker, settings.prefix, PROFILES, patient, Profile)
    if profile is None:
        if not new:
            raise PatientError(f"patient {patient} is not known: stream-twin patients enrol {patient}")
        profile = Profile(patient_id=patient, version=0, valid_from=0.0)
    given = {**msgspec.to_builtins(profile), "version": profile.version + 1, "valid_from": wall(), **msgspec.to_builtins(changes)}
    _send(broker, settings.prefix, PROFILES, _converted(given, Profile))
    typer.echo(f"{patient}: {changes['state']}, profile version {profile.version + 1}")


def _converted(given: dict[str, Any], kind: type[Any]) -> Any:
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        raise PatientError(str(error).replace("Object", "message")) from None


def _newest(broker: "Broker", prefix: str, topic: str, patient: str, kind: type[Message]) -> Message | None:
    from stream_twin.kafka.placing import lane_of, lanes_of

    key, name = patient.encode(), prefix + topic
    lane = lane_of(key, lanes_of(broker, name))
    return next((message for found, message in _all(broker, prefix, topic, kind, [lane]) if found == key), None)


def _all(
    broker: "Broker", prefix: str, topic: str, kind: type[Message], lanes: list[int] | None = None
) -> Iterator[tuple[bytes, Message]]:
    """The newest message of each key; what is not one of ours ended as a dead letter and is passed over."""
    from stream_twin.kafka import reader

    newest: dict[bytes, Message] = {}
    for record in reader.read(broker, prefix + topic, lanes):
        try:
            message = msgspec.json.decode(record.value or b"", type=kind)
        except msgspec.DecodeError:
            continue
        known = newest.get(record.key or b"")
        if known is None or _order(message) >= _order(known):  # as the twin takes them
            newest[record.key or b""] = message
    yield from newest.items()


def _order(message: Profile | DeviceAssignments) -> tuple[int, float]:
    since = message.valid_from if isinstance(message, Profile) else 0.0
    return message.version, datetime.fromisoformat(since).timestamp() if isinstance(since, str) else since


def _send(broker: "Broker", prefix: str, topic: str, message: Message) -> None:
    """Judged by the real ingest first, so that nothing is sent that would end as a dead letter."""
    from stream_twin import signals
    from stream_twin.clock import wall
    from stream_twin.datasets.recording import sent
    from stream_twin.ingest import Ingest
    from stream_twin.kafka.player import Pacing, Player

    record = sent(wall(), topic, message)
    for letter in (
        Ingest(signals.load()).run(topic, 0, [_Record(0, record.key, record.value, round(wall() * 1000))], wall()).rejected
    ):
        raise PatientError(dict(letter.headers)["detail"].decode())
    Player(broker, prefix, Pacing(ticks=False)).play([record])


def register(app: typer.Typer) -> None:
    app.add_typer(patients, name="patients")
