"""A flood is thinned to one sample a second, each record of it is accounted for, and nothing else is touched."""

import json
import random
from collections import Counter
from math import floor
from statistics import median_low
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events, signals
from stream_twin.audit import READING_ORDER, Audit
from stream_twin.ingest import Bounds, Ingest
from tests.memory_service import MemoryService, Record

CATALOGUE = signals.load()
NOW = 1_772_352_000.0
TOPIC = "wearable.observations"


class Sent(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = round(NOW * 1000)


def observation(offset: int, patient: str = "a", value: float | None = 70.0, at: float = NOW - 5, **more) -> Sent:
    body = {"type": "observation", "id": f"n{offset}", "patient_id": patient, "code": "8867-4", "unit": "/min"}
    body |= {"value": value, "measured_at": at, "device_id": "watch", **more}
    return Sent(offset, patient.encode(), json.dumps({name: what for name, what in body.items() if what is not None}).encode())


def run(records: list[Sent], samples_per_s: int = 10):
    done = Ingest(CATALOGUE, Bounds(samples_per_s=samples_per_s)).run(TOPIC, 0, records, NOW)
    return done, [msgspec.json.decode(value, type=events.Samples) for _, value in done.inputs]


def flood(count: int, seed: int = 1, **more) -> list[Sent]:
    draws = random.Random(seed)
    return [observation(n, value=draws.uniform(60, 90), **more) for n in range(count)]


@pytest.mark.parametrize("count", [11, 12, 499, 500, 501, 2000])
def test_one_sample_the_median_stands_for_all_of_a_second(count):
    records = flood(count)
    done, inputs = run(records)
    [logged] = inputs
    [sample] = logged.samples
    assert sample.value == median_low(json.loads(record.value)["value"] for record in records)
    assert sorted([sample.offset, *logged.thinned[sample.offset]]) == list(range(count))
    assert bytes(sample.original) == records[sample.offset].value, "one that was measured, as it came"
    assert done.counts == {("accepted", TOPIC): count, ("thinned", TOPIC): count - 1}
    assert not done.rejected


def test_up_to_the_rate_nothing_is_thinned_and_no_byte_differs():
    done, [logged] = run(flood(10))
    assert len(logged.samples) == 10
    assert not logged.thinned
    assert b"thinned" not in done.inputs[0][1]


def test_an_hour_sent_at_once_is_kept():
    """It arrives in one second, but was not measured in one."""
    done, inputs = run([observation(n, at=NOW - 3600 + n) for n in range(3600)])
    assert sum(len(logged.samples) for logged in inputs) == 3600
    assert ("thinned", TOPIC) not in done.counts


def test_what_says_something_that_no_other_sample_says_is_kept():
    special = [
        observation(1000, value=None, absent_reason="off"),
        observation(1001, version=2, status="corrected"),
        observation(1002, version=2, status="entered-in-error"),
        observation(1003, comparator="<"),
        observation(1004, device_id="other"),
        observation(1005, code="59408-5", unit="%", value=97.0),
        observation(1006, at=NOW - 6.5),
        observation(1007, patient="b"),
    ]
    records = flood(200) + special
    _, inputs = run(records)
    kept = {sample.offset for logged in inputs for sample in logged.samples}
    assert kept >= {record.offset for record in special}
    assert len(kept) == len(special) + 1


def test_a_series_in_between_keeps_its_place():
    """On a topic of its own it cannot come between; a series can."""
    series = {
        "type": "series",
        "id": "s",
        "patient_id": "a",
        "code": "8867-4",
        "unit": "/min",
        "values": [70.0],
        "start": NOW - 60,
    }
    between = Sent(50, b"a", json.dumps(series | {"interval_s": 1}).encode())
    records = [observation(n, value=90.0) for n in range(50)] + [between] + [observation(n, value=60.0) for n in range(51, 102)]
    done = Ingest(CATALOGUE, Bounds(samples_per_s=10)).run(TOPIC, 0, records, NOW)
    made = [msgspec.json.decode(value, type=events.AnyInput) for _, value in done.inputs]
    assert [type(one) for one in made] == [events.SampleSeries, events.Samples]
    assert made[1].samples[0].value == 60.0
    assert len(made[1].thinned[made[1].samples[0].offset]) == 100


@settings(max_examples=60, deadline=None)
@given(
    drawn=st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.sampled_from([60.0, 61.0, 75.5, 90.0, None]),
            st.sampled_from([NOW - 5, NOW - 4.5, NOW - 4, NOW - 3.2]),
            st.sampled_from(["watch", "ring", None]),
            st.integers(1, 2),
        ),
        max_size=120,
    ),
    most=st.integers(1, 12),
)
def test_every_record_is_in_one_place_and_no_group_is_larger_than_the_rate(drawn, most):
    records = [
        observation(n, who, value, at, device_id=device, version=version, **({} if value else {"absent_reason": "x"}))
        for n, (who, value, at, device, version) in enumerate(drawn)
    ]
    done, inputs = run(records, most)
    places = Counter(sample.offset for logged in inputs for sample in logged.samples)
    places.update(offset for logged in inputs for others in logged.thinned.values() for offset in others)
    assert places == Counter(range(len(records)))
    groups: Counter[tuple] = Counter()
    for (key, _), logged in zip(done.inputs, inputs, strict=True):
        offsets = [sample.offset for sample in logged.samples]
        assert offsets == sorted(offsets)
        assert set(logged.thinned) <= set(offsets)
        for sample in logged.samples:
            if sample.value is not None and sample.version == 1:
                groups[key, sample.device, sample.signal, floor(sample.at)] += 1
    assert max(groups.values(), default=0) <= most
    assert done.counts["thinned", TOPIC] == sum(len(others) for logged in inputs for others in logged.thinned.values())


# ----------------------------------------------------------------------------------------------------------- audit


def service() -> MemoryService:
    """A flood of a patient who is known, and one of somebody who is not."""
    made = MemoryService(CATALOGUE, 1)
    profile = events.Profile(patient_id="a", valid_from=NOW - 86_400)
    made.write("patient.profiles", 0, b"a", msgspec.json.encode(profile))
    for record in [*flood(300), observation(300, at=NOW - 3), *(observation(n, "nobody") for n in range(301, 480))]:
        made.write(TOPIC, 0, record.key, record.value, timestamp=record.timestamp)
    for step in range(4):
        made.step(NOW + 60 * step, checkpoint=True)
    return made


def audited(made: MemoryService, forge=None):
    topics = dict(made.topics)
    if forge is not None:
        topics["twin.inputs", 0] = [record._replace(value=forge(record.value)) for record in topics["twin.inputs", 0]]
    audit = Audit(CATALOGUE, 1, lambda key: 0)
    for topic in READING_ORDER:
        for record in topics.get((topic, 0), []):
            audit.feed(topic, 0, record)
    return {row.name: row for row in audit.report()}


def test_the_audit_accounts_for_each_thinned_record():
    made = service()
    rows = audited(made)
    assert {name: row.offenders for name, row in rows.items() if row.ok is False} == {}
    assert rows["source records thinned, another one's sample stands for them"].counted == 299 + 178
    assert rows["inputs rejected"].counted == len(made.topics["dead.letters", 0]) == 1
    assert not rows["source records end once, as what their route names"].note


def another(change):
    """Changes the input that stands for the flood of patient a."""

    def forge(value: bytes) -> bytes:
        made = msgspec.json.decode(value, type=events.AnyInput)
        if not isinstance(made, events.Samples) or not made.thinned or b'"nobody"' in value:
            return value
        [(offset, others)] = made.thinned.items()
        return msgspec.json.encode(msgspec.structs.replace(made, **change(made, offset, others)))

    return forge


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda made, offset, others: {"thinned": {offset: others[1:]}}, "is neither in the log nor a dead letter"),
        (lambda made, offset, others: {"thinned": {offset: [*others, others[0]]}}, "is in the log twice"),
        (lambda made, offset, others: {"thinned": {offset: [*others, 300]}}, "is in the log twice"),
        (lambda made, offset, others: {"thinned": {offset: [*others, 9999]}}, "was never sent"),
        (lambda made, offset, others: {"thinned": {}}, "is neither in the log nor a dead letter"),
    ],
)
def test_the_audit_names_what_is_wrong_about_them(change, sentence):
    row = audited(service(), another(change))["source records end once, as what their route names"]
    assert not row.ok
    assert any(sentence in offender for offender in row.offenders), row.offenders


def test_the_audit_finds_a_record_of_somebody_else_among_them():
    def forge(value: bytes) -> bytes:
        made = msgspec.json.decode(value, type=events.AnyInput)
        if not isinstance(made, events.Samples) or not made.thinned:
            return value
        [(offset, others)] = made.thinned.items()
        return msgspec.json.encode(msgspec.structs.replace(made, thinned={offset: sorted({*others} ^ {310})}))

    row = audited(service(), forge)["source records end once, as what their route names"]
    assert any("stands for 1 records that are not of heart_rate of watch in second" in one for one in row.offenders), (
        row.offenders
    )


def test_the_audit_finds_a_stand_in_that_is_not_the_median():
    made = service()
    sources: dict[int, Record] = {record.offset: record for record in made.topics[TOPIC, 0]}

    def change(logged, offset, others):
        highest = max((o for o in [*others, offset]), key=lambda o: json.loads(sources[o].value)["value"])
        body = sources[highest].value
        old = next(sample for sample in logged.samples if sample.offset == offset)
        new = msgspec.structs.replace(
            old, offset=highest, original=msgspec.Raw(body), id=f"n{highest}", value=json.loads(body)["value"]
        )
        kept = sorted([new if sample is old else sample for sample in logged.samples], key=lambda sample: sample.offset)
        return {"samples": kept, "thinned": {highest: sorted({offset, *others} - {highest})}}

    row = audited(made, another(change))["source records end once, as what their route names"]
    assert any("it is not their median" in offender for offender in row.offenders), row.offenders
