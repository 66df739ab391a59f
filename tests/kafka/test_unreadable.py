"""Batches that the broker's disk has spoilt: what stops, what goes on, and the way past them."""

import asyncio
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.record.util import calc_crc32c
from confluent_kafka import Producer

from stream_twin.kafka import admin, reader
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.group import NEVER, Group
from stream_twin.kafka.stages import WorkerSettings
from tests import kafka_broker
from tests.kafka.rig import Process, Rig, until

pytestmark = pytest.mark.kafka
TOPIC = "wearable.observations"
CRC_AT, CHECKED_FROM, RECORDS_FROM = 17, 21, 61
"""Bytes of a batch's header, https://kafka.apache.org/documentation/#recordbatch."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[kafka_broker.KafkaBroker]:
    if "KAFKA_BOOTSTRAP" in os.environ:
        pytest.skip("this spoils the files of a broker of its own")
    with kafka_broker.broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


def send(r: Rig, name: bytes, count: int) -> None:
    """One batch for lane 0."""
    producer = Producer({"bootstrap.servers": r.address, "compression.type": "zstd", "linger.ms": 200})
    for number in range(count):
        producer.produce(r.prefix + TOPIC, name * 40, key=b"p%d" % number, partition=0)
    assert producer.flush(10) == 0


def spoil(file: Path, first: int, honest: bool) -> None:
    """Break the batch that begins at offset ``first``; ``honest``: so that its checksum is right all the same."""
    data, at = bytearray(file.read_bytes()), 0
    while True:
        offset, length = struct.unpack_from(">qi", data, at)
        end = at + 12 + length
        if offset == first:
            break
        at = end
    middle = at + RECORDS_FROM + (end - at - RECORDS_FROM) // 2
    data[middle : middle + 4] = b"\xff\xff\xff\xff"
    if honest:
        struct.pack_into(">I", data, at + CRC_AT, calc_crc32c(data[at + CHECKED_FROM : end]))
    with file.open("r+b") as opened:
        opened.write(data)


@pytest.mark.parametrize("honest", [False, True], ids=["wrong checksum", "cannot be unpacked"])
def test_it_stops_one_topic_of_one_lane_and_is_passed_over(
    broker: kafka_broker.KafkaBroker, tmp_path: Path, honest: bool
) -> None:
    r = Rig(broker.address, f"spoilt-{honest}.".lower(), 2, tmp_path)
    settings = WorkerSettings(r.broker, prefix=r.prefix, group=f"{r.prefix}twin", partition_count=2)
    for name, count in ((b"before", 10), (b"spoilt", 20), (b"after", 10)):
        send(r, name, count)
    spoil(broker.directory / "data" / f"{r.prefix}{TOPIC}-0" / f"{0:020}.log", 10, honest)
    worker = r.worker()
    worker.await_log(rf"{TOPIC}/0 cannot be read at offset 10: .*topics skip --lane 0 --topic {TOPIC} --offset 10")
    r.feed(50, topics=("clinical.events",))
    until_logged(r, worker, 10 + 49)  # of the fifty one is bad
    until(lambda: committed(r) == NEVER, 10, lambda: f"{committed(r)}: all lanes wait for what nobody can read")
    with pytest.raises(Fatal, match="is at offset 10"):
        asyncio.run(admin.skip(settings, 0, TOPIC, 11))
    assert asyncio.run(admin.skip(settings, 0, TOPIC, 10)) == range(10, 30)
    r.await_done()
    until(lambda: committed(r) == 40, 10, lambda: str(committed(r)))
    assert worker.poll() is None  # it opened the lane again by itself
    assert worker.stop() == ExitCode.STOPPED
    letters = [dict(record.headers) | {"value": record.value} for record in reader.read(r.broker, r.prefix + "dead.letters")]
    skipped = [letter for letter in letters if letter.get("reason") == b"unreadable"]
    assert [int(letter["offset"]) for letter in skipped] == list(range(10, 30))
    assert {letter["topic"] for letter in skipped} == {TOPIC.encode()}
    assert len(skipped[0]["value"]) > RECORDS_FROM
    assert sum(b"after" in value for value in log_of(r)) == 10
    with pytest.raises(Fatal, match="is at offset 40"):
        asyncio.run(admin.skip(settings, 0, TOPIC, 30))
    r.close()


def test_what_can_be_read_is_never_passed_over(broker: kafka_broker.KafkaBroker, tmp_path: Path) -> None:
    r = Rig(broker.address, "whole.", 1, tmp_path)
    settings = WorkerSettings(r.broker, prefix=r.prefix, group=f"{r.prefix}twin", partition_count=1)
    send(r, b"one", 10)
    worker = r.worker()
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    send(r, b"two", 10)
    with pytest.raises(Fatal, match="can be read at offset 10"):
        asyncio.run(admin.skip(settings, 0, TOPIC, 10))
    with pytest.raises(Fatal, match="has not begun"):
        asyncio.run(admin.skip(settings, 0, "alerts", 0))
    r.close()


def committed(r: Rig) -> int:
    async def ask() -> int:
        group, part = Group(r.broker, f"{r.prefix}twin"), (r.prefix + TOPIC, 0)
        try:
            return (await group.committed([part]))[part]
        finally:
            await group.close()

    return asyncio.run(ask())


def log_of(r: Rig) -> list[bytes]:
    return [record.value or b"" for record in reader.read(r.broker, r.prefix + "twin.inputs") if record.key]


def until_logged(r: Rig, worker: Process, count: int) -> None:
    until(lambda: len(log_of(r)) >= count, 20, lambda: f"{len(log_of(r))} of {count}: {worker.log()[-2000:]}")
