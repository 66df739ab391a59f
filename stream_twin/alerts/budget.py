"""Budgets of false alerts: how probable something must be before people are told, learnt from what came of earlier alerts.

A rule that tells people of probabilities has a :class:`Budget`: so many false alerts per patient-day, and no more. The threshold
is an integral controller on the log odds: it rises by one step with each false alert and falls by as many steps as the budget
has alerts in the time that passed, so it comes to rest where the two are equal. Each patient has a threshold of their own on
top of the population's, with which a new patient begins. All of it goes by what was known by then.

A budget is a ceiling, never a target: the threshold stays between the rule's own least probability and its greatest one. Within a
window (14 days) no patient gets more false alerts than the upper 95 % limit of the Poisson distribution; coming closer to it
raises the threshold before that.

What counts is checked, not guessed: an alert was right where the event came within the horizon, and wrong where readings without
a hole show that it did not, or an outcome says so. Else it is unknown and costs nothing. An event of which nobody was told is
missed, and only where events were missed within the window does the threshold fall below where it started: the population's part
where anybody's were, a patient's own where theirs were.
"""

from functools import cache
from math import exp, inf, lgamma, log
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

DAY_S = 86400.0
Came = Literal["true", "false", "unknown"]


class Budget(Struct, frozen=True, kw_only=True):
    """What the user sets.

    per_day: false alerts per patient-day. least, most: the threshold never leaves them. start: the first one of a population.
    step: how much one false alert raises the threshold, in log
    odds.
    """

    per_day: Annotated[float, Meta(gt=0, le=100)]
    least: Annotated[float, Meta(gt=0, lt=1)] = 0.05
    most: Annotated[float, Meta(gt=0, lt=1)] = 0.9
    start: Annotated[float, Meta(gt=0, lt=1)] = 0.2
    step: Annotated[float, Meta(gt=0, le=1)] = 0.1
    window_days: Annotated[float, Meta(gt=0, le=90)] = 14.0

    def __post_init__(self) -> None:
        if not self.least <= self.start <= self.most:
            raise ValueError("least <= start <= most is wanted")

    @property
    def of_window(self) -> float:
        """False alerts that a patient may have in the window on average."""
        return self.per_day * self.window_days

    @property
    def limit(self) -> int:
        """The most that a patient may have in a window: the upper 95 % limit of the Poisson distribution."""
        return poisson_limit(self.of_window)


class Tally(Struct, kw_only=True, omit_defaults=True):
    """What came of alerts: for metrics and reports. ``days``: watched."""

    days: float = 0.0
    true: int = 0
    false: int = 0
    unknown: int = 0
    missed: int = 0


class Population(Struct, kw_only=True):
    """The part of the threshold that all patients share, in log odds; the more ``people`` there are, the less each moves it."""

    log_odds: float
    people: int = 1
    missed_at: float = -inf

    @classmethod
    def of(cls, budget: Budget, people: int = 1) -> "Population":
        return cls(log_odds=_log_odds(budget.start), people=people)


class Account(Struct, kw_only=True, omit_defaults=True):
    """One patient's part. Times are seconds.

    own: added to the population's log odds. false_at: of the false alerts in the window, oldest first. open_at: of the alerts
    of which nobody knows yet what came. missed_at: the last event of which nobody had been told.
    """

    own: float = 0.0
    missed_at: float = -inf
    false_at: list[float] = []
    open_at: list[float] = []
    tally: Tally = field(default_factory=Tally)


class Check(Struct, kw_only=True, omit_defaults=True):
    """When one patient's readings last came, came again after a hole, and showed the event; and when people were last told."""

    last_at: float = -inf
    hole_at: float = -inf
    event_at: float = -inf
    raised_at: float = -inf


def threshold(budget: Budget, population: Population, account: Account, at: float) -> float:
    """The probability from which people are told at ``at``; infinite where the window holds no more."""
    count = _in_window(budget, account, at) + len(account.open_at)
    if count >= budget.limit:
        return inf
    closer = budget.step * max(count - budget.of_window, 0.0)
    return _probability(_bounded(budget, population.log_odds + account.own + closer))


def watched(budget: Budget, population: Population, account: Account, at: float, days: float) -> None:
    """Until ``at``, for so many days, an event would have been seen."""
    account.tally.days += days
    _move(budget, population, account, -budget.per_day * days, at)


def raised(account: Account, check: Check, at: float) -> None:
    """People were told."""
    account.open_at.append(at)
    check.raised_at = at


def judged(budget: Budget, population: Population, account: Account, raised_at: float, came: Came) -> None:
    """What came of the alert raised at ``raised_at`` is known, or (``unknown``) never will be.

    Raises:
        ValueError: no such alert is open.
    """
    account.open_at.remove(raised_at)
    setattr(account.tally, came, getattr(account.tally, came) + 1)
    if came == "false":
        account.false_at.append(raised_at)
        _move(budget, population, account, 1.0, raised_at)


def missed(population: Population, account: Account, at: float) -> None:
    """An event began, and nobody had been told."""
    account.tally.missed += 1
    account.missed_at = at
    population.missed_at = max(population.missed_at, at)


def left(budget: Budget, account: Account, at: float) -> float:
    """What is left of the budget of the window, in alerts; negative: overspent."""
    return budget.of_window - _in_window(budget, account, at)


@cache
def poisson_limit(mean: float, chance: float = 0.95) -> int:
    """The smallest count that a Poisson variable does not exceed with probability ``chance``."""
    count, total = 0, exp(-mean)
    while total < chance:
        count += 1
        total += exp(count * log(mean) - mean - lgamma(count + 1))  # by logarithms: exp(-mean) alone is 0 for a great mean
    return count


def reading(
    budget: Budget,
    population: Population,
    account: Account,
    check: Check,
    at: float,
    event: bool,
    *,
    horizon_s: float,
    hole_s: float,
) -> None:
    """A reading at ``at`` shows the event, or that there is none; to be taken before the threshold at ``at`` is asked for.

    Alerts forecast the event within ``horizon_s``. A hole in the readings of more than ``hole_s`` hides what came.
    """
    gap = at - check.last_at
    seen_to = at if gap <= hole_s else check.last_at + hole_s
    if gap <= hole_s:
        watched(budget, population, account, at, gap / DAY_S)
    for raised_at in list(account.open_at):
        due = raised_at + horizon_s
        if event and at <= due:
            judged(budget, population, account, raised_at, "true")
        elif at >= due:
            hidden = check.hole_at > raised_at or due > seen_to
            judged(budget, population, account, raised_at, "unknown" if hidden else "false")
    if gap > hole_s:
        check.hole_at = at
    if event:
        if at - check.event_at > horizon_s and gap <= hole_s and at - check.raised_at > horizon_s:
            missed(population, account, at)
        check.event_at = at
    check.last_at = at


def _in_window(budget: Budget, account: Account, at: float) -> int:
    start = at - budget.window_days * DAY_S
    while account.false_at and account.false_at[0] <= start:
        del account.false_at[0]
    return len(account.false_at)


def _move(budget: Budget, population: Population, account: Account, alerts: float, at: float) -> None:
    """By so many steps, each part; down only to where the population started, unless it missed events itself."""
    least, start, step = _log_odds(budget.least), _log_odds(budget.start), budget.step * alerts
    recently = at - budget.window_days * DAY_S
    before = population.log_odds
    lowest = least if population.missed_at >= recently else start
    population.log_odds = _moved(budget, before, step / max(population.people, 1), lowest)
    lowest = least if account.missed_at >= recently else min(start, population.log_odds)
    account.own = _moved(budget, before + account.own, step, lowest) - population.log_odds


def _moved(budget: Budget, log_odds: float, step: float, lowest: float) -> float:
    """``lowest`` lifts nothing that is below it already."""
    return _bounded(budget, max(log_odds + step, min(log_odds, lowest)))


def _bounded(budget: Budget, log_odds: float) -> float:
    return min(max(log_odds, _log_odds(budget.least)), _log_odds(budget.most))


def _log_odds(p: float) -> float:
    return log(p / (1 - p))


def _probability(log_odds: float) -> float:
    return 1 / (1 + exp(-log_odds))
