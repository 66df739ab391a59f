"""Which lane a key belongs to, how many there are, and by what names their log and state go."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka.partitioner import murmur2

from stream_twin import topics
from stream_twin.kafka.broker import TIMEOUT_S, Broker
from stream_twin.kafka.failures import ExitCode, Fatal

INPUTS = "twin.inputs"
"""The lanes' log."""
SOURCES = tuple(topic.name for topic in reversed(topics.SOURCES))
"""In the order of taking turns: commands and profiles go before the bulk of observations."""
ANEW = (INPUTS, "twin.state")
"""Topics of which ``topics grow`` writes a new generation; the old one stays. Of all others it raises the partition count."""


class Generation(NamedTuple):
    """Lanes, and what the names of :data:`ANEW` end with: nothing for those that ``topics create`` made."""

    lanes: int
    suffix: str


def lane_of(key: bytes, lanes: int) -> int:
    """The partition of a key, by the rule of every topic: murmur2, as Kafka's own clients place keys."""
    return int(murmur2(key) & 0x7FFFFFFF) % lanes


def full_name(prefix: str, topic: str, suffix: str = "") -> str:
    return f"{prefix}{topic}{suffix if topic in ANEW else ''}"


def suffix_of(found: Mapping[str, Any], prefix: str, lanes: int) -> str:
    """What the names of a generation of so many lanes end with, among the topics that there are (``list_topics().topics``)."""
    return suffix if full_name(prefix, ANEW[1], suffix := f".{lanes}") in found else ""


def generation_of(broker: Broker, prefix: str) -> Generation:
    """The generation in force: the largest that every topic has the partitions for, since growing raises these last.

    Raises:
        Fatal: no topics with this prefix.
        KafkaException: broker away.
    """
    found = broker.admin.list_topics(timeout=TIMEOUT_S).topics
    return generation_among(found, prefix) or Generation(lanes_of(broker, prefix + ANEW[1]), "")


def generation_among(found: Mapping[str, Any], prefix: str) -> Generation | None:
    """The same, among the topics that there are; None where nothing has grown."""
    begin = full_name(prefix, ANEW[1], ".")
    grown = (int(name[len(begin) :]) for name in found if name.startswith(begin) and name[len(begin) :].isdigit())
    others = [found[prefix + topic.name] for topic in topics.TOPICS if topic.name not in ANEW and prefix + topic.name in found]
    for lanes in sorted(grown, reverse=True):
        if all(len(topic.partitions) >= lanes for topic in others):
            return Generation(lanes, f".{lanes}")
    return None


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
