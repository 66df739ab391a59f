"""The probability of a low, on people whose forecasts say how the level goes on and not what it does on the way."""

from math import exp
from random import Random

import msgspec
import numpy as np
import pytest

from stream_twin.learn import crossing
from stream_twin.learn.crossing import HORIZON_S, TERMS, Crossing, Learnt, News, fit, unlearnt
from stream_twin.learn.logistic import OnlineLogistic
from stream_twin.learn.residual import Forecast

EVERY_S = 300.0


def walk(readings: int, seed: int = 1) -> list[float]:
    """Glucose that wanders about 105 and is below 70 now and then."""
    draw, level, speed, found = Random(seed), 105.0, 0.0, []
    for _ in range(readings):
        speed = 0.85 * speed + draw.gauss(0, 2.0) - 0.006 * (level - 105.0)
        level += speed
        found.append(level + draw.gauss(0, 1.0))
    return found


def ahead(value: float, before: float, *, sd: float = 12.0) -> dict[int, Forecast]:
    """The last change, dying away."""
    means = {minutes: value + (value - before) * 3.0 * (1 - exp(-minutes / 15)) for minutes in crossing.AHEAD_MIN}
    return {minutes: Forecast(mean, mean - 20, mean + 20, sd * (minutes / 30) ** 0.5) for minutes, mean in means.items()}


def played(values: list[float], model: Crossing, times: list[float] | None = None) -> list[float]:
    times = times or [EVERY_S * n for n in range(len(values))]
    before = [values[0], *values]
    return [model.take(at, value, ahead(value, last)) for at, value, last in zip(times, values, before, strict=False)]


def hits(values: list[float]) -> list[bool]:
    steps = int(HORIZON_S / EVERY_S)
    return [any(v < 70 for v in values[n + 1 : n + 1 + steps]) for n in range(len(values))]


def test_what_is_said_happens_as_often_as_it_is_said():
    values = walk(12000)
    said, came = played(values, Crossing(unlearnt(), EVERY_S)), hits(values)
    late = [(p, hit) for p, hit, v in list(zip(said, came, values, strict=True))[4000:-9] if v >= 70]
    assert 0.05 < sum(hit for _, hit in late) / len(late) < 0.4
    for low, high in ((0.0, 0.1), (0.1, 0.3), (0.3, 0.6), (0.6, 1.0)):
        some = [(p, hit) for p, hit in late if low <= p < high]
        assert len(some) > 100
        assert sum(hit for _, hit in some) / len(some) == pytest.approx(sum(p for p, _ in some) / len(some), abs=0.08)


def test_no_row_knows_what_came_after_it():
    values = walk(900)
    whole = played(values, Crossing(unlearnt(), EVERY_S))
    assert played(values[:500], Crossing(unlearnt(), EVERY_S)) == whole[:500]
    changed = [*values[:500], *(v - 40 for v in values[500:])]
    assert played(changed, Crossing(unlearnt(), EVERY_S))[:500] == whole[:500]


def test_low_already_is_certain_and_far_above_is_not_said():
    model = Crossing(unlearnt(), EVERY_S)
    assert played([100.0, 69.9, 180.0, 179.9], model)[1:3] == [1.0, 0.0]


def test_a_row_is_learnt_when_its_horizon_has_passed_and_never_across_a_hole():
    kept: list[Learnt] = []
    model = Crossing(unlearnt(), EVERY_S, kept)
    played([120.0] * 9 + [60.0], model)
    assert [row.occurred for row in kept] == [True], "the first row saw the low at the end of its 45 min; the others wait"
    kept.clear()
    model = Crossing(unlearnt(), EVERY_S, kept)
    times = [EVERY_S * n for n in range(9)] + [2400 + 3600.0]
    played([120.0] * 9 + [60.0], model, times)
    assert [row.occurred for row in kept] == [False] * 6, (
        "after the hole it was low; until then what was seen, and half an hour, count"
    )


def test_fitted_is_what_the_rows_were_made_with():
    draw = np.random.default_rng(4)
    true = np.array([-1.0, 0.8, 0.0, -0.5, *np.zeros(len(TERMS) - 3)])
    columns = draw.normal(size=(20000, len(TERMS)))
    p = 1 / (1 + np.exp(-(true[0] + columns @ true[1:])))
    rows = [Learnt(c.tolist(), bool(hit), 1.0) for c, hit in zip(columns, draw.random(20000) < p, strict=True)]
    fitted = fit(rows, ["a", "b"])
    assert fitted.mean == pytest.approx(true, abs=0.08)
    assert fitted.people == ("a", "b")


def test_rows_count_what_they_are_worth():
    """A row learnt with half the worth, twice: the same precision as once with all of it, to first order in what it tells."""
    row = np.array([[0.01] * len(TERMS)])
    once, twice = (OnlineLogistic(unlearnt()) for _ in range(2))
    once.learn(row, [True])
    twice.learn(row, [True], 0.5)
    half = twice.weights.copy()
    twice.learn(row, [True], 0.5)
    assert 0 < half[1] < twice.weights[1]
    assert twice.posterior.precision[0] == pytest.approx(once.posterior.precision[0], abs=0.02)


def test_a_recorded_person_starts_from_the_others():
    start = crossing.shipped()
    assert start.of("2301") != start.of("somebody")
    assert start.folds["2301"].examples < start.whole.examples
    with pytest.raises(ValueError, match="other terms"):
        crossing.decoded(msgspec.json.encode(msgspec.structs.replace(start, terms=["level"])))


def test_a_new_person_is_not_told_nonsense():
    def last(values):
        return played(values, Crossing(crossing.shipped().of("somebody"), EVERY_S))[-1]

    falling = last([120.0 - 3.5 * n for n in range(14)])
    assert falling > 0.4
    assert 0.01 < last([85.0] * 14) < falling / 2
    assert last([140.0] * 14) < 0.01


def test_news_is_what_was_not_as_likely_half_an_hour_ago():
    news = News()
    assert [news.take(300.0 * n, p) for n, p in enumerate([0.2, 0.1, 0.2, 0.3])] == [0.2, 0.0, 0.2, 0.3]
    assert [news.take(900 + 300.0 * n, 0.25) for n in range(1, 8)] == [0, 0, 0, 0, 0, 0, 0.25]
