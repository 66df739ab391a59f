"""A cluster, and how its clients connect to it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from stream_twin.kafka import connections  # noqa: F401  # before anything connects

TIMEOUT_S = 5.0
_STALE = {KafkaError.FENCED_LEADER_EPOCH, KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError._NOENT}
Part = tuple[str, int]
"""Topic with prefix, and partition."""


@dataclass(frozen=True)
class Broker:
    """``address``: HOST:PORT, several with commas. ``aiokafka``, ``confluent``: SASL and TLS for the clients of either library.

    Methods raise KafkaException where the broker is away.
    """

    address: str
    aiokafka: Mapping[str, Any] = field(default_factory=dict)
    confluent: Mapping[str, Any] = field(default_factory=dict)

    @property
    def librdkafka(self) -> dict[str, Any]:
        """Settings that every librdkafka client of this cluster has."""
        return {"bootstrap.servers": self.address, "log_level": 2, **self.confluent}

    @cached_property
    def admin(self) -> AdminClient:
        client = AdminClient(self.librdkafka)
        # Without knowing the leaders, its first question waits one to three seconds for them.
        client.list_topics(timeout=TIMEOUT_S)
        return client

    @cached_property
    def is_embedded(self) -> bool:
        """Whether this is :mod:`stream_twin.kafka.embedded`, which guarantees nothing and has no configuration to compare."""
        return str(self.admin.list_topics(timeout=TIMEOUT_S).cluster_id).startswith("mockCluster")

    def first_offsets(self, parts: Collection[Part]) -> dict[Part, int]:
        return self._offsets(parts, OffsetSpec.earliest())

    def end_offsets(self, parts: Collection[Part]) -> dict[Part, int]:
        """Ends, open transactions included."""
        return self._offsets(parts, OffsetSpec.latest())

    def offsets_at(self, parts: Collection[Part], at: float) -> dict[Part, int]:
        """First offsets of records written at ``at`` (seconds) or later; the end where there are none."""
        found = self._offsets(parts, OffsetSpec.for_timestamp(round(at * 1000)))
        ends = self.end_offsets(parts)
        return {part: ends[part] if offset < 0 else offset for part, offset in found.items()}

    def _offsets(self, parts: Collection[Part], which: OffsetSpec) -> dict[Part, int]:
        if not parts:
            return {}
        try:
            return self._ask_offsets(parts, which)
        except KafkaException as error:
            if error.args[0].code() not in _STALE:
                raise
            # Leaders that it knew are not any more, and it looks for new ones only when told to.
            self.admin.list_topics(timeout=TIMEOUT_S)
            return self._ask_offsets(parts, which)

    def _ask_offsets(self, parts: Collection[Part], which: OffsetSpec) -> dict[Part, int]:
        wanted = {TopicPartition(topic, number): which for topic, number in parts}
        futures = self.admin.list_offsets(wanted, isolation_level=IsolationLevel.READ_UNCOMMITTED, request_timeout=TIMEOUT_S)
        return {(tp.topic, tp.partition): future.result(TIMEOUT_S + 1).offset for tp, future in futures.items()}
