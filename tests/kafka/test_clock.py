"""Time as an event: fences of the stream's clock, and completeness of the wall's."""

import time
from collections.abc import Callable

import msgspec
import pytest

from stream_twin.events import ClockTick
from stream_twin.kafka import reader
from stream_twin.kafka.failures import ExitCode
from tests.kafka.rig import Rig, until

pytestmark = pytest.mark.kafka
MakeRig = Callable[..., Rig]
STREAM = {"settings": {"clock": "stream", "checkpoint_every_s": 0.5}}
WEARABLE, EVENTS = "wearable.observations", "clinical.events"


def log_of(r: Rig) -> list[tuple[str, float]]:
    """(source or "tick", its time) of each entry of the log of lane 0."""
    entries = [msgspec.json.decode(record.value or b"") for record in reader.read(r.broker, r.prefix + "twin.inputs", [0])]
    return [(entry["s"], entry["now"]) if "s" in entry else ("tick", entry["clock"]) for entry in entries]


def tick(r: Rig, at: float, behind: dict[str, int]) -> None:
    r.send("clock.ticks", b"", msgspec.json.encode(ClockTick(at=at, behind=behind)), partition=0)
    r.flush()


def send(r: Rig, topic: str, numbers: range) -> None:
    for number in numbers:
        r.send(topic, b"p%d" % (number % 3), b"%d" % number, partition=0)
    r.flush()


def test_records_wait_for_the_tick_that_stands_behind_them(rig: MakeRig) -> None:
    r = rig(1)
    worker = r.worker(**STREAM)
    send(r, WEARABLE, range(10))
    worker.await_log("lane 0 open")
    time.sleep(1)
    assert log_of(r) == []
    tick(r, 100.0, {WEARABLE: 4})
    until(lambda: len(log_of(r)) == 5, 10, worker.log)
    assert log_of(r) == [*((f"{WEARABLE}/0/{n}", 100.0) for n in range(4)), ("tick", 100.0)]

    tick(r, 200.0, {WEARABLE: 10, EVENTS: 3})  # waits for what is not there yet
    until(lambda: len(log_of(r)) == 11, 10, worker.log)
    time.sleep(0.5)
    assert ("tick", 200.0) not in log_of(r)
    worker.kill()
    worker = r.worker(**STREAM)
    send(r, EVENTS, range(5))
    until(lambda: ("tick", 200.0) in log_of(r), 20, worker.log)
    log = log_of(r)
    assert log[-1] == ("tick", 200.0)
    assert sorted(log[5:-1]) == sorted(
        [*((f"{WEARABLE}/0/{n}", 200.0) for n in range(4, 10)), *((f"{EVENTS}/0/{n}", 200.0) for n in range(3))]
    )
    tick(r, 300.0, {WEARABLE: 10, EVENTS: 5})
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    assert r.problems() == []


def test_a_tick_that_is_none_is_a_dead_letter_and_holds_nobody_up(rig: MakeRig) -> None:
    r = rig(1)
    worker = r.worker(**STREAM)
    r.send("clock.ticks", b"", b"not json", partition=0)
    tick(r, 1.0, {"no.such.topic": 5})
    tick(r, 2.0, {})
    until(lambda: log_of(r) == [("tick", 2.0)], 20, worker.log)
    reasons = [dict(record.headers)["reason"] for record in reader.read(r.broker, r.prefix + "dead.letters")]
    assert reasons == [b"malformed", b"malformed"]
    assert worker.stop() == ExitCode.STOPPED


def test_thousands_of_ticks_a_second(rig: MakeRig) -> None:
    r, ticks = rig(1), 10_000
    for number in range(ticks):
        r.send(WEARABLE, b"p%d" % (number % 20), b"%d" % number, partition=0)
        r.send("clock.ticks", b"", msgspec.json.encode(ClockTick(at=float(number), behind={WEARABLE: number + 1})), partition=0)
    r.flush()
    worker = r.worker(**STREAM)
    worker.await_log("lane 0 open")
    began = time.monotonic()
    parts = [(f"{r.prefix}twin.inputs", 0)]
    until(lambda: r.broker.end_offsets(parts)[parts[0]] >= 2 * ticks, 20, worker.log)
    assert time.monotonic() - began < 10
    r.await_done()
    assert worker.stop() == ExitCode.STOPPED
    expected = [one for n in range(ticks) for one in ((f"{WEARABLE}/0/{n}", float(n)), ("tick", float(n)))]
    assert log_of(r) == expected
    assert r.problems() == []


def test_complete_to_stands_still_while_a_lane_has_no_owner_and_follows_after(rig: MakeRig) -> None:
    r = rig(2)

    def complete_to() -> float:
        entries = [msgspec.json.decode(record.value or b"") for record in reader.read(r.broker, r.prefix + "twin.inputs", [0])]
        ticks: list[float] = [entry["complete_to"] for entry in entries if entry.get("type") == "tick"]
        return max(ticks, default=0.0)

    worker = r.worker()
    r.feed(100)
    until(lambda: complete_to() > time.time() - 5, 20, worker.log)
    worker.kill()
    stopped = time.time()
    r.feed(100)
    assert complete_to() < stopped
    worker = r.worker()
    until(lambda: complete_to() > stopped + 1, 30, worker.log)
    log = [msgspec.json.decode(record.value or b"") for record in reader.read(r.broker, r.prefix + "twin.inputs", [0])]
    newest_source = max(index for index, entry in enumerate(log) if "s" in entry)
    first_complete = min(index for index, entry in enumerate(log) if entry.get("complete_to", 0) > stopped + 0.5)
    assert newest_source < first_complete
    assert worker.stop() == ExitCode.STOPPED
