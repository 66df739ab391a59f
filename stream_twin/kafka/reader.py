"""Read what was committed to a topic: all of it, or as it comes. By librdkafka, outside of any consumer group."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_twin.clock import elapsed
from stream_twin.kafka.stages import Broker

Isolation = Literal["read_committed", "read_uncommitted"]
TIMEOUT_S = 10.0


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
        firsts, ends = offsets(broker, [(topic, number) for number in numbers])
        missing = {number: ends[topic, number] for number in numbers if ends[topic, number] > firsts[topic, number]}
        begin = start or {}
        missing = {number: end for number, end in missing.items() if begin.get(number, 0) < end}
        consumer.assign([TopicPartition(topic, number, begin.get(number, OFFSET_BEGINNING)) for number in missing])
        heard = elapsed()
        while missing:
            messages = consumer.consume(2000, timeout=0.2)
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
) -> Iterator[Record | None]:
    """Records as they are committed, for ever; None where none came for ``idle_s``."""
    consumer = _consumer(broker, isolation)
    try:
        begin = OFFSET_BEGINNING if from_start else OFFSET_END
        consumer.assign([TopicPartition(topic, number, begin) for number in _partitions(consumer, topic, partitions)])
        while True:
            messages = consumer.consume(500, timeout=idle_s)
            if not messages:
                yield None
            for message in messages:
                if (error := message.error()) is None:
                    yield _record(message)
                elif error.code() != KafkaError._PARTITION_EOF and error.fatal():
                    raise KafkaException(error)
    finally:
        consumer.close()


def offsets(broker: Broker, partitions: Collection[tuple[str, int]]) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
    """First offset and end of each partition, open transactions included."""
    admin = AdminClient({"bootstrap.servers": broker.address, **broker.confluent})
    return list_offsets(admin, partitions, OffsetSpec.earliest()), list_offsets(admin, partitions, OffsetSpec.latest())


def list_offsets(admin: AdminClient, partitions: Collection[tuple[str, int]], which: OffsetSpec) -> dict[tuple[str, int], int]:
    if not partitions:
        return {}
    wanted = {TopicPartition(topic, number): which for topic, number in partitions}
    futures = admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=TIMEOUT_S)
    return {(tp.topic, tp.partition): future.result(TIMEOUT_S + 1).offset for tp, future in futures.items()}


def _consumer(broker: Broker, isolation: Isolation) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": broker.address,
            "group.id": "stream-twin-reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 50,
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32 * 1024,
            **broker.confluent,
        }
    )


def _partitions(consumer: Consumer, topic: str, partitions: Collection[int] | None) -> list[int]:
    if partitions is not None:
        return sorted(partitions)
    metadata = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return sorted(metadata.partitions)


def _record(message: Any) -> Record:
    return Record(
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        tuple(message.headers() or ()),
        message.timestamp()[1],
    )
