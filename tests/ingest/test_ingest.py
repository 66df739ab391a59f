"""One record, one fate: what is good goes through unchanged but for its units, what is bad says why."""

import hashlib
import json
from typing import Any, NamedTuple

import msgspec
import pytest

from stream_twin import events
from stream_twin.ingest import REASONS, Bounds, Ingest, Ingested
from stream_twin.ingest.ingest import LARGE_BYTES, TOGETHER
from stream_twin.signals import load

NOW = 1_772_352_000.0
CATALOG = load()
INGEST = Ingest(CATALOG)
DROP = object()


class Record(NamedTuple):
    value: bytes | None
    key: bytes | None = b"p-1"
    offset: int = 7
    timestamp: int = round(NOW * 1000) + 250


def observation(**change: Any) -> dict[str, Any]:
    """A good observation with fields replaced, or left out by DROP."""
    body = {
        "type": "observation",
        "id": "w-17/1",
        "patient_id": "p-1",
        "code": "8867-4",
        "unit": "/min",
        "value": 72,
        "measured_at": NOW - 5,
        **change,
    }
    return {field: value for field, value in body.items() if value is not DROP}


def series(**change: Any) -> dict[str, Any]:
    body = {
        "type": "series",
        "id": "cgm/1",
        "patient_id": "p-1",
        "code": "99504-3",
        "unit": "mmol/L",
        "values": [5.0, None, 6.0],
        "start": NOW - 900,
        "interval_s": 300,
        **change,
    }
    return {field: value for field, value in body.items() if value is not DROP}


def run(topic: str, *records: Record | dict[str, Any] | bytes, ingest: Ingest = INGEST) -> Ingested:
    made = [
        record if isinstance(record, Record) else Record(record if isinstance(record, bytes) else json.dumps(record).encode())
        for record in records
    ]
    return ingest.run(topic, 3, made, NOW)


def accepted(topic: str, record: Record | dict[str, Any] | bytes, **how: Any) -> Any:
    result = run(topic, record, **how)
    assert result.rejected == []
    ((_, value),) = result.inputs
    made = msgspec.json.decode(value, type=events.AnyInput)
    if not isinstance(made, events.Samples):
        return made
    (sample,) = made.samples
    assert (made.topic, made.partition, made.arrived_at) == (topic, 3, sample.arrived_at)
    return sample


def refused(topic: str, record: Record | dict[str, Any] | bytes, **how: Any) -> dict[str, str]:
    result = run(topic, record, **how)
    assert result.inputs == []
    (letter,) = result.rejected
    return {name: value.decode() for name, value in letter.headers}


# --------------------------------------------------------------------------------------------------------- what is good


def test_observation_becomes_a_sample_in_canonical_units():
    body = observation(code="8310-5", unit="[degF]", value=98.6, device_id="t-1", quality=0.9, on_oxygen=True, method="ear")
    sample = accepted("wearable.observations", body)
    assert isinstance(sample, events.Sample)
    assert sample.value == pytest.approx(37.0)
    assert (sample.signal, sample.at, sample.id, sample.device) == ("body_temperature", NOW - 5, "w-17/1", "t-1")
    assert (sample.quality, sample.on_oxygen, sample.method) == (0.9, True, "ear")
    assert sample.offset == 7
    assert sample.arrived_at == pytest.approx(NOW + 0.25)


@pytest.mark.parametrize("blank", [b"", b" \n\t\r "])
def test_original_is_the_value_verbatim(blank: bytes):
    value = json.dumps(observation(note="äß\u2028", more={"x": [1e300, 1.10]}), ensure_ascii=False, indent=1).encode()
    sample = accepted("wearable.observations", blank + value + blank)
    assert bytes(sample.original) == value


def test_a_patients_observations_go_together_in_their_order():
    bodies = [observation(id=f"n{i}", patient_id=f"p-{1 + i % 2}") for i in range(6)]
    bodies.insert(3, series(id="s", patient_id="p-1"))
    made = [Record(json.dumps(body).encode(), body["patient_id"].encode(), offset=i) for i, body in enumerate(bodies)]
    result = run("wearable.observations", *made)
    found = [(key, msgspec.json.decode(value, type=events.AnyInput)) for key, value in result.inputs]
    ids = [(key, [s.id for s in made.samples] if isinstance(made, events.Samples) else made.id) for key, made in found]
    assert ids == [(b"p-1", ["n0", "n2"]), (b"p-2", ["n1", "n3", "n5"]), (b"p-1", "s"), (b"p-1", ["n4"])]
    assert result.counts["accepted", "wearable.observations"] == 7


def test_a_flood_of_one_patient_is_few_records_and_a_large_observation_is_the_last_of_its_record():
    bodies = [observation(id=f"n{i}", measured_at=NOW - 5000 + i) for i in range(2 * TOGETHER)]
    bodies[3]["note"] = "x" * LARGE_BYTES
    result = run("wearable.observations", *(Record(json.dumps(b).encode(), offset=i) for i, b in enumerate(bodies)))
    found = [msgspec.json.decode(value, type=events.AnyInput).samples for _, value in result.inputs]
    assert [len(samples) for samples in found] == [4, TOGETHER, TOGETHER - 4]
    assert [sample.id for samples in found for sample in samples] == [body["id"] for body in bodies]


@pytest.mark.parametrize(
    ("when", "at", "period_s"),
    [
        ({"measured_at": "2026-03-01T08:59:00+01:00"}, NOW - 60, 0),
        ({"measured_at": "2026-03-01T07:59:00.250Z"}, NOW - 59.75, 0),
        ({"measured_at": -2208988800}, -2208988800, 0),
        ({"measured_at": NOW + 299}, NOW + 299, 0),
        ({"measured_at": DROP, "period": {"start": NOW - 86400, "end": "2026-03-01T08:00:00Z"}}, NOW, 86400),
        ({"measured_at": DROP, "period": {"start": NOW - 1, "end": NOW - 1}}, NOW - 1, 0),
    ],
)
def test_times(when: dict[str, Any], at: float, period_s: float):
    sample = accepted("wearable.observations", observation(**when))
    assert (sample.at, sample.period_s) == (at, period_s)


def test_laboratory_value_known_later_and_below_its_limit():
    sample = accepted(
        "clinical.observations",
        observation(code="2524-7", unit="mmol/L", value=0.5, comparator="<", measured_at=NOW - 3600, issued_at=NOW - 60),
    )
    assert (sample.comparator, sample.known_at, sample.kind, sample.signal) == ("<", NOW - 60, "laboratory", "lactate")


@pytest.mark.parametrize(
    ("topic", "body", "kind"),
    [
        ("wearable.observations", observation(), "streaming"),
        ("wearable.observations", series(), "syncing"),
        ("clinical.observations", observation(), "bedside"),
        ("clinical.observations", observation(code="718-7", unit="g/dL", value=11), "laboratory"),
        ("clinical.observations", series(code="8867-4", unit="/min", values=[70, 71, 72]), "bedside"),
        ("clinical.observations", observation(device_kind="streaming"), "streaming"),
        ("wearable.observations", series(device_kind="bedside"), "bedside"),
    ],
)
def test_kind_of_device(topic: str, body: dict[str, Any], kind: str):
    assert accepted(topic, body).kind == kind


def test_absent_value_is_counted_and_passed_on():
    result = run("wearable.observations", observation(value=DROP, absent_reason="not worn"))
    assert result.rejected == []
    assert result.counts == {("accepted", "wearable.observations"): 1, ("absent", "wearable.observations"): 1}
    assert accepted("wearable.observations", observation(value=DROP, absent_reason="not worn")).value is None


def test_entered_in_error_takes_back_whatever_the_value():
    sample = accepted("wearable.observations", observation(status="entered-in-error", version=2, value=5000))
    assert (sample.retracted, sample.value, sample.version) == (True, None, 2)
    taken = accepted("wearable.observations", series(status="entered-in-error", version=3))
    assert (taken.retracted, taken.values, taken.version) == (True, [None, None, None], 3)


def test_series_by_interval_and_by_times():
    made = accepted("wearable.observations", series())
    assert made.at == [NOW - 900, NOW - 600, NOW - 300]
    assert made.values == [pytest.approx(90.091), None, pytest.approx(108.1092)]
    times = [NOW - 900, "2026-03-01T07:50:00Z", NOW - 100]
    made = accepted("wearable.observations", series(start=DROP, interval_s=DROP, measured_at=times))
    assert made.at == [NOW - 900, NOW - 600, NOW - 100]
    assert run("wearable.observations", series()).counts["absent", "wearable.observations"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {"type": "insulin", "kind": "basal_rate", "rate_units_per_h": 0.8, "until": NOW + 86400},
        {"type": "insulin", "kind": "rapid", "status": "entered-in-error", "version": 2},
        {"type": "meal", "carbohydrates_g": 30},
        {"type": "activity", "kind": "sleep.deep", "until": "2026-03-01T08:00:00Z"},
        {"type": "medication", "code": "1719", "code_system": "rxnorm", "dose": 40, "unit": "mg"},
        {"type": "oxygen", "fraction": 0.28},
        {"type": "encounter", "kind": "emergency"},
        {"type": "finding", "code": "fever", "code_system": "local", "value": "yes"},
    ],
)
def test_events_happen_in_seconds(body: dict[str, Any]):
    made = accepted("clinical.events", {"id": "e1", "patient_id": "p-1", "at": "2026-03-01T09:00:00+02:00", **body})
    assert isinstance(made, events.Happened)
    assert made.event.at == NOW - 3600
    assert made.event.until is None or made.event.until >= NOW
    assert type(made.event).__struct_config__.tag == body["type"]


def test_environment_goes_into_every_lane():
    body = {"id": "s/1", "place": "Beijing", "code": "air_pressure", "unit": "mm[Hg]", "value": 760, "measured_at": NOW}
    result = run("environment.observations", Record(json.dumps(body).encode(), key=b"Beijing"))
    ((key, value),) = result.inputs
    made = msgspec.json.decode(value, type=events.AnyInput)
    assert key == b""
    assert (made.place, made.signal, made.at) == ("Beijing", "air_pressure", NOW)
    assert made.value == pytest.approx(1013.25, rel=1e-4)


def test_profile_devices_outcome_and_command_in_seconds():
    profile = accepted(
        "patient.profiles",
        {
            "patient_id": "p-1",
            "valid_from": "2026-03-01T08:00:00Z",
            "time_zone": "Europe/London",
            "limits": {"spo2": {"low": 85}},
        },
    ).profile
    assert (profile.valid_from, profile.limits["spo2"].low) == (NOW, 85)
    devices = accepted(
        "device.assignments",
        {
            "patient_id": "p-1",
            "devices": [{"device_id": "w", "kind": "streaming", "start": "2026-03-01T08:00:00Z", "end": NOW + 9e6}],
        },
    ).assignments
    assert (devices.devices[0].start, devices.devices[0].end) == (NOW, NOW + 9e6)
    outcome = accepted(
        "patient.outcomes", {"id": "o", "patient_id": "p-1", "kind": "sepsis", "occurred_at": "2026-03-01T08:00:00Z"}
    ).outcome
    assert outcome.occurred_at == NOW
    command = accepted(
        "alert.commands",
        {
            "id": "c",
            "patient_id": "p-1",
            "alert_id": "a",
            "action": "snooze",
            "by": "nurse",
            "at": NOW,
            "until": "2026-03-01T09:00:00Z",
        },
    ).command
    assert (command.at, command.until) == (NOW, NOW + 3600)


def test_model_parameters_go_into_every_lane():
    body = {
        "cohort": "icu",
        "version": 2,
        "schema": 1,
        "trained_on": 10,
        "effective_at": NOW,
        "weights": {"a": 1.5},
        "intercept": -3,
    }
    ((key, value),) = run("models", Record(json.dumps(body).encode(), key=b"icu")).inputs
    assert key == b""
    assert msgspec.json.decode(value, type=events.AnyInput).parameters.weights == {"a": 1.5}


# ---------------------------------------------------------------------------------------------------------- what is bad

WEARABLE, CLINICAL, EVENTS, PLACES = (
    "wearable.observations",
    "clinical.observations",
    "clinical.events",
    "environment.observations",
)
PROFILES, DEVICES, OUTCOMES = "patient.profiles", "device.assignments", "patient.outcomes"
COMMANDS, MODELS = "alert.commands", "models"
MEAL = {"type": "meal", "id": "m", "patient_id": "p-1", "at": NOW}
PLACE = {"id": "s", "place": "p-1", "code": "pm25", "unit": "ug/m3", "value": 12, "measured_at": NOW}
PROFILE = {"patient_id": "p-1", "valid_from": NOW}
DEVICE = {"device_id": "w", "kind": "streaming", "start": NOW}
MODEL = {"cohort": "p-1", "version": 1, "schema": 1, "trained_on": 1, "effective_at": NOW, "weights": {}, "intercept": 0}
TEXT = json.dumps(observation()).encode()
GOOD: dict[str, dict[str, Any]] = {
    WEARABLE: observation(),
    CLINICAL: observation(),
    EVENTS: MEAL,
    PLACES: PLACE,
    PROFILES: PROFILE,
    DEVICES: {"patient_id": "p-1", "devices": []},
    OUTCOMES: {"id": "o", "patient_id": "p-1", "kind": "well", "occurred_at": NOW},
    COMMANDS: {"id": "c", "patient_id": "p-1", "alert_id": "a", "action": "acknowledge", "by": "n", "at": NOW},
    MODELS: MODEL,
}
BAD: list[tuple[str, str, Any]] = [
    ("tombstone", WEARABLE, Record(None)),
    ("tombstone", PROFILES, Record(None)),
    ("empty", WEARABLE, b""),
    ("too_large", WEARABLE, b'{"type":"observation","x":"' + b"x" * 1_000_000 + b'"}'),
    ("too_deep", WEARABLE, TEXT[:-1] + b',"x":' + b"[" * 40 + b"]" * 40 + b"}"),
    ("too_deep", WEARABLE, b"[" * 200_000),
    ("not_utf8", WEARABLE, TEXT[:-1] + b',"x":"\xff"}'),
    ("not_utf8", WEARABLE, TEXT[:-1] + b',"method":"\xc3\x28"}'),
    ("not_json", WEARABLE, b"   "),
    ("not_json", WEARABLE, b"HR=72"),
    ("not_json", WEARABLE, TEXT[:-1]),
    ("not_json", WEARABLE, TEXT + b"}"),
    ("not_json", WEARABLE, TEXT.replace(b"72", b"07")),
    ("not_json", WEARABLE, b"\xef\xbb\xbf" + TEXT),
    ("not_json", WEARABLE, b"nan"),
    ("not_json", WEARABLE, TEXT[:-1] + b',"x":"\x01"}'),
    ("not_json", WEARABLE, TEXT[:-1] + b',"method":"\\ud800"}'),
    ("not_finite", WEARABLE, TEXT.replace(b"72", b"NaN")),
    ("not_finite", WEARABLE, TEXT.replace(b"72", b"-Infinity")),
    ("not_finite", WEARABLE, TEXT.replace(b"72", b"1e999")),
    ("not_finite", WEARABLE, TEXT.replace(b"72", b"9" * 400)),
    ("not_json", WEARABLE, TEXT.replace(b"72", b"Information")),
    ("version", WEARABLE, observation(version=10**30)),
    ("not_finite", WEARABLE, json.dumps(series(values=[1.0, float("nan")])).encode()),
    ("not_finite", MODELS, json.dumps({**MODEL, "intercept": float("inf")}).encode()),
    ("wrong_type", WEARABLE, b"[]"),
    ("wrong_type", WEARABLE, b'"text"'),
    ("wrong_type", WEARABLE, b"12"),
    ("wrong_type", WEARABLE, observation(value="72")),
    ("wrong_type", WEARABLE, observation(value=True)),
    ("wrong_type", WEARABLE, observation(measured_at=[])),
    ("wrong_type", WEARABLE, observation(patient_id=5)),
    ("wrong_type", WEARABLE, observation(type=5)),
    ("wrong_type", WEARABLE, observation(version=1.5)),
    ("wrong_type", WEARABLE, series(values=[1, "2", 3])),
    ("wrong_type", WEARABLE, series(values=7)),
    ("missing_field", WEARABLE, observation(id=DROP)),
    ("missing_field", WEARABLE, observation(unit=DROP)),
    ("missing_field", WEARABLE, observation(type=DROP)),
    ("missing_field", WEARABLE, observation(measured_at=DROP, period={"start": NOW})),
    ("missing_field", EVENTS, {**MEAL, "type": "insulin", "kind": "rapid"}),
    ("missing_field", EVENTS, {**MEAL, "type": "insulin", "kind": "basal_rate", "dose_units": 3}),
    ("missing_field", EVENTS, {**MEAL, "type": "oxygen"}),
    ("missing_field", COMMANDS, {"id": "c", "patient_id": "p-1", "alert_id": "a", "action": "comment", "by": "n", "at": NOW}),
    ("invalid_value", WEARABLE, observation(type="panel")),
    ("invalid_value", WEARABLE, observation(status="done")),
    ("invalid_value", WEARABLE, observation(quality=1.5)),
    ("invalid_value", WEARABLE, observation(method="m" * 1001)),
    ("invalid_value", WEARABLE, series(interval_s=0)),
    ("invalid_value", EVENTS, {**MEAL, "carbohydrates_g": -5}),
    ("invalid_value", PROFILES, {**PROFILE, "limits": {"spo2": {"low": 95, "high": 90}}}),
    ("invalid_value", PROFILES, {**PROFILE, "age_years": 150}),
    ("invalid_value", MODELS, {**MODEL, "scales": {"a": 0}}),
    ("version", WEARABLE, observation(version=0)),
    ("version", WEARABLE, observation(version=1_000_001)),
    ("version", MODELS, {**MODEL, "version": 0}),
    ("identifier", WEARABLE, observation(patient_id="")),
    ("identifier", WEARABLE, observation(patient_id="p" * 129)),
    ("identifier", WEARABLE, Record(json.dumps(observation(patient_id="p\n1")).encode(), key=b"p\n1")),
    ("identifier", WEARABLE, Record(json.dumps(observation(patient_id="p\u200b1")).encode(), key="p\u200b1".encode())),
    ("identifier", WEARABLE, Record(json.dumps(observation(patient_id=" p-1")).encode(), key=b" p-1")),
    ("identifier", WEARABLE, Record(json.dumps(observation(patient_id="service")).encode(), key=b"service")),
    ("identifier", WEARABLE, observation(id="a\x00b")),
    ("identifier", MODELS, Record(json.dumps({**MODEL, "cohort": ""}).encode(), key=b"")),
    ("identifier", MODELS, Record(json.dumps({**MODEL, "cohort": "c" * 129}).encode(), key=b"c" * 129)),
    ("identifier", WEARABLE, observation(device_id="")),
    ("identifier", DEVICES, {"patient_id": "p-1", "devices": [{**DEVICE, "device_id": "w "}]}),
    ("key_mismatch", WEARABLE, Record(TEXT, key=b"p-2")),
    ("key_mismatch", WEARABLE, Record(TEXT, key=None)),
    ("key_mismatch", WEARABLE, Record(TEXT, key=b"\xff\xfe")),
    ("key_mismatch", PLACES, Record(json.dumps(PLACE).encode(), key=b"elsewhere")),
    ("key_mismatch", MODELS, Record(json.dumps(MODEL).encode(), key=b"ward")),
    ("key_mismatch", EVENTS, Record(json.dumps(MEAL).encode(), key=b"")),
    ("unknown_code", WEARABLE, observation(code="0000-0")),
    ("unknown_code", WEARABLE, observation(code="heart_rate")),
    ("unknown_code", WEARABLE, observation(code_system="http://snomed.info/sct")),
    ("unknown_code", PLACES, {**PLACE, "code": "heart_rate", "unit": "/min"}),
    ("unknown_code", PROFILES, {**PROFILE, "limits": {"pulse": {"low": 40}}}),
    ("unknown_unit", WEARABLE, observation(unit="bpm")),
    ("unknown_unit", WEARABLE, series(unit="%")),
    ("unknown_unit", WEARABLE, observation(unit="")),
    ("out_of_range", WEARABLE, observation(value=412)),
    ("out_of_range", WEARABLE, observation(value=0)),
    ("out_of_range", WEARABLE, observation(value=1e308, code="8310-5", unit="[degF]")),
    ("out_of_range", WEARABLE, series(values=[5, 6, 0.1])),
    ("out_of_range", CLINICAL, observation(code="8310-5", unit="[degF]", value=36.6)),
    ("out_of_range", CLINICAL, observation(code="17861-6", unit="mg/dL", value=1.15)),
    ("out_of_range", CLINICAL, observation(code="3150-6", unit="1", value=-50)),
    ("out_of_range", PLACES, {**PLACE, "value": -1}),
    ("no_value", WEARABLE, observation(value=DROP)),
    ("no_value", WEARABLE, observation(value=None)),
    ("no_value", WEARABLE, observation(absent_reason="not worn")),
    ("no_value", PLACES, {**PLACE, "value": None}),
    ("time_format", WEARABLE, observation(measured_at="01/03/2026 08:00")),
    ("time_format", WEARABLE, observation(measured_at="2026-03-01")),
    ("time_format", WEARABLE, observation(measured_at="")),
    ("time_format", WEARABLE, observation(issued_at="soon")),
    ("time_format", WEARABLE, observation(received_at="now")),
    ("time_format", EVENTS, {**MEAL, "at": "2026-02-30T08:00:00Z"}),
    ("time_without_offset", WEARABLE, observation(measured_at="2026-03-01T08:00:00")),
    ("time_without_offset", OUTCOMES, {"id": "o", "patient_id": "p-1", "kind": "well", "occurred_at": "2026-03-01 07:00:00"}),
    ("time_in_milliseconds", WEARABLE, observation(measured_at=NOW * 1000)),
    ("time_in_milliseconds", WEARABLE, series(start=NOW * 1000)),
    ("time_in_milliseconds", PROFILES, {**PROFILE, "valid_from": NOW * 1000}),
    ("time_too_old", WEARABLE, observation(measured_at="1899-12-31T23:59:59Z")),
    ("time_too_old", WEARABLE, observation(measured_at=-3e9)),
    ("time_in_future", WEARABLE, observation(measured_at=NOW + 301)),
    ("time_in_future", WEARABLE, observation(issued_at=NOW + 301)),
    ("time_in_future", WEARABLE, series(interval_s=1000)),
    ("time_in_future", WEARABLE, series(interval_s=1e308)),
    ("time_in_future", EVENTS, {**MEAL, "at": NOW + 3600}),
    ("time_in_future", EVENTS, {**MEAL, "until": "2301-01-01T00:00:00Z"}),
    ("when", WEARABLE, observation(measured_at=DROP)),
    ("when", WEARABLE, observation(period={"start": NOW - 60, "end": NOW})),
    ("when", WEARABLE, series(interval_s=DROP)),
    ("when", WEARABLE, series(start=DROP, interval_s=DROP)),
    ("when", WEARABLE, series(measured_at=[NOW, NOW, NOW])),
    ("period_reversed", WEARABLE, observation(measured_at=DROP, period={"start": NOW, "end": NOW - 60})),
    ("period_reversed", EVENTS, {**MEAL, "until": NOW - 1}),
    ("period_reversed", DEVICES, {"patient_id": "p-1", "devices": [{**DEVICE, "end": NOW - 1}]}),
    ("series_empty", WEARABLE, series(values=[])),
    ("series_too_long", WEARABLE, series(values=[5] * 100_001, interval_s=0.001)),
    ("series_lengths", WEARABLE, series(start=DROP, interval_s=DROP, measured_at=[NOW, NOW])),
    ("time_zone", PROFILES, {**PROFILE, "time_zone": "Mars/Olympus"}),
    ("time_zone", PROFILES, {**PROFILE, "time_zone": "../../etc/passwd"}),
    ("time_zone", PROFILES, {**PROFILE, "time_zone": ""}),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "topic", "record"), BAD, ids=[f"{n}-{reason}" for n, (reason, _, _) in enumerate(BAD)])
def test_bad_record_is_refused_with_its_reason(reason: str, topic: str, record: Any):
    headers = refused(topic, record)
    assert headers["reason"] == reason, headers["detail"]
    assert len(headers["detail"]) < 500
    assert headers["detail"].isprintable()


@pytest.mark.parametrize(("reason", "topic", "record"), BAD, ids=[f"{n}-{reason}" for n, (reason, _, _) in enumerate(BAD)])
def test_good_neighbours_are_not_held_up(reason: str, topic: str, record: Any):
    good = GOOD[topic]
    result = run(topic, good, record, good, record, good)
    made = [msgspec.json.decode(value, type=events.AnyInput) for _, value in result.inputs]
    assert sum(len(m.samples) if isinstance(m, events.Samples) else 1 for m in made) == 3
    assert len(result.rejected) == 2
    assert result.counts["accepted", topic] == 3
    assert result.counts["rejected", reason] == 2
    assert result.counts["absent", topic] == 0


def test_every_reason_is_in_the_table():
    assert {reason for reason, _, _ in BAD} == REASONS


def test_dead_letter_keeps_the_bytes_and_says_where_from():
    value = b'{"type": "observation", "value": \xff}'
    result = INGEST.run(WEARABLE, 5, [Record(value, key=b"\x00k", offset=99, timestamp=1234)], NOW)
    (letter,) = result.rejected
    headers = dict(letter.headers)
    assert (letter.topic, letter.key, letter.value) == ("dead.letters", b"\x00k", value)
    assert headers.pop("detail")
    assert headers == {
        "reason": b"not_utf8",
        "stage": b"ingest",
        "topic": b"wearable.observations",
        "partition": b"5",
        "offset": b"99",
        "at": b"1234",
    }


def test_dead_letter_of_what_would_not_fit_is_cut():
    value = b"x" * 2_000_001
    (letter,) = run(WEARABLE, Record(value, key=value)).rejected
    headers = dict(letter.headers)
    assert letter.value == letter.key == value[:65_536]
    assert headers["length"] == headers["key_length"] == b"2000001"
    assert headers["sha256"] == headers["key_sha256"] == hashlib.sha256(value).hexdigest().encode()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (observation(value=412, device_id="w-17"), "heart_rate 412 /min from device 'w-17' is outside 20 to 300 /min"),
        (series(values=[5, 6, 0.1]), "glucose 0.1 mmol/L at values[2] = 1.80182 mg/dL is outside 19 to 720 mg/dL"),
        (observation(unit="bpm"), "heart_rate in unit 'bpm' is not understood: use one of /min"),
        (series(values=[5, "6", 7]), "values[1]"),
        (observation(measured_at=NOW * 1000), "send seconds since 1970, 1772352000"),
        (observation(measured_at="2026-03-01T08:00:00"), "send 2026-03-01T08:00:00Z"),
        (series(start=DROP, interval_s=DROP, measured_at=[NOW, NOW + 1e4, NOW]), "measured_at[1]"),
    ],
)
def test_detail_names_the_thing_the_value_and_the_way_out(body: dict[str, Any], says: str):
    assert says in refused(WEARABLE, body)["detail"]


def test_bounds_are_those_given():
    strict = Ingest(CATALOG, Bounds(future_tolerance_s=0, max_bytes=600, max_depth=1, max_samples=2))
    assert refused(WEARABLE, observation(measured_at=NOW + 1), ingest=strict)["reason"] == "time_in_future"
    assert refused(WEARABLE, observation(method="m" * 600), ingest=strict)["reason"] == "too_large"
    assert refused(WEARABLE, observation(more={}), ingest=strict)["reason"] == "too_deep"
    tolerant = Ingest(CATALOG, Bounds(max_samples=2))
    assert refused(WEARABLE, series(), ingest=tolerant)["reason"] == "series_too_long"


def test_deep_strings_are_not_nesting():
    assert accepted(WEARABLE, observation(note="[{" * 100 + '\\"[')).value == 72


def test_many_limits_are_not_nesting():
    limits = {name: {"low": None} for name in list(CATALOG.signals)[:60]}
    assert len(accepted(PROFILES, {**PROFILE, "limits": limits}).profile.limits) == 60
