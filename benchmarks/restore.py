"""After SIGKILL of the only worker: how long until every patient is watched again, for more and more twins.

``twin.state`` then holds several snapshots of each twin, as before compaction came by: they are the twins' own, written once more
each. Compaction is kept off for half an hour, the longest that the topic's settings let it wait. A steady sender goes on
throughout; a lane is live with the first committed estimate that knows a sample sent after the kill.
"""

import threading
import time
from collections.abc import Iterator
from typing import NamedTuple

import psutil
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from benchmarks import latency, listen, load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place, Service
from stream_twin.kafka import reader
from stream_twin.kafka.state import SNAPSHOT

STATE = "twin.state"
LANES = 16
"""As an installation has them that changes nothing."""
RATE = 1000.0
"""Of the samples sent while the worker dies and comes back."""
STEPS = 2
"""Samples of each signal of each twin, before."""
AFTER_S = 15.0
"""Time that the worker runs before it is killed, so that there is something to read again beside the snapshots."""
LIMIT_S = 180.0
TWINS_WANTED, SECONDS_WANTED = 100_000, 30.0


class Membership:
    """Watches a group as long as its context lasts: how often it changed once the new member was in."""

    def __init__(self, place: Place, old: frozenset[str]) -> None:
        self._place, self._old = place, old
        self.changes = -1
        """-1: never joined; 0: joined and stayed."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Membership":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _watch(self) -> None:
        known: frozenset[str] = frozenset()
        while not self._over.wait(0.2):
            now = members(self._place) - self._old
            if now != known and (now or known):
                self.changes += 1
                known = now


def members(place: Place) -> frozenset[str]:
    name = place.prefix + "bench"
    group = place.broker.admin.describe_consumer_groups([name], request_timeout=5)[name].result()
    return frozenset(member.member_id for member in group.members)


def newest(place: Place) -> dict[tuple[int, bytes], bytes]:
    """What ``twin.state`` holds, by partition and key."""
    found: dict[tuple[int, bytes], bytes] = {}
    for record in reader.read(place.broker, place.topic(STATE)):
        if record.key is not None and record.value is not None:
            found[record.partition, record.key] = record.value
    return found


def wait_for_snapshots(place: Place, twins: int) -> None:
    """Until each twin has one. Raises TimeoutError where that takes too long."""
    deadline = time.monotonic() + LIMIT_S
    while (snapshots := sum(key.startswith(SNAPSHOT) for _, key in newest(place))) < twins:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{snapshots:,} of {twins:,} twins have a snapshot after {LIMIT_S:.0f} s")
        time.sleep(2)


def write_again(place: Place, copies: int) -> int:
    """Append what ``twin.state`` holds ``copies`` more times, to be done without a worker; bytes of one copy."""
    held, to = newest(place), load.producer(place.broker, linger_ms=20)
    for _ in range(copies):
        for (lane, key), value in held.items():
            while True:
                try:
                    to.produce(place.topic(STATE), value, key, partition=lane)
                    break
                except BufferError:
                    to.poll(0.1)
    to.flush()
    return sum(len(key) + len(value) for (_, key), value in held.items())


def _leave_uncompacted(place: Place) -> None:
    wanted = ConfigEntry("min.compaction.lag.ms", "1800000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, place.topic(STATE), incremental_configs=[wanted])
    for future in place.broker.admin.incremental_alter_configs([resource]).values():
        future.result()


class Restored(NamedTuple):
    """``open_s``, ``live_s``: from SIGKILL until all lanes were open, and live. ``changes``: of the group, after joining it."""

    twins: int
    copy_mb: float
    open_s: float
    live_s: float
    changes: int
    rss_mb: float


def _samples(twins: int) -> Iterator[tuple[bytes, bytes]]:
    per_step = sum(len(load.signals_of(number)) for number in range(twins))
    return load.observations(twins, STEPS * per_step, time.time() - 600, seed=1)


def once(place: Place, twins: int, copies: int, after_s: float = AFTER_S) -> Restored:
    latency.enrol(place, twins)
    _leave_uncompacted(place)
    with service.running(place, options=("--checkpoint-every-s", 5)) as workers:
        wanted = load.load(place.broker, place.topic(load.WEARABLE), _samples(twins))
        service.drain(workers, wanted)
        wait_for_snapshots(place, twins)
    size = write_again(place, copies - 1)
    first = Service(place)
    try:
        first.wait_ready()
        with latency.sending(place, RATE, LIMIT_S + 60, twins):
            time.sleep(after_s)
            old = members(place)
            killed = time.time()
            first.kill()
            with (
                listen.Listener(place, "twin.estimates", listen.newest_sample) as estimates,
                service.running(place) as [second],
                Membership(place, old) as group,
            ):
                opened, live = _wait(place, second, estimates, killed)
                rss = second.rss()
    finally:
        if psutil.pid_exists(first.pid):
            first.kill()
    return Restored(twins, size * copies / 1e6, opened - killed, live - killed, group.changes, rss / 2**20)


def _wait(place: Place, worker: Service, estimates: listen.Listener, killed: float) -> tuple[float, float]:
    """When all lanes were open, and when the last one was live."""
    opened = None
    while True:
        if opened is None and worker.is_ready():
            opened = time.time()
        firsts: dict[int, float] = {}
        for heard in estimates.since(killed):
            firsts.setdefault(heard.lane, heard.at)
        if opened is not None and len(firsts) == place.lanes:
            return opened, max(firsts.values())
        if time.time() - killed > LIMIT_S:
            raise TimeoutError(f"after {LIMIT_S:.0f} s only {len(firsts)} of {place.lanes} lanes are live")
        time.sleep(0.1)


def measure(place: Place, scale: Scale) -> list[Result]:
    rows: list[Result] = []
    points: list[tuple[float, ...]] = []
    for twins in scale.twins:
        found = once(place._replace(prefix=f"{place.prefix}{twins}.", lanes=LANES), twins, scale.copies)
        print(f"{twins:,} twins: open after {found.open_s:.1f} s, live after {found.live_s:.1f} s", flush=True)
        limit = SECONDS_WANTED if twins == TWINS_WANTED else None
        name = f"{twins:,} twins, {scale.copies} snapshots of each ({found.copy_mb:,.0f} MB)"
        rows += [
            Result(f"{name}: SIGKILL to all lanes open", "s", [found.open_s]),
            Result(f"{name}: SIGKILL to all lanes live", "s", [found.live_s], limit, at_most=True),
            Result(f"{name}: changes of the group while restoring", "changes", [found.changes], 0, at_most=True),
        ]
        points.append((float(twins), found.open_s, found.live_s, found.copy_mb, found.rss_mb))
    report.curve("restore", ("twins", "open_s", "live_s", "state_mb", "rss_mb"), points)
    return rows
