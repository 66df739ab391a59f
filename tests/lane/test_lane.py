"""The lane as a function of its log."""

from collections import Counter

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events
from stream_twin.alerts.rules.silence import Silence
from stream_twin.lane import Lane, LaneSettings, UpdateFailed
from stream_twin.lane.assess import Assessor
from stream_twin.twin.blocks import Blocks
from tests.lane.log import CATALOGUE, T0, Log, alerts, applied, dead_letters, encode, state

SIGNALS = {"heart_rate": (72, 6), "spo2": (95, 0.5), "respiratory_rate": (15, 2), "body_temperature": (36.8, 0.3)}


def ward(seed, patients=4, minutes=30):
    """A log with a bit of everything: profiles after samples, disorder, duplicates, corrections, a deterioration, commands."""
    rng = np.random.default_rng(seed)
    log = Log()
    people = [f"p{k}" for k in range(patients)]
    late = []
    for k, patient in enumerate(people[:-1]):
        if k:
            log.profile(patient, sex="female", age_years=60 + k, time_zone="Europe/Berlin", place="here", cohort="intensive_care")
    devices = [events.AssignedDevice(device_id="w1", kind="streaming", start=T0 - 1e6, every_s=30.0)]
    log.send("device.assignments", events.DeviceAssignments(patient_id="p1", devices=devices))
    for minute in range(minutes):
        now = T0 + 60.0 * minute
        for patient in people:
            for name, (usual, sd) in SIGNALS.items():
                worse = 6 * sd * (1 if name != "spo2" else -1)
                mean = usual + worse if patient == "p2" and minute > 10 else usual
                at = now + round(float(rng.uniform(0, 50)), 3)
                device = {"p1": "w1" if rng.random() < 0.9 else "w9"}.get(patient)
                sample = (patient, name, at, round(mean + sd * float(rng.standard_normal()), 2))
                if rng.random() < 0.1:
                    late.append((sample, device))
                else:
                    log.sample(*sample, device_id=device)
                if rng.random() < 0.05:
                    log.sample(*sample, device_id=device)
                if rng.random() < 0.03:
                    log.sample(*sample[:3], sample[3] + 1, version=2, device_id=device, status="corrected")
                if rng.random() < 0.02:
                    log.sample(*sample[:3], sample[3] + 2, device_id=device)
        while late and rng.random() < 0.5:
            sample, device = late.pop(0)
            log.sample(*sample, device_id=device)
        if minute == 5:
            log.profile("p0", age_years=50)
        log.tick(now + 60)
    return log.records


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100), batch=st.integers(1, 400))
def test_where_batches_end_does_not_matter(seed, batch):
    records = ward(seed)
    (one, one_out), (other, other_out) = applied(records), applied(records, batch)
    assert state(one) == state(other)
    assert one.fates() == other.fates()
    for topic in ("alerts", "twin.estimates", "learning.examples", "dead.letters"):
        per_key = [Counter(), Counter()]
        for counter, outputs in zip(per_key, (one_out, other_out), strict=True):
            for offset, output in outputs:
                if output.topic == topic:
                    counter[offset, output] += 1
        assert per_key[0] == per_key[1]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100), data=st.data())
def test_restored_from_snapshots_of_different_age_it_goes_on_exactly(seed, data):
    """As after a crash: a checkpoint at C, some patients saved later, the log read again from C."""
    records = ward(seed, minutes=20)
    whole, outputs = applied(records)
    cut = data.draw(st.integers(1, len(records) - 1))
    later = data.draw(st.integers(cut, len(records)))
    lane = Lane(0, CATALOGUE)
    lane.apply(records[:cut])
    checkpoint, snapshots = lane.checkpoint(), {key: lane.snapshot(key) for key in lane.patients}
    lane.apply(records[cut:later])
    for key in sorted(lane.patients):
        if data.draw(st.booleans()):
            snapshots[key] = lane.snapshot(key)
    again = Lane.restore(0, CATALOGUE, checkpoint, snapshots.items())
    assert again.position == cut
    rest = again.apply(records[cut:]).outputs
    assert state(again) == state(whole)
    assert again.fates() == whole.fates()
    after = Counter(entry for entry in outputs if entry[0] >= later)
    assert Counter(entry for entry in rest if entry[0] >= later) == after


def test_careful_is_slower_but_the_same():
    records = ward(7, minutes=15)
    assert state(applied(records)[0]) == state(applied(records, careful=True)[0])


def test_every_input_has_one_fate():
    records = ward(3)
    lane, outputs = applied(records)
    fates = lane.fates()
    assert sum(fates.values()) == len(records)
    assert fates["rejected"] == len(dead_letters(outputs))
    assert {"applied", "duplicate", "rejected", "late"} >= set(fates) - {"held"}
    assert fates["applied"] > 0.6 * len(records)
    assert fates["duplicate"] > 0
    assert set(dead_letters(outputs)) == {"conflicting_body", "unknown_patient", "unknown_device"}


def test_a_dead_letter_carries_the_original_bytes():
    log = Log()
    log.profile("p")
    body = b'{"id":"a","type":"observation","patient_id":"p","code":"8867-4","unit":"/min","measured_at":%d,  "value":70}' % T0
    log.send("wearable.observations", body, key=b"p")
    log.send("wearable.observations", body.replace(b"70", b"71"), key=b"p")
    _, outputs = applied(log.records)
    (letter,) = [output for _, output in outputs if output.topic == "dead.letters"]
    assert letter.value == body.replace(b"70", b"71")
    headers = dict(letter.headers)
    assert (headers["reason"], headers["stage"], headers["topic"]) == (b"conflicting_body", b"twin", b"wearable.observations")
    assert (headers["partition"], headers["offset"], headers["log_offset"]) == (b"0", b"2", b"2")


def test_samples_wait_for_their_patient_and_then_count_as_if_in_order():
    first, later = Log(), Log()
    first.profile("p")
    for k in range(5):
        first.sample("p", "heart_rate", T0 + k, 70 + k)
        later.sample("p", "heart_rate", T0 + k, 70 + k)
    later.profile("p")
    lanes = [applied(log.records)[0] for log in (first, later)]
    assert [lane.fates()["applied"] for lane in lanes] == [6, 6]
    beliefs = [lane.belief("p", T0 + 60).signals["heart_rate"] for lane in lanes]
    assert beliefs[0] == beliefs[1]


@pytest.mark.parametrize("policy", ["reject", "watch"])
def test_an_unknown_patient(policy):
    log = Log()
    lane = Lane(0, CATALOGUE)
    log.put(b"", lane.configuration(LaneSettings(unknown_patients=policy, hold_unknown_s=60.5)))
    log.tick(T0)
    log.sample("p", "heart_rate", T0, 70)
    log.tick(T0 + 59)
    log.tick(T0 + 61)
    outputs = lane.apply(log.records).outputs
    if policy == "reject":
        assert dead_letters(outputs) == ["unknown_patient"]
        assert lane.belief("p") is None
    else:
        assert dead_letters(outputs) == []
        assert lane.belief("p").signals["heart_rate"].last_value == 70
    assert lane.fates()["held"] == 0


def test_a_device_of_somebody_else_and_one_outside_its_time():
    log = Log()
    log.profile("p")
    devices = [events.AssignedDevice(device_id="w", kind="streaming", start=T0, end=T0 + 100)]
    log.send("device.assignments", events.DeviceAssignments(patient_id="p", devices=devices))
    log.tick(T0)
    log.sample("p", "heart_rate", T0 + 50, 70, device_id="w")
    log.sample("p", "heart_rate", T0 + 150, 70, device_id="w")
    log.sample("p", "heart_rate", T0 + 51, 70, device_id="other")
    log.tick(T0 + 200)
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["outside_assignment", "unknown_device"]
    assert lane.belief("p").signals["heart_rate"].last_at == T0 + 50


def test_who_is_discharged_is_not_monitored():
    log = Log()
    log.profile("p")
    log.profile("p", version=2, state="discharged")
    log.sample("p", "heart_rate", T0, 70)
    _, outputs = applied(log.records)
    assert dead_letters(outputs) == ["not_monitored"]


def test_a_value_out_of_its_limits_is_told_at_once_with_its_reason():
    log = Log()
    log.profile("p")
    log.tick(T0)
    log.sample("p", "spo2", T0 + 1, 97)
    for k in range(30):
        log.sample("p", "spo2", T0 + 2 + 10 * k, 80)
        log.tick(T0 + 3 + 10 * k)
    _, outputs = applied(log.records)
    (raised,) = [change for change in alerts(outputs) if change.state == "raised" and change.rule == "limits"]
    assert "80" in raised.reason
    assert raised.subject == "spo2"
    assert raised.at < T0 + 300


def test_before_the_first_tick_nothing_is_put_out_and_nothing_is_forgotten():
    """Another worker may write into a lane that was never open."""
    log = Log()
    log.profile("p")
    log.sample("p", "heart_rate", T0, 190.0, device_kind="bedside")
    lane = Lane(0, CATALOGUE)
    assert lane.apply(log.records).outputs == []
    before = len(log.records)
    log.tick(T0 + 5)
    restored = Lane.restore(0, CATALOGUE, lane.checkpoint(), [(b"p", lane.snapshot(b"p"))])
    for each in (lane, restored):
        put_out = [output for _, output in each.apply(log.records[before:]).outputs]
        told = [msgspec.json.decode(o.value, type=events.AlertChange) for o in put_out if o.topic == "alerts"]
        [alert] = [change for change in told if change.rule == "limits"]
        assert alert.at == T0 + 5
        assert "twin.estimates" in {output.topic for output in put_out}


def test_silence_goes_by_what_is_complete_and_not_by_the_clock():
    log = Log()
    log.profile("p")
    devices = [events.AssignedDevice(device_id="w", kind="streaming", start=T0 - 10, every_s=10.0)]
    log.send("device.assignments", events.DeviceAssignments(patient_id="p", devices=devices))
    for k in range(60):
        log.sample("p", "heart_rate", T0 + 10 * k, 70, device_id="w")
        log.tick(T0 + 10 * k + 1)
    outage = T0 + 600 + 600  # ten minutes without any worker; then the backlog is read
    log.tick(outage, T0 + 591)
    for k in range(60, 120):
        log.sample("p", "heart_rate", T0 + 10 * k, 70, device_id="w")
    log.tick(outage + 1)
    _, outputs = applied(log.records)
    assert [change for change in alerts(outputs) if change.rule == "silence"] == []
    for k in range(200):
        log.tick(outage + 2 + 10 * k)
    _, outputs = applied(log.records)
    assert [change.state for change in alerts(outputs) if change.rule == "silence"] == ["raised"]


def test_a_tick_looks_at_nobody_whose_estimate_just_came(monkeypatch):
    """Ten patients with a sample every two seconds, and a clock that runs ahead of what is complete."""
    looked = Counter()
    original = Assessor.assess

    def counted(self, due, own, out, *, at_tick):
        looked[at_tick] += len(due)
        original(self, due, own, out, at_tick=at_tick)

    monkeypatch.setattr(Assessor, "assess", counted)
    log = Log()
    for k in range(10):
        log.profile(f"p{k}")
    for second in range(600):
        for k in range(second % 2, 10, 2):
            log.sample(f"p{k}", "heart_rate", T0 + second + k / 100, 72)
        log.tick(T0 + second + 1, complete_to=T0 + second - 2)
    lane, outputs = applied(log.records)
    estimates = sum(output.topic == "twin.estimates" for _, output in outputs)
    assert estimates > 600
    assert looked.total() <= estimates + 20
    assert len(lane._agenda._timers) <= 2 * 10  # one entry of each patient, not one for each look


def test_estimates_come_at_most_every_few_seconds():
    log = Log()
    log.profile("p")
    for second in range(60):
        for k in range(10):
            log.sample("p", "heart_rate", T0 + second + k / 10, 70 + k / 10)
        log.tick(T0 + second + 1)
    _, outputs = applied(log.records)
    estimates = [output for _, output in outputs if output.topic == "twin.estimates"]
    assert 10 <= len(estimates) <= 15
    last = msgspec.json.decode(estimates[-1].value, type=events.Estimate)
    belief = last.signals["heart_rate"]
    assert belief.low < belief.level < belief.high


def test_places_and_models_are_for_all_patients_and_the_newest_counts():
    log = Log()
    log.profile("p", place="here")
    for at, value in ((T0, 10.0), (T0 + 3600, 30.0), (T0 + 1800, 20.0), (T0 + 3600, 30.0)):
        message = events.EnvironmentObservation(
            id=f"{at}", place="here", code="pm25", unit=CATALOGUE["pm25"].unit, measured_at=at, value=value
        )
        log.send("environment.observations", message, key=b"here")
    lane, _ = applied(log.records)
    assert lane.fates() == {"applied": 3, "late": 1, "duplicate": 1}
    assert lane.belief("p").place["pm25"] == (T0 + 3600, 30.0)


def test_a_record_whose_update_raises_is_set_aside_and_its_patient_goes_on(monkeypatch):
    log = Log()
    for patient in ("p", "q"):
        log.profile(patient)
    log.tick(T0 - 10)
    for k in range(20):
        log.tick(T0 + 10 * k)
        for patient in ("p", "q"):
            log.sample(patient, "heart_rate", T0 + 10 * k, 70 + k if not (patient == "p" and k == 10) else 66.6)
    original = Assessor._estimate

    def fragile(self, patient, belief, rows, arrived_at):
        if "heart_rate" in belief.signals and belief.signals["heart_rate"].last_value == 66.6:
            raise ArithmeticError("injected")
        return original(self, patient, belief, rows, arrived_at)

    monkeypatch.setattr(Assessor, "_estimate", fragile)
    with pytest.raises(UpdateFailed, match="ArithmeticError"):
        applied(log.records)
    lane, outputs = applied(log.records, careful=True)
    assert dead_letters(outputs) == ["failed"]
    assert lane.fates()["failed"] == 1
    monkeypatch.undo()
    without = [r for r in log.records if b"66.6" not in r.value]
    expected = applied(without)[0].belief("p", T0 + 300).signals["heart_rate"]
    assert lane.belief("p", T0 + 300).signals["heart_rate"] == expected


def test_the_first_value_of_a_signal_is_looked_at_at_once_when_it_is_beyond_its_limit():
    log = Log()
    log.profile("p")
    log.tick(T0)
    log.sample("p", "heart_rate", T0 + 1, 70)
    lane, _ = applied(log.records)
    assert lane.patients[b"p"].state.assessed_at == T0
    before = len(log.records)
    log.sample("p", "spo2", T0 + 1, 97)
    log.sample("p", "glucose", T0 + 1.5, 30, device_kind="bedside")
    ordinary, low = (lane.apply([record]).outputs for record in log.records[before:])
    assert ordinary == []
    assert [output.topic for _, output in low]


def test_an_assessment_at_a_tick_that_raises_is_told_once_and_stops_nobody(monkeypatch):
    log = Log()
    for patient in ("p", "q"):
        log.profile(patient)
    log.tick(T0)
    for k in range(300):
        if k < 3:
            log.sample("p", "heart_rate", T0 + k, 66.6)
        log.sample("q", "heart_rate", T0 + k, 70)
        log.tick(T0 + k + 1)
    original = Assessor._estimate

    def fragile(self, patient, belief, rows, arrived_at):
        if patient.id == "p" and belief.clock > T0 + 4:
            raise ArithmeticError("injected")
        return original(self, patient, belief, rows, arrived_at)

    monkeypatch.setattr(Assessor, "_estimate", fragile)
    with pytest.raises(UpdateFailed) as failed:
        applied(log.records)
    lane = Lane(0, CATALOGUE)
    outputs = []
    for record in log.records:  # only the one that failed is taken with care: from then on the lane knows
        outputs += lane.apply([record], careful=record.offset == failed.value.offset).outputs
    assert dead_letters(outputs) == ["failed"]
    assert lane.patients[b"p"].state.fragile
    monkeypatch.undo()
    log.tick(T0 + 400)
    lane.apply(log.records[-1:])
    assert not lane.patients[b"p"].state.fragile
    assert lane.belief("q").signals["heart_rate"].last_at == T0 + 299


def test_who_cannot_be_assessed_while_a_reminder_is_due_is_tried_once_a_minute(monkeypatch):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for minute in range(10):
        log.sample("p", "heart_rate", T0 + 60 * minute, 200.0 + minute % 2, device_id="w")
        log.tick(T0 + 60 * minute + 1)
    lane, outputs = applied(log.records)
    assert [change.state for change in alerts(outputs)][:2] == ["raised", "repeated"]
    (snapshots, checkpoint), before = state(lane), len(log.records)
    for second in range(700, 1900):
        log.tick(T0 + second)

    def fragile(*_):
        raise ArithmeticError("injected")

    monkeypatch.setattr(Silence, "judge", fragile)
    lane = Lane.restore(0, CATALOGUE, checkpoint, snapshots.items())
    done = lane.apply(log.records[before:], careful=True)
    assert done.counts["assessment", "failed"] == pytest.approx(20, abs=1)
    assert dead_letters(done.outputs) == ["failed"]
    monkeypatch.undo()
    log.tick(T0 + 2000)
    assert [change.state for change in alerts(lane.apply(log.records[-1:]).outputs)] == ["escalated"]


def refuse_to_take(value, monkeypatch):
    """Have the update raise for samples of this value."""
    original = Blocks.offer

    def fragile(self, block, code, identity, at, raw, *rest):
        if raw == value:
            raise ArithmeticError("injected")
        return original(self, block, code, identity, at, raw, *rest)

    monkeypatch.setattr(Blocks, "offer", fragile)


def test_what_was_held_and_raises_when_it_is_let_in_becomes_a_dead_letter(monkeypatch):
    log = Log()
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(unknown_patients="watch")))
    log.tick(T0)
    for k, value in enumerate([70, 66.6, 71]):
        log.sample("p", "heart_rate", T0 + k, value)
    log.tick(T0 + 100)
    refuse_to_take(66.6, monkeypatch)
    with pytest.raises(UpdateFailed):
        applied(log.records)
    lane, outputs = applied(log.records, careful=True)
    assert dead_letters(outputs) == ["failed"]
    assert lane.belief("p").signals["heart_rate"].last_value == 71
    assert {fate: lane.fates()[fate] for fate in ("held", "failed")} == {"held": 0, "failed": 1}


@pytest.mark.parametrize("step", [1, 2, 6])
def test_a_patient_whose_assessment_keeps_raising_loses_no_input(monkeypatch, step):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(8):
        log.sample("p", "heart_rate", T0 + k, 70 + k)
        log.tick(T0 + k + 1)
    original = Assessor._estimate

    def fragile(self, patient, belief, rows, arrived_at):
        if belief.clock > T0 + 4:
            raise ArithmeticError("injected")
        return original(self, patient, belief, rows, arrived_at)

    monkeypatch.setattr(Assessor, "_estimate", fragile)
    with pytest.raises(UpdateFailed) as failed:
        applied(log.records)
    lane = Lane(0, CATALOGUE)
    for record in log.records:
        lane.apply([record], careful=record.offset == failed.value.offset)
    known = len(log.records)
    for k in range(5):
        log.sample("p", "heart_rate", T0 + 20 + k, 80 + k)
    log.tick(T0 + 30)
    for start in range(known, len(log.records), step):
        lane.apply(log.records[start : start + step])
    assert lane.fates() == {"applied": len(log.records)}
    assert lane.patients[b"p"].latest["heart_rate"].value == 84


def test_with_care_an_assessment_of_what_a_tick_let_in_stops_nobody(monkeypatch):
    log = Log()
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(unknown_patients="watch")))
    log.tick(T0)
    for k, value in enumerate([70, 250, 71]):
        log.sample("p", "heart_rate", T0 + k, value)
    log.tick(T0 + 100)
    original = Assessor._look

    def fragile(self, patients, own, at):
        if any(p.latest["heart_rate"].value == 250 for p in patients if p.latest):
            raise ArithmeticError("injected")
        return original(self, patients, own, at)

    monkeypatch.setattr(Assessor, "_look", fragile)
    lane, outputs = applied(log.records, careful=True)
    assert dead_letters(outputs) == ["failed"]
    assert lane.fates()["held"] == 0
    assert lane.fates().total() == len(log.records)


def test_what_was_rejected_before_the_release_raised_is_one_dead_letter_only(monkeypatch):
    log = Log()
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(unknown_patients="watch")))
    log.tick(T0)
    worn = events.AssignedDevice(device_id="A", kind="streaming", start=T0 - 1e5)
    log.send("device.assignments", events.DeviceAssignments(patient_id="p", devices=[worn]))
    log.sample("p", "heart_rate", T0 + 1, 70, device_id="B")
    log.sample("p", "heart_rate", T0 + 2, 66.6, device_id="A")
    log.tick(T0 + 100)
    refuse_to_take(66.6, monkeypatch)
    lane, outputs = applied(log.records, careful=True)
    letters = [dict(output.headers)["offset"] for _, output in outputs if output.topic == "dead.letters"]
    assert len(letters) == len(set(letters)) == lane.fates()["failed"] + lane.fates()["rejected"]


@pytest.mark.parametrize("batch", [1, 3, None])
def test_after_the_last_remembered_values_are_retracted_the_settled_one_is_the_newest(batch):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(16):
        log.sample("p", "heart_rate", T0 - 1000 + k, 60 + k)
    log.sample("p", "heart_rate", T0 - 50, 90, number="a")
    log.sample("p", "heart_rate", T0 - 40, 91, number="b")
    log.sample("p", "heart_rate", T0 - 40, None, number="b", version=2, status="entered-in-error")
    log.sample("p", "heart_rate", T0 - 50, None, number="a", version=2, status="entered-in-error")
    log.tick(T0 + 6)
    lane, _ = applied(log.records, batch)
    latest = lane.patients[b"p"].latest["heart_rate"]
    assert (latest.value, latest.at) == (75, T0 - 985)


def test_a_device_is_heard_also_by_samples_older_than_those_of_another():
    log = Log()
    log.profile("p")
    log.tick(T0)
    log.sample("p", "heart_rate", T0 + 1, 70, device_id="A")
    log.sample("p", "heart_rate", T0 - 1, 70, device_id="B")
    lane, _ = applied(log.records)
    assert {name: device.last_at for name, device in lane.patients[b"p"].state.devices.items()} == {"A": T0 + 1, "B": T0 - 1}


def test_a_command_answers_an_alert_and_an_unknown_one_is_a_dead_letter():
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(60):
        log.sample("p", "spo2", T0 + 2 + 10 * k, 80)
        log.tick(T0 + 3 + 10 * k)
    _, outputs = applied(log.records)
    (raised,) = [change for change in alerts(outputs) if change.state == "raised" and change.rule == "limits"]
    command = {"patient_id": "p", "by": "nurse", "at": T0 + 700, "action": "acknowledge"}
    log.send("alert.commands", events.AlertCommand(id="c1", alert_id=raised.alert_id, **command))
    log.send("alert.commands", events.AlertCommand(id="c1", alert_id=raised.alert_id, **command))
    log.send("alert.commands", events.AlertCommand(id="c2", alert_id="nothing", **command))
    lane, outputs = applied(log.records)
    assert [c.by for c in alerts(outputs) if c.state == "acknowledged"] == ["nurse"]
    assert dead_letters(outputs) == ["unknown_alert"]
    assert lane.fates()["duplicate"] == 1
    assert {a.state for a in lane.open_alerts("p") if a.rule == "limits"} == {"acknowledged"}


def test_an_outcome_becomes_a_label_once():
    log = Log()
    log.profile("p", cohort="intensive_care")
    outcome = events.Outcome(id="o", patient_id="p", kind="sepsis", occurred_at=T0, issued_at=T0 + 3600)
    log.send("patient.outcomes", outcome)
    log.send("patient.outcomes", outcome)
    _, outputs = applied(log.records)
    (label,) = [msgspec.json.decode(o.value, type=events.Label) for _, o in outputs if o.topic == "learning.examples"]
    assert (label.cohort, label.kind, label.occurred_at, label.known_at) == ("intensive_care", "sepsis", T0, T0 + 3600)


def test_settings_come_from_the_log_and_are_kept():
    lane = Lane(0, CATALOGUE)
    wanted = LaneSettings(estimate_every_s=60.0)
    log = Log()
    log.put(b"", lane.configuration(wanted))
    lane.apply(log.records)
    assert lane.configuration(wanted) is None
    assert Lane.restore(0, CATALOGUE, lane.checkpoint(), []).configuration(wanted) is None
    assert encode(wanted) in lane.configuration(LaneSettings()) or lane.configuration(LaneSettings()) is not None


def test_what_is_held_is_given_up_in_time_although_the_patient_is_looked_at_before():
    log = Log()
    log.profile("p")
    devices = [events.AssignedDevice(device_id="d1", kind="streaming", start=T0 - 100)]
    log.send("device.assignments", events.DeviceAssignments(patient_id="p", devices=devices))
    log.tick(T0)
    log.sample("p", "heart_rate", T0 + 1, 70, device_id="d2")
    for second in range(2, 120, 3):
        log.sample("p", "heart_rate", T0 + second, 70, device_id="d1")
        log.tick(T0 + second + 1)
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["unknown_device"]
    assert lane.fates()["held"] == 0


def test_no_patient_may_hold_more_than_a_snapshot_can_carry():
    log = Log()
    log.tick(T0)
    for k in range(1005):
        log.sample("p", "heart_rate", T0 + k, 70)
    lane, outputs = applied(log.records)
    assert dead_letters(outputs) == ["unknown_patient"] * 5
    assert lane.fates()["held"] == 1000
