"""The simulated ward: the same stream every time, valid except where it is meant not to be, and alive."""

import hashlib
import json
import os
import statistics
import subprocess
import sys
from collections import Counter, defaultdict
from datetime import datetime
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from stream_twin import signals
from stream_twin.datasets.recording import CLINICAL, DEVICES, ENVIRONMENT, HAPPENED, HOUR, OUTCOMES, PROFILES, WEARABLE, Sent
from stream_twin.datasets.ward import START, Ward
from stream_twin.datasets.ward_rubbish import KINDS, rubbish
from stream_twin.datasets.ward_stories import FROZEN, HYPOGLYCAEMIA, SILENT
from stream_twin.events import (
    DeviceAssignments,
    EnvironmentObservation,
    Insulin,
    Meal,
    Observation,
    Outcome,
    PatientBody,
    Profile,
    Series,
)

TYPES = {
    WEARABLE: Observation | Series,
    CLINICAL: Observation | Series,
    HAPPENED: PatientBody,
    ENVIRONMENT: EnvironmentObservation,
    PROFILES: Profile,
    DEVICES: DeviceAssignments,
    OUTCOMES: Outcome,
}


def is_rubbish(sent: Sent) -> bool:
    return b"gateway-07" in sent.value or b"g\xe4teway" in sent.value


@pytest.fixture(scope="module")
def day() -> list[Sent]:
    return list(Ward(hours=26))


@pytest.fixture(scope="module")
def decoded(day: list[Sent]) -> list[tuple[Sent, Any]]:
    return [(sent, msgspec.json.decode(sent.value, type=TYPES[sent.topic])) for sent in day if not is_rubbish(sent)]


@pytest.fixture(scope="module")
def read(decoded: list[tuple[Sent, Any]]) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(patient, signal) -> (seconds after the start, value) of the samples whose time is in seconds, in order of measurement."""
    catalogue, values = signals.load(), defaultdict(list)
    for sent, body in decoded:
        if isinstance(body, Observation) and isinstance(body.measured_at, float) and body.value is not None:
            signal = catalogue.find(body.code_system, body.code)
            assert signal is not None
            factor, offset = signal.units.get(body.unit, (1.0, 0.0))
            values[sent.key.decode(), signal.name].append((body.measured_at - START, body.value * factor + offset))
    return {key: sorted(rows) for key, rows in values.items()}


def mean(rows: list[tuple[float, float]], begin_h: float, end_h: float) -> float:
    return statistics.fmean(value for at, value in rows if begin_h * HOUR <= at < end_h * HOUR)


DIGEST = """
import hashlib
from stream_twin.datasets.ward import Ward
digest = hashlib.sha256()
for sent in Ward(patients=9, seed=5, hours=4):
    digest.update(repr(sent).encode())
print(digest.hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    digests = set()
    for hash_seed in ("0", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        run = subprocess.run([sys.executable, "-c", DIGEST], env=environment, capture_output=True, text=True, check=True)
        digests.add(run.stdout.strip())
    here = hashlib.sha256()
    ward = Ward(patients=9, seed=5, hours=4)
    next(iter(ward))  # a first, unfinished iteration leaves nothing behind
    for sent in ward:
        here.update(repr(sent).encode())
    assert digests == {here.hexdigest()}


def test_another_seed_is_another_ward() -> None:
    assert list(Ward(patients=2, seed=1, hours=0.1)) != list(Ward(patients=2, seed=2, hours=0.1))


def test_a_person_is_the_same_in_a_ward_of_any_size() -> None:
    small, large = ([sent for sent in Ward(n, hours=1) if sent.key == b"home-02" and not is_rubbish(sent)] for n in (3, 12))
    assert small == large
    assert len(small) > 1000


def test_messages_come_in_the_order_of_sending_and_never_before_they_were_measured(
    decoded: list[tuple[Sent, Any]], day: list[Sent]
) -> None:
    assert all(a.at <= b.at for a, b in pairwise(day))
    for sent, body in decoded:
        if isinstance(body, Observation) and isinstance(body.measured_at, float):
            assert body.measured_at <= sent.at
        if isinstance(body, Series):
            assert body.start + (len(body.values) - 1) * body.interval_s <= sent.at


def test_everything_but_the_rubbish_is_valid(decoded: list[tuple[Sent, Any]]) -> None:
    catalogue = signals.load()
    for sent, body in decoded:
        if isinstance(body, Observation | Series | EnvironmentObservation):
            signal = catalogue.find(body.code_system, body.code)
            assert signal is not None, body.code
            assert body.unit == signal.unit or body.unit in signal.units, body
            factor, offset = signal.units.get(body.unit, (1.0, 0.0))
            for value in body.values if isinstance(body, Series) else [body.value]:
                low, high = signal.plausible
                assert value is None or low <= value * factor + offset <= high, body
        assert sent.key.decode() == (body.place if isinstance(body, EnvironmentObservation) else body.patient_id)


def test_ids_are_used_once_except_by_corrections_and_what_a_bad_radio_repeats(decoded: list[tuple[Sent, Any]]) -> None:
    seen: dict[tuple[str, str, int], bytes] = {}
    repeated = Counter()
    for sent, body in decoded:
        if not hasattr(body, "id"):
            continue
        name = (sent.topic, body.id, getattr(body, "version", 1))
        if name in seen:
            assert seen[name] == sent.value
            repeated[sent.key] += 1
        seen[name] = sent.value
    assert set(repeated) == {b"home-08"}
    assert repeated[b"home-08"] > 300


def test_everybody_is_introduced_before_they_speak(day: list[Sent]) -> None:
    first = {}
    for sent in day:
        first.setdefault(sent.key, []).append(sent.topic)
    for number in range(1, 25):
        assert first[f"home-{number:02d}".encode()][:2] == [PROFILES, DEVICES]


def test_the_rate_is_of_the_order_that_the_demo_counts_on(day: list[Sent]) -> None:
    assert 0.30 < len(day) / (26 * HOUR) / 24 < 0.42


def test_hearts_beat_slower_at_night_and_bodies_are_cooler(read: dict) -> None:
    for number in (10, 11, 12, 14):
        heart, core = read[f"home-{number}", "heart_rate"], read[f"home-{number}", "body_temperature"]
        assert mean(heart, 19, 24) - mean(heart, 5, 10) > 4
        assert mean(core, 19, 24) - mean(core, 7, 11) > 0.2


def test_walking_drives_heart_and_breathing(decoded: list[tuple[Sent, Any]], read: dict) -> None:
    minutes = {}
    for sent, body in decoded:
        if sent.key == b"home-11" and isinstance(body, Series) and body.code == "steps_per_minute":
            minutes |= {round((body.start + i * body.interval_s - START) / 60): steps for i, steps in enumerate(body.values)}
    walking = [m for m in minutes if minutes[m] > 80 and minutes.get(m - 1, 0) > 80 and minutes.get(m - 2, 0) > 80]
    sitting = [m for m in minutes if m * 60 > 14 * HOUR and all(minutes.get(m - i) == 0 for i in range(8))]
    assert len(walking) > 10
    for signal, more in (("heart_rate", 15), ("respiratory_rate", 3)):
        rows = read["home-11", signal]
        then = {
            when: [value for at, value in rows if round(at / 60) in chosen] for when, chosen in (("w", walking), ("s", sitting))
        }
        assert statistics.fmean(then["w"]) - statistics.fmean(then["s"]) > more


def test_meals_come_with_insulin_and_glucose_rises_after_them(decoded: list[tuple[Sent, Any]], read: dict) -> None:
    rises, doses = [], 0
    for number in (5, 8, 11, 14, 17, 20, 23):
        events = [body for sent, body in decoded if sent.key == f"home-{number:02d}".encode()]
        doses += sum(isinstance(body, Insulin) and body.kind == "rapid" for body in events)
        glucose = read[f"home-{number:02d}", "glucose"]
        for body in events:
            if isinstance(body, Meal) and body.carbohydrates_g > 40:
                at = (msgspec.convert(body.at, type=datetime).timestamp() - START) / HOUR
                if 0.3 < at < 23:
                    rises.append(mean(glucose, at + 0.6, at + 1.1) - mean(glucose, at - 0.2, at + 0.05))
    assert doses >= len(rises) >= 10
    assert statistics.fmean(rises) > 15


def test_the_deterioration_is_under_way_within_the_first_hour(read: dict, decoded: list[tuple[Sent, Any]]) -> None:
    before, after = (0.0, 0.1), (0.9, 1.1)
    for signal, change in (("heart_rate", 10), ("respiratory_rate", 3), ("spo2", -3), ("body_temperature", 0.5)):
        rows = read["home-01", signal]
        assert (mean(rows, *after) - mean(rows, *before)) / change > 1, signal
    [outcome] = [
        body for sent, body in decoded if isinstance(body, Outcome) and body.kind == "deterioration" and sent.key == b"home-01"
    ]
    assert 5 * HOUR < outcome.issued_at - START < 5.2 * HOUR


def test_the_night_hypoglycaemia_falls_below_54_and_is_treated(read: dict, decoded: list[tuple[Sent, Any]]) -> None:
    glucose = read["home-02", "glucose"]
    assert min(value for at, value in glucose if at < HYPOGLYCAEMIA.begins_s) > 70
    assert min(value for at, value in glucose if HYPOGLYCAEMIA.begins_s < at < HYPOGLYCAEMIA.ends_s) < 54
    assert mean(glucose, 7, 8) > 60
    [outcome] = [body for _, body in decoded if isinstance(body, Outcome) and body.kind == "hypoglycaemia_treated"]
    assert HYPOGLYCAEMIA.begins_s < outcome.occurred_at - START < HYPOGLYCAEMIA.ends_s


def test_a_watch_falls_silent_and_speaks_again(read: dict) -> None:
    rows = read["home-04", "heart_rate"]
    assert not [at for at, _ in rows if SILENT.begins_s <= at < SILENT.ends_s]
    assert len([at for at, _ in rows if at < SILENT.begins_s]) > 100
    assert len([at for at, _ in rows if SILENT.ends_s <= at < SILENT.ends_s + HOUR]) > 600


def test_an_oximeter_freezes(read: dict) -> None:
    values = {value for at, value in read["home-06", "spo2"] if FROZEN.begins_s <= at < FROZEN.ends_s}
    assert len(values) == 1
    assert len({value for at, value in read["home-06", "spo2"] if at > FROZEN.ends_s}) > 2


def test_the_infection_takes_days(read: dict) -> None:
    wards = [sent for sent in Ward(3, hours=70) if sent.key == b"home-03" and sent.topic == WEARABLE and b"8310-5" in sent.value]
    core = [(body["measured_at"] - START, body["value"]) for body in (json.loads(sent.value) for sent in wards)]
    assert mean(core, 52, 56) - mean(core, 4, 8) > 1.0
    assert mean(read["home-03", "body_temperature"], 19, 20) < 37.2


def test_samples_are_late_and_out_of_order_and_corrected(decoded: list[tuple[Sent, Any]]) -> None:
    samples = [
        (sent, body)
        for sent, body in decoded
        if sent.key == b"home-08" and isinstance(body, Observation) and isinstance(body.measured_at, float)
    ]
    assert sum(sent.at - body.measured_at > 500 for sent, body in samples) > 50
    assert sum(a.measured_at > b.measured_at for (_, a), (_, b) in pairwise(samples)) > 1000
    again = [body for sent, body in decoded if sent.topic == CLINICAL and body.version == 2]
    assert {body.status for body in again} == {"corrected", "entered-in-error"}


def test_all_rubbish_comes_in_the_first_minutes_and_goes_on(day: list[Sent]) -> None:
    thrown = [sent.at - START for sent in day if is_rubbish(sent)]
    assert sum(at < 360 for at in thrown) > len(KINDS)
    assert sum(at > 20 * HOUR for at in thrown) > 200


def test_no_such_rubbish() -> None:
    with pytest.raises(ValueError, match="no rubbish of the kind 'nonsense'; there are cut off, not UTF-8"):
        rubbish("nonsense", number=0, patient="a", device="watch-01", stranger="b-02", at=0.0)


def test_an_empty_ward_is_refused() -> None:
    with pytest.raises(ValueError, match="a ward of 0 patients: at least 1 is needed"):
        Ward(0)


def test_stories_after_the_twelfth_hour_differ_by_seed() -> None:
    def outcomes(seed: int) -> list[tuple[str, str]]:
        stream = (msgspec.json.decode(sent.value, type=Outcome) for sent in Ward(10, seed, hours=40) if sent.topic == OUTCOMES)
        return [(outcome.patient_id, outcome.kind) for outcome in stream if outcome.kind == "deterioration"]

    first, second = outcomes(1), outcomes(2)
    assert len(first) >= 2
    assert first != second
