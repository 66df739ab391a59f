"""What people are told of the onset of an illness, day by day, by the desk."""

from datetime import date, timedelta

import pytest

from stream_twin.alerts.desk import AlertBook, Desk
from stream_twin.events import AlertChange, Profile
from stream_twin.twin.belief import Belief, OnsetBelief

DAY_S = 86400.0
NOON = 20_000.5 * DAY_S
USUAL = {"resting_heart_rate": 64.0, "rmssd": 40.0, "steps": 8000.0}
ILL = {"resting_heart_rate": 70.0, "rmssd": 32.0, "steps": 7900.0}


def day(number: int, evidence: float, chance: float, values: dict[str, float] | None = None, days: int = 60) -> OnsetBelief:
    values = USUAL if values is None else values
    when = date(2026, 2, 1) + timedelta(days=number)
    return OnsetBelief(when, NOON + number * DAY_S, evidence, chance, days, values, {name: USUAL[name] for name in values})


def told(*days: OnsetBelief, settings: dict[str, dict[str, object]] | None = None, after_s: float = 60.0) -> list[AlertChange]:
    """What the desk says, asked a minute after each day."""
    desk, book, changes = Desk(settings or {}), AlertBook(), list[AlertChange]()
    for offset, seen in enumerate(days):
        now = seen.at + after_s
        belief = Belief("p-1", now, now, now, Profile(patient_id="p-1", valid_from=0.0), watched_since=NOON - 90 * DAY_S)
        belief.onset = seen
        changes += desk.judge(book, belief, offset)
    return changes


def test_it_says_what_moved_and_how_rare_that_is() -> None:
    (change,) = told(day(0, 3.0, 0.008, ILL))
    assert (change.rule, change.state, change.priority, change.kind) == ("onset", "raised", "low", "physiological")
    assert change.reason == (
        "Signs of an illness in the day to 2026-02-01: resting heart rate 6 /min above usual (64), "
        "heart-rate variability 20% below usual (40); on a healthy day once in 125"
    )
    assert change.contributions["resting_heart_rate"] == pytest.approx(1.5)
    assert change.contributions["rmssd"] == pytest.approx(1.116, abs=1e-3)
    assert change.evidence["usual.rmssd"] == 40.0


def test_one_alert_until_the_days_speak_for_health() -> None:
    changes = told(day(0, 2.5, 0.01, ILL), day(1, 1.0, 0.2, ILL), day(2, -0.2, 0.4), day(3, -1.0, 0.6), day(4, 0.0, 0.3))
    assert [(change.state, change.at // DAY_S) for change in changes] == [
        ("raised", NOON // DAY_S),
        ("resolved", NOON // DAY_S + 3),
    ]
    assert "as is usual for this person" in changes[-1].reason


@pytest.mark.parametrize(
    "seen",
    [
        day(0, 3.0, 0.2, ILL),
        day(0, -0.1, 0.001, ILL),
        day(0, 3.0, 0.001, ILL, days=7),
    ],
    ids=["not rare for this person", "health is likelier", "the first week"],
)
def test_nobody_is_told(seen: OnsetBelief) -> None:
    assert told(seen) == []


def test_a_larger_budget_asks_for_less_and_a_smaller_one_for_more() -> None:
    seen = day(0, 1.5, 0.05, ILL)
    assert [bool(told(seen, settings={"onset": {"budget": budget}})) for budget in (0.5, 1.0)] == [False, True]


def test_a_day_long_over_is_not_judged() -> None:
    assert told(day(0, 3.0, 0.008, ILL), after_s=37 * 3600.0) == []
