"""Kinds that are well-formed and still wrong: codes, units, ranges, periods, series, and what only memory shows."""

from collections.abc import Callable, Iterator
from typing import Any

from msgspec import Raw

from benchmarks.rubbish import good
from benchmarks.rubbish.encodings import BOMB_TEXT
from benchmarks.rubbish.good import (
    CLINICAL,
    COMMANDS,
    DEVICES,
    EVENTS,
    MODELS,
    PLACES,
    PROFILES,
    REBUILDS,
    RULES,
    WEARABLE,
    Body,
    Case,
    Record,
    keyed,
    observation,
    series,
    timed_series,
)
from benchmarks.rubbish.kinds import Kind
from stream_twin.events import CATALOGUE, SERVICE
from stream_twin.signals import Catalogue, load

DROP = object()
Make = Callable[[Case], Body]


def _but(make: Callable[..., Body], **change: Any) -> Make:
    """The good message with these fields; DROP leaves one out; a function is asked with the case."""

    def bad(case: Case) -> Body:
        body = make(case)
        for name, value in change.items():
            body[name] = value(case) if callable(value) else value
        return {name: value for name, value in body.items() if value is not DROP}

    return bad


def _ago(seconds: float) -> Callable[[Case], float]:
    return lambda case: case.now - seconds


def _period(start: float, end: float) -> Callable[[Case], Body]:
    return lambda case: {"start": case.now - start, "end": case.now - end}


ONES: list[tuple[str, str, Make]] = [
    ("an unknown code", "unknown_code", _but(observation, code="00000-0")),
    ("a code with a wrong check digit", "unknown_code", _but(observation, code="8867-5")),
    ("a code with a blank", "unknown_code", _but(observation, code="8867-4 ")),
    ("a code in words", "unknown_code", _but(observation, code="heart_rate")),
    ("a signal's name in capitals", "unknown_code", _but(observation, code="HEART_RATE", code_system=CATALOGUE)),
    ("another code system", "unknown_code", _but(observation, code_system="http://snomed.info/sct")),
    ("LOINC over https", "unknown_code", _but(observation, code_system="https://loinc.org")),
    ("no code system", "unknown_code", _but(observation, code_system="")),
    ("a code system of 10,000 characters", "unknown_code", _but(observation, code_system="x" * 10_000)),
    ("a unit of everyday speech", "unknown_unit", _but(observation, unit="bpm")),
    ("a unit in capitals", "unknown_unit", _but(observation, unit="/MIN")),
    ("a unit with a blank", "unknown_unit", _but(observation, unit="/min ")),
    ("no unit", "unknown_unit", _but(observation, unit="")),
    ("a unit of another signal", "unknown_unit", _but(observation, unit="mm[Hg]")),
    ("neither a value nor a reason for none", "no_value", _but(observation, value=DROP)),
    ("a value that is null, without a reason", "no_value", _but(observation, value=None)),
    ("a value and a reason for none", "no_value", _but(observation, absent_reason="not worn")),
    ("no time", "when", _but(observation, measured_at=DROP)),
    ("a time and a period", "when", _but(observation, period=_period(60, 5))),
    ("a period that ends before it starts", "period_reversed", _but(observation, measured_at=DROP, period=_period(5, 60))),
    ("a period without an end", "missing_field", _but(observation, measured_at=DROP, period=lambda case: {"start": case.now})),
    ("a period that is a text", "wrong_type", _but(observation, measured_at=DROP, period="PT5M")),
    ("a period that reaches into the future", "time_in_future", _but(observation, measured_at=DROP, period=_period(60, -3600))),
    ("a value of 60 digits", "out_of_range", _but(observation, value=Raw(b"7" * 60))),
    ("a value that is nearly infinite", "out_of_range", _but(observation, value=1.7e308)),
    ("minus zero", "out_of_range", _but(observation, value=-0.0)),
    ("a value of 72 as Hertz", "out_of_range", _but(observation, unit="Hz", value=72)),
    ("a name twice, the second of another type", "wrong_type", _but(observation, quality=Raw(b'0.9,"value":"72"'))),
    ("a name twice, the second out of range", "out_of_range", _but(observation, quality=Raw(b'0.9,"value":720'))),
    ("the patient's name twice, the second another", "key_mismatch", _but(observation, quality=Raw(b'0.9,"patient_id":"zoe"'))),
    ("a gzip bomb in a field of text", "invalid_value", _but(observation, method=BOMB_TEXT)),
]
SERIES: list[tuple[str, str, Make]] = [
    ("no values", "series_empty", _but(series, values=[])),
    ("one value too many", "series_too_long", _but(series, values=[71] * 100_001, interval_s=0.0001)),
    ("fewer times than values", "series_lengths", _but(timed_series, measured_at=lambda case: [case.now - 9, case.now - 8])),
    ("more times than values", "series_lengths", _but(timed_series, measured_at=lambda case: [case.now - 9] * 4)),
    ("no times", "series_lengths", _but(timed_series, measured_at=[])),
    (
        "one time out of three in milliseconds",
        "time_in_milliseconds",
        _but(timed_series, measured_at=lambda c: [c.now, c.now * 1e3, c.now]),
    ),
    (
        "one time out of three without offset",
        "time_without_offset",
        _but(timed_series, measured_at=lambda c: [c.now, c.now, "2026-03-01T08:30:00"]),
    ),
    (
        "one time out of three tomorrow",
        "time_in_future",
        _but(timed_series, measured_at=lambda c: [c.now, c.now + 86_400, c.now]),
    ),
    ("one time out of three is null", "wrong_type", _but(timed_series, measured_at=lambda c: [c.now, None, c.now])),
    ("one time out of three is true", "wrong_type", _but(timed_series, measured_at=lambda c: [c.now, True, c.now])),
    ("no interval", "when", _but(series, interval_s=DROP)),
    ("no start", "when", _but(series, start=DROP)),
    ("no word about times", "when", _but(series, start=DROP, interval_s=DROP)),
    ("times said twice", "when", _but(series, measured_at=lambda case: [case.now] * 3)),
    ("a start beside times", "when", _but(timed_series, start=_ago(30))),
    ("an interval beside times", "when", _but(timed_series, interval_s=10)),
    ("reaches into the future", "time_in_future", _but(series, interval_s=86_400)),
    ("an interval that is nearly infinite", "time_in_future", _but(series, interval_s=1.7e308)),
    ("a NaN among the values", "not_finite", _but(series, values=[71, Raw(b"NaN"), 73])),
    ("a value not finite", "not_finite", _but(series, values=[71, Raw(b"-1e999"), 73])),
    ("a text among the values", "wrong_type", _but(series, values=[71, "72", 73])),
    ("a list among the values", "wrong_type", _but(series, values=[71, [72], 73])),
    ("one value out of range", "out_of_range", _but(series, values=[71, 7200, 73])),
    ("the last of 10,000 out of range", "out_of_range", _but(series, values=[71] * 9_999 + [0], interval_s=0.001)),
    ("an unknown code", "unknown_code", _but(series, code="00000-0")),
    ("an unknown unit", "unknown_unit", _but(series, unit="bpm")),
    ("tagged as an observation", "no_value", _but(series, type="observation", measured_at=_ago(5), interval_s=DROP)),
    ("values as base64", "wrong_type", _but(series, values="R0lGODlhAQABAAAAACw=")),
]
OTHERS: list[tuple[str, str, str, str, Make]] = [
    (EVENTS, "insulin", "a bolus without its dose", "missing_field", _but(good.insulin, dose_units=None)),
    (
        EVENTS,
        "insulin",
        "a basal rate without its rate",
        "missing_field",
        _but(good.insulin, kind="basal_rate", rate_units_per_h=None),
    ),
    (EVENTS, "insulin", "a dose of U-500 in U-100", "invalid_value", _but(good.insulin, dose_units=500)),
    (EVENTS, "oxygen", "neither flow nor fraction", "missing_field", _but(good.oxygen, flow_l_per_min=None, fraction=None)),
    (EVENTS, "oxygen", "a fraction in percent", "invalid_value", _but(good.oxygen, fraction=28)),
    (EVENTS, "meal", "over before it began", "period_reversed", _but(good.meal, until=_ago(3600))),
    (EVENTS, "encounter", "over before it began", "period_reversed", _but(good.encounter, until=_ago(3600))),
    (EVENTS, "observation", "on the topic of events", "invalid_value", observation),
    (EVENTS, "merge", "an event that does not exist", "invalid_value", _but(good.meal, type="merge")),
    (WEARABLE, "meal", "on the topic of wearables", "invalid_value", good.meal),
    (WEARABLE, "profile", "on the topic of wearables", "missing_field", good.profile),
    (CLINICAL, "air", "on the topic of the clinic", "missing_field", good.air),
    (PLACES, "air", "of a person's signal", "unknown_code", _but(good.air, code="heart_rate", unit="/min", value=70)),
    (PLACES, "air", "an unknown code", "unknown_code", _but(good.air, code="pm3")),
    (PLACES, "air", "an unknown unit", "unknown_unit", _but(good.air, unit="AQI")),
    (PLACES, "air", "less than nothing", "out_of_range", _but(good.air, value=-1)),
    (PLACES, "air", "the sensor's code for a fault", "out_of_range", _but(good.air, value=-9999)),
    (PLACES, "air", "neither a value nor a reason for none", "no_value", _but(good.air, value=None)),
    (PLACES, "air", "a value and a reason for none", "no_value", _but(good.air, absent_reason="fault")),
    (PROFILES, "profile", "limits of no signal", "unknown_code", _but(good.profile, limits={"pulse": {"low": 40}})),
    (
        PROFILES,
        "profile",
        "limits the wrong way round",
        "invalid_value",
        _but(good.profile, limits={"spo2": {"low": 95, "high": 90}}),
    ),
    (PROFILES, "profile", "limits that are equal", "invalid_value", _but(good.profile, limits={"spo2": {"low": 90, "high": 90}})),
    (PROFILES, "profile", "a limit that is a text", "wrong_type", _but(good.profile, limits={"spo2": {"low": "90"}})),
    (PROFILES, "profile", "a zone that does not exist", "time_zone", _but(good.profile, time_zone="Mars/Olympus")),
    (PROFILES, "profile", "a zone that is a path", "time_zone", _but(good.profile, time_zone="../../etc/passwd")),
    (PROFILES, "profile", "a zone that is an absolute path", "time_zone", _but(good.profile, time_zone="/etc/localtime")),
    (PROFILES, "profile", "a zone that is a folder", "time_zone", _but(good.profile, time_zone="Europe")),
    (PROFILES, "profile", "no zone", "time_zone", _but(good.profile, time_zone="")),
    (PROFILES, "profile", "a zone as an offset", "time_zone", _but(good.profile, time_zone="+01:00")),
    (PROFILES, "profile", "a zone with a NUL", "time_zone", _but(good.profile, time_zone="Europe/Zurich\0")),
    (PROFILES, "profile", "a zone as Windows names it", "time_zone", _but(good.profile, time_zone="W. Europe Standard Time")),
    (PROFILES, "profile", "a date of birth for an age", "wrong_type", _but(good.profile, age_years="1955-03-01")),
    (DEVICES, "devices", "over before it began", "period_reversed", lambda case: good.devices(case, end=case.now - 3600)),
    (DEVICES, "devices", "one that is null", "wrong_type", _but(good.devices, devices=[None])),
    (COMMANDS, "command", "a comment without its text", "missing_field", _but(good.command, action="comment", comment=None)),
    (COMMANDS, "command", "a comment that is empty", "missing_field", _but(good.command, action="comment", comment="")),
    (MODELS, "model", "a scale of zero", "invalid_value", _but(good.model, scales={"age": 0})),
    (MODELS, "model", "a scale below zero", "invalid_value", _but(good.model, scales={"age": -1})),
    (MODELS, "model", "version 0", "version", _but(good.model, version=0)),
    (MODELS, "model", "version -1", "version", _but(good.model, version=-1)),
    (MODELS, "model", "a weight that is NaN", "not_finite", _but(good.model, weights={"age": Raw(b"NaN")})),
    (MODELS, "model", "a weight that is not finite", "not_finite", _but(good.model, weights={"age": Raw(b"1e999")})),
    (MODELS, "model", "an intercept that is infinite", "not_finite", _but(good.model, intercept=Raw(b"Infinity"))),
    (RULES, "rules", "version 0", "version", _but(good.rules, version=0)),
    (MODELS, "model", "a pickle as base64", "wrong_type", _but(good.model, weights="gASVCwAAAAAAAAB9lIwBdpRLSHMu")),
]


# ------------------------------------------------------------------------------------------------------ every signal


def _signals(catalogue: Catalogue) -> Iterator[Kind]:
    """A value just outside of what is plausible, for every signal; of a person each as an observation."""
    for signal in catalogue.signals.values():
        low, high = signal.plausible
        place = signal.scale == "environment"
        topic, make = (PLACES, good.air) if place else (CLINICAL, observation)
        margin = (high - low) / 1000
        for way, value in (("below what is plausible", low - margin), ("above what is plausible", high + margin)):
            change = {"code": signal.name, "code_system": CATALOGUE, "unit": signal.unit, "value": value}
            yield _kind(topic, signal.name, way, "out_of_range", _but(make, **change))
        change = {"code": signal.name, "code_system": CATALOGUE, "unit": "furlong/wk", "value": (low + high) / 2}
        yield _kind(topic, signal.name, "in furlongs a week", "unknown_unit", _but(make, **change))


# ------------------------------------------------------------------------------------- what only the twin's memory shows

STRANGE_NAMES = {
    "named like the lane's sources": "lsources",
    "named like the lane's checkpoint": "lcheckpoint",
    "named like the lane's broadcast": "lbroadcast",
    "named like the key of a snapshot": "panna",
    "named p": "p",
    "named l": "l",
    "named like a topic of Kafka": "__consumer_offsets",
    "named like a path": "../../etc/passwd",
    "named like a query": "'; DROP TABLE patients; --",
    "named like markup": "[bold red]anna[/]",
    "named like a template": "{{ patient }}",
    "named like a format": "%s%s%n",
    "named null": "null",
    "named NaN": "NaN",
    "named 0": "0",
    "named true": "true",
    "named in Arabic": "مريض",
    "named in Chinese": "病人",
    "named by a smile": "\N{GRINNING FACE}",
    "named with an accent of its own": "re\N{COMBINING ACUTE ACCENT}ne",
    "named with 128 characters": "x" * 128,
    "named with 128 smiles": "\N{GRINNING FACE}" * 128,
    "named with a backslash": "an\\na",
    "named with quotes": 'an"na',
    "named with a colon": "an:na",
}


def _by(patient: str, **change: Any) -> Callable[[Case], Body]:
    return lambda case: observation(case, patient_id=getattr(case, patient, patient), **change)


def _conflict(make: Callable[..., Body], **change: Any) -> Callable[[Case], list[Record]]:
    """The same id and version twice, with another body."""

    def records(case: Case) -> list[Record]:
        first = make(case)
        second = {**first, **{name: value(case) if callable(value) else value for name, value in change.items()}}
        return [keyed(WEARABLE, first), keyed(WEARABLE, second)]

    return records


def _memory() -> Iterator[Kind]:
    for topic, called, make in (
        (WEARABLE, "observation", observation),
        (WEARABLE, "series", series),
        (CLINICAL, "observation", observation),
        (CLINICAL, "series", series),
    ):
        bad = _but(make, patient_id=lambda case: f"{case.run}-nobody-{case.number}")
        yield _kind(topic, called, "of an unknown patient", "unknown_patient", bad, "twin")
        for whose, who in (("who has left", "left"), ("who has died", "dead"), ("who has withdrawn consent", "unwilling")):
            bad = _but(make, patient_id=lambda case, who=who: getattr(case, who))
            yield _kind(topic, called, f"of a patient {whose}", "not_monitored", bad, "twin")
        mine = {"patient_id": lambda case: case.wearer}
        yield _kind(topic, called, "of a device of nobody", "unknown_device", _but(make, device_id="pump", **mine), "twin")
        yield _kind(
            topic,
            called,
            "of a device whose name is in capitals",
            "unknown_device",
            _but(make, device_id="WATCH", **mine),
            "twin",
        )
        yield _kind(topic, called, "of a device given back", "outside_assignment", _but(make, device_id="watch", **mine), "twin")
    before = _but(observation, patient_id=lambda case: case.wearer, device_id="patch", measured_at=_ago(7200))
    yield _kind(WEARABLE, "observation", "of a device before it was given", "outside_assignment", before, "twin")
    for way, name in STRANGE_NAMES.items():
        yield _kind(WEARABLE, "observation", f"of an unknown patient {way}", "unknown_patient", _by(name), "twin")
    yield _kind(WEARABLE, "observation", "of a patient named like the service's alerts", "identifier", _by(SERVICE))
    for way, change in (
        ("with another value", {"value": 73.0}),
        ("with another value by a millionth", {"value": 72.000001}),
        ("with another time", {"measured_at": _ago(6)}),
        ("with another unit", {"unit": "Hz", "value": 1.3}),
        ("taken back", {"status": "entered-in-error"}),
    ):
        yield Kind(WEARABLE, "observation", f"the same id {way}", "conflicting_body", _conflict(observation, **change), "twin")
    values = {"values": [81.0, None, 83.0]}
    yield Kind(WEARABLE, "series", "the same id with other values", "conflicting_body", _conflict(series, **values), "twin")
    later = {"start": _ago(31)}
    yield Kind(WEARABLE, "series", "the same id with other times", "conflicting_body", _conflict(series, **later), "twin")
    for action in ("acknowledge", "snooze", "resolve", "comment"):
        bad = _but(good.command, action=action, alert_id="nothing")
        yield _kind(COMMANDS, "command", f"{action} an alert that does not exist", "unknown_alert", bad, "twin")
    other = _but(good.command, patient_id=lambda case: f"{case.run}-nobody-{case.number}")
    yield _kind(COMMANDS, "command", "about an unknown patient", "unknown_alert", other, "twin")
    other = _but(good.rebuild_asked, patient_id=lambda case: f"{case.run}-nobody-{case.number}")
    yield _kind(REBUILDS, "rebuild_asked", "of an unknown patient", "unknown_patient", other, "twin")
    yield _kind(REBUILDS, "rebuilt", "that nobody waits for", "rebuild_refused", good.rebuilt, "twin")


def kinds() -> Iterator[Kind]:
    for topic in (WEARABLE, CLINICAL):
        for way, reason, make in ONES:
            yield _kind(topic, "observation", way, reason, make)
        for way, reason, make in SERIES:
            yield _kind(topic, "series", way, reason, make)
    for topic, called, way, reason, make in OTHERS:
        yield _kind(topic, called, way, reason, make)
    yield from _signals(load())
    yield from _memory()


def _kind(topic: str, called: str, way: str, reason: str, make: Make, stage: Any = "ingest") -> Kind:
    return Kind(topic, called, way, reason, lambda case: [keyed(topic, make(case))], stage)
