"""Days through the lane: judged at noon by the patient's clock, the same whatever the batches."""

import random
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_twin.alerts.onset import SIGNALS, Onset
from stream_twin.lane import Lane
from stream_twin.lane.days import EPOCH, KEPT, LONGEST_WAIT_S, NAMES, WAITS_S, Days
from stream_twin.lane.settings import LaneSettings
from tests.lane.log import CATALOGUE, Log, alerts, applied, state

ZONE = "Europe/Berlin"
FIRST = datetime(2025, 3, 10, tzinfo=ZoneInfo(ZONE))
HEART = "resting_heart_rate"
ILL = range(30, 36)


def at(day: int, hour: float = 0.0) -> float:
    """By the wall clock of the zone, whose summer begins on day 20."""
    midnight = datetime.combine(FIRST.date() + timedelta(days=day), datetime.min.time(), ZoneInfo(ZONE))
    return midnight.timestamp() + hour * 3600


def measured(days: int = 40) -> list[dict[str, float]]:
    chance = random.Random(5)
    return [
        {
            HEART: round(62 + chance.gauss(0, 1) + 7 * (day in ILL), 1),
            "rmssd": round(40 + chance.gauss(0, 3) - 12 * (day in ILL), 1),
            "steps_daily": float(round(8000 + chance.gauss(0, 1500))),
        }
        for day in range(days)
    ]


def sent(zone: str | None = ZONE, told_at: float = 7.5, kind: str = "syncing", every_s: int = 3600) -> Log:
    """The night is known in the morning, steps of the day before at midnight; told at some hour of the day."""
    log = Log()
    log.profile("p", age_years=40, time_zone=zone)
    values = measured()
    log.tick(at(0))
    waiting = list(range(len(values)))
    for now in range(int(at(0)), int(at(len(values), 18)), every_s):
        while waiting and at(waiting[0], told_at) <= now:
            day = waiting.pop(0)
            for name, value in values[day].items():
                moment = at(day) if name == "steps_daily" else at(day, 7)
                log.sample("p", name, moment, value, device_id="ring", device_kind=kind)
        log.tick(float(now + every_s))
    return log


def onsets(outputs):
    return [change for change in alerts(outputs) if change.rule == "onset"]


def test_an_illness_is_told_at_noon_with_what_moved() -> None:
    lane, outputs = applied(sent().records)
    raised, resolved = onsets(outputs)
    assert (raised.state, raised.priority) == ("raised", "low")
    assert any(at(day, 12) <= raised.at <= at(day, 14) for day in (30, 31, 32))
    assert "resting heart rate" in raised.reason
    assert "above usual (62)" in raised.reason
    assert "heart-rate variability" in raised.reason
    assert resolved.state == "resolved"
    onset = Onset()
    for day, values in enumerate(measured()):
        night = onset.follow((FIRST.date() - EPOCH).days + day, {NAMES[name]: value for name, value in values.items()})
    told = lane.belief("p").onset
    assert (told.evidence, told.chance, told.days, told.date) == (night.evidence, night.chance, 40, date(2025, 4, 18))


def test_without_a_time_zone_there_are_no_days() -> None:
    lane, outputs = applied(sent(zone=None).records)
    assert onsets(outputs) == []
    assert lane.belief("p").onset is None


@pytest.mark.parametrize("told_at", [15.0, 30.0])
def test_a_device_that_tells_a_day_after_its_noon(told_at: float) -> None:
    lane, outputs = applied(sent(told_at=told_at).records)
    assert onsets(outputs)[0].state == "raised"
    assert lane.belief("p").onset.days == 40


def test_a_streaming_device_may_tell_them_too() -> None:
    lane, _ = applied(sent(kind="streaming").records)
    assert lane.belief("p").onset.days == 40


def test_the_same_whatever_the_batches_and_after_a_restore() -> None:
    log = sent().records
    whole, outputs = applied(log)
    lane, parts = applied(log, batch=7)
    assert state(lane) == state(whole)
    assert onsets(parts) == onsets(outputs)
    half = len(log) * 4 // 5
    first, before = applied(log[:half])
    snapshots = [(key, first.snapshot(key)) for key in first.patients]
    restored = Lane.restore(0, CATALOGUE, first.checkpoint(), snapshots)
    after = restored.apply(log[half:]).outputs
    assert state(restored) == state(whole)
    assert onsets([*before, *after]) == onsets(outputs)


def test_a_day_of_summer_time_is_an_hour_shorter() -> None:
    days = Days()
    days.watch(ZONE, at(20, 13))
    assert (days.start, days.end) == (at(19, 12), at(19, 12) + 23 * 3600)


def test_a_day_of_which_nothing_is_known_is_waited_for_and_then_left_out() -> None:
    days = Days()
    days.watch(ZONE, at(4, 7))
    days.close({}, at(3, 12))
    assert (days.due, days.end) == (at(3, 12) + WAITS_S, at(3, 12))
    days.close({HEART: []}, at(3, 12) + LONGEST_WAIT_S)
    assert (days.told, days.end) == (None, at(4, 12))
    days.close({HEART: [60.0, 90.0, 61.0]}, at(4, 12))
    assert days.told is not None
    assert (days.told.values, days.told.days, days.end) == ({HEART: 61.0}, 1, at(5, 12))


def test_patients_are_judged_one_after_another() -> None:
    log = Log()
    patients = [f"p-{number}" for number in range(8)]
    for patient in patients:
        log.profile(patient, age_years=40, time_zone=ZONE)
        log.sample(patient, HEART, at(2, 7), 60.0, device_id="ring", device_kind="syncing")
    for moment in (at(2, 8), at(2, 12), at(2, 12.5), at(2, 13)):
        log.tick(moment)
    lane, _ = applied(log.records[:-2])
    assert [lane.belief(patient).onset for patient in patients] == [None] * 8
    lane.apply(log.records[:-1])
    assert 0 < sum(lane.belief(patient).onset is not None for patient in patients) < 8
    lane.apply(log.records)
    assert all(lane.belief(patient).onset.at == at(2, 12) for patient in patients)


def test_who_moves_to_another_zone_has_no_day_twice() -> None:
    days = Days()
    days.watch("Asia/Tokyo", at(3, 1))
    days.close({HEART: [60.0]}, at(3, 5))
    assert days.told is not None
    days.watch("America/New_York", at(3, 6))
    assert EPOCH + timedelta(days=days.day) > days.told.date


def test_names_of_the_catalogue_reach_what_they_are() -> None:
    assert set(NAMES.values()) == set(SIGNALS)
    assert set(NAMES) <= set(CATALOGUE.signals)


def worn(log: Log, days: int, *, again: bool = False, ticks: bool = True) -> None:
    """A heart rate every ten minutes, so that samples settle; the resting one at seven, and another time after noon."""
    for now in range(int(at(0)), int(at(days)), 600):
        day, second = divmod(now - int(at(0)), 86400)
        log.sample("p", "heart_rate", float(now), 70.0 + now // 600 % 4, device_id="watch")
        if second == 7 * 3600:
            log.sample("p", HEART, float(now), 60.0 + day, number=f"a-{day}", device_id="watch")
        if again and second == 12 * 3600 + 600:
            log.sample("p", HEART, float(now), 60.0 + day, number=f"b-{day}", device_id="phone")
        if ticks:
            log.tick(float(now + 1))


def test_a_device_that_gives_the_value_again_after_noon() -> None:
    log = Log()
    log.profile("p", age_years=40, time_zone=ZONE)
    worn(log, 3, again=True)
    lane, _ = applied(log.records)
    days = lane.patients[b"p"].state.days
    assert days is not None
    assert (days.known.days_seen, days.told.values[HEART]) == (3, 62.0)
    assert [len(kept) for kept in days.kept.values()] == [1]  # what was said again after the last noon
    assert state(applied(log.records, batch=1)[0]) == state(lane)


def test_an_outage_of_days_loses_no_day() -> None:
    log = Log()
    log.profile("p", age_years=40, time_zone=ZONE)
    log.tick(at(0, -1))
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(pending_limit=100)))
    log.sample("p", HEART, at(0, -0.5), 59.0, device_id="watch")
    log.tick(at(0, -0.4))
    worn(log, 4, ticks=False)
    log.tick(at(4))
    lane, _ = applied(log.records)
    assert lane.belief("p").onset.days == 4


def test_no_more_is_kept_than_some() -> None:
    days = Days()
    days.watch(ZONE, at(4, 7))
    days.keep(HEART, "watch", [(at(3, 13) + 60 * minute, 60.0) for minute in range(20 * KEPT)])
    assert len(days.kept[HEART]) == KEPT
