"""Days gathered by the patient's clock, and judged once each when they are over."""

import math
import random
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from stream_twin.alerts.onset import SIGNALS, Onset
from stream_twin.lane.days import NAMES, SETTLES_S, Days, end_of

ZONE = "Europe/Berlin"
DAY_S = 86400.0
HEART = "resting_heart_rate"


def at(day: int, hour: float, month: int = 2) -> float:
    return datetime(2026, month, day, int(hour), round(hour % 1 * 60), tzinfo=ZoneInfo(ZONE)).timestamp()


def told(days: Days) -> dict[str, Any] | None:
    return None if days.told is None else {"date": str(days.told.date), **days.told.values}


def test_a_day_is_from_noon_to_noon() -> None:
    days = Days()
    for moment, value in ((at(3, 12.25), 61.0), (at(4, 0), 62.0), (at(4, 12), 63.0), (at(4, 12.25), 80.0)):
        days.take(HEART, moment, value, ZONE, at(3, 13))
    days.close(at(4, 11.9), ZONE)
    assert told(days) is None
    days.close(at(4, 12), ZONE)
    assert told(days) == {"date": "2026-02-04", HEART: 62.0}
    assert days.due == at(5, 12)


def test_a_day_of_summer_time_ends_at_noon_too() -> None:
    days = Days()
    days.take(HEART, at(29, 7, 3), 60.0, ZONE, at(29, 7, 3))
    assert days.due == at(29, 12, 3) == at(28, 12, 3) + 23 * 3600


def test_what_comes_after_its_day_was_judged_is_too_late() -> None:
    days = Days()
    days.take(HEART, at(4, 7), 60.0, ZONE, at(4, 7))
    days.close(at(4, 12), ZONE)
    before = msgspec.msgpack.encode(days)
    days.take(HEART, at(4, 8), 90.0, ZONE, at(4, 13))
    assert msgspec.msgpack.encode(days) == before


def test_a_device_may_tell_several_days_at_once() -> None:
    days, onset = Days(), Onset()
    for day in range(1, 21):
        days.take(HEART, at(day, 7), 60.0 + day % 3, ZONE, at(21, 9))
    assert days.due == at(21, 9) + SETTLES_S
    days.close(days.due, ZONE)
    for day in range(1, 21):
        number = round(at(day, 12) / DAY_S - 0.5)
        night = onset.follow(number, {HEART: 60.0 + day % 3})
    assert days.told is not None
    assert (days.told.evidence, days.told.days, days.told.at) == (night.evidence, 20, at(20, 12))
    assert days.due == math.inf


def test_corrections_replace_and_what_was_taken_back_is_gone() -> None:
    days = Days()
    for value in (60.0, 64.0):
        days.take(HEART, at(4, 7), value, ZONE, at(4, 8))
    days.take("rmssd", at(4, 7), 40.0, ZONE, at(4, 8))
    days.take("rmssd", at(4, 7), math.nan, ZONE, at(4, 8))
    days.close(at(4, 12), ZONE)
    assert told(days) == {"date": "2026-02-04", HEART: 64.0}


def test_names_of_the_catalogue_reach_what_they_are() -> None:
    assert set(NAMES.values()) == set(SIGNALS)
    days = Days()
    for name in NAMES:
        days.take(name, at(4, 7), 100.0 if name != "skin_temperature_deviation" else 0.1, ZONE, at(4, 8))
    days.close(at(4, 12), ZONE)
    assert days.told is not None
    assert set(days.told.values) == set(SIGNALS) - {"breathing_rate"}, "100 breaths a minute cannot be"


@pytest.mark.parametrize("every", [1, 3])
def test_it_goes_on_from_a_snapshot(every: int) -> None:
    chance = random.Random(3)
    whole, saved = Days(), Days()
    for day in range(1, 26):
        value = 60 + chance.gauss(0, 2)
        for days in (whole, saved):
            days.take(HEART, at(day, 7), value, ZONE, at(day, 7))
            days.close(end_of(round(at(day, 12) / DAY_S - 0.5), ZONE), ZONE)
        if day % every == 0:
            saved = msgspec.msgpack.decode(msgspec.msgpack.encode(saved), type=Days)
    assert saved.told == whole.told
    assert msgspec.msgpack.encode(saved) == msgspec.msgpack.encode(whole)
