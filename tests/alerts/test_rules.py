"""What every rule must do, run over every rule there is: a new one is tested by being there."""

import copy
import math
from typing import get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings

from stream_twin.alerts.desk import AlertBook, Desk
from stream_twin.alerts.handling import PRIORITY
from stream_twin.alerts.rule import Alert, Standing
from stream_twin.alerts.rules import discover
from stream_twin.events import Profile
from stream_twin.twin.belief import Belief
from tests.alerts.beliefs import NOW, beliefs

RULES = discover()
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
UNTOLD = Standing({}, 0.0)
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def told(rule, belief, stage):
    """The standing in which all that the rule finds now is pending or raised already."""
    return Standing(
        {
            verdict.subject: Alert(
                stage=stage, problem=verdict.problem, priority=verdict.priority, kind=rule.kind, rule_version=1, since=NOW - 60
            )
            for verdict in rule.judge(belief, rule.defaults, UNTOLD)
        },
        0.0,
    )


def test_there_are_the_rules_that_the_service_promises():
    assert {rule.name for rule in RULES} >= {"limits", "deviation", "risk", "silence", "frozen"}
    assert [rule.name for rule in RULES] == sorted(rule.name for rule in RULES)


@every_rule
def test_it_says_what_it_is(rule):
    assert rule.version >= 1
    assert rule.kind in ("physiological", "technical")
    assert (type(rule).__doc__ or "").strip().endswith(".")
    given_ones = {case.priority for case in rule.priorities}
    assert list(dict.fromkeys(case.priority for case in rule.priorities)) == [
        p for p in ("high", "medium", "low") if p in given_ones
    ]
    assert all(case.when for case in rule.priorities)


@every_rule
def test_its_priorities_follow_from_harm_and_time_to_harm(rule):
    for case in rule.priorities:
        assert PRIORITY[case.harm, case.onset] == case.priority, f"{rule.name}: {case}"


@every_rule
def test_every_parameter_is_documented(rule):
    for name, hint in get_type_hints(type(rule.defaults), include_extras=True).items():
        meta = next((part for part in getattr(hint, "__metadata__", ()) if isinstance(part, msgspec.Meta)), None)
        assert meta is not None, name
        assert meta.description, name
        assert meta.description.endswith("."), name


@every_rule
def test_its_defaults_are_allowed_and_can_be_given_as_settings(rule):
    given_back = msgspec.json.decode(msgspec.json.encode(rule.defaults))
    assert rule.configure(given_back) == rule.defaults


@every_rule
def test_an_unknown_patient_gives_nothing(rule):
    belief = Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=0.0))
    assert list(rule.judge(belief, rule.defaults, UNTOLD)) == []
    assert rule.wake_at(belief, rule.defaults, UNTOLD) is None


@every_rule
@given(belief=beliefs())
@few
def test_it_is_pure(rule, belief):
    """The same belief, the same verdicts; neither belief nor rule is touched."""
    before, inside = copy.deepcopy(belief), dict(vars(rule))
    for stage in ("pending", "raised"):
        standing = told(rule, belief, stage)
        first = list(rule.judge(belief, rule.defaults, standing))
        assert (
            first
            == list(rule.judge(belief, rule.defaults, standing))
            == list(type(rule)().judge(before, rule.defaults, standing))
        )
        rule.wake_at(belief, rule.defaults, standing)
    assert belief == before
    assert dict(vars(rule)) == inside


@every_rule
@given(belief=beliefs())
@few
def test_its_verdicts_can_be_understood(rule, belief):
    for verdict in rule.judge(belief, rule.defaults, UNTOLD):
        if verdict.active:
            assert verdict.priority in {case.priority for case in rule.priorities}
            assert verdict.reason
            assert verdict.next_step.endswith(".")
        assert verdict.hold_s >= 0
        assert verdict.release_s >= 0
        assert all(value is None or isinstance(value, str) or math.isfinite(value) for value in verdict.evidence.values())


@every_rule
@given(belief=beliefs())
@few
def test_what_it_finds_stands_while_nothing_changes(rule, belief):
    """Hysteresis may only hold on: what is active stays active once people were told, with the same problem."""
    found = {(v.subject, v.problem) for v in rule.judge(belief, rule.defaults, UNTOLD) if v.active}
    for stage in ("pending", "raised"):
        standing = told(rule, belief, stage)
        assert found <= {(v.subject, v.problem) for v in rule.judge(belief, rule.defaults, standing) if v.active}


@every_rule
@given(belief=beliefs())
@few
def test_it_wants_to_be_woken_later_than_now(rule, belief):
    wake_at = rule.wake_at(belief, rule.defaults, UNTOLD)
    assert wake_at is None or wake_at > belief.complete_to


@given(belief=beliefs())
@few
def test_one_alert_per_subject_and_the_desk_wants_to_be_woken_later_than_now(belief):
    book = AlertBook()
    changes = Desk().judge(book, belief, 1)
    assert len({(change.rule, change.subject) for change in changes}) == len(changes)
    assert book.wake_at is None or book.wake_at > belief.complete_to
    assert Desk().judge(book, belief, 2) == []


@pytest.mark.parametrize(
    ("given_settings", "words"),
    [
        ({"limts": {}}, ["rules.limts", "deviation, "]),
        ({"limits": 3}, ["rules.limits = 3", "table"]),
        ({"limits": {"hold": 3}}, ["rules.limits.hold = 3", "there is no such parameter", "hold_s"]),
        ({"limits": {"hold_s": -3}}, ["rules.limits.hold_s = -3", ">= 0"]),
        ({"limits": {"hold_s": "long"}}, ["rules.limits.hold_s = 'long'", "float"]),
        ({"limits": {"urgent": {"spo2": [80]}}}, ["rules.limits.urgent", "length 2"]),
        ({"limits": {"handling": {"urgent": {}}}}, ["rules.limits.handling", "urgent", "enum"]),
        ({"limits": {"handling": {"low": {"tells": ["me"]}}}}, ["rules.limits.handling.low", "tells"]),
        ({"limits": {"handling": {"high": {"longest_snooze_s": 3600}}}}, ["handling.high.longest_snooze_s = 3600", "1800"]),
        ({"limits": {"handling": {"high": {"repeat_s": None}}}}, ["rules.limits.handling.high", "never left unanswered"]),
        ({"limits": {"handling": {"high": {"repeat_s": 1e12}}}}, ["rules.limits.handling.high.repeat_s = 1e+12", "900"]),
        ({"limits": {"handling": {"high": {"escalate_s": 1801}}}}, ["rules.limits.handling.high.escalate_s = 1801", "1800"]),
        ({"risk": {"raise_at": 0.9}}, ["rules.risk", "0.9", "clear_at < raise_at <= medium_at"]),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_what_is_allowed(given_settings, words):
    with pytest.raises(ValueError, match=r"rules\.") as error:
        Desk(given_settings)
    for word in words:
        assert word in str(error.value)


@every_rule
def test_a_rule_that_is_switched_off_resolves_what_it_had(rule):
    belief = Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=0.0))
    alert = Alert(stage="raised", priority="low", kind=rule.kind, rule_version=1, since=NOW, alert_id="a", sequence=1)
    book = AlertBook(alerts={rule.name: {"x": alert}})
    (change,) = Desk({rule.name: {"enabled": False}}).judge(book, belief, 1)
    assert (change.state, change.alert_id, change.sequence) == ("resolved", "a", 2)
    assert "no longer in use" in change.reason
    assert book.alerts == {}


def test_urgent_values_lie_beyond_the_catalogues_limits():
    """Else the catalogue's limits would have one priority only, or name a signal that does not exist."""
    from tests.alerts.beliefs import CATALOGUE

    limits = next(rule for rule in RULES if rule.name == "limits")
    for name, (low, high) in limits.defaults.urgent.items():
        lowest, highest = CATALOGUE[name].limits
        assert low is None or (lowest is not None and low <= lowest), name
        assert high is None or (highest is not None and high >= highest), name
