"""``stream-twin rebuild``: fold in what came too late for a twin."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from stream_twin.events import RebuiltBase
from stream_twin.options import BROKER, from_settings
from stream_twin.settings import Settings

if TYPE_CHECKING:
    from stream_twin.lane import Rebuilder


@from_settings(*BROKER)
def rebuild(
    settings: Settings,
    patient: Annotated[str, typer.Argument(help="The patient's id.")],
    by: Annotated[str, typer.Option(metavar="NAME", help="Who asks; it is in the log.")] = "stream-twin rebuild",
    wait: Annotated[float, typer.Option(min=1, metavar="SECONDS", help="How long to wait for the worker.")] = 60.0,
) -> None:
    """Make a patient's twin anew from its log, so that samples and corrections which came too late for it are in it.

    The worker goes on meanwhile; it takes the new twin over, applies what came since, and judges the patient's open alerts
    again. Exit code 1: it was refused or not done, and the twin is as before.
    """
    from stream_twin import app
    from stream_twin.kafka import rebuild as edge

    console = Console(stderr=True)
    with console.status("reading") as status:
        broker = app.broker(settings)
        done = edge.rebuild(broker, settings.prefix, patient, Pure(patient), by=by, wait_s=wait, tell=status.update)
    typer.echo(
        f"{patient}: rebuilt from {done.samples} samples, of which {done.late} records had come too late; "
        f"taken over at offset {done.offset} of lane {done.lane}"
    )


class Pure:
    """What the Kafka side runs; see :class:`stream_twin.kafka.rebuild.Pure`."""

    def __init__(self, patient: str) -> None:
        self._key = patient.encode()

    def covered(self, base: RebuiltBase) -> tuple[int, bytes] | None:
        from stream_twin.lane.rebuild import Refused, unpacked

        try:
            snapshot, raw = unpacked(base)
        except Refused:
            return None
        return snapshot.covered, raw

    def make(self, start: bytes | None, checkpoint: bytes | None, failed: Collection[int]) -> "Rebuilder":
        from stream_twin import signals
        from stream_twin.lane import Rebuilder

        return Rebuilder(signals.load(), self._key, start=start, checkpoint=checkpoint, failed=failed)


def register(app: typer.Typer) -> None:
    app.command()(rebuild)
