"""A broker that goes and comes back: the same processes carry on."""

import asyncio
import time
from pathlib import Path

import pytest
import uvloop
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaConnectionError, KafkaError
from aiokafka.protocol.metadata import MetadataRequest

from stream_twin.kafka.failures import ExitCode, is_away
from tests import kafka_broker
from tests.kafka.rig import Rig

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.skipif(kafka_broker.missing() is not None, reason=str(kafka_broker.missing())),
]


@pytest.mark.parametrize("away_s", [1, 20], ids=["for a moment", "for longer than a transaction lives"])
def test_the_worker_waits_for_its_broker(tmp_path: Path, away_s: float) -> None:
    with kafka_broker.broker(tmp_path / "broker") as broker:
        rig = Rig(broker.address, "away.", 2, tmp_path)
        try:
            worker = rig.worker(settings={"checkpoint_every_s": 1.0})
            worker.await_log("lane 1 open")
            rig.feed(2000)
            time.sleep(0.3)
            broker.kill()
            time.sleep(away_s)
            broker.start()
            rig.feed(1000)
            rig.await_done(60)
            assert worker.stop() == ExitCode.STOPPED
            assert rig.problems() == []
        finally:
            rig.close()


def test_asked_to_stop_without_a_broker_it_ends_at_once_and_cleanly(tmp_path: Path) -> None:
    with kafka_broker.broker(tmp_path / "broker") as broker:
        rig = Rig(broker.address, "alone.", 2, tmp_path)
        try:
            for away_s in (0.2, 3.0):
                worker = rig.worker()
                worker.await_log("lane 1 open")
                rig.feed(500)
                broker.kill()
                time.sleep(away_s)
                began = time.monotonic()
                assert worker.stop() == ExitCode.STOPPED
                assert time.monotonic() - began < 6
                assert "Traceback" not in worker.log().partition("stopping")[2]
                broker.start()
            broker.stop()
            early = rig.worker()
            early.await_log("no answer from")
            began = time.monotonic()
            assert early.stop() == ExitCode.STOPPED
            assert time.monotonic() - began < 3
            broker.start()
            last = rig.worker()
            rig.await_done(60)
            assert last.stop() == ExitCode.STOPPED
            assert rig.problems() == []
        finally:
            rig.close()


def test_an_error_that_wraps_a_lost_connection_is_one() -> None:
    lost = KafkaError("while sending")
    lost.__cause__ = KafkaConnectionError("closed")
    wrapped = KafkaError("Unexpected error during batch delivery")
    wrapped.__cause__ = lost
    assert is_away(wrapped)
    wrapped.__cause__ = ValueError("ours")
    assert not is_away(wrapped)


def test_a_write_to_a_connection_that_was_reset_says_that_it_is_lost(kafka: str) -> None:
    """uvloop raises RuntimeError there; with that, aiokafka's consumer never fetched again."""

    async def write_to_a_closed_connection() -> None:
        client = AIOKafkaClient(bootstrap_servers=kafka)
        await client.bootstrap()
        try:
            [broker] = client.cluster.brokers()
            connection = await client._get_conn(broker.nodeId)
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.transport.abort()
            await asyncio.sleep(0.05)
            connection._writer = writer  # as it is until its reader has heard of the reset
            with pytest.raises(KafkaConnectionError, match="broken"):
                await connection.send(MetadataRequest([]))
            assert not connection.connected()
        finally:
            await client.close()

    uvloop.run(write_to_a_closed_connection())


def test_a_worker_started_before_its_broker_waits(tmp_path: Path) -> None:
    with kafka_broker.broker(tmp_path / "broker") as broker:
        rig = Rig(broker.address, "early.", 2, tmp_path)
        try:
            broker.stop()
            worker = rig.worker()
            worker.await_log("no answer from")
            broker.start()
            rig.feed(100)
            rig.await_done(60)
            assert worker.stop() == ExitCode.STOPPED
            assert rig.problems() == []
        finally:
            rig.close()
