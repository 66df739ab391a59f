"""The forecast rule through the lane: the twin's own forecasts, asked for only where a limit is near."""

import pytest

from stream_twin.lane.assess import Assessor
from tests.lane.log import T0, Log, alerts, applied, state

STEP_S = 300


def fall(patient="p", start=150.0, by=6.0, steady=30, falling=16):
    """A sensor that reads steadily for some hours, then falls; readings until it is below 70."""
    log = Log()
    log.profile(patient, age_years=40)
    log.tick(T0)
    value = start
    for n in range(steady + falling):
        value -= by if n >= steady else 0.0
        at = T0 + 10 + n * STEP_S
        log.sample(patient, "glucose", at, value + (0.5 if n % 2 else 0.0), device_id="cgm")
        log.tick(at + 5)
    return log, value


def forecast(log, **options):
    lane, outputs = applied(log.records, **options)
    return lane, [change for change in alerts(outputs) if change.rule == "forecast"]


def test_a_fall_is_told_before_it_is_low():
    log, lowest = fall(falling=13)
    assert lowest > 70
    _, changes = forecast(log)
    assert [(change.state, change.subject, change.priority) for change in changes] == [("raised", "glucose", "low")]
    change = changes[0]
    assert "falling: " in change.reason
    assert "% likely below 70 mg/dL within 30 min" in change.reason
    assert 75 < change.evidence["value"] < 110
    assert change.evidence["forecast"] < change.evidence["value"]


def test_where_a_batch_ends_changes_nothing():
    log, _ = fall()
    one, together = forecast(log)
    other, apart = forecast(log, batch=7)
    assert apart == together
    assert state(one) == state(other)


@pytest.mark.parametrize("start", [150.0, 165.0])
def test_nobody_far_from_a_limit_and_nobody_without_a_rule_costs_a_forecast(monkeypatch, start):
    def asked(*_):
        raise AssertionError("a forecast was made")

    monkeypatch.setattr(Assessor, "forecast", asked)
    log, _ = fall(start=start, by=0.0)
    for n in range(40):
        at = T0 + 20 + n * STEP_S
        log.sample("p", "heart_rate", at, 160.0, device_id="watch")
    changes = forecast(log)[1]
    assert changes == []
