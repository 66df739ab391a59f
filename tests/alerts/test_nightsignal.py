"""Each clause of the publication's rule, by examples calculated by hand; nights count from 1 January."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.alerts.nightsignal import live, newest, nightly, retrospective
from stream_twin.alerts.rules.nightsignal import told
from stream_twin.events import Profile
from stream_twin.twin.belief import Belief, NightBelief
from tests.alerts.beliefs import NOW

FIRST = date(2026, 1, 1)


def nights(*rates):
    """One rate a night; None: not recorded."""
    return {FIRST + timedelta(number): rate for number, rate in enumerate(rates) if rate is not None}


def levels(*rates):
    return [night.level for night in retrospective(nights(*rates))]


def test_a_night_is_the_mean_cut_to_a_whole_number():
    assert nightly([60, 61, 61]) == 60
    assert nightly([61.9]) == 61
    assert nightly([]) is None


def test_the_baseline_is_the_median_of_all_nights_up_to_and_including_tonight_cut():
    told = retrospective(nights(60, 61, 70, 61))
    assert [night.baseline for night in told] == [60, 60, 61, 61]  # of 60, of 60.5, of 61, of 61


def test_red_is_both_nights_at_least_4_above_their_baselines():
    # Baselines of the last two: the median of 60 60 60 60 60 64 is 60, with another 64 it is 60.
    assert levels(60, 60, 60, 60, 60, 64, 64) == [0, 0, 0, 0, 0, 0, 2]


def test_yellow_is_the_same_with_3():
    assert levels(60, 60, 60, 60, 60, 63, 63) == [0, 0, 0, 0, 0, 0, 1]


def test_2_above_is_green():
    assert levels(60, 60, 60, 60, 60, 62, 62) == [0] * 7


@pytest.mark.parametrize("pair", [(63, 64), (64, 63), (63, 90), (90, 63)])
def test_one_night_of_3_makes_it_yellow_at_most(pair):
    assert levels(60, 60, 60, 60, 60, *pair)[-1] == 1


def test_a_single_night_is_green():
    assert levels(60, 60, 60, 60, 60, 80, 60, 80, 60) == [0] * 9


def test_the_night_before_counts_by_its_own_baseline():
    # Night 4: 64 over the median of 60 60 64 64 = 62, 2 above. Night 5: 68 over 64, 4 above. Tonight alone is red: green.
    told = retrospective(nights(60, 60, 64, 64, 68))
    assert [night.baseline for night in told] == [60, 60, 60, 62, 64]
    assert [night.level for night in told] == [0, 0, 0, 0, 0]
    # Night 3 is 4 above 60; night 4, of 67, is 5 above the median of 60 60 64 67 = 62.
    assert levels(60, 60, 64, 67) == [0, 0, 0, 2]


def test_it_stays_red_until_the_baseline_has_followed():
    # 60 five times, then 64: with as many of 64 the median is 62, with one more it is 64.
    assert levels(60, 60, 60, 60, 60, 64, 64, 64, 64, 64, 64) == [0, 0, 0, 0, 0, 0, 2, 2, 2, 0, 0]


def test_one_missing_night_between_two_and_followed_by_a_third_is_filled():
    told = retrospective(nights(60, 61, None, 64, 60))
    filled = told[2]
    assert (filled.date, filled.rate, filled.filled) == (date(2026, 1, 3), 62.5, True)
    assert [night.filled for night in told] == [False, False, True, False, False]
    assert len(told) == 5


def test_filled_nights_enter_the_baseline():
    # On day 4 the median of 60 60 (65) 70 is 62.5; without the filled night it would be 60.
    assert [night.baseline for night in retrospective(nights(60, 60, None, 70, 71))] == [60, 60, 60, 62, 65]


def test_a_filled_night_counts_as_the_night_before():
    # Night 7 is filled with (60 + 70) / 2 = 65: 5 above. Night 8, of 70: 10 above.
    told = retrospective(nights(60, 60, 60, 60, 60, 60, None, 70, 60))
    assert told[6].rate == 65
    assert [night.level for night in told] == [0, 0, 0, 0, 0, 0, 0, 2, 0]


def test_a_filled_night_can_itself_be_red():
    # 60 ... 66, (66), 66, 66: night 8 is filled, and the night before it was up as well.
    told = retrospective(nights(60, 60, 60, 60, 60, 60, 66, None, 66, 66))
    assert told[7].filled
    assert [night.level for night in told] == [0, 0, 0, 0, 0, 0, 0, 2, 2, 2]


def test_half_a_beat_counts():
    # (61 + 66) / 2 = 63.5: 3 above 60, not 4.
    assert levels(60, 60, 60, 60, 60, 61, None, 66, 60)[6:8] == [0, 1]
    # (62 + 66) / 2 = 64.0.
    assert levels(60, 60, 60, 60, 60, 62, None, 66, 60)[6:8] == [0, 2]


def test_without_the_night_after_it_is_not_filled_and_tonight_is_green():
    told = retrospective(nights(60, 60, 60, 60, 60, 66, None, 66))
    assert [night.level for night in told] == [0] * 7
    assert not any(night.filled for night in told)


def test_the_night_after_must_be_the_very_next_one():
    # 60 _ 66 _ 66 66: night 2's successor 3 is not followed by night 4; night 4's successor 5 is followed by 6.
    told = retrospective(nights(60, None, 66, None, 66, 66))
    assert [(night.date.day, night.rate) for night in told if night.filled] == [(4, 66.0)]
    assert [night.date.day for night in told] == [1, 3, 4, 5, 6]


def test_two_missing_nights_are_not_filled_and_tonight_is_green():
    told = retrospective(nights(60, 60, 60, 60, 60, 66, None, None, 66, 66))
    assert not any(night.filled for night in told)
    assert [night.level for night in told] == [0, 0, 0, 0, 0, 0, 0, 2]  # the night after it has a night before again


def test_what_is_filled_fills_no_other_gap():
    # 60 _ 62 63 _ _ 66: only night 2, of which both neighbours and the night after are recorded.
    told = retrospective(nights(60, None, 62, 63, None, None, 66))
    assert [night.date.day for night in told if night.filled] == [2]


def test_rates_are_cut_first():
    assert retrospective(nights(60.9))[0].rate == 60


def test_nobody_has_no_nights():
    assert retrospective({}) == []
    assert live({}) == []


def test_live_a_filled_night_counts_only_from_when_it_can_be_known():
    rates = nights(60, 60, 60, 60, 60, 60, None, 70, 60)
    hindsight = {night.date.day: night.level for night in retrospective(rates)}
    told = {night.date.day: night.level for night in live(rates)}
    assert hindsight == {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 7: 0, 8: 2, 9: 0}
    assert told == {1: 0, 2: 0, 3: 0, 4: 0, 5: 0, 6: 0, 8: 0, 9: 0}  # on day 8 night 7 was not known; that stays green


def test_live_the_filled_night_is_in_the_baseline_from_then_on():
    told = live(nights(60, 60, None, 70, 71, 72))
    assert told[2].baseline == 60  # on day 4: of 60 60 70
    assert told[-1].baseline == 67  # on day 6: of 60 60 (65) 70 71 72; without the filled one it would be 70


some_nights = st.lists(st.one_of(st.none(), st.integers(55, 70)), max_size=40)


@given(some_nights.filter(lambda rates: any(rate is not None for rate in rates)))
def test_the_newest_night_is_the_last_of_all(rates):
    assert newest(nights(*rates)) == retrospective(nights(*rates))[-1]


@given(some_nights)
def test_live_never_rewrites_a_level(rates):
    told = live(nights(*rates))
    for end in range(len(rates)):
        shorter = live(nights(*rates[:end]))
        assert told[: len(shorter)] == shorter


@given(some_nights)
def test_live_differs_from_hindsight_only_on_the_night_after_a_filled_one(rates):
    hindsight = {night.date: night for night in retrospective(nights(*rates))}
    for night in live(nights(*rates)):
        before = hindsight.get(night.date - timedelta(1))
        if before is None or not before.filled:
            assert night == hindsight[night.date]


@given(some_nights)
def test_the_retrospective_rule_has_a_row_for_each_recorded_and_filled_night(rates):
    told = retrospective(nights(*rates))
    assert [night.date for night in told] == sorted(night.date for night in told)
    assert {night.date for night in told if not night.filled} == set(nights(*rates))
    for night in told:
        if night.filled:
            index = (night.date - FIRST).days
            assert rates[index] is None
            assert None not in (rates[index - 1], rates[index + 1], rates[index + 2])


def test_what_is_told_of_the_newest_night():
    belief = Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=0.0))
    assert told(belief) == "NightSignal does not run: the profile has no time zone"
    belief = Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=0.0, time_zone="Europe/Berlin"))
    assert told(belief) == "NightSignal: no night with a heart rate yet"
    belief.night = NightBelief(FIRST, NOW, 63, 60, 1, 8)
    assert told(belief) == "NightSignal yellow: resting heart rate 63 /min in the night to 2026-01-01, usual 60, after 8 nights"
