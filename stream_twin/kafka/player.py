"""Plays recorded or simulated messages onto the source topics, and tells the lanes what time it is in the recording."""

import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from stream_twin.clock import elapsed
from stream_twin.events import ClockTick
from stream_twin.kafka.broker import TIMEOUT_S, Broker, Part
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.topics import SOURCES

TICKS = "clock.ticks"
PLAYED = (
    "patient.profiles",
    "device.assignments",
    "wearable.observations",
    "clinical.observations",
    "clinical.events",
    "environment.observations",
    "patient.outcomes",
)
"""What ticks stand behind. Not ``alert.commands`` and ``models``: people and learners write those at any time."""
SETTLE_S = 49 * 3600.0
"""Stream time after the last record: just beyond the longest lateness, so that everything settles."""
REPORT_EVERY_S = 0.2
_encode = msgspec.json.Encoder().encode


class SourceMessage(Protocol):
    """``at``: when it was sent, in stream time, seconds; ``topic`` without the prefix."""

    @property
    def at(self) -> float: ...
    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes: ...
    @property
    def value(self) -> bytes: ...


@dataclass(frozen=True)
class Progress:
    """How far a player is: records delivered, ticks, stream time in seconds, wall seconds since the start."""

    sent: int
    ticks: int
    at: float
    seconds: float

    @property
    def rate(self) -> float:
        """Records per second of wall time."""
        return self.sent / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True)
class Pacing:
    """How fast. ``speed``: stream seconds per wall second; None: as fast as the broker takes it.

    ``tick_s``: stream time between two ticks; None: what one wall second amounts to, at most 300 s. In a silence they grow
    apart by a tenth of its length, so that a gap of years does not cost a million ticks; a record ends that.

    ``settle_s``: stream time that passes after the last record. ``ticks`` False: none are written, for a service whose clock is
    the wall's.

    ``max_ahead_bytes``: wait while more than that of any partition has not been read. The embedded broker needs it, for it
    keeps about 5 MB of a partition and drops the rest, read or not.
    """

    speed: float | None = None
    tick_s: float | None = None
    settle_s: float = SETTLE_S
    ticks: bool = True
    max_ahead_bytes: int | None = None

    @property
    def tick(self) -> float:
        return self.tick_s or min(300.0, max(1.0, self.speed or 300.0))


ReadTo = Callable[[Collection[Part]], Mapping[Part, int]]
"""How far these partitions have been read: offsets of the next record wanted; 0 where nobody knows."""


class Player:
    """One idempotent producer on the source topics; use it for one stream, in one thread.

    Args:
        broker: where to.
        prefix: put before every topic's name.
        pacing: how fast.
        on_progress: called a few times a second, and at the end.
        read_to: who reads, for ``max_ahead_bytes``; by default the consumer group ``stream-twin``.

    Raises:
        Fatal: no broker answers, a topic is missing or has another number of partitions than the others.
    """

    def __init__(
        self,
        broker: Broker,
        prefix: str = "",
        pacing: Pacing | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        read_to: ReadTo | None = None,
    ) -> None:
        self._address = broker.address
        self._prefix, self._pacing, self._on_progress = prefix, pacing or Pacing(), on_progress
        self._producer = Producer(
            {
                **broker.librdkafka,
                "enable.idempotence": True,
                "compression.type": "lz4",
                "linger.ms": 5,
                "message.max.bytes": 2_500_000,
                "queue.buffering.max.messages": 200_000,
            }
        )
        self._names = {topic.name: prefix + topic.name for topic in SOURCES} | {TICKS: prefix + TICKS}
        self.partitions = self._count_partitions()
        ends = broker.end_offsets([(self._names[topic], part) for topic in PLAYED for part in range(self.partitions)])
        self._behind = [{topic: ends[self._names[topic], part] for topic in PLAYED} for part in range(self.partitions)]
        self._reader = None
        if self._pacing.max_ahead_bytes is not None:
            self._reader = _Reader(self._pacing.max_ahead_bytes, read_to or committed(broker, "stream-twin"))
        self._epoch = _Epoch(self._reader)
        self._pending: deque[tuple[float, _Epoch]] = deque()
        self._lanes: dict[bytes, int] = {}
        self._sent = self._ticks = 0
        self._first = math.nan
        self._began = self._reported = elapsed()

    def _count_partitions(self) -> int:
        try:
            known = self._producer.list_topics(timeout=TIMEOUT_S).topics
        except KafkaException as error:
            raise Fatal(ExitCode.FAILED, f"no broker answers at {self._address}: {error.args[0].str()}") from None
        counts = {name: len(known[name].partitions) if name in known else 0 for name in self._names.values()}
        if missing := [name for name, count in counts.items() if count == 0]:
            raise Fatal(ExitCode.TOPICS, f"topics are missing: {', '.join(missing)}: make them with stream-twin topics create")
        if len(set(counts.values())) > 1:
            numbers = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise Fatal(
                ExitCode.TOPICS, f"the topics have different numbers of partitions: {numbers}: see stream-twin topics check"
            )
        return counts[self._names[TICKS]]

    def play(self, stream: Iterable[SourceMessage]) -> Progress:
        """Send everything, then ticks until all of it has settled. Returns when the broker has all.

        ``stream`` is in order of ``at``. May be called again with a stream that goes on from there.

        Raises:
            Fatal: a record was not delivered; what was sent before it stays.
        """
        tick = last = math.nan
        for message in stream:
            if math.isnan(last):
                tick = last = message.at
                if math.isnan(self._first):
                    self._first, self._began = last, elapsed()
            tick = min(self._tick_until(message.at, tick, last), message.at + self._pacing.tick)
            last = message.at
            self._pace(last)
            self._send(message)
            if self._sent & 0xFF == 0:
                self._serve(last)
        if not math.isnan(last) and self._pacing.ticks:
            self._tick(self._tick_until(last + self._pacing.settle_s, tick, last))
        self._flush()
        return self._report(last)

    def _tick_until(self, at: float, tick: float, last: float) -> float:
        """Ticks before ``at``, the first at ``tick``; returns the time of the next one, at or after ``at``."""
        while tick < at:
            self._pace(tick)
            self._tick(tick)
            tick += max(self._pacing.tick, (tick - last) / 10)
        return tick

    def _send(self, message: SourceMessage) -> None:
        key, value = message.key, message.value
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = (murmur2(key) & 0x7FFFFFFF) % self.partitions
        name = self._names[message.topic]
        if self._reader is not None and self._reader.must_wait((name, lane), len(value)):
            self._tick(message.at)  # the reader takes nothing beyond a tick
            while self._reader.must_wait((name, lane), len(value)):
                self._serve(message.at, 0.02)
                self._reader.look()
        epoch = self._epoch
        epoch.outstanding += 1
        self._produce(name, value, key, lane, epoch.delivered)
        self._sent += 1
        if self._reader is not None:
            self._reader.sent((name, lane), len(value))

    def _produce(self, *record: Any) -> None:
        while True:
            try:
                self._producer.produce(*record)
                return
            except BufferError:
                self._producer.poll(0.05)
            except KafkaException as error:
                raise _undelivered(error.args[0]) from None

    def _tick(self, at: float) -> None:
        self._pending.append((at, self._epoch))
        self._epoch = _Epoch(self._reader)
        self._serve(at)

    def _serve(self, at: float, wait_s: float = 0.0) -> None:
        """Take delivery reports, write the ticks that these complete, report."""
        try:
            self._producer.poll(wait_s)
        except SystemError as error:  # the client fails to say that Ctrl-C ended its wait
            raise KeyboardInterrupt from error
        while self._pending and self._pending[0][1].outstanding == 0:
            time, epoch = self._pending.popleft()
            if epoch.error is not None:
                raise _undelivered(epoch.error)
            for (name, part), end in epoch.ends.items():
                if (topic := name[len(self._prefix) :]) in PLAYED:
                    self._behind[part][topic] = end
            for part, behind in enumerate(self._behind if self._pacing.ticks else ()):
                self._epoch.outstanding += 1
                tick = _encode(ClockTick(at=time, behind=behind))
                self._produce(self._names[TICKS], tick, None, part, self._epoch.ticked)
            self._ticks += self._pacing.ticks
        if self._on_progress and elapsed() - self._reported >= REPORT_EVERY_S:
            self._report(at)

    def _pace(self, at: float) -> None:
        if self._pacing.speed is None:
            return
        due = self._began + (at - self._first) / self._pacing.speed
        while (wait := due - elapsed()) > 0:
            self._serve(at, min(wait, REPORT_EVERY_S))

    def _flush(self) -> None:
        """Until nothing is on the way, the last tick included."""
        at = self._pending[-1][0] if self._pending else self._first
        while self._pending or self._epoch.outstanding:
            self._serve(at, 0.05)
        if self._epoch.error is not None:
            raise _undelivered(self._epoch.error)
        self._producer.flush(TIMEOUT_S)

    def _report(self, at: float) -> Progress:
        self._reported = elapsed()
        progress = Progress(self._sent, self._ticks, at, self._reported - self._began)
        if self._on_progress:
            self._on_progress(progress)
        return progress


def _undelivered(error: KafkaError) -> Fatal:
    return Fatal(ExitCode.FAILED, f"a record was not delivered: {error.name()}: {error.str()}")


class _Epoch:
    """What goes out between two ticks: the second one is written when all of it is delivered, behind just that."""

    def __init__(self, reader: "_Reader | None") -> None:
        self.outstanding = 0
        self.ends: dict[Part, int] = {}
        self.error: KafkaError | None = None
        self._reader = reader

    def ticked(self, error: KafkaError | None, _: Message) -> None:
        self.outstanding -= 1
        self.error = self.error or error

    def delivered(self, error: KafkaError | None, message: Message) -> None:
        self.outstanding -= 1
        if error is not None:
            self.error = self.error or error
            return
        part, end = (str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0) + 1
        self.ends[part] = end
        if self._reader is not None:
            self._reader.delivered(part, end, len(message))


class _Reader:
    """How many bytes of each partition are sent and not yet read."""

    def __init__(self, most: int, read_to: ReadTo) -> None:
        self._most, self._read_to = most, read_to
        self._ahead: dict[Part, int] = {}
        self._unread: dict[Part, deque[tuple[int, int]]] = {}

    def must_wait(self, part: Part, size: int) -> bool:
        ahead = self._ahead.get(part, 0)
        return ahead > 0 and ahead + size > self._most

    def sent(self, part: Part, size: int) -> None:
        self._ahead[part] = self._ahead.get(part, 0) + size

    def delivered(self, part: Part, end: int, size: int) -> None:
        self._unread.setdefault(part, deque()).append((end, size))

    def look(self) -> None:
        for part, read in self._read_to([part for part, unread in self._unread.items() if unread]).items():
            unread = self._unread[part]
            while unread and unread[0][0] <= read:
                self._ahead[part] -= unread.popleft()[1]


def committed(broker: Broker, group: str) -> ReadTo:
    """By the positions that a consumer group has committed."""
    consumer = Consumer({**broker.librdkafka, "group.id": group, "enable.auto.commit": False})

    def read_to(parts: Collection[Part]) -> Mapping[Part, int]:
        found = consumer.committed([TopicPartition(topic, number) for topic, number in parts], timeout=TIMEOUT_S) if parts else []
        return {(one.topic, one.partition): max(one.offset, 0) for one in found}

    return read_to
