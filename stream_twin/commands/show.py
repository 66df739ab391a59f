"""``stream-twin show``: what the twin of one patient believes, from ``twin.state`` alone."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

LOG_WIDTH = 120
HOUR_S = 3600.0
AHEAD, MOST_AHEAD_S = 1 / 6, 12 * HOUR_S
"""How far a picture looks ahead, as a share of what it shows of the past, and at most."""


class UnknownPatient(LookupError):
    exit_code = 1


@from_settings(*BROKER)
def show(
    settings: Settings,
    patient: Annotated[str, typer.Argument(help="The patient's id.")],
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the last hours: .png, .svg or .pdf.")] = None,
    hours: Annotated[float, typer.Option(min=0.1, help="How many hours the picture shows.")] = 24.0,
    signal: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Draw only these; names of topics/signals.json [default: most samples]"),
    ] = None,
) -> None:
    """Show what the twin of a patient believes now: levels, how sure, from when, and the open alerts with their reasons.

    Ages are by the service's own clock: that of the recording, where one is played. The picture reads the patient's lane of
    twin.inputs and alerts from their start, and goes on a little beyond now with what is expected.
    """
    from stream_twin.alerts.rules import news2, nightsignal
    from stream_twin.app import broker as broker_of
    from stream_twin.kafka import state
    from stream_twin.kafka.placing import generation_of, lane_of
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
    for line in (news2.told(belief), nightsignal.told(belief)):
        console.print(line, markup=False)
    if plot:
        from stream_twin import pictures
        from stream_twin.serve.plots import plot_patient

        known = pictures.from_lane(broker, settings.prefix, patient, catalogue)
        span_s = hours * HOUR_S
        ahead_s = min(span_s * AHEAD, MOST_AHEAD_S)
        what = pictures.picture(known, belief.at - span_s, belief.at, smoothed=False, ahead_s=ahead_s)
        try:
            plot_patient(plot, catalogue, what, signal or ())
        except ValueError as error:
            raise typer.BadParameter(f"{error} in the last {hours:g} hours", param_hint="--plot") from None
        typer.echo(f"{plot}: the last {hours:g} hours and the next {ahead_s / HOUR_S:.1g}")


def register(app: typer.Typer) -> None:
    app.command()(show)
