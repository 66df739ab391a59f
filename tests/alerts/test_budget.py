"""Budgets over made patients: held, a ceiling, bounded, honest about what nobody knows, and the same after a restart."""

import random
from math import exp, inf, isinf

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.alerts import budget
from stream_twin.alerts.budget import DAY_S, Account, Budget, Check, Population

HOUR_S = 3600.0
EVERY_S = 900.0


class Person:
    """Every 15 min a probability of an event within the hour, true on average, times ``optimism``; events last 15 min."""

    def __init__(self, seed: int, bend: float, optimism: float = 1.0) -> None:
        self.chance, self.bend, self.optimism = random.Random(seed), bend, optimism
        self.events: list[float] = []

    def step(self, at: float) -> tuple[bool, float]:
        p = self.chance.random() ** self.bend * 0.5
        if self.chance.random() < p:
            self.events.append(at + EVERY_S * self.chance.randint(1, 4))
        return at in self.events, min(p * self.optimism, 0.99)


def live(person: Person, allowed: Budget, days: float, population: Population | None = None) -> tuple[Account, list[float]]:
    population = population or Population.of(allowed, people=1000)
    account, check, told = Account(), Check(), list[float]()
    for n in range(int(days * DAY_S / EVERY_S)):
        at = n * EVERY_S
        event, p = person.step(at)
        budget.reading(allowed, population, account, check, at, event, horizon_s=HOUR_S, hole_s=2 * EVERY_S)
        if not event and p >= budget.threshold(allowed, population, account, at) and (not told or at - told[-1] >= 1800):
            budget.raised(account, check, at)
            told.append(at)
    return account, told


@pytest.mark.parametrize("optimism", [0.3, 1.0, 2.0])
def test_the_budget_is_held_whatever_the_probabilities_are_worth(optimism: float) -> None:
    allowed = Budget(per_day=1.0)
    accounts = [live(Person(seed, bend, optimism), allowed, 150)[0] for seed, bend in enumerate((8.0, 12.0, 20.0))]
    spent = [account.tally.false / account.tally.days for account in accounts]
    assert 0.8 <= sum(spent) / len(spent) <= 1.2, spent


@pytest.mark.parametrize("per_day", [0.3, 1.0, 2.0])
def test_no_window_of_a_patient_has_more_than_the_limit(per_day: float) -> None:
    allowed = Budget(per_day=per_day, start=0.06)
    falses = list[float]()

    class Noting(Account):
        pass

    population, account, check = Population.of(allowed, people=1000), Noting(), Check()
    person = Person(5, 4.0, optimism=1.9)
    last = -inf
    for n in range(int(90 * DAY_S / EVERY_S)):
        at = n * EVERY_S
        event, p = person.step(at)
        before = account.tally.false
        budget.reading(allowed, population, account, check, at, event, horizon_s=HOUR_S, hole_s=2 * EVERY_S)
        falses += [at] * (account.tally.false - before)
        if p >= budget.threshold(allowed, population, account, at) and at - last >= 1800:
            budget.raised(account, check, at)
            last = at
    window = allowed.window_days * DAY_S
    most = max(sum(1 for other in falses if start <= other < start + window) for start in falses)
    assert falses
    assert most <= allowed.limit


def test_a_ceiling_is_no_target() -> None:
    """Who never comes near an event is told nothing, though nothing of the budget was spent."""
    allowed = Budget(per_day=1.0, least=0.1)
    population, account, check = Population.of(allowed), Account(), Check()
    for n in range(int(200 * DAY_S / EVERY_S)):
        at = n * EVERY_S
        budget.reading(allowed, population, account, check, at, False, horizon_s=HOUR_S, hole_s=2 * EVERY_S)
        assert budget.threshold(allowed, population, account, at) == pytest.approx(allowed.start)
    assert budget.left(allowed, account, 200 * DAY_S) == allowed.of_window


def test_unknown_is_not_false() -> None:
    """The readings stop after each alert: nobody knows what came, so nothing is spent and the threshold only falls."""
    allowed = Budget(per_day=1.0)
    population, account, check = Population.of(allowed), Account(), Check()
    for n in range(60):
        at = n * DAY_S
        for minutes in range(0, 60, 5):
            budget.reading(allowed, population, account, check, at + 60 * minutes, False, horizon_s=HOUR_S, hole_s=1800)
        budget.raised(account, check, at + 3300)
    assert account.tally.unknown == 59
    assert account.tally.false == account.tally.true == 0
    assert budget.threshold(allowed, population, account, at) <= allowed.start


def test_a_hole_after_the_horizon_hides_nothing_and_one_within_it_does() -> None:
    allowed = Budget(per_day=1.0)

    def came(*minutes: float, event: bool = False) -> budget.Tally:
        population, account, check = Population.of(allowed), Account(), Check()
        budget.reading(allowed, population, account, check, 0, False, horizon_s=HOUR_S, hole_s=1800)
        budget.raised(account, check, 0)
        for minute in minutes:
            last = minute == minutes[-1]
            budget.reading(allowed, population, account, check, 60 * minute, event and last, horizon_s=HOUR_S, hole_s=1800)
        return account.tally

    assert came(20, 40, 300).false == 1
    assert came(20, 55, 60).unknown == 1
    assert came(20, 55, event=True).true == 1
    assert came(20, 40, 60, event=True).true == 1
    assert came(20, 40, 61, event=True).false == 1


def test_only_where_events_are_missed_does_the_threshold_fall_below_its_start() -> None:
    allowed = Budget(per_day=1.0)
    thresholds = []
    for misses in (False, True):
        population, account = Population.of(allowed, people=1000), Account()
        budget.raised(account, Check(), 0.0)
        budget.judged(allowed, population, account, 0.0, "false")
        assert budget.threshold(allowed, population, account, 0.0) > allowed.start
        if misses:
            budget.missed(population, account, DAY_S)
        for day in range(2, 12):
            budget.watched(allowed, population, account, day * DAY_S, 1.0)
        thresholds.append(budget.threshold(allowed, population, account, 12 * DAY_S))
    assert thresholds[0] == pytest.approx(allowed.start)
    assert allowed.least < thresholds[1] < allowed.start


def test_outcomes_count_like_what_was_seen() -> None:
    allowed = Budget(per_day=0.1)
    population, account, check = Population.of(allowed, people=20), Account(), Check()
    budget.raised(account, check, 0.0)
    budget.judged(allowed, population, account, 0.0, "false")
    newcomer = Account()
    own = budget.threshold(allowed, population, account, 1)
    assert own > budget.threshold(allowed, population, newcomer, 1) > allowed.start, "others learn a little of it"
    with pytest.raises(ValueError, match="remove"):
        budget.judged(allowed, population, account, 0.0, "false")


def test_a_ward_finds_a_threshold_for_newcomers() -> None:
    """Patients of a few days each: what none of them could learn alone, the population learns."""
    allowed = Budget(per_day=0.3, start=0.06)
    population = Population.of(allowed, people=20)
    tallies = [live(Person(seed, 6.0, 1.5), allowed, 4, population)[0].tally for seed in range(400)]
    late = tallies[200:]
    assert sum(t.false for t in late) / sum(t.days for t in late) < 1.2 * allowed.per_day
    assert budget.threshold(allowed, population, Account(), 0) > 0.1


@given(
    st.lists(st.sampled_from(["false", "true", "unknown", "missed", "day"]), max_size=200),
    st.floats(0.01, 20),
    st.floats(0.01, 1),
)
def test_no_threshold_leaves_its_bounds(what: list[str], per_day: float, step: float) -> None:
    allowed = Budget(per_day=per_day, step=step, least=0.05, most=0.8)
    population, account, check = Population.of(allowed), Account(), Check()
    for n, came in enumerate(what):
        at = n * HOUR_S
        if came == "day":
            budget.watched(allowed, population, account, at, 1.0)
        elif came == "missed":
            budget.missed(population, account, at)
        else:
            budget.raised(account, check, at)
            budget.judged(allowed, population, account, at, came)  # type: ignore[arg-type]  # one of the three
        told = budget.threshold(allowed, population, account, at)
        assert isinf(told) or 0.05 - 1e-9 <= told <= 0.8 + 1e-9
        assert isinf(told) == (len(account.false_at) >= allowed.limit)
        assert 0.05 - 1e-9 <= 1 / (1 + exp(-population.log_odds)) <= 0.8 + 1e-9


def test_what_is_saved_goes_on_the_same() -> None:
    allowed = Budget(per_day=1.0)
    account, _ = live(Person(3, 8.0), allowed, 30)
    restored = msgspec.msgpack.decode(msgspec.msgpack.encode(account), type=Account)
    assert restored == account
    assert len(msgspec.msgpack.encode(account)) < 600
    assert msgspec.msgpack.encode(Account()) == b"\x81\xa5tally\x80" or len(msgspec.msgpack.encode(Account())) < 16


@pytest.mark.parametrize(("mean", "limit"), [(0.5, 2), (1.4, 4), (14.0, 20), (28.0, 37), (745.5, 791), (9000.0, 9156)])
def test_the_limit_is_that_of_the_tables(mean: float, limit: int) -> None:
    assert budget.poisson_limit(mean) == limit


def test_bounds_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="least <= start <= most"):
        Budget(per_day=1.0, least=0.3, start=0.2)
