"""What comes of a device whose samples come too late, again with other values, or too often."""

import pytest

from stream_twin import events
from tests.lane.log import CATALOGUE, T0, Log, Record, alerts, applied, encode


@pytest.mark.parametrize(("what", "words"), [("late", "20 samples came too late in"), ("refused", "20 samples were refused in")])
def test_a_device_whose_samples_cannot_be_used_is_told_once_and_is_over_an_hour_later(what, words):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(350):
        at = T0 + 10 * k
        number = "same" if what == "refused" and k < 21 else None
        log.sample("p", "heart_rate", at, 70 + k % 3, number, device_id="watch", device_kind="streaming")
        if what == "late" and 300 <= k < 320:
            log.sample("p", "heart_rate", at - 2905, 71, device_id="watch", device_kind="streaming")
        log.tick(at + 1)
    _, outputs = applied(log.records)
    (raised,) = [change for change in alerts(outputs) if change.rule == "delivery"]
    assert (raised.state, raised.subject, raised.priority, raised.told) == ("raised", "watch", "low", ["technician"])
    assert words in raised.reason
    for k in range(60, 140):
        log.sample("p", "heart_rate", T0 + 60 * k, 70 + k % 3, device_id="watch", device_kind="streaming")
        log.tick(T0 + 60 * k + 1)
    _, outputs = applied(log.records)
    assert [change.state for change in alerts(outputs) if change.rule == "delivery"] == ["raised", "resolved"]


def ordinary(minutes=120):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(minutes):
        log.sample("p", "heart_rate", T0 + 60 * k, 72.0 + k % 3, device_id="watch")
        log.tick(T0 + 60 * k + 1)
    return log


def told(outputs):
    return [(round(change.at - T0), change.state, change.subject) for change in alerts(outputs) if change.rule == "delivery"]


def test_a_device_is_told_of_though_all_that_it_sent_was_late_and_it_is_over_though_nothing_comes():
    log = ordinary()
    for k in range(60):
        log.sample("p", "heart_rate", T0 + 60 * k + 7, 75.0, device_id="phone")
    for k in range(7142, 7142 + 7200, 10):
        log.tick(T0 + k)
    _, outputs = applied(log.records)
    assert told(outputs) == [(7142, "raised", "phone"), (7142 - 1 + 3601, "resolved", "phone")]


def series(number, at, value, **fields):
    unit = CATALOGUE["heart_rate"].unit
    about = {"patient_id": "p", "code": "heart_rate", "code_system": events.CATALOGUE, "unit": unit, "device_id": "watch"}
    return events.Series(id=number, start=at, interval_s=60.0, values=[value] * 25, **about, **fields)


def test_samples_of_a_late_series_and_of_one_that_came_before_with_other_values_count():
    log = ordinary()
    log.send("wearable.observations", series("late", T0 + 9, 70.0, device_kind="streaming"))
    lane, _ = applied(log.records)
    assert lane.patients[b"p"].state.troubles == {"watch": {"late": (25, T0 + 7141, T0 + 7141)}}
    log = ordinary(2)
    for value in (70.0, 71.0):
        log.send("wearable.observations", series("same", T0 + 60, value, device_kind="streaming"))
    lane, _ = applied(log.records)
    assert lane.patients[b"p"].state.troubles == {"watch": {"refused": (25, T0 + 61, T0 + 61)}}


def flood(log, *others):
    """450 samples of one device within a second, and one of another."""

    def sample(number, device, signal, at, value):
        unit = CATALOGUE[signal].unit
        about = {"patient_id": "p", "code": signal, "code_system": events.CATALOGUE, "unit": unit, "measured_at": at}
        return Record(
            number, b"p", encode(events.Observation(id=str(number), value=value, device_id=device, **about)), int(T0 * 1000)
        )

    records = [sample(k, "flooder", "heart_rate", T0 + k / 5000, 70.0) for k in range(450)]
    records += [sample(1000, device, "spo2", T0 + 0.5, 97.0) for device in others]
    for key, made in log.ingest.run("wearable.observations", 0, records, T0 + 20).inputs:
        log.put(key, made)


@pytest.mark.parametrize("others", [(), ("innocent",)])
@pytest.mark.parametrize("known", [True, False])
def test_a_flood_is_put_down_to_its_device_and_counted_once(others, known):
    log = Log()
    log.tick(T0)
    if known:
        log.profile("p")
    flood(log, *others)
    if not known:
        log.profile("p")
    log.tick(T0 + 5)
    lane, _ = applied(log.records)
    assert lane.patients[b"p"].state.troubles == {"flooder": {"thinned": (449, T0, T0)}}


def test_devices_with_made_up_names_push_out_no_other_and_are_forgotten():
    log = ordinary()
    for k in range(3):
        log.sample("p", "heart_rate", T0 + 60 * k + 7, 75.0, device_id="phone")
    for k in range(100):
        log.sample("p", "heart_rate", T0 + k + 0.5, 75.0, device_id=f"made-up-{k}")
    lane, _ = applied(log.records)
    troubles = lane.patients[b"p"].state.troubles
    assert len(troubles) == 32
    assert {"phone", "made-up-99"} <= set(troubles)
    log.tick(T0 + 7141 + 3601)
    log.sample("p", "heart_rate", T0 + 61 + 7, 75.0, device_id="tablet")
    lane, _ = applied(log.records)
    assert set(lane.patients[b"p"].state.troubles) == {"tablet"}
