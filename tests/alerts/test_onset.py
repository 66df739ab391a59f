"""Onset of illness: made people, and the likelihood ratio by brute force."""

import math
import random
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.alerts import onset as module
from stream_twin.alerts.onset import GROWTH, LEAST_EVIDENCE, QUIET_DAYS, SIGNALS, STRENGTHS, UPSET_SHARE, Night, Onset, Saved

Days = list[tuple[int, dict[str, float]]]
START = 20_000


def made(seed: int, days: int = 60, signals: tuple[str, ...] = tuple(SIGNALS), scale: float = 1.0) -> Days:
    """A healthy person as the model has it: own level, a deviation that fades, noise."""
    chance = random.Random(seed)
    found: Days = [(START + day, {}) for day in range(days)]
    for name in signals:
        prior = SIGNALS[name]
        level = prior.mean + 0.5 * prior.between * chance.gauss(0, 1)
        fades = math.exp(-1 / prior.days)
        deviation = chance.gauss(0, math.sqrt(prior.fast))
        for _, values in found:
            deviation = fades * deviation + chance.gauss(0, math.sqrt(prior.fast * (1 - fades**2)))
            values[name] = prior.back(level + scale * (deviation + chance.gauss(0, math.sqrt(prior.noise))))
    return found


def shifted(days: Days, shares: dict[int, float], sign: float = 1.0) -> Days:
    """``shares``: of an illness of strength 1, by how many days after the first."""
    changed: Days = []
    for day, values in days:
        share = sign * shares.get(day - START, 0.0)
        moved = {
            name: SIGNALS[name].back(SIGNALS[name].transform(value) + share * SIGNALS[name].shift) if name in SIGNALS else value
            for name, value in values.items()
        }
        changed.append((day, moved))
    return changed


def told(days: Days, budget: float = 1.0) -> list[Night]:
    onset = Onset(budget)
    return [onset.follow(day, values) for day, values in days]


def alerts(days: Days, budget: float = 1.0) -> list[int]:
    return [day - START for (day, _), night in zip(days, told(days, budget), strict=True) if night.alert]


ILLNESS = {40 + day: 1.5 * share for day, share in enumerate([*GROWTH, 1.0, 0.8, 0.6, 0.4, 0.2])}


def test_an_illness_is_told_once_and_early() -> None:
    found = [[day for day in alerts(shifted(made(seed), ILLNESS)) if 40 <= day < 40 + QUIET_DAYS] for seed in range(20)]
    assert sum(bool(days) and days[0] <= 43 for days in found) >= 18
    assert all(len(days) <= 1 for days in found)


def test_the_opposite_of_an_illness_is_none() -> None:
    """A heart that slows down, with more variability: rest, not illness."""
    turned = [night for seed in range(20) for night in told(shifted(made(seed), ILLNESS, sign=-1.0))[40:45]]
    assert sum(night.alert for night in turned) <= 1


def test_one_bad_night_is_less_than_two() -> None:
    one, two = (
        [told(shifted(made(seed), dict.fromkeys(range(40, 40 + nights), 1.5)))[39 + nights].evidence for seed in range(20)]
        for nights in (1, 2)
    )
    assert np.median(one) < np.median(two) - 1


def test_healthy_people_stay_within_the_budget() -> None:
    people = [made(seed, days=120) for seed in range(20)]
    for budget in (0.5, 1.0, 2.0):
        assert sum(len(alerts(days, budget)) for days in people) <= budget * len(people) * 4


@pytest.mark.parametrize("scale", [2.0, 4.0])
def test_restless_people_stay_within_it_too(scale: float) -> None:
    people = [made(seed, days=120, scale=scale) for seed in range(20)]
    assert sum(len(alerts(days)) for days in people) <= len(people) * 4


def test_a_large_budget_is_not_used_up_on_nothing() -> None:
    for seed in range(5):
        nights = told(made(seed, days=120), budget=30.0)
        assert all(night.evidence >= LEAST_EVIDENCE for night in nights if night.alert)
        assert sum(night.alert for night in nights) < 12


def test_what_is_usual_is_in_the_unit_of_the_signal() -> None:
    days = made(3)
    usual = told(days)[-1].usual
    for name in SIGNALS:
        middle = sorted(values[name] for _, values in days)[30]
        assert usual[name] == pytest.approx(middle, rel=0.25, abs=1.0)


def test_an_unknown_signal_counts_in_either_direction() -> None:
    for sign in (-1, 1):
        chance = random.Random(6)
        days: Days = [(START + day, {"x": 500 + chance.gauss(0, 10) + sign * 60 * (day >= 50)}) for day in range(53)]
        nights = told(days)
        assert max(night.evidence for night in nights[50:]) > LEAST_EVIDENCE + max(night.evidence for night in nights[14:50])


def test_what_cannot_be_is_missing() -> None:
    days = made(1)
    with_rubbish = [(day, {**values, "resting_heart_rate": 0.0, "rmssd": math.nan}) for day, values in days]
    without = [
        (day, {name: value for name, value in values.items() if name not in {"resting_heart_rate", "rmssd"}})
        for day, values in days
    ]
    assert told(with_rubbish) == told(without)


def test_a_day_has_to_be_later() -> None:
    onset = Onset()
    onset.follow(5, {})
    with pytest.raises(ValueError, match="day 5 is not after day 5"):
        onset.follow(5, {})


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 12),
            st.dictionaries(st.sampled_from([*SIGNALS, "x", "y"]), st.floats(-1e6, 1e6) | st.just(math.nan), max_size=4),
        ),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from([0.1, 1.0, 5.0]),
)
def test_every_input_has_a_score(days: list[tuple[int, dict[str, float]]], budget: float) -> None:
    onset = Onset(budget)
    day = 0
    for gap, values in days:
        day += gap
        night = onset.follow(day, values)
        assert 0 < night.chance <= 1
        assert math.isfinite(night.score)


@pytest.mark.parametrize("extra", [(), ("x",)])
def test_it_goes_on_as_if_it_had_never_been_saved(extra: tuple[str, ...]) -> None:
    days = [(day, {**values, **dict.fromkeys(extra, float(day % 7))}) for day, values in shifted(made(4), ILLNESS)]
    onset, whole = Onset(), told(days)
    for (day, values), expected in zip(days, whole, strict=True):
        assert onset.follow(day, values) == expected
        onset = Onset.load(msgspec.msgpack.decode(msgspec.msgpack.encode(onset.save()), type=Saved))
    assert any(night.alert for night in whole)
    assert len(msgspec.msgpack.encode(onset.save())) < 3500


def test_the_evidence_is_that_of_the_joint_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    """One signal, gaps, nothing learnt or cut: against densities of all days at once, with the covariance written out."""
    monkeypatch.setattr(module, "LARGEST", math.inf)
    monkeypatch.setattr(module, "SPREAD_FROM", math.inf)
    monkeypatch.setattr(module, "WHITENING", 0.0)
    prior = SIGNALS["resting_heart_rate"]
    chance = random.Random(8)
    days = np.array([START + day for day in (0, 1, 2, 5, 6, 7, 8, 9, 11, 12, 13)])
    values = np.array([70 + chance.gauss(0, 2) for _ in days])
    onset = Onset()
    weekend = np.array([5 / 7 if (day + 3) % 7 >= 5 else -2 / 7 for day in days])
    since = days - days[0]
    covariance = (
        prior.between**2
        + prior.drift * np.minimum.outer(since, since)
        + prior.fast * np.exp(-np.abs(np.subtract.outer(days, days)) / prior.days)
        + prior.weekend * np.outer(weekend, weekend)
        + prior.noise * np.eye(len(days))
    )
    for count, (day, value) in enumerate(zip(days, values, strict=True), start=1):
        night = onset.follow(int(day), {"resting_heart_rate": float(value)})
        told_by_all = evidence(days[:count], values[:count] - prior.mean, covariance[:count, :count], prior.shift)
        assert night.evidence == pytest.approx(told_by_all, abs=1e-8)


def evidence(days: np.ndarray, values: np.ndarray, covariance: np.ndarray, shift: float) -> float:
    def ratio(shape: Callable[[int], float], begun: int, strength: float) -> float:
        expected = np.array([strength * shift * shape(int(day) - begun) for day in days])
        inverse = np.linalg.inv(covariance)
        return float(values @ inverse @ values - (values - expected) @ inverse @ (values - expected)) / 2

    def lasting(age: int) -> float:
        return float(GROWTH[age]) if 0 <= age < len(GROWTH) else 0.0

    def single(age: int) -> float:
        return float(age == 0)

    begins = [int(days[-1]) - age for age in range(len(GROWTH))]
    ill, upset = (
        np.mean([math.exp(ratio(shape, begun, a)) for begun in begins for a in STRENGTHS]) for shape in (lasting, single)
    )
    return math.log(ill) - math.log(1 + UPSET_SHARE * len(GROWTH) * upset)
