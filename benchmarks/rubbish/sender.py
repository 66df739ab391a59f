"""Sends good and bad records, and remembers of each bad one where it went and which reason its dead letter must give."""

import itertools
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from confluent_kafka import KafkaError, Message, Producer

from benchmarks import load
from benchmarks.rubbish import good
from benchmarks.rubbish.catalogue import KINDS
from benchmarks.rubbish.good import Case, Record
from benchmarks.rubbish.kinds import Kind
from benchmarks.service import Place
from stream_twin.kafka import dead_letters
from stream_twin.topics import SOURCE_BYTES, SOURCES

LIGHT_BYTES = 20_000
KEYED = frozenset(topic.name for topic in SOURCES if topic.cleanup == "compact")
"""Kafka itself refuses a record without a key there."""


def _size(kind: Kind) -> int:
    return sum(len(part or b"") for part in kind.make(Case(1, 0.0))[-1][1:])


_SENT = [kind for kind in KINDS if kind.topic not in KEYED or kind.make(Case(1, 0.0))[-1].key is not None]
LIGHT = tuple(kind for kind in _SENT if _size(kind) <= LIGHT_BYTES)
"""What can be sent by the thousand a second."""
ANY_ORDER = tuple(kind for kind in LIGHT if kind.reason not in ("unknown_device", "outside_assignment"))
"""Without those that are bad only once the lane knows whose devices are whose: in a backlog a sample may be read before that."""
HEAVY = tuple(kind for kind in _SENT if _size(kind) > LIGHT_BYTES)
HEADERS: tuple[list[tuple[str, bytes | None]], ...] = (
    [],
    [("", b"")],
    [("reason", b"none"), ("stage", b"replay"), ("topic", b"models"), ("dead-letter", b"0:0")],  # as the service's own are named
    [("null", None)],
    [("\N{GRINNING FACE}", b"\xff\xfe\0"), ("a\nb", b"\x1b[2J")],
    [("same", b"1"), ("same", b"2")],
    [(f"header-{number}", b"x" * 10) for number in range(100)],
    [("packed", bytes(2000))],
)
"""Of odd encodings; they go with good and bad records in turn."""
Source = tuple[str, int, int]
"""Topic without prefix, partition, offset."""
BadRecord = tuple[list[Record], str]


def bad(kinds: Iterable[Kind], first: int, count: int, now: float, run: str) -> Iterator[BadRecord]:
    """``kinds`` in turn, each time with other ids: its records, and the reason."""
    for number, kind in zip(range(first, first + count), itertools.cycle(kinds), strict=False):
        yield kind.make(Case(number, now, run)), kind.reason


class Sender:
    """``expected``: the reason of each bad record, by where it went. Raises RuntimeError where a record was not delivered."""

    def __init__(self, place: Place) -> None:
        self.expected: dict[Source, str] = {}
        self.sent = 0
        self._place = place
        own = {"partitioner": "murmur2_random", "compression.type": "lz4", "linger.ms": 5, "message.max.bytes": SOURCE_BYTES}
        self._producer = Producer({**place.broker.librdkafka, **own, "queue.buffering.max.messages": 500_000})
        self._headers = itertools.cycle(HEADERS)
        self._failed: KafkaError | None = None

    def good(self, record: Record) -> None:
        self._send(record, None)

    def bad(self, records: Iterable[Record], reason: str) -> None:
        """Of ``records`` the last one is bad."""
        *before, last = records
        for record in before:
            self._send(record, None)
        self._send(last, reason)

    def poll(self, seconds: float = 0.0) -> None:
        self._producer.poll(seconds)
        if self._failed is not None:
            raise RuntimeError(f"a record was not delivered: {self._failed.str()}")

    def flush(self) -> None:
        self._producer.flush(60)
        self.poll()

    def _send(self, record: Record, reason: str | None) -> None:
        topic = record.topic

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._failed = error
            elif reason is not None:
                self.expected[topic, message.partition() or 0, message.offset() or 0] = reason

        while True:
            try:
                self._producer.produce(
                    self._place.topic(topic), record.value, record.key, headers=next(self._headers), on_delivery=delivered
                )
                break
            except BufferError:
                self.poll(0.05)
        self.sent += 1
        if self.sent % 256 == 0:
            self.poll()


def enrol(sender: Sender, case: Case, people: Iterable[str]) -> None:
    for record in good.setting(case):
        sender.good(record)
    for key, value in load.people(people, case.now):
        sender.good(Record(good.PROFILES, key, value))
    sender.flush()


def judge(place: Place, expected: dict[Source, str], patience_s: float) -> Counter[str]:
    """What is wrong with the dead letters, once as many are there as are expected or no more come; empty: nothing."""
    heard, before = time.monotonic(), -1
    while True:
        letters = [one for one in dead_letters.read(place.broker, place.prefix) if isinstance(one, dead_letters.DeadLetter)]
        if len(letters) >= len(expected) or (len(letters) == before and time.monotonic() - heard > patience_s):
            break
        if len(letters) > before:
            heard, before = time.monotonic(), len(letters)
        time.sleep(1)
    found = Counter[Source]()
    wrong = Counter[str]()
    for letter in letters:
        source = letter.topic, int(letter.headers["partition"]), int(letter.headers["offset"])
        found[source] += 1
        if (reason := expected.get(source)) is None:
            wrong[f"refused although good, for {letter.reason}: {letter.header('detail')[:120]}"] += 1
        elif reason != letter.reason:
            wrong[f"refused for {letter.reason} instead of {reason}"] += 1
    for source, reason in expected.items():
        if found[source] != 1:
            wrong[f"{found[source]} dead letters for {reason} instead of one"] += 1
    return wrong
