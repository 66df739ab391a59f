"""Any bytes, nearly good ones above all, end as exactly one input or one dead letter, and nothing is raised."""

import json
from typing import Any

import pytest
from hypothesis import given, settings, target
from hypothesis import strategies as st

from benchmarks.rubbish import fuzz, good
from benchmarks.rubbish.catalogue import KINDS
from benchmarks.rubbish.good import Case, Record, keyed
from stream_twin.ingest import Ingest
from stream_twin.signals import load

NOW = fuzz.NOW
INGEST = Ingest(load())
TOPICS = tuple(good.BY_TOPIC)
GOOD = {topic: keyed(topic, make(Case(7, NOW))) for topic, make in good.BY_TOPIC.items()}
SMALL = [record for kind in KINDS if len((record := kind.make(Case(7, NOW))[-1]).value or b"") < 2000 and record.value]


def fate(topic: str, key: bytes | None, value: bytes) -> str:
    return fuzz.check(INGEST, topic, (b"" if key is None else key + fuzz.SEPARATOR) + value)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(TOPICS), st.binary(max_size=20), st.binary(max_size=400))
def test_any_bytes(topic: str, key: bytes, value: bytes) -> None:
    fate(topic, key, value)


@st.composite
def spliced(draw: st.DrawFn) -> tuple[str, bytes | None, bytes]:
    """Two records of the catalogue cut and joined, then a few bytes changed."""
    one, other = draw(st.sampled_from(SMALL)), draw(st.sampled_from(SMALL))
    assert one.value is not None
    assert other.value is not None
    cut, joint = draw(st.integers(0, len(one.value))), draw(st.integers(0, len(other.value)))
    value = bytearray(one.value[:cut] + other.value[joint:])
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(value)))
        value[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return draw(st.sampled_from([one.topic, other.topic])), one.key, bytes(value)


@settings(max_examples=250, deadline=None)
@given(spliced())
def test_spliced_records(record: tuple[str, bytes | None, bytes]) -> None:
    fate(*record)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.floats()
    | st.integers()
    | st.text(max_size=12)
    | st.sampled_from([NOW, "2026-03-01T08:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(TOPICS), st.data())
def test_good_messages_with_some_fields_replaced(topic: str, data: st.DataObject) -> None:
    """Guided towards what is accepted, so that the later checks are reached too."""
    body: dict[str, Any] = json.loads(GOOD[topic].value or b"")
    for name in data.draw(st.lists(st.sampled_from(sorted(body)), min_size=1, max_size=3)):
        body[name] = data.draw(VALUES)
    reached = fate(topic, GOOD[topic].key, json.dumps(body).encode())
    target(float(reached == "accepted"))


@pytest.mark.parametrize("topic", TOPICS)
def test_the_fuzzers_oracle_takes_what_is_good_and_notices_a_lost_record(topic: str) -> None:
    record: Record = GOOD[topic]
    assert record.key is not None
    assert record.value is not None
    assert fate(topic, record.key, record.value) == "accepted"

    class Losing(Ingest):
        def run(self, *arguments: Any, **named: Any) -> Any:
            done = super().run(*arguments, **named)
            return done._replace(inputs=[], rejected=[])

    with pytest.raises(AssertionError, match="0 inputs and 0 dead letters"):
        fuzz.check(Losing(load()), topic, record.key + fuzz.SEPARATOR + record.value)
