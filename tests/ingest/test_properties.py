"""Whatever the bytes: nothing is raised, nothing is lost, nothing comes twice, and what is accepted can be read back."""

import json
import math
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events, golden
from stream_twin.events import CATALOGUE
from stream_twin.ingest import REASONS, Bounds, Ingest
from stream_twin.ingest.measurements import Dictionary, Measurements
from stream_twin.signals import load

NOW = golden.AT
CATALOG = load()
INGEST = Ingest(CATALOG, Bounds(max_bytes=5_000))
EXAMPLES = [made for made in golden.examples(CATALOG) if made.topic in INGEST.topics]
TOPIC = st.sampled_from(INGEST.topics)


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = round(NOW * 1000)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An example with some bytes or one field replaced: nearly right is where decoders break."""
    made = draw(st.sampled_from(EXAMPLES))
    text = bytearray(msgspec.json.encode(made.message))
    if draw(st.booleans()):
        body = json.loads(text)
        field = draw(st.sampled_from(sorted(body)))
        body[field] = draw(ANYTHING)
        return made.key, json.dumps(body).encode()
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text) - 1))
        text[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=4))
    return made.key, bytes(text)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
RUBBISH = st.binary(max_size=300) | ANYTHING.map(lambda body: json.dumps(body).encode())
RECORD = (
    st.tuples(st.none() | st.binary(max_size=12), st.none() | RUBBISH)
    | mutated()
    | st.sampled_from(EXAMPLES).map(lambda made: (made.key, msgspec.json.encode(made.message)))
)


def sources(inputs: list[tuple[bytes, bytes]]) -> list[tuple[int, bytes, bytes]]:
    """Offset, original and key of every source record that is in the inputs."""
    found = []
    for key, value in inputs:
        made = msgspec.json.decode(value, type=events.AnyInput)
        if isinstance(made, events.Samples):
            found += [(sample.offset, bytes(sample.original), key) for sample in made.samples]
        else:
            found.append((made.source.offset, bytes(made.original), key))
    return found


@settings(max_examples=400, deadline=None)
@given(TOPIC, st.lists(RECORD, max_size=8), st.floats(allow_nan=False, min_value=0, max_value=4e9))
def test_each_record_has_one_fate(topic: str, records: list[tuple[bytes | None, bytes | None]], now: float):
    result = INGEST.run(topic, 0, [Record(offset, *record) for offset, record in enumerate(records)], now)
    found = sources(result.inputs)
    accepted = [offset for offset, _, _ in found]
    rejected = [int(dict(letter.headers)["offset"]) for letter in result.rejected]
    for key in {key for _, _, key in found}:
        of_key = [offset for offset, _, its_key in found if its_key == key]
        assert of_key == sorted(of_key)
    assert rejected == sorted(rejected)
    assert sorted(accepted + rejected) == list(range(len(records)))
    for letter in result.rejected:
        key, value = records[int(dict(letter.headers)["offset"])]
        assert (letter.key, letter.value) == (key or b"", value or b"")
        assert dict(letter.headers)["reason"].decode() in REASONS
        assert dict(letter.headers)["detail"].decode().isprintable()
    for offset, original, _ in found:
        assert original == (records[offset][1] or b"").strip(b" \t\r\n")
    for _, value in result.inputs:
        json.loads(value)
    assert sum(n for (what, _), n in result.counts.items() if what != "absent") == len(records)


@settings(max_examples=100, deadline=None)
@given(TOPIC, st.lists(RECORD, max_size=6), st.data())
def test_batches_do_not_matter(topic: str, records: list[tuple[bytes | None, bytes | None]], data: st.DataObject):
    made = [Record(offset, *record) for offset, record in enumerate(records)]
    cut = data.draw(st.integers(0, len(made)))
    whole = INGEST.run(topic, 0, made, NOW)
    first, second = INGEST.run(topic, 0, made[:cut], NOW), Ingest(CATALOG, Bounds(max_bytes=5_000)).run(topic, 0, made[cut:], NOW)
    assert sorted(sources(whole.inputs)) == sorted(sources(first.inputs + second.inputs))
    assert whole.rejected == first.rejected + second.rejected
    assert whole.counts == first.counts + second.counts


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(CATALOG.signals)), st.data())
def test_range_holds_in_every_unit(name: str, data: st.DataObject):
    signal = CATALOG[name]
    unit = data.draw(st.sampled_from([signal.unit, *signal.units]))
    factor, offset = signal.canonical(unit)
    value = data.draw(st.floats(-1e6, 1e6))
    body: dict[str, Any] = {
        **{"type": "observation", "id": "i", "patient_id": "p", "code": name, "code_system": CATALOGUE},
        **{"unit": unit, "value": value, "measured_at": NOW},
    }
    result = INGEST.run("clinical.observations", 0, [Record(0, b"p", json.dumps(body).encode())], NOW)
    canonical = value * factor + offset
    if signal.plausible[0] <= canonical <= signal.plausible[1]:
        (sample,) = msgspec.json.decode(result.inputs[0][1], type=events.AnyInput).samples
        assert (sample.signal, sample.value) == (name, canonical)
    else:
        assert dict(result.rejected[0].headers)["reason"] == b"out_of_range"


SECONDS = st.floats(-2.2e9, 1e10, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(
    st.builds(
        events.Sample,
        offset=st.integers(0, 2**62),
        arrived_at=SECONDS,
        original=ANYTHING.filter(lambda body: "NaN" not in json.dumps(body) and "Infinity" not in json.dumps(body)).map(
            lambda body: msgspec.Raw(json.dumps(body).encode())
        ),
        id=st.text(min_size=1, max_size=128),
        signal=st.sampled_from(sorted(CATALOG.signals)),
        at=SECONDS,
        value=st.none() | st.floats(allow_nan=False, allow_infinity=False),
        device=st.none() | st.text(max_size=9),
        period_s=st.floats(0, 1e6),
        known_at=st.none() | SECONDS,
        comparator=st.sampled_from([None, "<", ">="]),
        retracted=st.booleans(),
    )
)
def test_decode_of_encode_is_the_same(sample: events.Sample):
    samples = events.Samples(topic="wearable.observations", partition=3, arrived_at=sample.arrived_at, samples=[sample, sample])
    encoded = msgspec.json.encode(samples)
    decoded = msgspec.json.decode(encoded, type=events.AnyInput)
    assert decoded == samples
    assert msgspec.json.encode(decoded) == encoded


@pytest.mark.parametrize("made", EXAMPLES, ids=[type(made.message).__name__ for made in EXAMPLES])
def test_source_message_survives_the_wire(made: golden.Golden):
    encoded = msgspec.json.encode(made.message)
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=type(made.message))) == encoded


@settings(max_examples=200, deadline=None)
@given(st.lists(st.none() | st.floats(1.2, 30), min_size=1, max_size=40), st.floats(0.5, 3600), st.floats(NOW - 1e6, NOW))
def test_series_is_its_samples(values: list[float | None], interval: float, start: float):
    body = {"type": "series", "id": "s", "patient_id": "p", "code": "99504-3", "unit": "mmol/L", "values": values, "start": start,
            "interval_s": interval}  # fmt: skip
    late = start + interval * (len(values) - 1) > NOW + 300
    result = INGEST.run("wearable.observations", 0, [Record(0, b"p", json.dumps(body).encode())], NOW)
    assert len(result.rejected) == late
    if late:
        return
    whole = msgspec.json.decode(result.inputs[0][1], type=events.AnyInput)
    assert len(whole.at) == len(whole.values) == len(values)
    for i, value in enumerate(values):
        assert math.isclose(whole.at[i], start + i * interval)
        assert (whole.values[i] is None) == (value is None)
        if value is not None:
            assert whole.values[i] == value * 18.0182
    assert result.counts["absent", "wearable.observations"] == sum(value is None for value in values)


USUAL = {
    "type": "observation",
    "id": "0",
    "patient_id": "p",
    "code": "8867-4",
    "unit": "/min",
    "device_id": "w",
    "measured_at": NOW,
    "value": 60,
}


@st.composite
def usual(draw: st.DrawFn) -> tuple[bytes | None, bytes]:
    """An observation as most are, or nearly."""
    body: dict[str, Any] = {
        "type": "observation", "id": draw(st.sampled_from(("a", " a", "a ", "\x00", "ä", "a\\u0041", ""))), "patient_id": "p",
        "code": "8867-4", "unit": "/min", "device_id": "w", "value": draw(st.sampled_from((60, 75.5, 1e9, None))),
        "measured_at": draw(st.sampled_from((NOW, NOW - 1.5, NOW + 1e6, -1e12, "2026-01-01T00:00:00Z"))),
    }  # fmt: skip
    if draw(st.booleans()):
        body |= {"id": "a", "value": 60, "measured_at": NOW}
    field = draw(st.sampled_from((*body, "status", "version", "period", "quality", "code_system", "later")))
    if draw(st.booleans()):
        body[field] = draw(ANYTHING | st.sampled_from(("final", "entered-in-error", 1, 2, CATALOGUE, "q", "")))
    if draw(st.booleans()):
        body.pop(field, None)
    text = json.dumps(body, ensure_ascii=draw(st.booleans()))
    return draw(st.sampled_from((b"p", b"q", None))), draw(st.sampled_from(("", " ", "\n"))).encode() + text.encode()


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(("wearable.observations", "clinical.observations")), st.lists(usual(), max_size=8))
def test_what_is_usual_is_judged_as_if_it_were_not(topic: str, made: list[tuple[bytes | None, bytes]]):
    known = [(b"p", json.dumps(USUAL).encode())] * 2
    records = [Record(offset, *record) for offset, record in enumerate(known + made)]
    quick, thorough = Ingest(CATALOG), Ingest(CATALOG)
    with pytest.MonkeyPatch.context() as patch:
        found = quick.run(topic, 0, records, NOW)
        patch.setattr(Measurements, "usual", lambda *_: None)
        assert found == thorough.run(topic, 0, records, NOW)


def test_most_observations_are_usual():
    judged = Measurements(Dictionary(CATALOG), "streaming", "streaming", "syncing", 10)
    value = json.dumps(USUAL).encode()
    assert judged.usual(value, b"p", 0, NOW, NOW) is None  # nobody knows them yet
    assert judged.sample(
        msgspec.json.decode(value, type=events.Observation), b"p", 0, NOW, msgspec.Raw(value), NOW
    ) == judged.usual(value, b"p", 0, NOW, NOW)
