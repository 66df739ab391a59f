"""Nights through the lane: gathered while samples settle, told in the morning, the same whatever the batches."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_twin import events
from stream_twin.alerts.nightsignal import nightly
from stream_twin.lane import Lane
from tests.lane.log import CATALOGUE, Log, alerts, applied, encode, state

ZONE = "Europe/Berlin"
FIRST = datetime(2025, 3, 1, tzinfo=ZoneInfo(ZONE))
RATES = (60, 61, 60, 60, 61, 66, 66, 60)
STEP_S = 900


def sent(rates=RATES, every_s=STEP_S, zone=ZONE, kind="streaming", lag_s=0):
    """A log with a sample every so often, day and night: by day 90, at night what ``rates`` say; None: nothing that night."""
    log = Log()
    log.profile("p", age_years=40, time_zone=zone)
    start = int((FIRST - timedelta(hours=4)).timestamp())
    waiting = []
    for now in range(start, start + (len(rates) * 24 + 4) * 3600, every_s):
        local = datetime.fromtimestamp(now, ZoneInfo(ZONE))
        night = (local - FIRST).days
        rate = 90.0 if local.hour >= 7 else rates[night] if 0 <= night < len(rates) else None
        if rate is not None:
            waiting.append((now, rate + now // every_s % 2))
        if now % lag_s == 0 if lag_s else True:
            for at, value in waiting:
                log.sample("p", "heart_rate", at, float(value), device_id="watch", device_kind=kind)
            waiting.clear()
        log.tick(float(now + every_s))
    return log


def nights(outputs):
    return [change for change in alerts(outputs) if change.rule == "nightsignal"]


def told(lane):
    night = lane.belief("p").night
    return None if night is None else (night.date.isoformat(), night.rate, night.level)


def test_two_nights_that_are_up_are_told_in_the_morning():
    _, outputs = applied(sent().records)
    raised, resolved = nights(outputs)
    morning = (FIRST + timedelta(days=6, hours=7)).timestamp()
    assert (raised.state, raised.priority) == ("raised", "low")
    assert morning + 120 <= raised.at <= morning + 120 + STEP_S
    assert raised.evidence["rate"] == 66
    assert resolved.state == "resolved"
    assert "green" in resolved.reason


def test_a_missing_night_has_no_level():
    lane, outputs = applied(sent((60, 61, 60, 60, 61, None, 66, 66)).records)
    (raised,) = nights(outputs)
    assert raised.evidence["date"] == "2025-03-08"  # on the 7th nobody could know the 6th
    assert told(lane) == ("2025-03-08", 66, 2)


def test_without_a_time_zone_there_are_no_nights():
    lane, outputs = applied(sent(zone=None).records)
    assert nights(outputs) == []
    assert told(lane) is None


@pytest.mark.parametrize(("kind", "lag_s"), [("syncing", 6 * 3600), ("syncing", STEP_S)])
def test_a_device_that_brings_everything_later(kind, lag_s):
    lane, outputs = applied(sent(kind=kind, lag_s=lag_s).records)
    assert nights(outputs)[0].state == "raised"
    assert list(lane.patients[b"p"].state.nights.rates) == list(RATES)


def test_steps_at_night_do_not_count():
    log = sent(RATES[:1])
    moment = (FIRST + timedelta(hours=3)).timestamp()
    for index, record in enumerate(list(log.records)):
        if f'"heart_rate-{int(moment)}"'.encode() in (record.value or b""):
            position = index
    extra = Log()
    extra.sample("p", "heart_rate", moment + 30, 200.0, device_id="watch")
    extra.sample("p", "steps", moment + 60, 40.0, device_id="watch")
    records = log.records[: position + 1] + extra.records + log.records[position + 1 :]
    records = [record._replace(offset=number) for number, record in enumerate(records)]
    lane, _ = applied(records)
    assert told(lane) == ("2025-03-01", 60, 0)


def test_every_sample_of_the_night_counts_once_though_most_are_settled_by_then():
    log, start = Log(), int((FIRST - timedelta(hours=1)).timestamp())
    log.profile("p", age_years=40, time_zone=ZONE)
    measured = []
    for number, now in enumerate(range(start, start + 9 * 3600, 60)):
        value = 60.0 + number % 97 / 4
        log.sample("p", "heart_rate", now, value, device_id="watch")
        log.sample("p", "respiratory_rate", now, 15.0 + number % 3, device_id="watch")
        log.tick(float(now + 60))
        if 0 <= now - FIRST.timestamp() < 7 * 3600:
            measured.append(value)
    lane, _ = applied(log.records)
    assert len(lane.patients[b"p"].latest["heart_rate"].block) < 200
    assert len(measured) == 420
    assert told(lane) == ("2025-03-01", nightly(measured), 0)


def test_batches_and_a_restart_in_the_night_make_no_difference():
    log = sent(RATES[:3])
    whole, outputs = applied(log.records)
    assert told(whole) == ("2025-03-03", 60, 0)
    for batch in (1, 13):
        lane, others = applied(log.records, batch=batch)
        assert others == outputs
        assert state(lane) == state(whole)
    half = len(log.records) // 2  # in the second night
    first, _ = applied(log.records[:half])
    snapshots, checkpoint = state(first)
    restored = Lane.restore(0, CATALOGUE, checkpoint, snapshots.items())
    restored.apply(log.records[half:])
    assert state(restored) == state(whole)


def test_a_level_is_never_rewritten_by_what_comes_late():
    log = sent(RATES[:2])
    before, _ = applied(log.records)
    late = events.Observation(
        id="late",
        patient_id="p",
        code="heart_rate",
        code_system=events.CATALOGUE,
        unit="/min",
        measured_at=(FIRST + timedelta(hours=3, seconds=7)).timestamp(),
        value=200.0,
        device_id="phone",
        device_kind="syncing",
    )
    log.send("wearable.observations", encode(late), key=b"p")
    after, _ = applied(log.records)
    assert told(after) == told(before)
