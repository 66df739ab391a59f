"""A record that Kafka takes and no client library of Python would send: its header's name is not UTF-8."""

import asyncio
import struct
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c

NAME, BENT = "NAME-NAME", b"\xff\xfe\x80-\x00\xc0\xaf-Z"


class _Builder:
    """aiokafka's, but what it builds has other names of headers, and the checksum that goes with them."""

    def __init__(self, builder: Any) -> None:
        self._builder = builder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._builder, name)

    def build(self) -> bytearray:
        return bend(self._builder.build())


def bend(batch: bytes | bytearray) -> bytearray:
    raw = bytearray(batch.replace(NAME.encode(), BENT))
    raw[17:21] = struct.pack(">I", calc_crc32c(memoryview(raw)[21:]))
    return raw


def send(address: str, topic: str, partition: int, records: list[tuple[bytes, bytes, list[tuple[str, bytes]]]]) -> None:
    """All in one batch; a header :data:`NAME` arrives as :data:`BENT`."""

    async def run() -> None:
        producer = AIOKafkaProducer(bootstrap_servers=address)
        await producer.start()
        try:
            batch = producer.create_batch()
            for key, value, headers in records:
                batch.append(key=key, value=value, timestamp=None, headers=headers)
            batch._builder = _Builder(batch._builder)
            await (await producer.send_batch(batch, topic, partition=partition))
        finally:
            await producer.stop()

    asyncio.run(run())
