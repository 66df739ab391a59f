"""Workers of the fake stages as processes, and the topics they share."""

import asyncio
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka import Producer

from stream_twin.clock import wall
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.completeness import Completeness
from stream_twin.kafka.failures import is_away
from stream_twin.kafka.group import Group
from stream_twin.kafka.placing import INPUTS, SOURCES
from tests.kafka import oracle

ROOT = Path(__file__).parents[2]
SESSION_TIMEOUT_S = 6.0 if "KAFKA_BOOTSTRAP" in os.environ else 3.0
"""Kafka's own lower bound is 6 s; the broker that the tests start allows less, so that they take less."""


class Process:
    """One worker; what it logs is in ``log``."""

    def __init__(self, rig: "Rig", log: Path, options: dict[str, Any]) -> None:
        self._log = log
        command = [sys.executable, "-m", "tests.kafka.fakes", rig.address, rig.prefix, str(rig.lanes), json.dumps(options)]
        with log.open("wb") as output:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = 20) -> int:
        return self._process.wait(timeout)

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> int:
        self.send(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def lanes_open(self) -> int:
        return len(re.findall(r"lane \d+ open after", self.log()))

    def await_log(self, pattern: str, timeout: float = 30) -> None:
        def there() -> bool:
            if self.poll() is not None and not re.search(pattern, self.log()):
                raise AssertionError(f"the worker ended with {self.poll()}:\n{self.log()[-3000:]}")
            return re.search(pattern, self.log()) is not None

        until(there, timeout, lambda: f"no {pattern!r} in\n{self.log()[-3000:]}")


class Rig:
    """Topics of their own for one test, and the workers on them."""

    def __init__(self, address: str, prefix: str, lanes: int, directory: Path, create: bool = True) -> None:
        self.address, self.prefix, self.lanes = address, prefix, lanes
        self.broker = Broker(address)
        if create:
            admin.create(self.broker, prefix, lanes)
        self._directory, self._numbers = directory, itertools.count(1)
        self.processes: list[Process] = []
        self._producer = Producer({"bootstrap.servers": address, "partitioner": "murmur2_random", "linger.ms": 2})
        self._ids = itertools.count()

    def worker(self, **options: Any) -> Process:
        settings = {"session_timeout_s": SESSION_TIMEOUT_S, **options.get("settings", {})}
        log = self._directory / f"worker-{next(self._numbers)}.log"
        process = Process(self, log, {**options, "settings": settings})
        self.processes.append(process)
        return process

    def send(self, topic: str, key: bytes, value: bytes, partition: int = -1) -> None:
        self._producer.produce(self.prefix + topic, value, key=key, partition=partition)

    def feed(
        self, count: int, topics: tuple[str, ...] = ("wearable.observations", "clinical.events"), patients: int = 50
    ) -> None:
        """Numbered records, one in fifty of them bad."""
        for number in itertools.islice(self._ids, count):
            value = b"bad" if number % 50 == 49 else b"%d" % number
            self.send(topics[number % len(topics)], b"p%03d" % (number % patients), value)
            if number % 1000 == 0:
                self._producer.poll(0)
        self.flush()

    def flush(self) -> None:
        assert self._producer.flush(30) == 0

    def await_done(self, timeout: float = 40) -> None:
        """Until everything sent so far has gone through ingest and lane, as the group's offsets tell."""
        asyncio.run(self._done(timeout))

    async def _done(self, timeout: float) -> None:
        parts = [(self.prefix + topic, lane) for topic in (*SOURCES, INPUTS) for lane in range(self.lanes)]
        group = Group(self.broker, f"{self.prefix}twin")
        completeness = Completeness(self.broker, group, parts)
        deadline = time.monotonic() + timeout
        # What ingest puts into the log comes later than the sources' ends: ask twice.
        for _ in range(2):
            began = wall()
            while completeness.complete_to < began:
                try:
                    await completeness.probe()
                except Exception as error:
                    if not is_away(error):
                        raise
                if time.monotonic() > deadline:
                    logs = "\n".join(process.log()[-2000:] for process in self.processes)
                    raise AssertionError(f"not done within {timeout:.0f} s:\n{logs}")
                await asyncio.sleep(0.1)
        await group.close()

    def problems(self) -> list[str]:
        return oracle.problems(self.address, self.prefix, self.lanes)

    def close(self) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.send(signal.SIGCONT)
                process.kill()


def until(true: Callable[[], bool], timeout: float, message: Callable[[], str]) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:.0f} s:\n{message()}")
        time.sleep(0.1)


def fresh_prefix(name: str) -> str:
    return f"{re.sub('[^a-z0-9]', '-', name.lower())[:40]}-{os.getpid()}-{time.monotonic_ns() % 10**9}."
