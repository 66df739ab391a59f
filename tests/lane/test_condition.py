"""What events say of oxygen and consciousness, at any moment and in any order of arrival."""

from math import inf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.events import CATALOGUE, LOINC, Finding, Oxygen
from stream_twin.lane.condition import KEPT, SNOMED_CT, Condition, consciousness_of
from tests.lane.log import T0, Log, alerts, applied


def oxygen(number, at, **given):
    return Oxygen(id=f"o-{number}", patient_id="p", at=float(at), **given)


def found(number, at, value, code="consciousness", system=CATALOGUE, **given):
    return Finding(id=f"f-{number}", patient_id="p", at=float(at), code=code, code_system=system, value=value, **given)


def told(*events):
    condition = Condition()
    for event in events:
        condition.take(event)
    return condition


def test_nobody_told_is_not_air():
    assert told().oxygen_at(100) is None
    assert told().consciousness_at(100) is None


@pytest.mark.parametrize(
    ("given_values", "on"),
    [
        ({"flow_l_per_min": 2.0}, True),
        ({"flow_l_per_min": 0.0}, False),
        ({"fraction": 0.21}, False),
        ({"fraction": 0.24}, True),
        ({"fraction": 0.21, "flow_l_per_min": 40.0}, False),  # high flow of air
        ({}, True),
    ],
)
def test_what_means_oxygen(given_values, on):
    assert told(oxygen(1, 50, **given_values)).oxygen_at(100) == (on, 50)


def test_what_lasts_is_known_while_it_lasts_and_air_after_it():
    condition = told(oxygen(1, 50, flow_l_per_min=2.0, until=200.0))
    assert condition.oxygen_at(49) is None
    assert condition.oxygen_at(120) == (True, 120)
    assert condition.oxygen_at(200) == (False, 200)
    assert condition.oxygen_at(500) == (False, 200)


def test_the_newest_counts():
    condition = told(oxygen(1, 50, flow_l_per_min=2.0), oxygen(2, 90, flow_l_per_min=0.0))
    assert condition.oxygen_at(60) == (True, 50)
    assert condition.oxygen_at(100) == (False, 90)


def test_an_entry_in_error_leaves_what_was_there_before():
    wrong = oxygen(2, 90, flow_l_per_min=0.0)
    back = oxygen(2, 90, flow_l_per_min=0.0, version=2, status="entered-in-error")
    assert told(oxygen(1, 50, flow_l_per_min=2.0), wrong, back).oxygen_at(100) == (True, 50)


def test_a_corrected_entry_replaces():
    condition = told(found(1, 50, "confusion"), found(1, 55, "alert", version=2))
    assert condition.consciousness_at(100) == ("alert", 55)


@pytest.mark.parametrize(
    ("code", "system", "value", "answer"),
    [
        ("consciousness", CATALOGUE, "alert", "alert"),
        ("consciousness", CATALOGUE, "C", "confusion"),
        ("consciousness", CATALOGUE, " V ", "voice"),
        ("1104441000000107", SNOMED_CT, "450847001", "pain"),
        ("1104441000000107", SNOMED_CT, "Unresponsive", "unresponsive"),
        ("130987000", SNOMED_CT, None, "confusion"),
        ("consciousness", CATALOGUE, "sleepy", None),
        ("consciousness", CATALOGUE, 3.0, None),
        ("consciousness", LOINC, "alert", None),
        ("8302-2", LOINC, "alert", None),
    ],
)
def test_which_findings_are_of_consciousness(code, system, value, answer):
    finding = found(1, 50, value, code=code, system=system)
    assert consciousness_of(finding) == answer
    assert Condition().take(finding) == (answer is not None)


events = st.lists(
    st.builds(oxygen, st.integers(0, 5), st.integers(0, 50), flow_l_per_min=st.sampled_from([0.0, 2.0])),
    max_size=KEPT,
    unique_by=lambda event: event.id,
)


@given(events, st.randoms())
def test_the_order_of_arrival_does_not_matter(given_events, random):
    shuffled = list(given_events)
    random.shuffle(shuffled)
    assert told(*shuffled) == told(*given_events)


@given(events)
def test_it_survives_being_saved(given_events):
    condition = told(*given_events)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(condition), type=Condition) == condition


def test_no_more_is_kept_than_the_last():
    condition = told(*(oxygen(number, number, flow_l_per_min=1.0) for number in range(50)))
    assert len(condition.oxygen) == KEPT
    assert condition.oxygen_at(100) == (True, 49)


def test_oxygen_that_goes_on_is_not_ended_by_a_nebuliser_that_did():
    ward, nebuliser = oxygen(1, 0, flow_l_per_min=2.0), oxygen(2, 60, until=80.0, flow_l_per_min=8.0)
    assert told(ward, nebuliser).oxygen_at(70) == (True, 70)
    assert told(ward, nebuliser).oxygen_at(100) == (True, 0)
    assert told(ward, *(oxygen(n, 10 * n, until=10.0 * n + 5) for n in range(2, 30))).oxygen_at(400) == (True, 0)
    assert told(oxygen(1, 0, flow_l_per_min=0.0), nebuliser).oxygen_at(100) == (False, 80)


def test_when_the_next_entry_begins_or_ends():
    condition = told(oxygen(1, 50, until=90.0), found(2, 70, "alert"))
    assert [condition.next_change(at) for at in (0, 50, 70, 90)] == [50, 70, 90, inf]


@pytest.mark.parametrize("sample_in_between", [False, True])
def test_a_finding_dated_ahead_is_looked_at_when_its_time_has_come(sample_in_between):
    log = Log()
    log.profile("p")
    log.tick(T0)
    log.sample("p", "heart_rate", T0 - 5, 70.0, device_id="w")
    log.tick(T0 + 10)
    log.send("clinical.events", found(1, T0 + 200, "unresponsive"))
    if sample_in_between:
        log.sample("p", "heart_rate", T0 + 12, 71.0, device_id="w")
    for second in range(15, 900, 5):
        log.tick(T0 + second)
    _, outputs = applied(log.records)
    assert [(change.rule, change.state) for change in alerts(outputs)] == [("news2", "raised")]
