"""One set of topics with its load and its workers, on a broker that the campaign may do anything to."""

import asyncio
import random
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.chaos.faulty import INJECTED
from benchmarks.chaos.load import Load
from benchmarks.chaos.proxy import Proxy
from benchmarks.chaos.rebuilding import Rebuilding
from benchmarks.chaos.workers import FAULTY, NEXT_SCHEMA, ROOT, Workers
from stream_twin import topics
from stream_twin.clock import elapsed, wall
from stream_twin.kafka import admin, reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.completeness import Completeness
from stream_twin.kafka.failures import is_away
from stream_twin.kafka.group import Group
from stream_twin.kafka.placing import INPUTS, SOURCES
from tests.kafka_broker import KafkaBroker, free_port

LANES = 6
SETTLES_WITHIN_S = 120.0
AUDIT_WITHIN_S = 300.0


class Scene:
    """``wrong``: sentences about what must not be."""

    def __init__(self, kafka: KafkaBroker, proxy: Proxy, prefix: str, rate: float, draws: random.Random, directory: Path) -> None:
        self.kafka, self.proxy, self.prefix, self.draws = kafka, proxy, prefix, draws
        self.broker = Broker(kafka.address)
        self.wrong: list[str] = []
        admin.create(self.broker, prefix, LANES)
        addresses = [f"127.0.0.1:{proxy.port}", kafka.address, kafka.address]
        self.workers = Workers(addresses, prefix, LANES, directory)
        self.load = Load(self.broker, prefix, rate, draws.randrange(1 << 30))
        self.load.start()
        self.rebuilding = Rebuilding(self.broker, prefix, draws.randrange(1 << 30))
        self.rebuilding.start()

    @property
    def group(self) -> str:
        return f"{self.prefix}twin"

    def pick(self) -> int:
        """Any slot with a worker that runs."""
        return self.draws.choice([slot for slot, worker in self.workers.running.items() if worker.process.poll() is None])

    def wait(self, least_s: float, most_s: float) -> float:
        seconds = self.draws.uniform(least_s, most_s)
        time.sleep(seconds)
        return seconds

    def settle(self, within_s: float = SETTLES_WITHIN_S) -> float:
        """Until all that was sent when this was called has gone through ingest and lane; the seconds it took.

        Meanwhile a supervisor starts again what has ended.
        """
        began = elapsed()
        if not self.load.is_alive() and not self.load.stopped:
            self.wrong.append("the load has stopped by itself")
        if not asyncio.run(self._settled(began + within_s)):
            logs = "\n".join(f"slot {slot}:\n{worker.log[-2500:]}" for slot, worker in self.workers.running.items())
            self.wrong.append(f"not everything was worked off within {within_s:.0f} s\n{logs}")
        return elapsed() - began

    async def _settled(self, deadline: float) -> bool:
        parts = [(self.prefix + topic, lane) for topic in (*SOURCES, INPUTS) for lane in range(LANES)]
        group = Group(self.broker, self.group)
        completeness = Completeness(self.broker, group, parts)
        try:
            # What ingest puts into the log comes later than the sources' ends: ask twice.
            for _ in range(2):
                began = wall()
                while completeness.complete_to < began:
                    self.workers.revive()
                    try:
                        await completeness.probe()
                    except Exception as error:
                        if not is_away(error):
                            raise
                    if elapsed() > deadline:
                        return False
                    await asyncio.sleep(0.2)
            return True
        finally:
            await group.close()

    def members(self) -> set[str]:
        async def ask() -> set[str]:
            group = Group(self.broker, self.group)
            try:
                return await group.members()
            finally:
                await group.close()

        return asyncio.run(ask())

    def finish(self) -> None:
        """No more load; everything is worked off, and the workers stop."""
        self.rebuilding.stop()
        self.wrong += self.rebuilding.wrong
        self.load.stop()
        self.settle()
        self.workers.revive()
        self.settle()
        for slot in list(self.workers.running):
            self.workers.end(slot, signal.SIGTERM)
        for topic in topics.TOPICS:
            if topic.role != "source" and any(r.key == INJECTED for r in reader.read(self.broker, self.prefix + topic.name)):
                self.wrong.append(f"{topic.name} holds a record of a transaction of which another was refused")

    def audit(self, final: bool = False) -> list[dict[str, Any]]:
        """Rows of ``stream-twin audit``; what does not hold is among ``wrong``."""
        with tempfile.TemporaryDirectory(prefix="chaos-audit-") as directory:
            rows_file = Path(directory) / "rows.json"
            version = NEXT_SCHEMA if self.workers.upgraded else ()
            command = [*FAULTY, *version, "--", "audit", "--broker", self.kafka.address, "--prefix", self.prefix]
            command += ["--json", str(rows_file)]
            run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=AUDIT_WITHIN_S, check=False)
            if run.returncode not in (0, 1) or not rows_file.exists():
                self.wrong.append(f"the audit ended with {run.returncode}:\n{run.stderr[-2000:]}")
                return []
            rows: list[dict[str, Any]] = msgspec.json.decode(rows_file.read_bytes())
        if run.returncode:
            self.wrong.append(f"the audit does not hold:\n{run.stderr[-3000:]}")
        if final and "not read" in rows[0]["note"]:
            self.wrong.append(f"at the end, {rows[0]['note']}")
        return rows

    def close(self) -> None:
        self.workers.kill()
        self.rebuilding.stop()
        with suppress(AssertionError):
            self.load.stop()
        gone = [self.prefix + topic.name for topic in topics.TOPICS]
        for future in self.broker.admin.delete_topics(gone, operation_timeout=10).values():
            with suppress(Exception):
                future.result()


@contextmanager
def stage(directory: Path) -> Iterator[tuple[KafkaBroker, Proxy]]:
    """A broker, and the proxy behind which it tells one worker to find it."""
    behind = free_port()
    with Proxy(behind) as proxy:
        kafka = KafkaBroker(directory / "kafka", proxied=(behind, proxy.port))
        kafka.start()
        try:
            yield kafka, proxy
        finally:
            kafka.kill()
