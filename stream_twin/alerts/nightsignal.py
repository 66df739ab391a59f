"""NightSignal: a resting heart rate that is up for two nights. Pure, by its publication.

Source: Alavi et al., Real-time alerting system for COVID-19 and other stress events using wearable data, Nature Medicine 28,
175-184 (2022), with resting heart rates of whole nights (00:00 to 06:59) and medians of them.

The publication judges with hindsight: a single missing night is filled from the nights around it once the night after those is
known. :func:`retrospective` does the same; :func:`live` says what each night was told when it came.
"""

from bisect import insort
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from math import floor
from statistics import median
from typing import Literal, NamedTuple

Level = Literal[0, 1, 2]
"""Green, yellow, red."""

YELLOW, RED = 3, 4
"""How far two nights must be above their baselines, beats per minute."""
_DAY = timedelta(days=1)


class Night(NamedTuple):
    """``rate``: resting heart rate per minute; ``baseline``: what was usual up to and including this night."""

    date: date
    rate: float
    baseline: int
    level: Level
    filled: bool = False


def retrospective(nights: Mapping[date, float]) -> list[Night]:
    """All nights with their levels, filled ones included, in order.

    Args:
        nights: resting heart rate of each recorded night; cut to whole numbers.
    """
    rates: dict[date, float] = {night: floor(rate) for night, rate in nights.items()}
    filling = _filling(rates)
    rates |= filling
    judged: list[Night] = []
    sofar: list[float] = []
    for night in sorted(rates):
        rate = rates[night]
        insort(sofar, rate)
        baseline = floor(median(sofar))
        before = judged[-1] if judged and judged[-1].date == night - _DAY else None
        judged.append(Night(night, rate, baseline, _level(rate - baseline, before), night in filling))
    return judged


def _filling(rates: Mapping[date, float]) -> dict[date, float]:
    """What the missing nights are taken for: each between two recorded ones, of which the later is followed by a third."""
    return {
        after - _DAY: round((rates[after - 2 * _DAY] + rates[after]) / 2, 1)
        for after in rates
        if after - _DAY not in rates and after - 2 * _DAY in rates and after + _DAY in rates
    }


def _level(above: float, before: Night | None) -> Level:
    """``above``: tonight, over its baseline."""
    if before is None:
        return 0
    both = min(above, before.rate - before.baseline)
    return 2 if both >= RED else 1 if both >= YELLOW else 0


def newest(nights: Mapping[date, float]) -> Night:
    """The last of :func:`retrospective` of at least one night, without all those before it."""
    rates: dict[date, float] = {night: floor(rate) for night, rate in nights.items()}
    rates |= _filling(rates)
    last = max(rates)
    before, tonight = rates.get(last - _DAY), rates[last]
    others = [rate for night, rate in rates.items() if night != last]
    baseline = floor(median([*others, tonight]))
    yesterday = None if before is None else Night(last - _DAY, before, floor(median(others)), 0)
    return Night(last, tonight, baseline, _level(tonight - baseline, yesterday))


def live(nights: Mapping[date, float]) -> list[Night]:
    """Each recorded night as it was told in its morning, from the nights up to it alone; levels are never rewritten.

    A filled night counts from when the second night after it is known, and is not told of itself.
    """
    known: dict[date, float] = {}
    told = []
    for night in sorted(nights):
        known[night] = nights[night]
        told.append(newest(known))
    return told


def nightly(rates: Iterable[float]) -> int | None:
    """A night's resting heart rate: the mean of what was measured from 00:00 to 06:59 at rest, cut; None without a sample."""
    measured = list(rates)
    return floor(sum(measured) / len(measured)) if measured else None
