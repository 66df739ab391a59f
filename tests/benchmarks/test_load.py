"""The events of the measurements: as many as asked for, in order, and all of them as the service wants them."""

from collections import Counter
from typing import NamedTuple

import msgspec
import pytest

from benchmarks import listen, load
from stream_twin import signals
from stream_twin.events import Estimate, Observation, Series, SignalEstimate
from stream_twin.ingest import Bounds, Ingest

NOW = 1_790_000_000.0
decode = msgspec.json.Decoder(Observation | Series).decode


class Source(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = int(NOW * 1000)


def accepted(records: list[load.Record]) -> Counter[object]:
    """By ingest: what and how often."""
    sources = [Source(offset, key, value) for offset, (key, value) in enumerate(records)]
    return Counter(Ingest(signals.load(), Bounds()).run(load.WEARABLE, 0, sources, NOW).counts)


@pytest.mark.parametrize("count", [1, 59, 60, 2000])
def test_a_backlog_has_as_many_samples_as_asked_for_in_order_of_time(count: int) -> None:
    records = list(load.observations(10, count, NOW, seed=1))
    assert len(records) == count
    samples = [decode(value) for _, value in records]
    times = [sample.measured_at for sample in samples]
    assert times == sorted(times)
    assert max(times) <= NOW
    assert len({sample.id for sample in samples}) == count
    assert sum(n for (what, _), n in accepted(records).items() if what == "rejected") == 0


def test_the_same_seed_gives_the_same_backlog() -> None:
    assert list(load.observations(5, 300, NOW, seed=4)) == list(load.observations(5, 300, NOW, seed=4))
    assert list(load.observations(5, 300, NOW, seed=4)) != list(load.observations(5, 300, NOW, seed=5))


def test_series_follow_each_other_without_overlap() -> None:
    messages = [decode(value) for _, value in load.series(2, 25, 60, NOW, seed=1)]
    assert len(messages) == 25
    ends: dict[tuple[str, str], float] = {}
    for message in messages:
        name = (message.patient_id, message.code)
        assert len(message.values) == 60
        assert message.start >= ends.get(name, 0.0)
        ends[name] = message.start + 60 * message.interval_s
    assert max(ends.values()) <= NOW


def test_an_urgent_value_is_beyond_the_urgent_limit_and_a_usual_one_is_not() -> None:
    key, value = load.by_hand(3, load.URGENT, NOW)
    assert (key, decode(value).device_kind) == (b"caller-000003", "bedside")
    assert accepted([(key, value), load.by_hand(3, load.USUAL, NOW)])


def estimate(arrived_at: float | None, *last_at: float) -> bytes:
    about = SignalEstimate(level=1, low=0, high=2, baseline=1, last_value=1, last_at=0)
    known = {f"s{number}": msgspec.structs.replace(about, last_at=at) for number, at in enumerate(last_at)}
    return msgspec.json.encode(Estimate(patient_id="p", at=NOW, signals=known, arrived_at=arrived_at))


def test_an_estimate_counts_from_the_older_of_its_sample_and_its_arrival() -> None:
    assert listen.cause_of_estimate(estimate(NOW, NOW - 50, NOW - 0.25)) == NOW - 0.25
    assert listen.cause_of_estimate(estimate(NOW - 1, NOW - 50, NOW)) == NOW - 1
    assert listen.cause_of_estimate(estimate(None, NOW)) is None
    assert listen.newest_sample(estimate(None, NOW - 3, NOW - 4)) == NOW - 3
