"""What a lane wants written next, and the producer that writes it in one transaction."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.structs import OffsetAndMetadata

from stream_twin import topics
from stream_twin.events import Output
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.placing import full_name

Headers = tuple[tuple[str, bytes], ...]
_Row = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
_NO_HEADERS: list[tuple[str, bytes]] = []
DEAD_LETTERS = "dead.letters"
CUT_BYTES = 64 * 1024
_OVERHEAD_BYTES = 128
"""At least what a record and its batch take beside key, value and headers."""
_DEFAULT_LIMIT = 1_048_588
_LIMITS = {topic.name: int(topic.config.get("max.message.bytes", _DEFAULT_LIMIT)) for topic in topics.TOPICS}


class Outbox:
    """Records by (topic without prefix, partition), in the order they were put."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, int], list[_Row]] = {}
        self.bytes = 0

    def put(self, topic: str, partition: int, key: bytes | None, value: bytes | None, headers: Headers = ()) -> None:
        """Raises Fatal for a record that its topic would refuse; a dead letter is cut instead.

        aiokafka takes a single record of any size, and commits the rest of a transaction after the broker refused it.
        """
        size = len(key or b"") + len(value or b"") + _OVERHEAD_BYTES
        if headers:
            for name, content in headers:
                size += len(name) + len(content) + 8
        limit = _LIMITS.get(topic, _DEFAULT_LIMIT)
        if size > limit:
            if topic != DEAD_LETTERS:
                raise Fatal(
                    ExitCode.TOO_LARGE,
                    f"a record of {size} bytes for {topic}, whose max.message.bytes is {limit}: nothing of this transaction was"
                    " written; raise the topic's limit in stream_twin/topics.py and with stream-twin topics create",
                )
            value = value or b""
            headers = (*headers, ("length", b"%d" % len(value)), ("sha256", hashlib.sha256(value).hexdigest().encode()))
            key, value = (key or b"")[:CUT_BYTES], value[:CUT_BYTES]
            size = len(key) + len(value) + _OVERHEAD_BYTES
        self.records.setdefault((topic, partition), []).append((key, value, list(headers) if headers else _NO_HEADERS))
        self.bytes += size

    def take(self, keys: Collection[bytes]) -> "Outbox":
        """Take out what has one of ``keys``."""
        taken, left = Outbox(), Outbox()
        for (topic, partition), rows in self.records.items():
            for key, value, headers in rows:
                (taken if key in keys else left).put(topic, partition, key, value, tuple(headers))
        self.records, self.bytes = left.records, left.bytes
        return taken

    def join(self, other: "Outbox") -> None:
        """Add what is in ``other``, after what is here."""
        for place, rows in other.records.items():
            self.records.setdefault(place, []).extend(rows)
        self.bytes += other.bytes

    def fits(self, topic: str, key: bytes, value: bytes) -> bool:
        """Whether ``topic`` takes a record without headers of this size."""
        return len(key) + len(value) + _OVERHEAD_BYTES <= _LIMITS.get(topic, _DEFAULT_LIMIT)

    def put_output(self, output: Output, partition: int) -> None:
        self.put(output.topic, partition, output.key, output.value, output.headers)

    def __bool__(self) -> bool:
        return bool(self.records)

    def counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for (topic, _), records in self.records.items():
            counts[topic] += len(records)
        return counts


class Transactions:
    """A transactional producer. Opening it is the fence: whoever opens a transactional id last is its owner.

    An earlier owner's next commit fails, and its unfinished transaction is over, before :meth:`open` returns.
    """

    def __init__(self, broker: Broker, prefix: str, transactional_id: str, timeout_s: float, suffix: str = "") -> None:
        self._prefix, self._suffix = prefix, suffix
        self._timeout_s = timeout_s
        self.written: dict[tuple[str, int], int] = {}
        """Offset of the first record of the last batch, by topic without prefix and partition."""
        self._producer = AIOKafkaProducer(
            bootstrap_servers=broker.address,
            transactional_id=transactional_id,
            transaction_timeout_ms=10_000,
            request_timeout_ms=int(min(timeout_s, 10) * 1000),
            compression_type="zstd",  # a fifth of lz4's time, for which aiokafka asks at its slowest level
            max_batch_size=1 << 20,
            **broker.aiokafka,
        )

        # How long it waits while the coordinator still finishes the transaction before: 100 ms by default. Set for this alone,
        # or all of the client would try two hundred times a second to reach a broker that is away.
        self._producer._sender._retry_backoff = 0.005

    async def open(self) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self._producer.start()

    async def close(self) -> None:
        """Without a commit; never raises, since there is nothing to lose."""
        try:
            async with asyncio.timeout(1):
                await self._producer.stop()
        except Exception:
            self._producer._closed = True

    async def write(
        self, outbox: Outbox, offsets: Mapping[TopicPartition, OffsetAndMetadata] | None = None, group: str = ""
    ) -> None:
        """All of it and the group's offsets, or nothing.

        Raises:
            Exception: nothing was committed, or it is not known whether; this producer is not usable any more.
        """
        async with asyncio.timeout(self._timeout_s):
            await self._producer.begin_transaction()
            sent: list[asyncio.Future[Any]] = []
            try:
                for (topic, partition), rows in outbox.records.items():
                    await self._send(full_name(self._prefix, topic, self._suffix), partition, rows, sent)
            finally:
                # Also after an error, which may only say that an earlier send has ended the transaction; and before the
                # commit, since aiokafka commits although a send failed.
                written = await asyncio.gather(*sent)
            for batch in written:
                topic = batch.topic.removeprefix(self._prefix).removesuffix(self._suffix)
                self.written[topic, batch.partition] = batch.offset
            if offsets:
                await self._producer.send_offsets_to_transaction(offsets, group)
            await self._producer.commit_transaction()

    async def _send(self, topic: str, partition: int, rows: list[_Row], sent: "list[asyncio.Future[Any]]") -> None:
        producer = self._producer
        batch = producer.create_batch()
        for key, value, headers in rows:
            if batch.append(key=key, value=value, timestamp=None, headers=headers) is None:
                sent.append(await producer.send_batch(batch, topic, partition=partition))
                batch = producer.create_batch()
                batch.append(key=key, value=value, timestamp=None, headers=headers)
        sent.append(await producer.send_batch(batch, topic, partition=partition))
