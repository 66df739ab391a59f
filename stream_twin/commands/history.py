"""``stream-twin history``: a patient's past as it looks once everything is known, as a picture or a table."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import typer

from stream_twin.events import Profile
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

Name = Literal["t1d", "sepsis2019", "mimic-fhir", "lifesnaps", "welltory"]
DAYS = 7.0


@from_settings(*BROKER)
def history(
    settings: Settings,
    patient: Annotated[str, typer.Argument(help="The patient's id; of a recording, the person's.")],
    since: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help=f"RFC 3339 or a date [default: {DAYS:g} days before --to]")
    ] = None,
    until: Annotated[str | None, typer.Option("--to", metavar="TIME", help="The same [default: the end of the data]")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw it: .png, .svg or .pdf.")] = None,
    csv: Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Write samples and beliefs as a table.")] = None,
    signal: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only these; names of topics/signals.json [default: most samples]")
    ] = None,
    dataset: Annotated[Name | None, typer.Option(help="Instead of a broker: a published recording, in --path.")] = None,
    path: Annotated[Path | None, typer.Option(exists=True, file_okay=False, help="Where its publisher's files are.")] = None,
) -> None:
    """Show what is believed of a patient's past, now that it is known what came before and after each moment.

    A fixed-interval smoother goes over all samples of the patient in twin.inputs; those that came late are in their place.
    Times without an offset are by the patient's clock.
    """
    from stream_twin import pictures, signals

    if plot is None and csv is None:
        raise typer.BadParameter("give --plot FILE, --csv FILE or both", param_hint="--plot")
    if (dataset is None) != (path is None):
        raise typer.BadParameter("--dataset and --path go together", param_hint="--dataset")
    catalogue = signals.load()
    named = signal or []
    for name in named:
        if name not in catalogue:
            raise typer.BadParameter(f"{name} is no signal: topics/signals.json has all of them", param_hint="--signal")
    if dataset is not None and path is not None:
        from stream_twin.datasets.published import DATASETS

        known = pictures.from_recording(DATASETS[dataset], path, patient, catalogue)
    else:
        from stream_twin.app import broker

        known = pictures.from_lane(broker(settings), settings.prefix, patient, catalogue)
    profile = known.chart.profile
    assert profile is not None, "who is not known was refused"
    end = known.chart.measured_until if until is None else _seconds(until, profile, "--to")
    begin = end - DAYS * 86400 if since is None else _seconds(since, profile, "--from")
    if not begin < end:
        raise typer.BadParameter(f"{since} is not before {until or 'the end of the data'}", param_hint="--from")
    what = pictures.picture(known, begin, end, smoothed=True)
    if csv is not None:
        typer.echo(f"{csv}: {pictures.write_csv(csv, catalogue, what, named)} rows")
    if plot is not None:
        from stream_twin.serve.plots import plot_patient

        try:
            plot_patient(plot, catalogue, what, named)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--plot") from None
        typer.echo(f"{plot}: {(what.until - what.since) / 86400:.1f} days")


def _seconds(text: str, profile: Profile, option: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text} is no time: give 2026-03-01T08:00, with an offset if wanted", param_hint=option
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(profile.time_zone) if profile.time_zone else UTC)
    return moment.timestamp()


def register(app: typer.Typer) -> None:
    app.command()(history)
