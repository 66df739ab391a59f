"""What a consumer group's coordinator knows of it.

Asked by aiokafka: librdkafka 2.16's ``list_consumer_group_offsets`` can crash the process while a coordinator is loading.
"""

import asyncio
from collections.abc import Collection

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code

from stream_twin.kafka.broker import TIMEOUT_S, Broker, Part

UNREADABLE = "unreadable"
"""Metadata of an offset at which a lane cannot read on."""
NEVER = 1 << 62


class Group:
    """Questions to one group's coordinator. They raise KafkaError or TimeoutError where it does not answer."""

    def __init__(self, broker: Broker, name: str) -> None:
        self.name = name
        self._broker = broker
        self._client: AIOKafkaAdminClient | None = None
        self._coordinator = -1

    async def committed(self, parts: Collection[Part]) -> dict[Part, int]:
        """Committed offsets; -1 for a partition without one, and :data:`NEVER` for one that cannot be read on.

        Offsets of an open transaction do not count.
        """
        wanted = [TopicPartition(*part) for part in parts]
        async with asyncio.timeout(TIMEOUT_S):
            try:
                client = await self._connected()
                found = await client.list_consumer_group_offsets(self.name, self._coordinator, wanted)
            except BaseException:
                await self.close()
                raise
        if not found:  # the coordinator is not ready: the client passes its error over
            await self.close()
        known = {part: found.get(TopicPartition(*part)) for part in parts}
        return {
            part: -1 if offset is None else NEVER if offset.metadata == UNREADABLE else offset.offset
            for part, offset in known.items()
        }

    async def members(self) -> set[str]:
        """Ids of the group's members."""
        async with asyncio.timeout(TIMEOUT_S):
            try:
                client = await self._connected()
                [response] = await client.describe_consumer_groups([self.name], self._coordinator)
                found = set()
                for error_code, _, _, _, _, members, *_ in response.groups:
                    if error_code:
                        raise for_code(error_code)(f"group {self.name}")
                    found |= {member[0] for member in members}
            except BaseException:
                await self.close()
                raise
        return found

    async def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _connected(self) -> AIOKafkaAdminClient:
        if self._client is None:
            client = AIOKafkaAdminClient(
                bootstrap_servers=self._broker.address, request_timeout_ms=int(TIMEOUT_S * 1000), **self._broker.aiokafka
            )
            try:
                await client.start()
                self._coordinator = await client.find_coordinator(self.name)
            except BaseException:
                await client.close()
                raise
            self._client = client
        return self._client
