"""``stream-twin demo``: a simulated ward through the whole service, live in the terminal, with nothing but Python."""

import contextlib
import io
import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live

from stream_twin.commands.audit import as_table

if TYPE_CHECKING:
    from stream_twin.demo import Demo, Summary

FRAMES_PER_S = 4
PLAIN_EVERY_S = 5.0


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    patients: Annotated[int, typer.Option(min=1, max=1000, help="How many people the ward has.")] = 24,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same stream, byte for byte.")] = 1,
    speed: Annotated[float, typer.Option(min=1, max=1000, help="Seconds of the ward in a second.")] = 120.0,
    duration: Annotated[float | None, typer.Option(min=1, metavar="SECONDS", help="Ends it by itself.")] = None,
    broker: Annotated[str | None, typer.Option(help="A real Kafka, HOST:PORT, in place of the embedded broker.")] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Lines for a log; the default where there is no terminal.")] = False,
    summary: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the summary as JSON.")] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the last view as SVG.")] = None,
) -> None:
    """Watch a simulated ward of people at home: devices, broker, ingest, twins and alerts. Ctrl-C ends it."""
    from stream_twin.demo import Demo, Plan  # here, so that the other commands start sooner

    console = Console()
    with (
        Demo(Plan(patients=patients, seed=seed, speed=speed, duration_s=duration, broker=broker)) as run,
        _stopped_by_signals(run),
    ):
        if plain or not console.is_terminal:
            _log(run)
        else:
            _live(run, console)
        if picture:
            _draw(run, picture)
        console.print("ending: the worker finishes what was sent", style="dim")
        result = run.finish()
    _tell(result, console)
    if summary:
        summary.write_text(json.dumps(result.as_json(), indent=2) + "\n", encoding="utf-8")
    if not result.audit_ok:
        raise typer.Exit(1)


@contextlib.contextmanager
def _stopped_by_signals(run: "Demo") -> Iterator[None]:
    """The first Ctrl-C ends the run in order, a second one at once."""

    def stop(number: int, _: Any) -> None:
        if run.stopping:
            sys.exit(128 + number)
        run.stop()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _live(run: "Demo", console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while run.step(1 / FRAMES_PER_S):
            width, height = console.size
            live.update(run.view.render(width, height, run.figures), refresh=True)


def _log(run: "Demo") -> None:
    from stream_twin.serve.ward_view import alert_line, figures_line

    typer.echo(run.told)
    said = 0.0
    while run.step(1 / FRAMES_PER_S):
        for change in run.new_alerts():
            typer.echo(alert_line(change))
        if run.figures.elapsed_s - said >= PLAIN_EVERY_S:
            said = run.figures.elapsed_s
            typer.echo(figures_line(run.view, run.figures))


def _draw(run: "Demo", picture: Path) -> None:
    """SVG of the view, as wide as a README shows it, with the fonts that are there: it is to load nothing from elsewhere."""
    console = Console(record=True, width=120, height=36, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(run.view.render(120, 36, run.figures), end="")
    svg = console.export_svg(title="stream-twin demo", unique_id="demo")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    picture.write_text(svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono"), encoding="utf-8")


def _tell(result: "Summary", console: Console) -> None:
    console.print(result.headline(), highlight=False, soft_wrap=True)
    console.print(as_table(result.audit))
    console.print(result.verdict(), highlight=False, soft_wrap=True)
