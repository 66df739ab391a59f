"""Read several topics along, from their start, in one consumer outside of any group."""

from collections.abc import Collection
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from stream_twin.kafka.broker import TIMEOUT_S, Broker
from stream_twin.kafka.reader import Isolation, Record

BATCH = 2000


class Follower:
    """:meth:`poll` gives what came since, without waiting for more; records of a partition are in order.

    Raises:
        KafkaException: a topic is missing, the broker is away, or records were dropped before they were read.
    """

    def __init__(
        self, broker: Broker, topics: Collection[str], prefix: str = "", isolation: Isolation = "read_committed"
    ) -> None:
        self._prefix = len(prefix)
        self._consumer = Consumer(
            {
                **broker.librdkafka,
                "group.id": "stream-twin-follower",
                "isolation.level": isolation,
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 50,
                "fetch.queue.backoff.ms": 10,
            }
        )
        known = self._consumer.list_topics(timeout=TIMEOUT_S).topics
        parts = []
        for topic in topics:
            if prefix + topic not in known:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART, f"no topic {prefix + topic}"))
            parts += [TopicPartition(prefix + topic, number, OFFSET_BEGINNING) for number in known[prefix + topic].partitions]
        self._consumer.assign(parts)

    def poll(self, timeout_s: float) -> list[tuple[str, Record]]:
        """(topic without prefix, record); waits up to ``timeout_s`` for the first."""
        first = self._consumer.poll(timeout_s)
        messages: list[Any] = [] if first is None else [first, *self._consumer.consume(BATCH, timeout=0)]
        found = []
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal() or error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise KafkaException(error)
                continue
            record = Record(
                message.partition(),
                message.offset(),
                message.key(),
                message.value(),
                tuple(message.headers() or ()),
                message.timestamp()[1],
            )
            found.append((message.topic()[self._prefix :], record))
        return found

    def close(self) -> None:
        self._consumer.close()
