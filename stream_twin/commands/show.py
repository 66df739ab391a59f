"""``stream-twin show``: what the twin of one patient believes, from ``twin.state`` alone."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from stream_twin.events import AlertChange, AnyInput, Estimate, Samples, SampleSeries
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.kafka.broker import Broker
    from stream_twin.serve.plots import History


LOG_WIDTH = 120


class UnknownPatient(LookupError):
    exit_code = 1


@from_settings(*BROKER)
def show(
    settings: Settings,
    patient: Annotated[str, typer.Argument(help="The patient's id.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the last hours: .png, .svg or .pdf.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="How many hours the picture shows.")] = 24.0,
) -> None:
    """Show what the twin of a patient believes now: levels, how sure, from when, and the open alerts with their reasons.

    Ages are by the service's own clock: that of the recording, where one is played. The picture reads the patient's lane of
    twin.inputs, twin.estimates and alerts from their start.
    """
    from stream_twin.app import broker as broker_of
    from stream_twin.kafka import state
    from stream_twin.kafka.placing import full_name, generation_of, lane_of
    from stream_twin.lane import Lane
    from stream_twin.serve.patient_view import patient_view
    from stream_twin.signals import load

    broker, key, catalogue = broker_of(settings), patient.encode(), load()
    lanes, suffix = generation_of(broker, settings.prefix)
    lane_number = lane_of(key, lanes)
    found = state.read(broker, settings.prefix, lane_number, suffix)
    lane = Lane.restore(lane_number, catalogue, found.checkpoint, [(key, found.snapshots[key])] if key in found.snapshots else [])
    belief = lane.belief(patient)
    if belief is None:
        raise UnknownPatient(
            f"nothing is known of {patient!r}: no twin in {settings.prefix}{state.TOPIC} on {settings.broker}, "
            f"where lane {lane_number} has {len(found.snapshots)} patients; a new one is there after the next checkpoint"
        )
    console = Console()
    if not console.is_terminal:
        console.width = LOG_WIDTH
    console.print(patient_view(belief, lane.open_alerts(patient), catalogue, console.width))
    if plot:
        from stream_twin.serve.plots import plot_patient

        history = _history(broker, settings.prefix, full_name(settings.prefix, "twin.inputs", suffix), lane_number, key)
        try:
            plot_patient(plot, catalogue, belief.profile, history, until=belief.at, hours=hours)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--plot") from None
        typer.echo(f"{plot}: the last {hours:g} hours")


def _history(broker: "Broker", prefix: str, inputs: str, lane: int, key: bytes) -> "History":
    from stream_twin.kafka.reader import read
    from stream_twin.serve.plots import History

    history = History()
    for record in read(broker, inputs, [lane]):
        if record.key != key:
            continue
        entry = msgspec.json.decode(record.value or b"", type=AnyInput)
        if isinstance(entry, Samples):
            for sample in entry.samples:
                if sample.value is not None:
                    history.samples.setdefault(sample.signal, []).append((sample.at, sample.value))
        elif isinstance(entry, SampleSeries):
            pairs = zip(entry.at, entry.values, strict=True)
            history.samples.setdefault(entry.signal, []).extend((at, value) for at, value in pairs if value is not None)
    for record in read(broker, f"{prefix}twin.estimates", [lane]):
        if record.key == key:
            history.estimates.append(msgspec.json.decode(record.value or b"", type=Estimate))
    for record in read(broker, f"{prefix}alerts", [lane]):
        if record.key == key:
            history.alerts.append(msgspec.json.decode(record.value or b"", type=AlertChange))
    return history


def register(app: typer.Typer) -> None:
    app.command()(show)
