"""What must come of the ward's stories, by the pure pipeline: ingest and one lane, without Kafka."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple

import msgspec
import pytest

from stream_twin import signals
from stream_twin.datasets.recording import HOUR, Sent
from stream_twin.datasets.ward import START, Ward
from stream_twin.datasets.ward_rubbish import KINDS, rubbish
from stream_twin.events import AlertChange, Estimate, Tick
from stream_twin.ingest import Ingest
from stream_twin.lane import Lane
from stream_twin.lane.settings import LaneSettings

HOURS, PATIENTS, TICK_S = 6.2, 10, 30.0
MINUTE = 60.0
REASONS = {
    "cut off": "not_json",
    "not UTF-8": "not_utf8",
    "NaN": "not_finite",
    "infinity": "not_finite",
    "text for a number": "wrong_type",
    "no code": "missing_field",
    "unknown code": "unknown_code",
    "unknown unit": "unknown_unit",
    "implausible value": "out_of_range",
    "empty patient id": "identifier",
    "key of somebody else": "key_mismatch",
    "milliseconds": "time_in_milliseconds",
    "two days ahead": "time_in_future",
    "year 1850": "time_too_old",
    "unequal series": "series_lengths",
    "nested too deep": "too_deep",
    "unknown patient": "unknown_patient",
    "device of somebody else": "unknown_device",
    "same id, other body": "conflicting_body",
}


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = 0


@dataclass
class Told:
    """What came out."""

    alerts: list[AlertChange] = field(default_factory=list)
    dead: list[tuple[str, bytes]] = field(default_factory=list)
    estimates: dict[str, list[Estimate]] = field(default_factory=lambda: defaultdict(list))
    fates: Counter[str] = field(default_factory=Counter)


@pytest.fixture(scope="module")
def told() -> Told:
    """Six hours of a small ward."""
    return pipeline(Ward(PATIENTS, hours=HOURS))


def pipeline(stream: Iterable[Sent]) -> Told:
    """Ticks between the messages as a player writes them."""
    catalogue, told = signals.load(), Told()
    ingest, lane = Ingest(catalogue), Lane(0, catalogue)
    offsets: Counter[str] = Counter()
    log: list[Record] = []

    ends = count()

    def put(key: bytes, value: bytes) -> None:
        log.append(Record(next(ends), key, value))

    configured = lane.configuration(LaneSettings(estimate_every_s=60.0))
    assert configured is not None
    put(b"", configured)
    tick = START
    for sent in stream:
        while sent.at >= tick + TICK_S:
            tick += TICK_S
            put(b"", msgspec.json.encode(Tick(clock=tick, complete_to=tick)))
            applied = lane.apply(log)
            log.clear()
            for _, output in applied.outputs:
                if output.topic == "alerts":
                    told.alerts.append(msgspec.json.decode(output.value, type=AlertChange))
                elif output.topic == "twin.estimates":
                    told.estimates[output.key.decode()].append(msgspec.json.decode(output.value, type=Estimate))
                elif output.topic == "dead.letters":
                    told.dead.append((dict(output.headers)["reason"].decode(), output.value))
        ingested = ingest.run(sent.topic, 0, [Record(offsets[sent.topic], sent.key, sent.value)], tick)
        offsets[sent.topic] += 1
        for key, value in ingested.inputs:
            put(key, value)
        told.dead += [(dict(output.headers)["reason"].decode(), output.value) for output in ingested.rejected]
    told.fates = lane.fates()
    return told


def changes(told: Told, patient: str, subject: str, but: str = "") -> list[tuple[str, float]]:
    """(state, minutes after the start) of the alerts of one patient about one subject, by all rules but one."""
    found = [c for c in told.alerts if (c.patient_id, c.subject) == (patient, subject) and c.rule != but]
    return [(change.state, (change.at - START) / MINUTE) for change in found]


def test_the_deterioration_is_alerted_within_its_first_hour(told: Told) -> None:
    raised = [
        at for subject in ("spo2", "respiratory_rate") for state, at in changes(told, "home-01", subject) if state == "raised"
    ]
    assert 20 < min(raised) < 75


def test_the_night_hypoglycaemia_is_alerted_and_escalated(told: Told) -> None:
    states = changes(told, "home-02", "glucose", but="forecast")
    assert [state for state, _ in states][:2] == ["raised", "escalated"]
    assert 3 * 60 < states[0][1] < states[1][1] < 5.5 * 60


def test_the_silent_watch_is_noticed_and_so_is_its_return(told: Told) -> None:
    [(raised, raised_at), (resolved, resolved_at)] = changes(told, "home-04", "watch-04")
    assert (raised, resolved) == ("raised", "resolved")
    assert 10 < raised_at < 40
    assert 190 < resolved_at < 200


def test_the_frozen_oximeter_is_noticed_and_so_is_its_mending(told: Told) -> None:
    [(raised, raised_at), (resolved, resolved_at)] = changes(told, "home-06", "oximeter-06")
    assert (raised, resolved) == ("raised", "resolved")
    assert 15 < raised_at < 135
    assert 255 < resolved_at < 270


def test_the_fast_fibrillation_is_alerted_and_ends(told: Told) -> None:
    states = changes(told, "home-10", "heart_rate")
    assert states[0][0] == "raised"
    assert 80 < states[0][1] < 95
    assert states[-1][0] == "latched"  # it was urgent, and nobody looks at this ward
    assert states[-1][1] < 135


def test_the_infection_is_alerted_on_its_second_or_third_day() -> None:
    told = pipeline(sent for sent in Ward(3, hours=60) if sent.key == b"home-03")
    raised = [(change.subject, (change.at - START) / HOUR) for change in told.alerts if change.state == "raised"]
    assert {subject for subject, _ in raised} <= {"body_temperature", "person", "score", "night"}
    assert 24 < min(at for _, at in raised) < 60


def test_nobody_else_is_alerted(told: Told) -> None:
    rubbish = [change for change in told.alerts if change.patient_id == "home-07"]
    assert {(change.rule, change.subject) for change in rubbish} == {("delivery", "watch-07")}
    others = {change.patient_id for change in told.alerts} - {"home-07"}
    assert others == {"home-01", "home-02", "home-04", "home-06", "home-10"}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_rubbish_ends_as_its_own_dead_letter(told: Told, kind: str) -> None:
    """Each kind is thrown once in this order before any comes again, so the first of its reason is the one meant."""
    number = KINDS.index(kind)
    mark = f'way-07/{number}"'.encode()
    found = [reason for reason, value in told.dead if mark in value]
    assert found == [REASONS[kind]]


def test_nothing_but_rubbish_is_rejected(told: Told) -> None:
    assert all(b"gateway-07" in value or b"g\xe4teway" in value for _, value in told.dead)
    assert told.fates["rejected"] == sum(
        reason in {"unknown_patient", "unknown_device", "conflicting_body"} for reason, _ in told.dead
    )


def test_the_bad_radio_is_counted(told: Told) -> None:
    assert told.fates["duplicate"] > 50
    assert told.fates["late"] > 10
    assert told.fates["failed"] == told.fates["held"] == 0


def test_beliefs_follow_the_bodies(told: Told) -> None:
    for number in (5, 7, 9):
        last = told.estimates[f"home-{number:02d}"][-1]
        assert abs(last.signals["heart_rate"].level - last.signals["heart_rate"].last_value) < 12
        assert (
            last.signals["body_temperature"].low
            < last.signals["body_temperature"].last_value
            < last.signals["body_temperature"].high
        )


def test_every_kind_of_rubbish_has_its_reason() -> None:
    assert set(REASONS) == set(KINDS)
    assert rubbish("NaN", number=0, patient="a", device="watch-01", stranger="b-02", at=START)[-1].value.count(b"NaN") == 1
