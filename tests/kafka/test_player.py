"""The player on librdkafka's own broker, and on a real one: what a lane that obeys the ticks would see."""

import math
import uuid
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import msgspec
import pytest
from aiokafka.partitioner import murmur2
from confluent_kafka import Consumer, Producer, TopicPartition

from stream_twin.clock import elapsed
from stream_twin.events import ClockTick
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.failures import Fatal
from stream_twin.kafka.player import PLAYED, Pacing, Player, Progress
from stream_twin.topics import SOURCES

LANES = 4
"""What the embedded broker gives every topic."""
HOUR = 3600.0


class Sent(NamedTuple):
    at: float
    topic: str
    key: bytes
    value: bytes


@pytest.fixture
def embedded() -> Iterator[Broker]:
    host = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 3})
    [broker] = host.list_topics(timeout=5).brokers.values()
    for name in (*(topic.name for topic in SOURCES), "clock.ticks"):
        host.list_topics("t." + name, timeout=5)
    yield Broker(f"{broker.host}:{broker.port}")
    del host


def read(broker: Broker, prefix: str = "t.") -> dict[tuple[str, int], list[tuple[bytes | None, bytes]]]:
    """Everything: (topic without prefix, partition) -> (key, value) by offset."""
    parts = [(prefix + topic, part) for topic in (*PLAYED, "clock.ticks") for part in range(LANES)]
    ends = broker.end_offsets(parts)
    consumer = Consumer({**broker.librdkafka, "group.id": "test", "enable.auto.commit": False})
    consumer.assign([TopicPartition(topic, part, 0) for topic, part in parts])
    found: dict[tuple[str, int], list[tuple[bytes | None, bytes]]] = {part: [] for part in parts}
    while any(len(found[part]) < ends[part] for part in parts):
        for message in consumer.consume(1000, timeout=0.1):
            assert message.error() is None, message.error()
            records = found[message.topic(), message.partition()]
            assert message.offset() == len(records)
            records.append((message.key(), message.value()))
    consumer.close()
    return {(topic.removeprefix(prefix), part): records for (topic, part), records in found.items()}


def stream(count: int, every_s: float = 10.0, people: int = 17, start: float = 1000.0) -> list[Sent]:
    """Records that carry their own time, so that what was read can be judged."""
    return [
        Sent(
            start + number * every_s,
            ("wearable.observations", "clinical.events")[number % 3 == 0],
            b"p%d" % (number % people),
            b"%f" % (start + number * every_s),
        )
        for number in range(count)
    ]


def ticks(found: dict[tuple[str, int], list[tuple[bytes | None, bytes]]], part: int) -> list[ClockTick]:
    return [msgspec.json.decode(value, type=ClockTick) for _, value in found["clock.ticks", part]]


def judge(found: dict[tuple[str, int], list[tuple[bytes | None, bytes]]], tick_s: float) -> None:
    """Of every record: the first tick that stands behind it is not earlier than it, and at most ``tick_s`` later."""
    for part in range(LANES):
        told = ticks(found, part)
        assert [tick.at for tick in told] == sorted(tick.at for tick in told)
        for topic in PLAYED:
            ends = [tick.behind[topic] for tick in told]
            assert ends == sorted(ends)
            assert ends[-1] == len(found[topic, part]), "the last tick stands behind everything"
            for offset, (key, value) in enumerate(found[topic, part]):
                assert key is not None
                assert (murmur2(key) & 0x7FFFFFFF) % LANES == part
                first = next(tick for tick in told if tick.behind[topic] > offset)
                assert 0 <= first.at - float(value) <= tick_s


def test_a_lane_never_meets_a_record_from_the_future_and_misses_none(embedded: Broker) -> None:
    seen: list[Progress] = []
    records = stream(5_000)
    done = Player(embedded, "t.", Pacing(tick_s=60), seen.append).play(records)
    found = read(embedded)
    judge(found, 60)
    sent = sorted(float(value) for (topic, _), part in found.items() if topic in PLAYED for _, value in part)
    assert sent == [record.at for record in records]
    assert done.sent == 5_000
    assert seen[-1] == done
    assert done.ticks == len(found["clock.ticks", 0])
    assert ticks(found, 0)[-1].at >= records[-1].at + 48 * HOUR, "lateness of a syncing device has passed"


def test_order_of_one_person_is_kept(embedded: Broker) -> None:
    Player(embedded, "t.", Pacing(tick_s=60)).play(stream(2_000))
    for (topic, _), records in read(embedded).items():
        if topic in PLAYED:
            times = [float(value) for _, value in records]
            assert times == sorted(times)


def test_years_of_silence_cost_few_ticks_and_end_with_the_next_record(embedded: Broker) -> None:
    years = 10 * 365 * 86400.0
    records = [*stream(10), *stream(10, start=1000 + years)]
    Player(embedded, "t.", Pacing(tick_s=300)).play(records)
    found = read(embedded)
    assert len(found["clock.ticks", 0]) < 400
    judge(found, 300)
    told = [tick.at for tick in ticks(found, 0)]
    last = records[9].at
    for before, after in pairwise(told):
        if before > last and after < records[10].at:
            assert after - before <= max(300, (before - last) / 10) + 1e-6, "a silence is noticed within a tenth of its length"


def test_speed_is_kept(embedded: Broker) -> None:
    began = elapsed()
    Player(embedded, "t.", Pacing(speed=200, settle_s=0)).play(stream(11, every_s=10))
    assert 0.5 <= elapsed() - began < 3
    told = [tick.at for tick in ticks(read(embedded), 0)]
    assert told[-1] >= 1100


def test_waits_for_the_reader_behind_a_tick_that_lets_it_read(embedded: Broker) -> None:
    most = 20_000
    asked: list[int] = []
    unread: list[int] = []
    position: dict[tuple[str, int], int] = {}

    def read_to(parts: object) -> dict[tuple[str, int], int]:
        """A reader as strict as a lane: nothing beyond the newest tick."""
        found = read(embedded)
        asked.append(1)
        for part in range(LANES):
            told = ticks(found, part)
            for topic in PLAYED:
                size = [len(key or b"") + len(value) for key, value in found[topic, part]]
                unread.append(sum(size[position.get(("t." + topic, part), 0) :]))
                if told:
                    position["t." + topic, part] = told[-1].behind[topic]
        return {part: position.get(part, 0) for part in parts}  # type: ignore[attr-defined]  # of parts

    pacing = Pacing(tick_s=300, max_ahead_bytes=most)
    burst = [record._replace(at=5000.0, value=b"5000." + b"0" * 95) for record in stream(3_000)]
    Player(embedded, "t.", pacing, read_to=read_to).play(burst)
    assert asked, "the burst is larger than what may be ahead, and so it waited"
    assert max(unread) < most * 1.2
    judge(read(embedded), 300)


def test_goes_on_where_topics_hold_records_of_others(embedded: Broker) -> None:
    Player(embedded, "t.", Pacing(tick_s=60, settle_s=0)).play(stream(100))
    Player(embedded, "t.", Pacing(tick_s=60, settle_s=0)).play(stream(100, start=9000))
    judge(read(embedded), 60)


def test_missing_topics_are_named_with_the_command_that_makes_them(embedded: Broker) -> None:
    with pytest.raises(Fatal, match=r"other\.wearable\.observations.*topics create"):
        Player(embedded, "other.")


def test_without_ticks(embedded: Broker) -> None:
    done = Player(embedded, "t.", Pacing(ticks=False)).play(stream(500))
    found = read(embedded)
    assert done.sent == sum(len(records) for (topic, _), records in found.items() if topic in PLAYED) == 500
    assert done.ticks == sum(len(records) for (topic, _), records in found.items() if topic == "clock.ticks") == 0


def test_an_empty_stream_is_no_error(embedded: Broker) -> None:
    done = Player(embedded, "t.").play([])
    assert (done.sent, done.ticks) == (0, 0)
    assert math.isnan(done.at)


def test_a_record_that_no_topic_takes_is_an_error(embedded: Broker) -> None:
    huge = Sent(1.0, "wearable.observations", b"p", b"x" * 3_000_000)
    with pytest.raises(Fatal, match="MSG_SIZE_TOO_LARGE"):
        Player(embedded, "t.").play([huge])


@pytest.mark.kafka
def test_on_a_real_broker(kafka: str) -> None:
    prefix = f"player-{uuid.uuid4().hex[:8]}."
    broker = Broker(kafka)
    admin.create(broker, prefix, LANES)
    done = Player(broker, prefix, Pacing(tick_s=60)).play(stream(20_000))
    found = read(broker, prefix)
    judge(found, 60)
    assert sum(len(records) for (topic, _), records in found.items() if topic in PLAYED) == done.sent == 20_000
