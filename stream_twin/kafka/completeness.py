"""Up to which time everything sent to the sources is in the lanes' logs."""

from collections import deque

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition

from stream_twin.clock import wall
from stream_twin.kafka.broker import TIMEOUT_S, Broker, Part


class Completeness:
    """Note the sources' ends at time T; once the group's committed positions have reached them all, T is complete.

    A worker sees all lanes' progress in the group's offsets, since a source's record may go into any lane. Several probes
    are under way at once, so that a steady load does not hold the answer up.
    """

    def __init__(self, broker: Broker, group: str, sources: list[Part]) -> None:
        self._broker, self._group, self._sources = broker, group, sources
        self._probes: deque[tuple[float, dict[Part, int]]] = deque(maxlen=60)
        self.complete_to = 0.0
        self.ends: dict[Part, int] = {}

    def probe(self) -> None:
        """Blocks for a few milliseconds. Raises KafkaException with the broker away: nothing is known then."""
        at = wall()  # before the ends: what is sent while asking may be in or out
        self.ends = self._broker.end_offsets(self._sources)
        if len(self._probes) == self._probes.maxlen:
            self._probes.pop()  # the oldest is what everybody waits for
        self._probes.append((at, self.ends))
        wanted = [TopicPartition(topic, number) for topic, number in self._sources]
        [future] = self._broker.admin.list_consumer_group_offsets(
            [ConsumerGroupTopicPartitions(self._group, wanted)], request_timeout=TIMEOUT_S
        ).values()
        committed = {(tp.topic, tp.partition): tp.offset for tp in future.result(TIMEOUT_S + 1).topic_partitions}
        while self._probes and all(committed.get(part, -1) >= end for part, end in self._probes[0][1].items() if end > 0):
            self.complete_to, _ = self._probes.popleft()


def members(broker: Broker, group: str) -> set[str]:
    """Ids of the group's members, as its coordinator knows them. Raises KafkaException with the broker away."""
    [future] = broker.admin.describe_consumer_groups([group], request_timeout=TIMEOUT_S).values()
    return {member.member_id for member in future.result(TIMEOUT_S + 1).members}
