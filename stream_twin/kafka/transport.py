"""Faust transport ``records://``: the record lists of all partitions of a fetch as one message, whole lanes per worker.

A plain Faust agent costs several tasks per record, hence the lists. Positions are those of the lanes, kept in
``twin.state`` and set by whoever opens a lane; Faust's own commits, seeks and bookkeeping are switched off.
"""

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import aiokafka
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError
from faust.transport import base
from faust.transport.drivers import TRANSPORTS
from faust.transport.drivers import aiokafka as driver
from faust.types.tuples import TP, ConsumerMessage

from stream_twin.kafka.unpacking import Unreadable

SCHEME = "records"
TRANSPORTS.aliases[SCHEME] = f"{__name__}:Transport"


IDLE_WAIT_MS, IDLE_BYTES = 250, 1
BUSY_WAIT_MS, BUSY_BYTES = 20, 1 << 20
BUSY_FETCHES_PER_S = 25.0
"""Above this many fetches with data a second, the broker gathers before it answers: each answer costs about a millisecond."""


class Batch(NamedTuple):
    """What was read of one partition: ``records`` are all that there are from offset ``start`` to before ``end``."""

    start: int
    end: int
    records: list[Any]


class LaneAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka is untyped here
    """Whole lanes: partition p of every topic goes to one worker, which keeps it when others come or go."""

    name, version = "lanes", 0
    held: tuple[int, ...] = ()
    """Lanes of this consumer; travels to the group's leader with the request to join."""

    @classmethod
    def metadata(cls, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        return ConsumerProtocolMemberMetadata(cls.version, sorted(topics), json.dumps(cls.held).encode())

    @classmethod
    def on_assignment(cls, assignment: Any) -> None:
        cls.held = tuple(sorted({lane for _, lanes in assignment.assignment for lane in lanes}))

    @classmethod
    def assign(cls, cluster: Any, members: Mapping[str, Any]) -> dict[str, ConsumerProtocolMemberAssignment]:
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        partitions = {topic: cluster.partitions_for_topic(topic) or set() for topic in topics}
        owned = share_lanes(
            set().union(*partitions.values()),
            {name: json.loads(member.user_data or b"[]") for name, member in members.items()},
        )
        return {
            name: ConsumerProtocolMemberAssignment(
                cls.version, [(topic, sorted(set(lanes) & partitions[topic])) for topic in topics], b""
            )
            for name, lanes in owned.items()
        }


def share_lanes(lanes: set[int], held: Mapping[str, Iterable[int]]) -> dict[str, list[int]]:
    """Give each member its share, sizes differing by one at most, so that the fewest lanes move."""
    free = set(lanes)
    quota, extra = divmod(len(free), len(held))
    owned, shares = {}, {}
    # Those who hold most come first, so that the larger shares go to them.
    for rank, name in enumerate(sorted(held, key=lambda name: (-len(list(held[name])), name))):
        shares[name] = quota + (rank < extra)
        owned[name] = [lane for lane in held[name] if lane in free][: shares[name]]
        free -= set(owned[name])
    left = sorted(free)
    for name in sorted(held):
        missing = shares[name] - len(owned[name])
        owned[name] += left[:missing]
        left = left[missing:]
    return owned


class RebalanceListener(driver.ConsumerRebalanceListener):  # type: ignore[misc]  # Faust is untyped here
    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        # Before the first await, so that the fetcher neither asks for committed offsets nor reads anything.
        consumer = self._thread._ensure_consumer()
        for tp in assigned:
            consumer.seek(tp, 0)
            consumer.pause(tp)
        self._thread.positions.clear()
        await super().on_partitions_assigned(assigned)


class ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """Faust runs the consumer in a thread of its own, so that heartbeats go on while a lane computes."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.positions: dict[Any, int] = {}
        self._fetches, self._counted_since = 0, time.monotonic()

    def _create_worker_consumer(self, transport: Any) -> aiokafka.AIOKafkaConsumer:
        conf, settings = self.app.conf, self.app.kafka
        self._assignor = type("LaneAssignor", (LaneAssignor,), {})  # its own `held`
        return aiokafka.AIOKafkaConsumer(
            bootstrap_servers=settings.broker.address,
            client_id=conf.broker_client_id,
            group_id=settings.group,
            partition_assignment_strategy=[self._assignor],
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            max_poll_records=conf.broker_max_poll_records,
            max_poll_interval_ms=300_000,
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=IDLE_WAIT_MS,
            fetch_min_bytes=IDLE_BYTES,
            request_timeout_ms=20_000,
            session_timeout_ms=int(settings.session_timeout_s * 1000),
            rebalance_timeout_ms=int(settings.session_timeout_s * 1000),
            # Members that stay hear of one that joins by the answer to a heartbeat, and all wait for the last to hear.
            heartbeat_interval_ms=int(settings.session_timeout_s * 1000 / 20),
            retry_backoff_ms=50,
            check_crcs=not settings.broker.is_embedded,  # which changes what it was sent, but not the checksum
            **settings.broker.aiokafka,
        )

    async def on_thread_stop(self) -> None:
        # aiokafka cancels a fetch that waits for its broker, and is surprised by that itself.
        with suppress(asyncio.CancelledError, KafkaError):
            await super().on_thread_stop()

    async def fetch(self, wanted: set[Any], timeout: float) -> dict[Any, Batch]:
        batches: dict[Any, Batch] = await self.call_thread(self._fetch, wanted, timeout)
        return batches

    async def _fetch(self, wanted: set[Any], timeout: float) -> dict[Any, Batch]:
        consumer = self._ensure_consumer()
        reader, subscriptions = consumer._fetcher, consumer._subscription
        if consumer._closed or reader._closed:
            raise ConsumerStoppedError()
        if not wanted:
            return {}
        if reader._fetch_task.done():
            raise RuntimeError("aiokafka does not fetch any more")  # and would not say so itself
        with subscriptions.fetch_context():
            try:
                records = await reader.fetched_records(wanted, timeout=timeout, max_records=consumer._max_poll_records)
            except Unreadable as error:
                consumer.pause(error.tp)
                for tp in {*wanted}:  # what it had taken of others before it met that one is not handed over
                    if tp in self.positions and subscriptions.is_assigned(tp):
                        consumer.seek(tp, self.positions[tp])
                raise
        self._adapt(reader, bool(records))
        assignment = subscriptions.subscription.assignment if subscriptions.subscription else None
        if assignment is None or not assignment.active:
            return {}
        batches = {}
        # A position also moves without records: over transaction markers, aborted records and compacted ones.
        # What was read counts although `wanted` may have lost it meanwhile: a queue that filled up pauses its partition.
        for tp in {*wanted, *records}:
            start = self.positions.get(tp)
            if start is not None and tp in assignment.tps and (end := assignment.state_value(tp).position) != start:
                self.positions[tp] = end
                batches[tp] = Batch(start, end, records.get(tp, []))
        return batches

    def _adapt(self, reader: Any, had_data: bool) -> None:
        self._fetches += had_data
        if (elapsed := time.monotonic() - self._counted_since) >= 0.5:
            busy = self._fetches / elapsed > (
                BUSY_FETCHES_PER_S if reader._fetch_min_bytes == IDLE_BYTES else BUSY_FETCHES_PER_S / 2
            )
            reader._fetch_min_bytes = BUSY_BYTES if busy else IDLE_BYTES
            reader._fetch_max_wait_ms = BUSY_WAIT_MS if busy else IDLE_WAIT_MS
            self._fetches, self._counted_since = 0, time.monotonic()

    async def read_from(self, offsets: Mapping[Any, int]) -> None:
        await self.call_thread(self._read_from, offsets)

    async def _read_from(self, offsets: Mapping[Any, int]) -> None:
        consumer = self._ensure_consumer()
        for tp, offset in offsets.items():
            try:
                consumer.seek(tp, offset)
                consumer.resume(tp)
            except IllegalStateError:
                continue  # not assigned any more, or not yet again: the next assignment sets its positions
            self.positions[tp] = offset

    def wake(self) -> None:
        """Data of a partition that is wanted again may lie in the fetcher already."""

        def notify() -> None:
            reader = self._ensure_consumer()._fetcher
            for waiter in list(reader._fetch_waiters):
                reader._notify(waiter)

        self.thread_loop.call_soon_threadsafe(notify)

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's search for stuck streams looks at offsets that are not kept here."""


class Consumer(driver.Consumer):  # type: ignore[misc]
    RebalanceListener = RebalanceListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.wanted: set[Any] = set()
        self._sequence = itertools.count(1)
        super().__init__(*args, **kwargs)

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def read_from(self, offsets: Mapping[Any, int]) -> None:
        """Read these partitions from these offsets on."""
        await self._thread.read_from(offsets)
        self.wanted.update(offsets)
        self._thread.wake()

    def pause(self, tp: Any) -> None:
        self.wanted.discard(tp)

    def resume(self, tp: Any) -> None:
        if tp not in self.wanted:
            self.wanted.add(tp)
            self._thread.wake()

    @property
    def member_id(self) -> str:
        return str(self._thread._ensure_consumer()._coordinator.member_id)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[Any, Any]]:
        """At most two messages: batches of ``twin.inputs`` and batches of the sources, each by partition."""
        if not self.wanted:
            await self.sleep(0.02)
            return
        try:
            batches = await self._thread.fetch(self.wanted, timeout)
        except ConsumerStoppedError:
            raise
        except Exception as error:
            if isinstance(error, Unreadable):
                self.pause(error.tp)
            self.app.reading_failed(error)
            return
        # What was read is handed over although a rebalance went on meanwhile: it may be of the new assignment, and nobody
        # would read it again. Who gets what is not its own, or not in order, lets it drop.
        if not self.flow_active:
            await self.wait(self.can_resume_flow)
        assigned = self.assignment()
        by_agent: dict[bool, dict[Any, Batch]] = {}
        for tp, batch in batches.items():
            if tp in assigned:
                by_agent.setdefault(tp.topic == self.app.inputs_topic, {})[tp] = batch
        for parts in by_agent.values():
            if self.should_stop:
                return
            topic, partition = next(iter(parts))
            tp = TP(topic, partition)
            generation = self.app.consumer_generation_id  # Faust's streams drop what is of another one
            yield (
                tp,
                ConsumerMessage(
                    topic, partition, next(self._sequence), 0.0, 0, None, None, parts, None, 0, 0, tp, generation_id=generation
                ),
            )

    def reached(self, tp: Any) -> int:
        """Up to where ``tp`` was read since :meth:`read_from`; -1 if it is not being read."""
        return int(self._thread.positions.get(tp, -1))

    async def commit(self, topics: Any = None, start_new_transaction: bool = True) -> bool:
        """Offsets are part of the lanes' own transactions."""
        return True

    async def perform_seek(self) -> None:
        """Positions are set when a lane is open."""

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Without commits, Faust's record of gaps would grow for ever."""

    def ack(self, message: Any) -> bool:
        """Without commits, Faust's lists of acknowledged offsets would grow for ever."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True


class Producer(driver.Producer):  # type: ignore[misc]
    """Faust wants one; the lanes have their own, so this one stays unconnected."""

    async def on_start(self) -> None:
        await base.Producer.on_start(self)

    async def on_stop(self) -> None:
        await base.Producer.on_stop(self)

    async def flush(self) -> None:
        await self.buffer.flush()


class Transport(driver.Transport):  # type: ignore[misc]
    Consumer = Consumer
    Producer = Producer
