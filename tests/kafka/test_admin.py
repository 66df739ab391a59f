"""Topics on a broker, what is wrong with them, and the way out."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from aiokafka import TopicPartition
from confluent_kafka import KafkaException
from confluent_kafka import TopicPartition as Part
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, ResourceType

from stream_twin.kafka import admin, reader, state
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.outbox import Outbox, Transactions
from stream_twin.kafka.stages import WorkerSettings
from tests.kafka.rig import Rig

pytestmark = pytest.mark.kafka
MakeRig = Callable[..., Rig]


def test_what_was_created_is_right_and_can_be_created_again(rig: MakeRig) -> None:
    r = rig(3)
    assert admin.check(r.broker, r.prefix, 3) == []
    assert admin.create(r.broker, r.prefix, 3) == []
    shown = {topic.topic.removeprefix(r.prefix): topic for topic in admin.show(r.broker, r.prefix)}
    assert shown["twin.inputs"].partitions == 3
    assert shown["twin.inputs"].records == 0


def test_differences_name_the_command_that_mends_them(rig: MakeRig) -> None:
    r = rig(2)
    name = f"{r.prefix}twin.state"
    changed = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    [done] = r.broker.admin.incremental_alter_configs(
        [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[changed])]
    ).values()
    done.result()
    [gone] = r.broker.admin.delete_topics([f"{r.prefix}alerts"]).values()
    gone.result()
    deadline = time.monotonic() + 10
    while len(admin.check(r.broker, r.prefix, 2)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    found = {difference.topic: difference for difference in admin.check(r.broker, r.prefix, 2)}
    assert (found[name].wanted, found[name].found) == ("compact", "delete")
    assert found[f"{r.prefix}alerts"].found is None
    command = f"stream-twin topics create --broker {r.address} --prefix {r.prefix} --partition-count 2"
    assert {difference.mend for difference in found.values()} == {command}
    worker = r.worker()
    assert worker.wait() == ExitCode.TOPICS
    assert command in worker.log()
    admin.create(r.broker, r.prefix, 2)
    assert admin.check(r.broker, r.prefix, 2) == []


def test_another_number_of_lanes_is_refused(rig: MakeRig) -> None:
    r = rig(2)
    with pytest.raises(Fatal, match="--partition-count 2"):
        admin.demand(r.broker, r.prefix, 4)


def test_a_gap_stops_the_worker_and_can_be_skipped(rig: MakeRig) -> None:
    r = rig(1)
    worker = r.worker()
    r.feed(200)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    r.feed(200)
    topic = f"{r.prefix}wearable.observations"
    [deleted] = r.broker.admin.delete_records([Part(topic, 0, 150)]).values()
    deleted.result()
    worker = r.worker()
    assert worker.wait() == ExitCode.GAP
    assert "stream-twin topics skip-gap --lane 0" in worker.log()
    settings = WorkerSettings(r.broker, prefix=r.prefix, group=f"{r.prefix}twin", partition_count=1)
    assert asyncio.run(admin.skip_gap(settings, 0)) == {"wearable.observations": 50}
    assert asyncio.run(admin.skip_gap(settings, 0)) == {}
    worker = r.worker()
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED


def test_readers_wait_for_what_was_open_and_see_only_what_was_committed(rig: MakeRig) -> None:
    r = rig(1)

    async def write(value: bytes, commit: bool) -> Transactions:
        transactions = Transactions(r.broker, r.prefix, f"{r.prefix}writer", 10)
        await transactions.open()
        if commit:
            outbox = Outbox()
            outbox.put("alerts", 0, b"k", value)
            await transactions.write(outbox, {TopicPartition(f"{r.prefix}alerts", 0): 1}, f"{r.prefix}group")
        else:
            producer = transactions._producer
            await producer.begin_transaction()
            await producer.send_and_wait(f"{r.prefix}alerts", value, b"k", partition=0)
        return transactions

    async def scenario() -> list[list[bytes | None]]:
        seen = []
        first = await write(b"one", commit=True)
        await first.close()
        unfinished = await write(b"two", commit=False)
        reading = asyncio.create_task(asyncio.to_thread(lambda: list(reader.read(r.broker, f"{r.prefix}alerts"))))
        await asyncio.sleep(1)
        assert not reading.done()  # the end is behind an open transaction
        third = await write(b"three", commit=True)  # the fence aborts it
        seen.append([record.value for record in await reading])
        everything = await asyncio.to_thread(
            lambda: list(reader.read(r.broker, f"{r.prefix}alerts", isolation="read_uncommitted"))
        )
        seen.append([record.value for record in everything])
        with pytest.raises(Exception, match=r"(?i)fenced|newer producer|epoch"):
            await unfinished._producer.commit_transaction()
        await unfinished.close()
        await third.close()
        return seen

    committed, everything = asyncio.run(scenario())
    assert committed[:1] == [b"one"]
    assert b"two" not in committed
    assert everything == [b"one", b"two", b"three"]


def test_a_newer_version_s_state_is_not_read(rig: MakeRig) -> None:
    r = rig(1)

    async def write() -> None:
        transactions = Transactions(r.broker, r.prefix, f"{r.prefix}writer", 10)
        await transactions.open()
        outbox = Outbox()
        outbox.put(state.TOPIC, 0, state.SOURCES, state.encode(state.Sources(schema=99, lanes=1, positions={}, emitted=0)))
        await transactions.write(outbox)
        await transactions.close()

    asyncio.run(write())
    with pytest.raises(Fatal, match="schema 99"):
        state.read(r.broker, r.prefix, 0)


def test_partitions_that_nobody_knows_yet_are_waited_for(rig: MakeRig) -> None:
    r = rig(2)
    name = f"{r.prefix}alerts"
    wanted = [(name, number) for number in range(3)]
    with pytest.raises(KafkaException):
        r.broker.end_offsets(wanted)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(admin.wait_until_usable, r.broker, wanted)
        time.sleep(0.5)
        assert not waiting.done()
        [grown] = r.broker.admin.create_partitions([NewPartitions(name, 3)]).values()
        grown.result()
        waiting.result(timeout=30)
    assert set(r.broker.end_offsets(wanted)) == set(wanted)
