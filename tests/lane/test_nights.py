"""Nights by the patient's clock, gathered sample by sample."""

from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.alerts.nightsignal import live
from stream_twin.lane.nights import HEART, MOST_LATER, Nights, window

BERLIN = "Europe/Berlin"


def at(day, hour, minute=0, zone=BERLIN):
    return datetime(2026, 3, day, hour, minute, tzinfo=ZoneInfo(zone)).timestamp()


def gathering(day=2, zone=BERLIN):
    nights = Nights()
    nights.watch(zone, at(day - 1, 12, zone=zone))
    return nights


def test_a_night_is_the_mean_from_midnight_to_seven_cut():
    nights = gathering()
    nights.take(HEART, [(at(1, 23, 59), 200.0), (at(2, 0), 60.0), (at(2, 3), 62.0), (at(2, 6, 59), 61.9), (at(2, 7), 200.0)])
    assert nights.close()
    assert (nights.told.rate, nights.told.date, nights.told.at) == (61, date(2026, 3, 2), at(2, 7))


def test_slots_with_steps_do_not_count():
    nights = gathering()
    nights.take(HEART, [(at(2, 2), 60.0), (at(2, 3), 100.0), (at(2, 3, 6), 62.0)])
    nights.take("steps_per_minute", [(at(2, 2, 30), 0.0), (at(2, 3, 2), 30.0)])
    nights.close()
    assert nights.told.rate == 61


def test_steps_counted_over_a_quarter_of_an_hour_blot_out_all_of_it():
    nights = gathering()
    nights.take(HEART, [(at(2, 2), 60.0), (at(2, 3, 1), 100.0), (at(2, 3, 11), 100.0)])
    nights.take("steps", [(at(2, 3, 14), 200.0)], period_s=900.0)
    nights.close()
    assert nights.told.rate == 60


def test_what_was_taken_back_does_not_count():
    nights = gathering()
    nights.take(HEART, [(at(2, 2), 60.0), (at(2, 3), float("nan"))])
    nights.close()
    assert nights.told.rate == 60


def test_a_night_without_samples_tells_nothing_and_the_next_one_is_gathered():
    nights = gathering()
    assert not nights.close()
    assert nights.told is None
    assert (nights.start, nights.end) == (at(3, 0), at(3, 7))


def test_without_a_time_zone_there_are_no_nights():
    nights = Nights()
    nights.watch(None, at(1, 12))
    nights.take(HEART, [(at(2, 2), 60.0)])
    assert nights.end == float("inf")
    assert not nights.close()


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 28), 7), (date(2026, 3, 29), 6), (date(2026, 10, 25), 8)])
def test_nights_in_which_the_clocks_change(day, hours):
    start, end = window(day, BERLIN)
    assert end - start == hours * 3600
    nights = Nights()
    nights.watch(BERLIN, start - 3600)
    nights.take(HEART, [(start, 60.0), (end - 1, 62.0), (end, 200.0)])
    nights.close()
    assert nights.told.rate == 61


def test_who_is_first_seen_at_night_has_the_rest_of_it():
    nights = Nights()
    nights.watch(BERLIN, at(2, 3))
    assert (nights.start, nights.end) == (at(2, 0), at(2, 7))


def test_another_time_zone_begins_anew():
    nights = gathering()
    nights.take(HEART, [(at(2, 2), 60.0)])
    nights.watch("America/New_York", at(2, 2, 30))
    assert nights.start == at(2, 0, zone="America/New_York")
    assert not nights.counts


@given(st.lists(st.one_of(st.none(), st.integers(50, 70)), min_size=1, max_size=20))
def test_levels_are_those_of_the_live_rule(rates):
    nights, first = Nights(), date(2026, 3, 1)
    nights.watch(BERLIN, window(first, BERLIN)[0] - 3600)
    recorded, told = {}, []
    for number, rate in enumerate(rates):
        day = first + timedelta(number)
        start, _ = window(day, BERLIN)
        if rate is not None:
            nights.take(HEART, [(start + 60, rate)])
            recorded[day] = rate
        if nights.close():
            told.append((nights.told.date, nights.told.level, nights.told.baseline, nights.told.nights))
        nights = msgspec.msgpack.decode(msgspec.msgpack.encode(nights), type=Nights)
    wanted = [(night.date, night.level, night.baseline, number) for number, night in enumerate(live(recorded), 1)]
    assert told == wanted


def test_nights_after_the_awaited_one_are_gathered_beside_it_and_no_more_than_some():
    nights = gathering()
    for day in range(2, 25):
        nights.settle(HEART, [(at(day, 3), 50.0 + day), (at(day, 20), 200.0)])
    nights = msgspec.msgpack.decode(msgspec.msgpack.encode(nights), type=Nights)
    assert len(nights.later) == MOST_LATER
    while nights.close():
        pass
    assert list(nights.rates) == [50 + day for day in range(2, 3 + MOST_LATER)]


def test_a_day_opens_no_night():
    nights = gathering()
    nights.settle(HEART, [(at(2, 6), 60.0), (at(2, 12), 200.0)])
    assert nights.later == []
