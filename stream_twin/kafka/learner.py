"""Runs a cohort's learner: ``learning.examples`` -> ``models``, exactly once, with a fence of its own.

It reads all partitions, in whatever order they come: what a learner makes of them is decided once, when its state is
committed together with its positions and with what it published.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from stream_twin.clock import elapsed
from stream_twin.kafka import state
from stream_twin.kafka.outbox import Outbox, Transactions
from stream_twin.kafka.stages import Learner, WorkerSettings

log = logging.getLogger(__name__)
EXAMPLES = "learning.examples"
STATE_LANE = 0
"""Partition of ``twin.state`` with the learners' states; who owns this lane runs them."""


class Example(NamedTuple):
    """A record of ``learning.examples``."""

    partition: int
    offset: int
    value: bytes | None


class LearnerRunner:
    def __init__(self, cohort: str, settings: WorkerSettings, make: Callable[[bytes | None], Learner]) -> None:
        self.cohort = cohort
        self._settings, self._make = settings, make

    async def run(self) -> None:
        """Until cancelled. Raises what a producer or consumer raises; then a new runner starts from what was committed."""
        settings = self._settings
        name = f"{settings.group}-learner-{self.cohort}"
        transactions = Transactions(settings.broker, settings.prefix, name, settings.commit_timeout_s, settings.suffix)
        consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.broker.address,
            isolation_level="read_committed",
            enable_auto_commit=False,
            auto_offset_reset="none",
            fetch_max_wait_ms=500,
            check_crcs=not await asyncio.to_thread(lambda: settings.broker.is_embedded),
            **settings.broker.aiokafka,
        )
        try:
            await transactions.open()
            found = await asyncio.to_thread(state.read, settings.broker, settings.prefix, STATE_LANE, settings.suffix)
            known = found.learners.get(self.cohort)
            learner = self._make(known.learner if known else None)
            topic = settings.prefix + EXAMPLES
            parts = [TopicPartition(topic, number) for number in range(settings.partition_count)]
            firsts = await asyncio.to_thread(settings.broker.first_offsets, [(topic, part.partition) for part in parts])
            await consumer.start()
            consumer.assign(parts)
            for part in parts:
                position = known.positions.get(part.partition, 0) if known else 0
                consumer.seek(part, max(position, firsts[part.topic, part.partition]))
            log.info("learner of cohort %s open", self.cohort)
            await self._learn(learner, consumer, parts, transactions)
        finally:
            await transactions.close()
            await consumer.stop()

    async def _learn(
        self, learner: Learner, consumer: AIOKafkaConsumer, parts: list[TopicPartition], transactions: Transactions
    ) -> None:
        settings, changed, commit_at = self._settings, False, elapsed() + self._settings.checkpoint_every_s
        while True:
            outbox = Outbox()
            for part, records in sorted((await consumer.getmany(timeout_ms=1000, max_records=1000)).items()):
                for output in learner.apply([Example(part.partition, record.offset, record.value) for record in records]):
                    outbox.put_output(output, (murmur2(output.key) & 0x7FFFFFFF) % settings.partition_count)
                changed = True
            if outbox or (changed and elapsed() >= commit_at):
                positions = {part.partition: await consumer.position(part) for part in parts}
                record = state.LearnerState(positions=positions, learner=learner.snapshot())
                outbox.put(state.TOPIC, STATE_LANE, state.LEARNER + self.cohort.encode(), state.encode(record))
                await transactions.write(outbox)
                changed, commit_at = False, elapsed() + settings.checkpoint_every_s
