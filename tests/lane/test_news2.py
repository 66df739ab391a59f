"""NEWS2 through the lane: from what was measured and what events say, whatever the batches."""

import pytest

from stream_twin import events
from tests.lane.log import CATALOGUE, T0, Log, alerts, applied, state

SET = {"respiratory_rate": 16, "spo2": 97, "systolic_blood_pressure": 120, "heart_rate": 70, "body_temperature": 37.0}


class Ward(Log):
    def by_hand(self, at, **values):
        """A set of a nurse, each value a record, read together."""
        for name, value in {**SET, **values}.items():
            observation = events.Observation(
                id=f"{name}-{at}",
                patient_id="p",
                code=name,
                code_system=events.CATALOGUE,
                unit=CATALOGUE[name].unit,
                measured_at=at,
                value=float(value),
            )
            self.send("clinical.observations", observation)

    def oxygen(self, at, flow, **more):
        self.send("clinical.events", events.Oxygen(id=f"o-{at}", patient_id="p", at=at, flow_l_per_min=float(flow), **more))

    def found(self, at, answer, **more):
        finding = events.Finding(
            id=f"f-{at}", patient_id="p", at=at, code="consciousness", code_system=events.CATALOGUE, value=answer, **more
        )
        self.send("clinical.events", finding)

    def ticks(self, start, end, step=10):
        for second in range(start, end, step):
            self.tick(T0 + second)


def ward(**profile):
    log = Ward()
    log.profile("p", age_years=60, **profile)
    log.tick(T0)
    return log


def news2(log, **options):
    lane, outputs = applied(log.records, **options)
    return lane, [change for change in alerts(outputs) if change.rule == "news2"]


def test_a_set_by_hand_with_oxygen_and_consciousness():
    log = ward()
    log.oxygen(T0 + 1, 2)
    log.found(T0 + 2, "alert")
    log.tick(T0 + 5)
    log.by_hand(T0 + 10, respiratory_rate=22, spo2=93, heart_rate=112)
    log.ticks(20, 60)
    _, changes = news2(log)
    assert [(change.state, change.priority) for change in changes] == [("raised", "high")]
    assert changes[0].evidence["low"] == changes[0].evidence["high"] == 2 + 2 + 2 + 2
    assert "not known" not in changes[0].reason


def test_what_nobody_told_is_missing_and_asked_for():
    log = ward()
    log.by_hand(T0 + 10, respiratory_rate=26, heart_rate=112)
    log.ticks(20, 60)
    _, (change,) = news2(log)
    assert (change.priority, change.evidence["low"], change.evidence["high"]) == ("medium", 5.0, 10.0)
    assert change.next_step.endswith("whether oxygen is given and consciousness.")


def test_new_confusion_is_told_when_it_is_found():
    log = ward()
    log.by_hand(T0 + 10)
    log.tick(T0 + 20)
    log.found(T0 + 30, "confusion")
    log.ticks(40, 60)
    _, (change,) = news2(log)
    assert (change.priority, change.contributions) == ("medium", {"consciousness": 3.0})


def test_an_entry_in_error_ends_it():
    log = ward()
    log.by_hand(T0 + 10)
    log.found(T0 + 30, "confusion")
    log.tick(T0 + 40)
    log.found(T0 + 45, "alert")
    log.tick(T0 + 50)
    _, changes = news2(log)
    assert [change.state for change in changes] == ["raised", "resolved"]


@pytest.mark.parametrize(("fio2", "low"), [(21.0, 5.0), (28.0, 7.0)])
def test_the_fraction_of_oxygen_says_whether_oxygen_is_given(fio2, low):
    log = ward()
    log.found(T0 + 2, "alert")
    log.by_hand(T0 + 10, respiratory_rate=26, heart_rate=112, fio2=fio2)
    log.ticks(20, 60)
    _, (change,) = news2(log)
    assert change.evidence["low"] == change.evidence["high"] == low


@pytest.mark.parametrize("profile", [{"pregnant": True}, {"spinal_cord_injury": True}])
def test_for_whom_it_does_not_apply(profile):
    log = ward(**profile)
    log.by_hand(T0 + 10, respiratory_rate=26, heart_rate=140)
    log.ticks(20, 60)
    assert news2(log)[1] == []


def test_it_ends_with_that_reason_when_it_does_not_apply_any_more():
    log = ward()
    log.by_hand(T0 + 10, respiratory_rate=26)
    log.ticks(20, 40)
    log.profile("p", age_years=60, pregnant=True, version=2)
    log.tick(T0 + 50)
    _, changes = news2(log)
    assert [change.state for change in changes] == ["raised", "resolved"]
    assert changes[1].reason == "NEWS2 does not apply: the patient is pregnant"


def wearable(log, minutes, heart_rate, every_s=60):
    for second in range(0, minutes * 60, every_s):
        for name, value in (("heart_rate", heart_rate(second)), ("respiratory_rate", 16.0 + second % 3)):
            log.sample("p", name, T0 + second, float(value), device_id="patch")
        log.tick(T0 + second + every_s)


def test_a_wearable_enters_as_the_median_of_five_minutes():
    log = ward()
    wearable(log, 45, lambda second: 80 if second < 900 else 140 + second % 7)
    _, (change,) = news2(log)
    assert change.evidence["samples.heart_rate"] == 6.0  # both ends included
    assert change.evidence["quality.heart_rate"] == "rest not known"
    assert 900 + 120 + 1200 <= change.at - T0 <= 900 + 300 + 1260


def test_one_outlier_in_a_minute_of_samples_is_nothing():
    log = ward()
    wearable(log, 30, lambda second: 150 if second == 900 else 80 + second % 7)
    assert news2(log)[1] == []


def test_batches_and_a_restart_make_no_difference():
    log = ward(time_zone="Europe/Berlin")
    log.oxygen(T0 + 1, 2, until=T0 + 900)
    log.found(T0 + 2, "alert")
    wearable(log, 20, lambda second: 140 + second % 7, every_s=30)
    whole, changes = news2(log)
    assert changes
    for batch in (1, 7):
        lane, others = news2(log, batch=batch)
        assert others == changes
        assert state(lane) == state(whole)
