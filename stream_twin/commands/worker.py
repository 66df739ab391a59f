"""``stream-twin worker``: the service."""

import typer

from stream_twin.options import EVERY, from_settings
from stream_twin.settings import Settings, unknown_environment


@from_settings(*EVERY)
def worker(settings: Settings) -> None:
    """Run one worker of the service: ingest, twins and alerts of its share of the lanes. SIGTERM drains it.

    Exit codes: 0 asked to stop, 2 wrong settings, 3 another worker has its lanes, 4 failed, 5 topics missing or wrong, 6 records
    it needs are gone, 7 a record is larger than its topic allows. Start it again after 3 and 4.
    """
    from stream_twin.app import run_worker

    for sentence in unknown_environment():
        typer.echo(f"stream-twin: {sentence}", err=True)
    raise typer.Exit(run_worker(settings))


def register(app: typer.Typer) -> None:
    app.command()(worker)
