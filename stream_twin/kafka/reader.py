"""Read what was committed to a topic: all of it, or as it comes. By librdkafka, outside of any consumer group."""

from collections.abc import Collection, Iterator, Mapping
from operator import methodcaller
from typing import Any, Literal, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaError, KafkaException, TopicPartition

from stream_twin.clock import elapsed
from stream_twin.kafka.broker import TIMEOUT_S, Broker

Isolation = Literal["read_committed", "read_uncommitted"]


class Record(NamedTuple):
    """``timestamp`` is Kafka's, in ms."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    timestamp: int


def read(
    broker: Broker,
    topic: str,
    partitions: Collection[int] | None = None,
    isolation: Isolation = "read_committed",
    start: Mapping[int, int] | None = None,
    patience_s: float = 30.0,
) -> Iterator[Record]:
    """Everything up to the end as it was when reading began; in order within a partition.

    ``start`` gives offsets to begin at, by partition. Reading waits for transactions that were open then.

    Raises:
        KafkaException: broker away, topic missing.
        TimeoutError: nothing came for ``patience_s`` although the end was not reached.
    """
    consumer = _consumer(broker, isolation)
    try:
        numbers = _partitions(consumer, topic, partitions)
        parts = [(topic, number) for number in numbers]
        firsts, ends = broker.first_offsets(parts), broker.end_offsets(parts)
        missing = {number: ends[topic, number] for number in numbers if ends[topic, number] > firsts[topic, number]}
        begin = start or {}
        missing = {number: end for number, end in missing.items() if begin.get(number, 0) < end}
        consumer.assign([TopicPartition(topic, number, begin.get(number, OFFSET_BEGINNING)) for number in missing])
        heard = elapsed()
        while missing:
            messages = _messages(consumer, 0.2)
            if messages:
                heard = elapsed()
            elif elapsed() - heard > patience_s:
                raise TimeoutError(f"{topic}: partitions {sorted(missing)} were not read to their end within {patience_s:.0f} s")
            for message in messages:
                number, offset = message.partition(), message.offset()
                error = message.error()
                if error is None:
                    if number in missing:
                        yield _record(message)
                    reached = offset + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    reached = offset
                else:
                    raise KafkaException(error)
                if reached >= missing.get(number, reached + 1):
                    del missing[number]
                    consumer.pause([TopicPartition(topic, number)])
    finally:
        consumer.close()


def tail(
    broker: Broker,
    topic: str,
    partitions: Collection[int] | None = None,
    isolation: Isolation = "read_committed",
    from_start: bool = False,
    idle_s: float = 0.5,
    start: Mapping[int, int] | None = None,
) -> Iterator[Record | None]:
    """Records as they are committed, for ever; None where none came for ``idle_s``. ``start``: offsets to begin at."""
    consumer = _consumer(broker, isolation)
    try:
        begin, starts = OFFSET_BEGINNING if from_start else OFFSET_END, start or {}
        numbers = _partitions(consumer, topic, partitions)
        consumer.assign([TopicPartition(topic, number, starts.get(number, begin)) for number in numbers])
        while True:
            messages = _messages(consumer, idle_s)
            if not messages:
                yield None
            for message in messages:
                if (error := message.error()) is None:
                    yield _record(message)
                elif error.code() != KafkaError._PARTITION_EOF and error.fatal():
                    raise KafkaException(error)
    finally:
        consumer.close()


def _consumer(broker: Broker, isolation: Isolation) -> Consumer:
    return Consumer(
        {
            **broker.librdkafka,
            "group.id": "stream-twin-reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32 * 1024,
        }
    )


def _messages(consumer: Consumer, timeout_s: float) -> list[Any]:
    """What is there, at least one if it comes in time: ``consume`` alone waits until it has as many as asked for."""
    first = consumer.poll(timeout_s)
    return [] if first is None else [first, *consumer.consume(2000, timeout=0)]


def _partitions(consumer: Consumer, topic: str, partitions: Collection[int] | None) -> list[int]:
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]  # also, reading then starts at once
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return sorted(metadata.partitions if partitions is None else partitions)


def _record(message: Any) -> Record:
    return Record(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        _headers(message),
        message.timestamp()[1],
    )


_asked_headers = methodcaller("headers")  # called from C, which notices the library's error; specialised bytecode does not


def _headers(message: Any) -> tuple[tuple[str, bytes], ...]:
    """None of a record whose header has a name that is not UTF-8: the library cannot read it. Ours are always."""
    try:
        return tuple(_asked_headers(message) or ())
    except (SystemError, UnicodeDecodeError):
        return ()
