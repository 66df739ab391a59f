"""Kinds within one field: missing, null, of another type, too long, out of bounds; and every way to write a time wrongly.

They are derived from the types of :mod:`stream_twin.events`, so a new field brings its own.
"""

from collections.abc import Callable, Iterator
from typing import Any, get_args

import msgspec
from msgspec import Raw, inspect
from msgspec.inspect import Field

from benchmarks.rubbish import good
from benchmarks.rubbish.good import Body, Case, Record, keyed
from benchmarks.rubbish.kinds import Kind
from stream_twin import events

Message = tuple[str, str, type[msgspec.Struct], Callable[[Case], Body]]
MESSAGES: list[Message] = [
    (good.WEARABLE, "observation", events.Observation, good.observation),
    (good.WEARABLE, "series", events.Series, good.series),
    (good.CLINICAL, "observation", events.Observation, good.observation),
    (good.CLINICAL, "series", events.Series, good.series),
    (good.EVENTS, "insulin", events.Insulin, good.insulin),
    (good.EVENTS, "meal", events.Meal, good.meal),
    (good.EVENTS, "activity", events.Activity, good.activity),
    (good.EVENTS, "medication", events.Medication, good.medication),
    (good.EVENTS, "oxygen", events.Oxygen, good.oxygen),
    (good.EVENTS, "encounter", events.Encounter, good.encounter),
    (good.EVENTS, "finding", events.Finding, good.finding),
    (good.PLACES, "air", events.EnvironmentObservation, good.air),
    (good.PROFILES, "profile", events.Profile, good.profile),
    (good.DEVICES, "devices", events.DeviceAssignments, good.devices),
    (good.OUTCOMES, "outcome", events.Outcome, good.outcome),
    (good.COMMANDS, "command", events.AlertCommand, good.command),
    (good.REBUILDS, "rebuild_asked", events.RebuildAsked, good.rebuild_asked),
    (good.REBUILDS, "rebuilt", events.Rebuilt, good.rebuilt),
    (good.MODELS, "model", events.ModelParameters, good.model),
    (good.RULES, "rules", events.RuleConfiguration, good.rules),
]
NAMES = frozenset({"id", "patient_id", "device_id", "place", "cohort", "code", "alert_id", "by"})
"""Fields that ingest calls identifiers."""
CHECKED = NAMES - {"alert_id", "by", "code"}
"""Of these also the characters are checked."""
PLANNED = frozenset({"until", "valid_from", "paused_until", "start", "end", "effective_at"})
"""Times that may lie in the future, but for the start of a series."""

OTHERS: dict[str, Any] = {"a number": 7, "a text": "seven", "true": True, "a list": [7], "an object": {"seven": 7}, "null": None}
FITTING: dict[type[inspect.Type], set[str]] = {
    inspect.StrType: {"a text"},
    inspect.IntType: {"a number"},
    inspect.FloatType: {"a number"},
    inspect.BoolType: {"true"},
    inspect.BytesType: {"a text"},
    inspect.ListType: {"a list"},
    inspect.DictType: {"an object"},
    inspect.StructType: {"an object"},
    inspect.NoneType: {"null"},
}

INSTANTS: list[tuple[str, str, Callable[[float], Any]]] = [
    ("a time in words", "time_format", lambda now: "yesterday at noon"),
    ("an empty time", "time_format", lambda now: ""),
    ("a date alone", "time_format", lambda now: "2026-03-01"),
    ("a time of day alone", "time_format", lambda now: "08:30:00"),
    ("a date as in Germany", "time_format", lambda now: "01.03.2026 08:30"),
    ("a date as in America", "time_format", lambda now: "3/1/2026 8:30 AM"),
    ("a time as in mail", "time_format", lambda now: "Sun, 01 Mar 2026 08:30:00 +0000"),
    ("a time of HL7", "time_format", lambda now: "20260301083000+0100"),
    ("a week date", "time_format", lambda now: "2026-W09-7T08:30:00Z"),
    ("the 30th of February", "time_format", lambda now: "2026-02-30T08:30:00Z"),
    ("the 29th of February 2025", "time_format", lambda now: "2025-02-29T08:30:00Z"),
    ("month 13", "time_format", lambda now: "2026-13-01T08:30:00Z"),
    ("month 0", "time_format", lambda now: "2026-00-01T08:30:00Z"),
    ("hour 25", "time_format", lambda now: "2026-03-01T25:30:00Z"),
    ("minute 60", "time_format", lambda now: "2026-03-01T08:60:00Z"),
    ("second 61", "time_format", lambda now: "2026-03-01T08:30:61Z"),
    ("an offset of 99 h", "time_format", lambda now: "2026-03-01T08:30:00+99:00"),
    ("a zone's name", "time_format", lambda now: "2026-03-01T08:30:00 Europe/Zurich"),
    ("a year of 5 digits", "time_format", lambda now: "12026-03-01T08:30:00Z"),
    ("digits of full width", "time_format", lambda now: "２０２６-03-01T08:30:00Z"),
    ("seconds as a text", "time_format", lambda now: str(round(now))),
    ("a blank before it", "time_format", lambda now: " 2026-03-01T08:30:00Z"),
    ("a NUL behind it", "time_format", lambda now: "2026-03-01T08:30:00Z\0"),
    ("no offset", "time_without_offset", lambda now: "2026-03-01T08:30:00"),
    ("no offset, with a blank", "time_without_offset", lambda now: "2026-03-01 08:30:00.250"),
    ("milliseconds", "time_in_milliseconds", lambda now: round(now * 1000)),
    ("milliseconds with a fraction", "time_in_milliseconds", lambda now: now * 1000 + 0.5),
    ("milliseconds before 1970", "time_in_milliseconds", lambda now: -60_000_000_000),
    ("microseconds", "time_in_future", lambda now: round(now * 1e6)),
    ("nanoseconds", "time_in_future", lambda now: round(now * 1e9)),
    ("the end of time", "time_in_future", lambda now: 9e99),
    ("the year 2301", "time_in_future", lambda now: "2301-01-01T00:00:00Z"),
    ("the year 9999", "time_in_future", lambda now: "9999-12-31T23:59:59Z"),
    ("the year 1899", "time_too_old", lambda now: "1899-12-31T23:59:59Z"),
    ("the year 1601, where Windows begins", "time_too_old", lambda now: -11_644_473_600),
    ("the year 1", "time_too_old", lambda now: "0001-01-01T00:00:00Z"),
    ("the beginning of time", "time_too_old", lambda now: -9e99),
    ("not finite", "not_finite", lambda now: Raw(b"1e999")),
    ("400 digits", "not_finite", lambda now: Raw(b"7" * 400)),
    ("true", "wrong_type", lambda now: True),
    ("a list", "wrong_type", lambda now: [now]),
    ("an object", "wrong_type", lambda now: {"seconds": now}),
]
FUTURE: list[tuple[str, str, Callable[[float], Any]]] = [
    ("six minutes ahead", "time_in_future", lambda now: now + 360),
    ("a time zone ahead", "time_in_future", lambda now: now + 2 * 3600),
    ("a year ahead", "time_in_future", lambda now: now + 365 * 86_400),
    ("the year 2106, where 32 bits end", "time_in_future", lambda now: 2**32 - 1),
]

UNPRINTABLE = {
    "a line break": "\n",
    "a tab": "\t",
    "a NUL": "\0",
    "an escape sequence": "\x1b[2J",
    "a delete": "\x7f",
    "a blank of no width": "\u200b",
    "a change of direction": "\u202e",
    "a byte order mark": "\ufeff",
    "a soft hyphen": "\u00ad",
    "a blank that does not break": "\u00a0",
    "a line separator": "\u2028",
    "a character of private use": "\ue000",
    "a code that is no character": "\uffff",
}


def kinds() -> Iterator[Kind]:
    for message in MESSAGES:
        topic, called, struct, make = message
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        if info.tag is not None:
            yield from _tag(message)
        for field in info.fields:
            for way, reason, value in _field(field, called):
                yield Kind(
                    topic, called, f"{field.encode_name}: {way}", reason, _changed(topic, make, (field.encode_name,), value)
                )
    yield from _inner()


def _inner() -> Iterator[Kind]:
    """Of objects within messages."""

    def with_period(case: Case) -> Body:
        body = good.observation(case, period={"start": case.now - 60, "end": case.now - 5})
        del body["measured_at"]
        return body

    inner: list[tuple[str, str, type[msgspec.Struct], Callable[[Case], Body], tuple[Any, ...]]] = [
        (good.WEARABLE, "observation", events.Period, with_period, ("period",)),
        (good.DEVICES, "devices", events.AssignedDevice, good.devices, ("devices", 0)),
        (good.PROFILES, "profile", events.Limits, good.profile, ("limits", "heart_rate")),
    ]
    for topic, called, struct, make, path in inner:
        info = inspect.type_info(struct)
        assert isinstance(info, inspect.StructType)
        for field in info.fields:
            for way, reason, value in _field(field, called, limited=called == "observation"):
                within = ".".join(map(str, (*path, field.encode_name)))
                yield Kind(topic, called, f"{within}: {way}", reason, _changed(topic, make, (*path, field.encode_name), value))


Value = Callable[[Case], Any]
MISSING = object()


def _field(field: Field, called: str, limited: bool | None = None) -> Iterator[tuple[str, str, Value]]:
    """(way, reason, the field's value) of everything that can be wrong with a field by its type alone."""
    name, info = field.encode_name, field.type
    types = info.types if isinstance(info, inspect.UnionType) else (info,)
    if field.required:
        yield "missing", "missing_field", lambda case: MISSING
    if {inspect.StrType, inspect.FloatType} <= set(map(type, types)) and name != "value":
        yield from _instant(name, limited if limited is not None else name not in PLANNED or called == "series")
        if not any(isinstance(one, inspect.NoneType) for one in types):
            yield "null", "wrong_type", lambda case: None
        return
    fitting = set[str]().union(*(_fits(one) for one in types))
    for way, value in OTHERS.items():
        if way not in fitting:
            yield way, "wrong_type", _always(value)
    for one in types:
        yield from _bounds(one, name)


def _fits(one: inspect.Type) -> set[str]:
    if isinstance(one, inspect.LiteralType):
        return {"a text"} if isinstance(one.values[0], str) else {"a number"}
    return FITTING[type(one)]


def _bounds(one: inspect.Type, name: str) -> Iterator[tuple[str, str, Value]]:
    if isinstance(one, inspect.LiteralType):
        if isinstance(one.values[0], str):
            yield "a word that is not allowed", "invalid_value", _always("perhaps")
            yield "an allowed word in capitals", "invalid_value", _always(one.values[0].upper() + " ")
            yield "no word", "invalid_value", _always("")
            yield "what writes on a terminal", "invalid_value", _always("\x1b[2J\x7f\u202e")
            yield "10,000 characters", "invalid_value", _always("x" * 10_000)
        else:
            yield "a number that is not allowed", "invalid_value", _always(99)
    elif isinstance(one, inspect.StrType):
        if one.max_length is not None:
            yield "too long", "identifier" if name in NAMES else "invalid_value", _always("x" * (one.max_length + 1))
        if one.min_length is not None:
            yield "empty", "identifier" if name in NAMES else "invalid_value", _always("")
        if name in CHECKED:
            for way, text in UNPRINTABLE.items():
                yield way, "identifier", _always(f"an{text}na")
            yield "a blank before it", "identifier", _always(" anna")
            yield "a blank behind it", "identifier", _always("anna ")
            yield "a blank", "identifier", _always(" ")
    elif isinstance(one, inspect.IntType | inspect.FloatType):
        refused = "version" if name == "version" else "invalid_value"
        if isinstance(one, inspect.IntType):
            yield "a fraction", "wrong_type", _always(1.5)
        yield "not finite", "not_finite", _always(Raw(b"1e999"))
        yield "NaN", "not_finite", _always(Raw(b"NaN"))
        low = one.ge if one.ge is not None else one.gt
        if low is not None:
            yield "too small", refused, _always(low - 1)
            yield "far too small", refused, _always(-(2**62))
        if one.gt is not None:
            yield "at its bound", refused, _always(one.gt)
        if one.le is not None:
            yield "too large", refused, _always(one.le + 1)
            yield "far too large", refused, _always(2**62)
    elif isinstance(one, inspect.ListType) and name != "measured_at":
        yield "a text within", "wrong_type", _always(["seven"])
        yield "a list within", "wrong_type", _always([[7]])
        yield "true within", "wrong_type", _always([True])
    elif isinstance(one, inspect.DictType):
        yield "a list within", "wrong_type", _always({"seven": [7]})
        yield "null within", "wrong_type", _always({"seven": None})
        yield "true within", "wrong_type", _always({"seven": True})


def _instant(name: str, limited: bool) -> Iterator[tuple[str, str, Value]]:
    for way, reason, write in INSTANTS + (FUTURE if limited else []):
        yield way, reason, lambda case, write=write: write(case.now)


def _tag(message: Message) -> Iterator[Kind]:
    topic, called, _, make = message
    for way, reason, value in (
        ("missing", "missing_field", MISSING),
        ("a word that is not allowed", "invalid_value", "panel"),
        ("in capitals", "invalid_value", "OBSERVATION"),
        ("empty", "invalid_value", ""),
        ("what writes on a terminal", "invalid_value", "\x1b[2J\x7f\u202e"),
        ("100,000 characters", "invalid_value", "x" * 100_000),
        ("null", "wrong_type", None),
        ("a number", "wrong_type", 7),
        ("a list", "wrong_type", ["observation"]),
    ):
        yield Kind(topic, called, f"type: {way}", reason, _changed(topic, make, ("type",), _always(value)))


def _always(value: Any) -> Value:
    return lambda case: value


def _changed(topic: str, make: Callable[[Case], Body], path: tuple[Any, ...], value: Value) -> Callable[[Case], list[Record]]:
    """The good message with one field replaced or left out, keyed as it says itself where it says something."""

    def bad(case: Case) -> list[Record]:
        body = make(case)
        record = keyed(topic, body)
        inner: Any = body
        for step in path[:-1]:
            inner = inner[step]
        new = value(case)
        if new is MISSING:
            del inner[path[-1]]
        else:
            inner[path[-1]] = new
        # Keyed as it names itself, so that the name is what is wrong, not the key.
        return [keyed(topic, body) if isinstance(new, str) else record._replace(value=good.encode(body))]

    return bad


assert set(get_args(events.PatientBody)) <= {struct for _, _, struct, _ in MESSAGES}
