"""The residual learner on a person whose filter is wrong in a known way."""

from math import sin
from random import Random

import pytest

from stream_twin.learn.residual import Forecast, Residual, Taken

EVERY = 300.0
AHEAD = 1800.0


def played(bias=0.0, meals=False, steps=3000, seed=1):
    """(mean, low, high, truth, filter's forecast) of readings whose filter forecasts ``bias`` too low, and knows no meal."""
    draw = Random(seed)
    residual = Residual(EVERY, [AHEAD], (19.0, 720.0))
    values, rise = [], 0.0
    eaten = []
    for n in range(steps + 6):
        if meals and n % 100 == 50:
            rise, _ = 60.0, eaten.append(n)
        rise *= 0.9
        values.append(120 + 20 * sin(n / 40) + (60 - rise if n % 100 >= 50 and meals else 0) + draw.gauss(0, 3))
    found = []
    for n in range(steps):
        if n in eaten:
            residual.carbohydrates.take(n * EVERY, 40.0)
        filtered = 120 + 20 * sin((n + 6) / 40) - bias
        (forecast,) = residual.take(n * EVERY, values[n], n * EVERY / 3600 % 24, 0.0, [(filtered, 10.0)])
        found.append((forecast, values[n + 6], filtered))
    return found


def rms(errors):
    errors = list(errors)
    return (sum(e * e for e in errors) / len(errors)) ** 0.5


def test_learns_a_filter_that_is_always_too_low():
    late = played(bias=15.0)[1500:]
    assert rms(filtered - truth for _, truth, filtered in late) > 14
    assert rms(f.mean - truth for f, truth, _ in late) < 3.5


def test_learns_what_follows_a_meal():
    late = played(meals=True)[1500:]
    assert rms(f.mean - truth for f, truth, _ in late) < 0.6 * rms(filtered - truth for _, truth, filtered in late)


def test_interval_holds_nine_of_ten_though_the_filters_is_far_too_wide():
    late = played()[1000:]
    held = sum(f.low <= truth <= f.high for f, truth, _ in late) / len(late)
    assert 0.86 < held < 0.94
    assert late[-1][0].high - late[-1][0].low < 20.0


def test_nothing_is_learnt_across_a_hole():
    one, two = (Residual(EVERY, [AHEAD], (19.0, 720.0)) for _ in range(2))
    for residual, late in ((one, 100.0), (two, 300.0)):
        for n in range(3):
            residual.take(n * EVERY, 100.0, 1.0, 0.0, [(100.0, 10.0)])
        residual.take(9000.0, late, 3.0, 0.0, [(late, 10.0)])
    again = [residual.take(9300.0, 200.0, 3.0, 0.0, [(200.0, 10.0)])[0] for residual in (one, two)]
    assert again[0].mean == again[1].mean == 200.0


def test_what_was_taken_wears_off():
    taken = Taken("insulin", 2.0, (3600.0, 7200.0))
    taken.take(0.0, 4.0)
    assert taken.columns(0.0) == {"insulin_0": 2.0, "insulin_1": 2.0}
    later = taken.columns(3600.0)
    assert later == {"insulin_0": pytest.approx(2 * 0.367879, rel=1e-5), "insulin_1": pytest.approx(2 * 0.606531, rel=1e-5)}


def test_probability_of_less():
    assert Forecast(70.0, 53.55, 86.45, 10.0).below(70.0) == pytest.approx(0.5)
    assert Forecast(90.0, 73.55, 106.45, 10.0).below(70.0) == pytest.approx(0.02275, rel=1e-3)
