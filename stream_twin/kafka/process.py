"""One worker as a process: its event loop, signals, garbage collector and log, until it ends with an exit code.

settings, stages = WorkerSettings(Broker("127.0.0.1:9092")), Stages(ingest=..., make_lane=...)
sys.exit(run(lambda: Worker(settings, stages, observer=...)))
"""

import asyncio
import gc
import logging
import math
import signal
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from stream_twin.clock import elapsed
from stream_twin.kafka.failures import Fatal
from stream_twin.kafka.worker import Worker

log = logging.getLogger(__name__)


def run(worker_of: Callable[[], Worker]) -> int:
    """Run a worker in this process until SIGTERM or SIGINT; the exit code. ``worker_of`` is called inside the event loop."""
    # Records come and go by the hundred thousand and hold no cycles: looking for cycles every 700 of them is time lost.
    gc.freeze()
    gc.set_threshold(200_000, 20, 20)
    return _runner().run(_serve(worker_of))


async def _serve(worker_of: Callable[[], Worker]) -> int:
    worker = worker_of()
    for name in ("", ".conn", ".cluster", ".producer.sender", ".consumer.fetcher", ".consumer.group_coordinator"):
        logging.getLogger(f"aiokafka{name}").addFilter(_Seldom())
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_without_leftovers)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    try:
        return int(await worker.serve())
    except Fatal as error:
        log.critical("%s", error)
        return int(error.exit_code)


def _without_leftovers(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """aiokafka's producer leaves futures of failed batches behind, long after their error was dealt with."""
    if not (isinstance(context.get("exception"), KafkaError) and "never retrieved" in str(context.get("message"))):
        loop.default_exception_handler(context)


class _Seldom(logging.Filter):
    """Lets what is said over and over through every ten seconds: with a broker away, clients say it many times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = elapsed()
        if now - self._said.get(str(record.msg), -math.inf) < 10:
            return False
        self._said[str(record.msg)] = now
        return True


def _runner() -> asyncio.Runner:
    try:
        import uvloop
    except ImportError:  # not made for Windows
        return asyncio.Runner()
    # Faust makes the loop of its consumer's thread by the policy.
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return asyncio.Runner(loop_factory=uvloop.new_event_loop)
