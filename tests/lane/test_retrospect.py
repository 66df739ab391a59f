"""The past: by the filter it is what the live lane believed then, by the smoother it is nearer to what was."""

import numpy as np
import pytest

from stream_twin import events
from stream_twin.lane import Lane
from stream_twin.lane.chart import Chart
from stream_twin.lane.patient import INPUT
from stream_twin.lane.retrospect import retrospect
from tests.lane.log import CATALOGUE, T0, Log, applied

PATIENT = "p"
KEY = PATIENT.encode()
FIELDS = {"level": "level", "low": "low", "high": "high", "baseline": "baseline"}


def day(hours=12, population="intensive_care"):
    """A log of hourly readings of several signals on shared drivers, a meal, insulin, an artefact, and what is true."""
    rng = np.random.default_rng(3)
    log, truth = Log(), []
    log.profile(PATIENT, age_years=70, population=population)
    log.tick(T0)
    pulse = 85.0
    for step in range(hours * 12):
        at = T0 + 300.0 * (step + 1)
        pulse += 0.15 * (85 - pulse) + 2.5 * float(rng.standard_normal())
        truth.append((at, pulse))
        log.sample(PATIENT, "heart_rate", at, round(pulse + 3 * float(rng.standard_normal())))
        log.sample(PATIENT, "respiratory_rate", at, round(16 + float(rng.standard_normal())))
        if step == 40:
            log.sample(PATIENT, "heart_rate", at + 60, 290.0, number="artefact")
            log.send("clinical.events", events.Meal(id="m", patient_id=PATIENT, at=at, carbohydrates_g=50.0))
            log.send("clinical.events", events.Insulin(id="i", patient_id=PATIENT, at=at, kind="rapid", dose_units=5.0))
        log.tick(at + 100)
    return log, truth


def chart_of(records, known=None):
    chart = Chart(CATALOGUE, KEY, known)
    for record in records:
        chart.feed(record)
    return chart


@pytest.mark.parametrize("population", ["home", "intensive_care"])
def test_by_the_filter_it_is_what_the_lane_believed_then_and_expects(population):
    log, _ = day(population=population)
    ticks = [number for number, record in enumerate(log.records) if not record.key]
    chart = chart_of(log.records)
    stops = ticks[20::25]
    lane, believed = Lane(0, CATALOGUE), []
    for before, stop in zip([-1, *stops], stops, strict=False):
        lane.apply(log.records[before + 1 : stop + 1])
        believed.append((lane.clock, lane.belief(PATIENT, lane.clock)))
    lane.apply(log.records[stops[-1] + 1 :])
    now = lane.clock
    believed += [(now + ahead, lane.belief(PATIENT, now + ahead)) for ahead in (0.0, 3600.0, 86400.0)]
    moments = np.array([at for at, _ in believed])
    seen = retrospect(chart.population, chart.samples(), moments, now, smoothed=False)
    for number, (_, belief) in enumerate(believed):
        for name, signal in belief.signals.items():
            trace = seen.traces[name]
            for ours, theirs in FIELDS.items():
                assert getattr(trace, ours)[number] == pytest.approx(getattr(signal, theirs), rel=1e-9), (name, ours, number)
        for name, driver in belief.drivers.items():
            assert seen.drivers[name].mean[number] == pytest.approx(driver.mean, abs=1e-9)
            assert seen.drivers[name].sd[number] == pytest.approx(driver.sd, rel=1e-9)
    assert seen.drivers or population == "home"
    assert [at for name, at in seen.aside if name == "heart_rate"] == [T0 + 300.0 * 41 + 60]
    for name, driver in seen.drivers.items():
        moment = len(moments) - 3  # now: those after it are forecasts
        assert sum(driver.contributions.values()) == pytest.approx(driver.mean[moment], abs=1e-9), name


def test_half_of_the_samples_lie_within_the_inner_band():
    log, _ = day(hours=40)
    chart = chart_of(log.records)
    samples = [s for s in chart.samples() if s.signal == "respiratory_rate"]
    before = np.array([s.at - 1 for s in samples])
    trace = retrospect(chart.population, chart.samples(), before, samples[-1].at, smoothed=False).traces["respiratory_rate"]
    assert np.all((trace.low < trace.lower) & (trace.lower < trace.level))
    assert np.all((trace.level < trace.upper) & (trace.upper < trace.high))


def test_in_hindsight_it_is_nearer_to_the_truth_and_the_same_in_the_end():
    log, truth = day(hours=30)
    chart = chart_of(log.records)
    at, true = np.array(truth).T
    then, hindsight = (
        retrospect(chart.population, chart.samples(), at, at[-1], smoothed=smoothed).traces["heart_rate"]
        for smoothed in (False, True)
    )
    middle = slice(12, -12)
    assert np.mean((hindsight.level - true)[middle] ** 2) < 0.9 * np.mean((then.level - true)[middle] ** 2)
    assert hindsight.level[-1] == pytest.approx(then.level[-1], rel=1e-9)
    assert hindsight.high[-1] == pytest.approx(then.high[-1], rel=1e-9)


def test_the_chart_has_each_sample_once_also_what_came_late_and_not_what_was_taken_back():
    log = Log()
    log.profile(PATIENT)
    for number in range(10):
        log.sample(PATIENT, "heart_rate", T0 + 60.0 * number, 70.0 + number, device_kind="streaming")
        log.tick(T0 + 60.0 * number + 1)
    log.tick(T0 + 5000)
    log.sample(PATIENT, "heart_rate", T0 + 30, 60.0, number="late")
    log.sample(PATIENT, "heart_rate", T0, 70.0, number=f"heart_rate-{T0}", version=2, status="entered-in-error")
    log.sample(PATIENT, "heart_rate", T0 + 60, 71.5, number=f"heart_rate-{T0 + 60.0}", version=2, status="corrected")
    log.sample(PATIENT, "heart_rate", T0 + 120, 72.0, number=f"heart_rate-{T0 + 120.0}")
    log.tick(T0 + 5001)
    assert applied(log.records)[0].fates()["late"] == 4
    chart = chart_of(log.records)
    assert [(s.at - T0, s.value) for s in chart.samples() if s.device != INPUT][:3] == [(30, 60.0), (60, 71.5), (120, 72.0)]
    assert len(chart.samples()) == 10
    assert chart.clock == T0 + 5001
    assert chart.measured_until == T0 + 540


def test_events_are_there_as_last_told_and_air_is_that_of_the_patients_place():
    log = Log()
    log.profile(PATIENT, place="here")
    meal = {"id": "m", "patient_id": PATIENT, "at": T0}
    log.send("clinical.events", events.Meal(**meal, carbohydrates_g=50.0))
    log.send("clinical.events", events.Meal(**meal, carbohydrates_g=20.0, version=2))
    log.send("clinical.events", events.Meal(id="n", patient_id=PATIENT, at=T0 - 1, version=2, status="entered-in-error"))
    for place, value in (("here", 12.0), ("there", 99.0)):
        air = {"id": f"{place}/1", "place": place, "code": "pm25", "unit": "ug/m3", "measured_at": T0, "value": value}
        log.send("environment.observations", events.EnvironmentObservation(**air), key=place.encode())
    log.tick(T0)
    chart = chart_of(log.records)
    assert [event.carbohydrates_g for event in chart.events] == [20.0]
    assert chart.air() == {"pm25": [(T0, 12.0)]}


def test_of_a_log_that_begins_later_the_state_says_who_it_is():
    log, _ = day(hours=3)
    known = applied(log.records)[0].snapshot(KEY)
    rest = [record for record in log.records if record.offset > 20]
    assert chart_of(rest).samples() == []
    assert len(chart_of(rest, known).samples()) > 50
