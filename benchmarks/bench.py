"""``make bench``: everything that is said about speed, memory and latency, on a real broker on this machine.

    make bench                                    all of it, about 35 minutes
    make bench ARGS="--only latency"              one of the measurements, or several
    make bench ARGS="--quick"                     to see that all works; its numbers mean nothing

Each measurement has a broker and topics of its own. Results go to ``build/reports``; ``python -m benchmarks.table`` puts them
into ``docs/performance.md``.
"""

import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from benchmarks import idle, latency, machine, memory, overload, report, restore, series, throughput, workers
from benchmarks.report import Result
from benchmarks.scale import FULL, QUICK, Scale
from benchmarks.service import Place
from stream_twin.kafka.broker import Broker
from tests.kafka_broker import broker as kafka_broker

MEASUREMENTS: dict[str, Callable[[Place, Scale], list[Result]]] = {
    "bench": throughput.measure,
    "series": series.measure,
    "latency": latency.measure,
    "idle": idle.measure,
    "restore": restore.measure,
    "memory": memory.measure,
    "workers": workers.measure,
    "overload": overload.measure,
}
"""By the name of the report."""


def run(name: str, scale: Scale, address: str | None = None, prefix: str = "bench.") -> bool:
    """Measure, print and write a report; whether everything wanted was met. Without ``address`` on a broker of its own."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        place = Place(Broker(address or stack.enter_context(kafka_broker()).address), f"{prefix}{name}.", scale.lanes, directory)
        with machine.noted(name):
            results = MEASUREMENTS[name](place, scale)
    return report.report(name, results)


def main(
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help=f"One of {', '.join(MEASUREMENTS)}; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small and short, to see that everything works.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds of what is repeated.")] = None,
    events: Annotated[int | None, typer.Option(min=1000, help="Observations of a backlog.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="Of load under which memory must stay flat.")] = None,
    twins: Annotated[str | None, typer.Option(metavar="N,N,...", help="Sizes of wards to restore and to weigh.")] = None,
    broker: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Default: one of its own for each.")] = None,
) -> None:
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # so that what was started ends too
    names = only or list(MEASUREMENTS)
    if unknown := [name for name in names if name not in MEASUREMENTS]:
        raise typer.BadParameter(f"there is no measurement {', '.join(unknown)}; there are {', '.join(MEASUREMENTS)}")
    sizes = tuple(int(size) for size in twins.split(",")) if twins else None
    given = {"rounds": rounds, "events": events, "minutes": minutes, "twins": sizes}
    scale = (QUICK if quick else FULL)._replace(**{name: value for name, value in given.items() if value is not None})
    if quick:
        report.DIRECTORY /= "quick"  # what was measured in earnest stays
    failed = []
    for name in names:
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        try:
            if not run(name, scale, broker):
                failed.append(f"{name}: not all that was wanted was met")
        except Exception as error:  # the others are still worth their time
            traceback.print_exc()
            failed.append(f"{name}: {type(error).__name__}: {error}")
    for line in failed:
        print(line)
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
