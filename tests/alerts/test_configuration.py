"""Parameters of rules from a file: what is wrong is named with its value and the way out, and the nearer goes first."""

import pytest

from stream_twin.alerts.configuration import ConfigurationError, Desks, read, settings_of
from stream_twin.alerts.desk import AlertBook
from stream_twin.events import Profile, RuleConfiguration
from stream_twin.twin.belief import Belief, DeviceBelief
from tests.alerts.timeline import MIDNIGHT, Reading, Timeline, Ward


def written(tmp_path, text):
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_as_it_says(tmp_path):
    path = written(
        tmp_path,
        """
        version = 3
        by = "dr-1"
        [rules.limits]
        hold_s = 120
        urgent.spo2 = [80, inf]
        [populations.ward.news2]
        hold_s = 60
        [patients."p-17".limits]
        hold_s = 300
        """,
    )
    assert read(path) == RuleConfiguration(
        version=3,
        by="dr-1",
        rules={"limits": {"hold_s": 120, "urgent": {"spo2": [80, None]}}},
        populations={"ward": {"news2": {"hold_s": 60}}},
        patients={"p-17": {"limits": {"hold_s": 300}}},
    )


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("[rules.limits]\nhold_s = -1", ["rules.limits.hold_s = -1", ">= 0", "How long a sensor's value", "180"]),
        ("[rules.limits]\nhold = 1", ["rules.limits.hold = 1", "write hold_s"]),
        ("[rules.limts]\nhold_s = 1", ["rules.limts", "write limits"]),
        ("[rules.zzz]\nhold_s = 1", ["rules.zzz", "there are ", "deviation, "]),
        ("[populations.wards.limits]\nhold_s = 1", ["populations.wards", "write ward"]),
        ('[populations.ward.limits]\nhold_s = "long"', ["populations.ward.limits.hold_s = 'long'", "float"]),
        ('[patients."p-1".limits]\nhold_s = -1', ["patients.p-1.limits.hold_s = -1"]),
        ('[patients."p-1".risk]\nraise_at = 0.9', ["patients.p-1.risk", "0.9", "clear_at < raise_at <= medium_at"]),
        ("[rules]\nlimits = 3", ["rules", "object", "[rules.RULE]"]),
        ("[rule.limits]\nhold_s = 1", ["rule = ", "there is no such section", "write rules"]),
        ("[rules.limits\n", ["rules.toml", "line 1"]),
        ("[rules.limits]\nmax_age_s = inf", ["rules.limits.max_age_s = null, inf or nan", "expected `float`"]),
        ("[rules.limits]\nhold_s = nan", ["rules.limits.hold_s = null, inf or nan"]),
        ("[rules.limits.handling.high]\nexpires_s = inf", ["rules.limits.handling.high", "expires_s"]),
        ("[rules.limits]\nadult_years = 1180591620717411303424", ["64 bits"]),
        ("version = 1180591620717411303424", ["version: expected `int` <= 9007199254740992"]),
        ("[rules.limits.handling.high]\nlongest_snooze_s = 7200", ["rules.limits.handling.high.longest_snooze_s", "1800"]),
    ],
)
def test_what_is_wrong_is_named_with_its_value_and_the_way_out(tmp_path, text, wanted):
    with pytest.raises(ConfigurationError) as error:
        read(written(tmp_path, text))
    (problem,) = error.value.problems
    for words in wanted:
        assert words in problem


def test_everything_that_is_wrong_is_told_at_once(tmp_path):
    text = """
    [rules.limits]
    hold_s = -1
    hold = 1
    [rules.silence]
    missed = "often"
    [populations.ward.risk]
    raise_at = 0.9
    """
    with pytest.raises(ConfigurationError) as error:
        read(written(tmp_path, text))
    assert [problem.split(" = ")[0] for problem in error.value.problems] == [
        "rules.limits.hold_s",
        "rules.limits.hold",
        "rules.silence.missed",
        "populations.ward.risk",
    ]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"none\.toml"):
        read(tmp_path / "none.toml")


CONFIGURATION = RuleConfiguration(
    version=0,
    rules={"limits": {"hold_s": 100, "release_s": 7}},
    populations={"ward": {"limits": {"hold_s": 200}, "silence": {"missed": 9}}},
    patients={"p-1": {"limits": {"hold_s": 400}}},
)


def test_the_nearer_goes_before_the_farther_parameter_by_parameter():
    assert settings_of(CONFIGURATION, None, "home") == {"limits": {"hold_s": 100, "release_s": 7}}
    ward = {"limits": {"hold_s": 200, "release_s": 7}, "silence": {"missed": 9}}
    assert settings_of(CONFIGURATION, "p-2", "ward") == ward
    assert settings_of(CONFIGURATION, "p-1", "ward") == {**ward, "limits": {"hold_s": 400, "release_s": 7}}


def raised_after(patient_id, population):
    """How long SpO2 of 87 % lasts before people are told."""
    desk, book = Desks(CONFIGURATION).of(patient_id, population), AlertBook()
    profile = Profile(patient_id=patient_id, valid_from=0.0, age_years=60)
    belief = Belief(patient_id, MIDNIGHT, MIDNIGHT, MIDNIGHT, profile, watched_since=MIDNIGHT - 86400)
    belief.devices["clip"] = DeviceBelief("clip", "streaming", 0.0)
    ward = Ward(Timeline(events=[(MIDNIGHT, lambda _: True)]))
    ward.belief = belief
    for second in range(0, 600, 10):
        belief.at = belief.clock = belief.complete_to = MIDNIGHT + second
        Reading("clip", "spo2", 87, MIDNIGHT + second).arrive(ward)
        if any(change.rule == "limits" for change in desk.judge(book, belief, second)):
            return second
    return None


@pytest.mark.parametrize(
    ("patient_id", "population", "seconds"),
    [("p-2", "home", 100), ("p-2", "ward", 200), ("p-1", "home", 400), ("p-1", "ward", 400)],
)
def test_each_patient_is_judged_by_their_own_parameters(patient_id, population, seconds):
    assert raised_after(patient_id, population) == seconds


def test_those_who_are_alike_share_a_desk():
    desks = Desks(CONFIGURATION)
    assert desks.of("p-2", "ward") is desks.of("p-3", "ward")
    assert desks.of("p-2", "home") is desks.of("p-3", "intensive_care")
    assert desks.of("p-1", "ward") is not desks.of("p-1", "home")
    plain = Desks()
    assert plain.of("p-1", "ward") is plain.of("p-2", "home")
