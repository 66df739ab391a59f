"""A worker of the service in a process of its own, and what can be seen of it from outside."""

import contextlib
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from tests.kafka_broker import free_port

PATIENCE_S = 120.0
"""Longest time without any progress."""
POLL_S = 0.1


class Place(NamedTuple):
    """Where a measurement happens: a broker, topics of its own, and a directory for logs."""

    broker: Broker
    prefix: str
    lanes: int
    directory: Path

    def topic(self, name: str) -> str:
        return self.prefix + name

    def make_topics(self) -> "Place":
        admin.create(self.broker, self.prefix, self.lanes)
        return self


class Service:
    """One worker. Its standard error goes into a log beside the others'; ``options`` are those of ``stream-twin worker``."""

    def __init__(self, place: Place, *options: object) -> None:
        self._port = free_port()
        number = len(list(place.directory.glob(f"{place.prefix}*.log")))
        self.log = place.directory / f"{place.prefix}{number}.log"
        named = f"--broker {place.broker.address} --prefix {place.prefix} --group {place.prefix}bench"
        named += f" --partition-count {place.lanes} --metrics-port {self._port}"
        command = [sys.executable, "-m", "stream_twin.cli", "worker", *named.split(), *map(str, options)]
        with self.log.open("w") as output:
            self._process = subprocess.Popen(command, stderr=output)
        self._seen = psutil.Process(self._process.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def cpu_s(self) -> float:
        """User and system time since the start."""
        times = self._seen.cpu_times()
        return float(times.user + times.system)

    def rss(self) -> int:
        """Bytes of memory in use."""
        return int(self._seen.memory_info().rss)

    def numbers(self) -> dict[str, float]:
        """Its metrics, by name with labels; empty while it does not answer. Raises RuntimeError where it has ended."""
        self.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if not line.startswith("#"))}

    def is_ready(self) -> bool:
        """Whether all its lanes are open."""
        self.check()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def wait_ready(self) -> "Service":
        deadline = time.monotonic() + PATIENCE_S
        while not self.is_ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"the worker's lanes did not open within {PATIENCE_S:.0f} s:\n{self._tail()}")
            time.sleep(POLL_S)
        return self

    def check(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"the worker ended with {self._process.returncode}:\n{self._tail()}")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Raises RuntimeError where it does not end well."""
        self._process.terminate()
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            code = -signal.SIGKILL
        if code != 0:
            raise RuntimeError(f"the worker ended with {code} when it was asked to stop:\n{self._tail()}")

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


@contextlib.contextmanager
def running(place: Place, count: int = 1, options: Sequence[object] = ()) -> Iterator[list[Service]]:
    """``count`` workers, stopped at the end, or killed after an error."""
    services = [Service(place, *options) for _ in range(count)]
    try:
        yield services
    except BaseException:
        for service in services:
            service.kill()
        raise
    for service in services:
        service.stop()


def samples(numbers: dict[str, float]) -> float:
    """Samples that went through the filter."""
    return sum(value for name, value in numbers.items() if name.startswith("stream_twin_innovation_sigmas_count"))


def read(numbers: dict[str, float]) -> float:
    """Records of observations that ingest took."""
    return numbers.get('stream_twin_events_in_total{topic="wearable.observations"}', 0.0)


def lag(numbers: dict[str, float], topic: str = "") -> float:
    """Records that wait, as the service itself says; of one topic, or of all."""
    name = f'stream_twin_lag_records{{topic="{topic}"}}' if topic else "stream_twin_lag_records"
    return sum(value for key, value in numbers.items() if key.startswith(name))


class Drained(NamedTuple):
    """``samples`` were applied in ``seconds``, with ``cpu_s`` of all the workers."""

    samples: float
    seconds: float
    cpu_s: float


def drain(services: Sequence[Service], wanted: int, warm: int = 0) -> Drained:
    """Wait until ``wanted`` samples are applied; timed from the first record read, or from ``warm`` samples applied.

    Raises TimeoutError where nothing moves any more. Of several workers one may have applied samples again that were another's,
    so that these must have caught up too; they tell their lag once a second.
    """
    begun: tuple[float, float, float] | None = None
    is_warm = not warm
    most, heard = 0.0, time.monotonic()
    while True:
        time.sleep(POLL_S)
        seen = [service.numbers() for service in services]
        now, applied = time.monotonic(), sum(map(samples, seen))
        if begun is None and any(map(read, seen)):
            begun = 0.0, now, sum(service.cpu_s() for service in services)
        if not is_warm and warm <= applied < wanted:
            is_warm, begun = True, (applied, now, sum(service.cpu_s() for service in services))
        caught_up = len(services) == 1 or not any(map(lag, seen))
        if begun is not None and applied >= wanted and caught_up:
            return Drained(wanted - begun[0], now - begun[1], sum(service.cpu_s() for service in services) - begun[2])
        if applied > most:
            most, heard = applied, now
        elif now - heard > PATIENCE_S:
            raise TimeoutError(f"{most:,.0f} of {wanted:,} samples are applied, and none for {PATIENCE_S:.0f} s")
