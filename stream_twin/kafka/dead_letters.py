"""Dead letters as the broker has them, and their way back onto the source topics.

A letter that was put again has a *marker* in ``dead.letters``, written in the same transaction as the record on the source
topic: so it is there if and only if the record is, and nobody puts a letter again that has one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import NamedTuple, Self

from confluent_kafka import KafkaException, Producer

from stream_twin.kafka import reader
from stream_twin.kafka.broker import TIMEOUT_S, Broker
from stream_twin.kafka.placing import lane_of, lanes_of
from stream_twin.topics import SOURCE_BYTES, SOURCES

TOPIC = "dead.letters"
REPLAYED = "replay"
"""Stage of a marker."""
DEAD_LETTER = "dead-letter"
"""Header of a record that was put again: partition and offset of its letter."""
_SOURCES = frozenset(topic.name for topic in SOURCES)
_CUT = ("sha256", "key_sha256")


class Place(NamedTuple):
    """Where a letter lies in ``dead.letters``."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"

    @classmethod
    def of(cls, text: str) -> "Place":
        """Raises ValueError: not PARTITION:OFFSET."""
        partition, _, offset = text.partition(":")
        return cls(int(partition), int(offset))


class DeadLetter(NamedTuple):
    """``at``: when it was refused, seconds. ``value`` None: the record had none."""

    place: Place
    at: float
    key: bytes
    value: bytes | None
    headers: Mapping[str, bytes]

    def header(self, name: str) -> str:
        return self.headers.get(name, b"").decode(errors="replace")

    @property
    def reason(self) -> str:
        return self.header("reason")

    @property
    def topic(self) -> str:
        """Where it came from, without the prefix."""
        return self.header("topic")

    @property
    def source(self) -> str:
        return f"{self.topic}/{self.header('partition')}/{self.header('offset')}"

    @property
    def obstacle(self) -> str | None:
        """Why it can never be put again, as a sentence; None: it can be."""
        if any(name in self.headers for name in _CUT):
            return f"only its first bytes were kept of {self.header('length') or self.header('key_length')}: send it anew"
        if self.topic not in _SOURCES:
            return f"{self.topic or 'no topic'} is not a topic that ingest reads: its sender has to send it anew"
        return None


class Marker(NamedTuple):
    """Says that the letter at ``place`` was put again."""

    place: Place
    at: float
    topic: str
    reason: str


def read(broker: Broker, prefix: str, since: float | None = None) -> Iterator[DeadLetter | Marker]:
    """Everything in ``dead.letters``, or what was refused since then; a marker comes after its letter.

    Raises:
        Fatal: no such topic.
        KafkaException: broker away.
    """
    name = prefix + TOPIC
    partitions = range(lanes_of(broker, name))
    start = None
    if since is not None:
        parts = [(name, number) for number in partitions]
        start = {number: offset for (_, number), offset in broker.offsets_at(parts, since).items()}
    for record in reader.read(broker, name, partitions, start=start):
        yield _letter_or_marker(record)


def read_one(broker: Broker, prefix: str, place: Place) -> DeadLetter | Marker | None:
    """The record at ``place``; None where there is none (any more)."""
    name = prefix + TOPIC
    if not 0 <= place.partition < lanes_of(broker, name):
        return None
    part = name, place.partition
    if not broker.first_offsets([part])[part] <= place.offset < broker.end_offsets([part])[part]:
        return None
    record = next(reader.read(broker, name, [place.partition], start={place.partition: place.offset}), None)
    return _letter_or_marker(record) if record is not None and record.offset == place.offset else None


def _letter_or_marker(record: reader.Record) -> DeadLetter | Marker:
    headers, at = dict(record.headers), record.timestamp / 1000
    if headers.get("stage") == REPLAYED.encode():
        place = Place.of(headers[DEAD_LETTER].decode())
        return Marker(place, at, headers["topic"].decode(), headers["reason"].decode())
    value = None if headers.get("reason") == b"tombstone" else record.value or b""
    return DeadLetter(Place(record.partition, record.offset), at, record.key or b"", value, headers)


class Replayer:
    """Puts letters again. One at a time: who opens one ends another that still runs, with what that had not committed.

    Open it before reading which letters have markers.
    """

    def __init__(self, broker: Broker, prefix: str) -> None:
        self._broker, self._prefix = broker, prefix
        self._lanes: dict[str, int] = {}
        self._producer = Producer(
            {
                **broker.librdkafka,
                "transactional.id": f"{prefix}dead-letters-replay",
                "message.max.bytes": 2 * SOURCE_BYTES,
                "compression.type": "lz4",
                "linger.ms": 5,
            }
        )

    def __enter__(self) -> Self:
        self._producer.init_transactions(4 * TIMEOUT_S)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None:  # or readers would wait for the open transaction until its time-out
            with suppress(KafkaException):
                self._producer.abort_transaction(TIMEOUT_S)

    def put(self, letters: Sequence[DeadLetter]) -> None:
        """Key and value as they came, onto the topics they came from, and the markers: all of it or nothing.

        Raises:
            KafkaException: nothing was written, or another replay has taken over.
        """
        producer = self._producer
        producer.begin_transaction()
        for letter in letters:
            place = str(letter.place).encode()
            key = letter.key or None
            producer.produce(
                self._prefix + letter.topic,
                letter.value,
                key,
                self._partition(letter.topic, letter.key),
                headers=[(DEAD_LETTER, place)],
            )
            headers = [("stage", REPLAYED.encode()), (DEAD_LETTER, place)]
            headers += [(name, letter.headers[name]) for name in ("reason", "topic")]
            producer.produce(self._prefix + TOPIC, None, key, letter.place.partition, headers=headers)
            producer.poll(0)
        producer.commit_transaction(4 * TIMEOUT_S)

    def _partition(self, topic: str, key: bytes) -> int:
        if topic not in self._lanes:
            self._lanes[topic] = lanes_of(self._broker, self._prefix + topic)
        return lane_of(key, self._lanes[topic])
