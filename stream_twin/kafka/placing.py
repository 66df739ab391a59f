"""Which lane a key belongs to."""

from aiokafka.partitioner import murmur2
from confluent_kafka import KafkaException

from stream_twin.kafka.broker import TIMEOUT_S, Broker


def lane_of(key: bytes, lanes: int) -> int:
    """The partition of a key, by the rule of every topic: murmur2, as Kafka's own clients place keys."""
    return int(murmur2(key) & 0x7FFFFFFF) % lanes


def lanes_of(broker: Broker, topic: str) -> int:
    """How many partitions a topic has; ``topic`` with prefix.

    Raises:
        KafkaException: broker away, or no such topic.
    """
    metadata = broker.admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        raise KafkaException(metadata.error)
    return len(metadata.partitions)
