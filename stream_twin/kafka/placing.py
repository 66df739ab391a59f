"""Which lane a key belongs to."""

from aiokafka.partitioner import murmur2

from stream_twin.kafka.broker import TIMEOUT_S, Broker
from stream_twin.kafka.failures import ExitCode, Fatal


def lane_of(key: bytes, lanes: int) -> int:
    """The partition of a key, by the rule of every topic: murmur2, as Kafka's own clients place keys."""
    return int(murmur2(key) & 0x7FFFFFFF) % lanes


def lanes_of(broker: Broker, topic: str) -> int:
    """How many partitions a topic has; ``topic`` with prefix.

    Raises:
        Fatal: no such topic.
        KafkaException: broker away.
    """
    metadata = broker.admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    if metadata.error is not None:
        mend = "look at --prefix, or make it with stream-twin topics create"
        raise Fatal(ExitCode.TOPICS, f"no topic {topic} on {broker.address}: {mend}")
    return len(metadata.partitions)
