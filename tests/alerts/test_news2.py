"""The score against the chart of the publication, written down here a second time as first and last value of each field."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.alerts.news2 import PARAMETERS, Observations, not_applicable, score
from stream_twin.alerts.rules.news2 import told
from stream_twin.events import Profile
from stream_twin.twin.belief import Belief
from tests.alerts.beliefs import NOW

FIELDS = [
    ("respiratory_rate", [(3, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 80, 3)]),
    ("spo2", [(40, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)]),
    ("systolic_blood_pressure", [(30, 90, 3), (91, 100, 2), (101, 110, 1), (111, 219, 0), (220, 300, 3)]),
    ("heart_rate", [(20, 40, 3), (41, 50, 1), (51, 90, 0), (91, 110, 1), (111, 130, 2), (131, 300, 3)]),
    ("body_temperature", [(28.0, 35.0, 3), (35.1, 36.0, 1), (36.1, 38.0, 0), (38.1, 39.0, 1), (39.1, 43.0, 2)]),
]
SCALE_2_AIR = [(40, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0), (93, 100, 0)]
SCALE_2_OXYGEN = [(40, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0), (93, 94, 1), (95, 96, 2), (97, 100, 3)]

WELL = Observations(
    respiratory_rate=16,
    spo2=97,
    oxygen=False,
    systolic_blood_pressure=120,
    heart_rate=70,
    consciousness="alert",
    body_temperature=37.0,
)


def ends(fields):
    return [(value, points) for first, last, points in fields for value in (first, last)]


def test_who_is_well_scores_nothing():
    assert (score(WELL).low, score(WELL).high, score(WELL).red, score(WELL).missing) == (0, 0, (), ())


@pytest.mark.parametrize(("name", "value", "points"), [(name, *end) for name, fields in FIELDS for end in ends(fields)])
def test_every_boundary_of_the_chart(name, value, points):
    found = score(msgspec.structs.replace(WELL, **{name: value}))
    assert (found.low, found.high) == (points, points)
    assert found.points[name] == (points, points)
    assert found.red == ((name,) if points == 3 else ())


@pytest.mark.parametrize(("value", "points"), ends(SCALE_2_AIR))
def test_every_boundary_of_scale_2_on_air(value, points):
    found = score(msgspec.structs.replace(WELL, spo2=value), 2)
    assert (found.low, found.high, found.red) == (points, points, ("spo2",) if points == 3 else ())


@pytest.mark.parametrize(("value", "points"), ends(SCALE_2_OXYGEN))
def test_every_boundary_of_scale_2_on_oxygen(value, points):
    found = score(msgspec.structs.replace(WELL, spo2=value, oxygen=True), 2)
    assert (found.low, found.high, found.red) == (points + 2, points + 2, ("spo2",) if points == 3 else ())


@pytest.mark.parametrize(("value", "points"), ends(dict(FIELDS)["spo2"]))
def test_on_scale_1_oxygen_changes_no_field_of_the_saturation(value, points):
    found = score(msgspec.structs.replace(WELL, spo2=value, oxygen=True))
    assert (found.low, found.high) == (points + 2, points + 2)


@pytest.mark.parametrize("consciousness", ["confusion", "voice", "pain", "unresponsive"])
def test_who_is_not_alert_scores_3_and_that_is_red(consciousness):
    found = score(msgspec.structs.replace(WELL, consciousness=consciousness))
    assert (found.low, found.high, found.red) == (3, 3, ("consciousness",))


@pytest.mark.parametrize(
    ("name", "value", "points"),
    [
        ("respiratory_rate", 8.4, 3),  # reads as 8 in the chart
        ("respiratory_rate", 8.5, 1),  # reads as 9
        ("heart_rate", 130.4, 2),
        ("heart_rate", 130.5, 3),
        ("body_temperature", 38.04, 0),
        ("body_temperature", 38.05, 1),
        ("body_temperature", (100.4 - 32) / 1.8, 0),  # 38.0 °C from °F
        ("body_temperature", (102.4 - 32) / 1.8, 2),  # 39.1
    ],
)
def test_values_between_two_fields_are_rounded_as_people_do(name, value, points):
    assert score(msgspec.structs.replace(WELL, **{name: value})).low == points


def test_nothing_measured_is_not_well():
    found = score(Observations())
    assert (found.low, found.high) == (0, 3 + 3 + 2 + 3 + 3 + 3 + 3)
    assert found.missing == PARAMETERS


@pytest.mark.parametrize(("spo2", "low", "high"), [(92, 0, 2), (93, 0, 3), (96, 0, 4), (97, 0, 5), (83, 3, 5)])
def test_on_scale_2_unknown_oxygen_leaves_the_saturation_open(spo2, low, high):
    found = score(msgspec.structs.replace(WELL, spo2=spo2, oxygen=None), 2)
    assert (found.low, found.high) == (low, high)
    assert found.missing == ("oxygen",)
    assert found.red == (("spo2",) if spo2 == 83 else ())


values = st.fixed_dictionaries(
    {
        "respiratory_rate": st.floats(3, 80),
        "spo2": st.floats(40, 100),
        "oxygen": st.booleans(),
        "systolic_blood_pressure": st.floats(30, 300),
        "heart_rate": st.floats(20, 300),
        "consciousness": st.sampled_from(["alert", "confusion", "voice", "pain", "unresponsive"]),
        "body_temperature": st.floats(28, 43),
    }
)
scales = st.sampled_from([1, 2])
missing = st.sets(st.sampled_from(PARAMETERS))


@given(whole=values, scale=scales, missing=missing)
def test_the_range_contains_the_full_score(whole, scale, missing):
    full = score(Observations(**whole), scale)
    part = score(Observations(**{name: value for name, value in whole.items() if name not in missing}), scale)
    assert full.low == full.high
    assert part.low <= full.low <= part.high
    assert set(part.red) <= set(full.red)
    assert set(part.missing) == missing
    assert sum(low for low, _ in part.points.values()) == part.low


@given(whole=values, scale=scales, missing=missing)
def test_the_range_is_no_wider_than_what_is_missing_makes_it(whole, scale, missing):
    """Both ends are reached by some complete set: one that scores least, and one that scores most."""
    known = {name: value for name, value in whole.items() if name not in missing}
    part = score(Observations(**known), scale)
    spo2 = {"least": 90 if scale == 2 else 98, "most": 50}
    least = {**msgspec.structs.asdict(WELL), "spo2": spo2["least"], **known}
    most = {
        "respiratory_rate": 40,
        "spo2": spo2["most"],
        "oxygen": True,
        "systolic_blood_pressure": 60,
        "heart_rate": 200,
        "consciousness": "pain",
        "body_temperature": 30.0,
        **known,
    }
    assert score(Observations(**least), scale).low == part.low
    assert score(Observations(**most), scale).high == part.high


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"age_years": 15}, "15 years old"),
        ({"age_years": 0}, "0 years old"),
        ({"pregnant": True}, "pregnant"),
        ({"spinal_cord_injury": True}, "spinal-cord"),
        ({"age_years": 16}, None),
        ({}, None),
        ({"pregnant": False, "spinal_cord_injury": False}, None),
    ],
)
def test_for_whom_it_does_not_apply(profile, words):
    reason = not_applicable(Profile(patient_id="p", valid_from=0.0, **profile))
    assert (reason is None) if words is None else (words in reason)


def believed(**profile):
    return Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=0.0, **profile))


def test_what_is_told_of_the_score_now():
    assert told(believed(age_years=9)) == "NEWS2 does not apply: the patient is 9 years old, and it is for adults from 16"
    assert told(believed()).startswith(
        "NEWS2 0 to 20 (limit 5); not known: breathing, oxygen saturation, whether oxygen is given"
    )
    belief = believed()
    belief.consciousness = ("voice", NOW - 60)
    assert told(belief).startswith("NEWS2 3 to 20 (3 in one parameter): consciousness: voice (3); not known: breathing")
