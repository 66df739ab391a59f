"""The protocol on a real broker, under faults: what :mod:`tests.kafka.oracle` demands must hold."""

import asyncio
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaError

from stream_twin.kafka import reader, state
from stream_twin.kafka.failures import ExitCode
from stream_twin.kafka.outbox import Outbox, Transactions
from tests.kafka.rig import Process, Rig

pytestmark = pytest.mark.kafka
MakeRig = Callable[..., Rig]
OFTEN: dict[str, Any] = {"settings": {"checkpoint_every_s": 0.5}}


def test_every_record_once_and_state_from_the_log(rig: MakeRig) -> None:
    r = rig()
    worker = r.worker()
    r.feed(3000)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    assert r.problems() == []


@pytest.mark.parametrize("options", [{}, OFTEN], ids=["from the log", "from checkpoints"])
def test_killed_at_any_moment(rig: MakeRig, options: dict[str, Any]) -> None:
    r, chance = rig(), random.Random(7)
    r.feed(2000)
    for _ in range(4):
        worker = r.worker(**options)
        worker.await_log("lane 0 open")
        # In small portions: snapshots of alerted patients would cover nearly all of a large one.
        for _ in range(chance.randrange(20, 40)):
            r.feed(50)
            time.sleep(0.03)
        worker.kill()
    last = r.worker(**options)
    r.await_done()
    assert last.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_killed_between_urgent_alerts_and_what_came_with_them(rig: MakeRig) -> None:
    r = rig(1)
    problems = []
    for _ in range(4):
        worker = r.worker(dies_after_urgent=True, settings={"slice_records": 40})
        worker.await_log("lane 0 open")
        r.feed(1000)
        assert worker.wait() == 9, worker.log()[-2000:]
        problems += r.problems()
    assert any("twin.estimates: 0 too many" in problem for problem in problems), problems  # the rest is really missing
    last = r.worker()
    r.await_done()
    assert last.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_stops_within_five_seconds_and_hands_everything_over(rig: MakeRig) -> None:
    r = rig()
    worker = r.worker()
    r.feed(2000)
    r.await_done()
    began = time.monotonic()
    assert worker.stop() == ExitCode.STOPPED
    assert time.monotonic() - began < 5
    second = r.worker()
    second.await_log("lane 2 open")
    r.feed(10)
    r.await_done()
    for lane in range(r.lanes):
        found = re.search(rf"lane {lane} open after .* s: (\d+) patients, twin.inputs from (\d+), emitted to (\d+)", second.log())
        assert found is not None
        patients, position, emitted = map(int, found.groups())
        assert patients > 0
        assert position == emitted  # nothing of the log is applied again
    assert second.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_two_workers_share_and_take_over(rig: MakeRig) -> None:
    r = rig(4)
    first = r.worker(**OFTEN)
    first.await_log("lane 3 open")
    r.feed(1000)
    second = r.worker(**OFTEN)
    second.await_log(r"lanes \[\d, \d\]")
    first.await_log(r"lanes \[\d, \d\], of these kept \[\d, \d\]")  # what it keeps is not opened again
    r.feed(1000)
    second.kill()
    first.await_log(r"lanes \[0, 1, 2, 3\], of these kept \[\d, \d\]")
    r.feed(1000)
    r.await_done()
    assert first.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_lanes_that_stay_go_on_while_workers_come_and_go(rig: MakeRig) -> None:
    r = rig(4)
    first = r.worker(**OFTEN)
    first.await_log("lane 3 open")
    feeding = threading.Event()

    def feed() -> None:
        while not feeding.wait(0.02):
            r.feed(20)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        for end in (Process.stop, Process.kill):
            other = r.worker(**OFTEN)
            other.await_log("lanes .*(?s:.*)open after(?s:.*)open after")
            time.sleep(0.5)
            end(other)
            first.await_log(r"lanes \[0, 1, 2, 3\], of these kept \[\d, \d\](?s:.*)open after(?s:.*)open after")
    finally:
        feeding.set()
        feeder.join()
    r.await_done()
    # What stayed was never opened again: each lane once at first, and the two that went away once for each time they came back.
    assert first.lanes_open() == 4 + 2 * 2
    assert first.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_a_frozen_worker_is_locked_out_and_stops(rig: MakeRig) -> None:
    r = rig(2)
    frozen = r.worker(**OFTEN)
    frozen.await_log("lane 1 open")
    r.feed(500)
    frozen.send(signal.SIGSTOP)
    other = r.worker(**OFTEN)
    r.feed(500)
    other.await_log(r"lanes \[0, 1\]")
    r.feed(500)
    r.await_done()
    frozen.send(signal.SIGCONT)
    assert frozen.wait(15) == ExitCode.FENCED
    r.feed(500)
    r.await_done()
    assert other.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_a_record_too_large_stops_the_worker_and_commits_nothing_of_it(rig: MakeRig) -> None:
    r = rig(1)
    worker = r.worker()
    r.feed(200)
    r.await_done()
    r.send("wearable.observations", b"p000", b'"huge"')
    r.flush()
    assert worker.wait() == ExitCode.TOO_LARGE
    assert "alerts, whose max.message.bytes is 2000000" in worker.log()
    assert all(len(record.value or b"") < 1000 for record in reader.read(r.broker, r.prefix + "alerts"))
    kept = state.read(r.broker, r.prefix, 0)
    log = list(reader.read(r.broker, r.prefix + "twin.inputs"))
    huge = next(record.offset for record in log if b"huge" in (record.value or b""))
    assert kept.sources is not None
    assert kept.sources.emitted <= huge


def test_an_input_too_large_for_the_log_becomes_a_dead_letter_and_the_lane_goes_on(rig: MakeRig) -> None:
    r = rig(2)
    worker = r.worker()
    r.feed(100)
    r.send("wearable.observations", b"p001", b'"swells"')
    r.flush()
    r.feed(100)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    [dead] = [record for record in reader.read(r.broker, r.prefix + "dead.letters") if ("reason", b"too_large") in record.headers]
    assert (dead.key, dead.value) == (b"p001", b'"swells"')
    assert r.problems() == []


@pytest.mark.parametrize("why", ["too large", "two days ahead"])
def test_a_send_that_the_broker_refuses_takes_the_whole_transaction_with_it(rig: MakeRig, why: str) -> None:
    r = rig(1)

    async def write() -> None:
        transactions = Transactions(r.broker, r.prefix, f"{r.prefix}one", 10)
        await transactions.open()
        outbox = Outbox()
        for topic in ("twin.inputs", "alerts", "twin.state"):
            outbox.put(topic, 0, b"key", b"value")
        send = transactions._send

        async def refused(topic: str, partition: int, rows: Any, sent: Any) -> None:
            if topic.endswith("alerts"):
                batch = transactions._producer.create_batch()
                ahead = int((time.time() + 172_800) * 1000) if why == "two days ahead" else None
                value = random.Random(1).randbytes(2_500_000) if why == "too large" else b"value"
                batch.append(key=b"key", value=value, timestamp=ahead, headers=[])
                sent.append(await transactions._producer.send_batch(batch, topic, partition=partition))
            await send(topic, partition, rows, sent)

        transactions._send = refused  # type: ignore[method-assign]  # a broker that refuses
        try:
            await transactions.write(outbox)
        finally:
            await transactions.close()

    with pytest.raises(KafkaError):
        asyncio.run(write())

    async def settle() -> None:  # the next owner ends what is left of it
        transactions = Transactions(r.broker, r.prefix, f"{r.prefix}one", 10)
        await transactions.open()
        await transactions.close()

    asyncio.run(settle())
    for topic in ("twin.inputs", "alerts", "twin.state"):
        assert list(reader.read(r.broker, r.prefix + topic)) == []


def test_a_group_that_rested_longer_than_its_offsets_are_kept_reads_nothing_twice(rig: MakeRig) -> None:
    r = rig(2)
    worker = r.worker()
    r.feed(500)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    group = f"{r.prefix}twin"
    r.broker.admin.delete_consumer_groups([group])[group].result()
    r.feed(500)
    worker = r.worker()
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_the_first_record_of_a_log_tells_the_time(rig: MakeRig) -> None:
    r = rig(2)
    r.feed(200)  # there before anybody reads
    worker = r.worker()
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    firsts: dict[int, bytes | None] = {}
    for record in reader.read(r.broker, r.prefix + "twin.inputs"):
        firsts.setdefault(record.partition, record.value)
    assert all(b'"tick"' in (value or b"") for value in firsts.values())
    assert len(firsts) == 2


def test_a_failing_update_becomes_a_dead_letter_and_the_lane_goes_on(rig: MakeRig) -> None:
    r = rig(2)
    worker = r.worker(**OFTEN)
    r.feed(500)
    for number in range(3):
        r.send("wearable.observations", b"p%03d" % number, b'"poison"')
    r.flush()
    r.feed(500)
    r.await_done()
    worker.kill()
    worker = r.worker(**OFTEN)
    r.feed(100)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    dead = [record for record in reader.read(r.broker, r.prefix + "dead.letters") if ("reason", b"failed") in record.headers]
    assert len(dead) == 3
    assert r.problems() == []


def test_a_source_keyed_otherwise_reaches_the_right_lanes(rig: MakeRig) -> None:
    r = rig(3)
    worker = r.worker(**OFTEN)
    for number in range(900):
        r.send("clinical.observations", b"p%03d" % (number % 40), b"%d" % number, partition=number % 40 % 3)
    r.flush()
    time.sleep(0.5)
    worker.kill()
    worker = r.worker(**OFTEN)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    log = list(reader.read(r.broker, r.prefix + "twin.inputs"))
    lanes_of_key: dict[bytes | None, set[int]] = {}
    for record in log:
        if record.key:
            lanes_of_key.setdefault(record.key, set()).add(record.partition)
    assert all(len(lanes) == 1 for lanes in lanes_of_key.values())
    assert r.problems() == []


def test_a_broadcast_reaches_every_lane_once(rig: MakeRig) -> None:
    r, chance = rig(3), random.Random(3)
    for _ in range(3):
        worker = r.worker(**OFTEN)
        worker.await_log("lane 2 open")
        for number in range(60):
            r.send("environment.observations", b"place-%d" % (number % 7), b"%d" % number)
            r.feed(10)
        time.sleep(chance.uniform(0, 0.3))
        worker.kill()
    worker = r.worker(**OFTEN)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_the_learner_publishes_each_version_once_and_its_models_reach_every_lane(rig: MakeRig) -> None:
    r = rig(2)
    for _ in range(2):
        worker = r.worker(learner=True, **OFTEN)
        worker.await_log("learner of cohort cohort open")
        r.feed(700)
        time.sleep(1)
        worker.kill()
    worker = r.worker(learner=True, **OFTEN)
    r.await_done()
    time.sleep(2)
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    versions = [record.value for record in reader.read(r.broker, r.prefix + "models")]
    examples = sum(1 for _ in reader.read(r.broker, r.prefix + "learning.examples"))
    assert versions == [b'{"version":%d}' % number for number in range(1, examples // 5 + 1)]
    assert r.problems() == []


def test_settings_that_differ_are_written_once(rig: MakeRig) -> None:
    r = rig(2)
    for settings in ("one", "one", "two"):
        worker = r.worker(lane_settings=settings)
        worker.await_log("lane 1 open")
        r.feed(20)
        r.await_done()
        assert worker.stop() == ExitCode.STOPPED
    written = [record for record in reader.read(r.broker, r.prefix + "twin.inputs") if b'"configured"' in (record.value or b"")]
    assert sorted((record.partition, b"one" in (record.value or b"")) for record in written) == [
        (0, False), (0, True), (1, False), (1, True),
    ]  # fmt: skip
    assert r.problems() == []
