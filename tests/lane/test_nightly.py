"""Nights through the lane: gathered while samples settle, told in the morning, the same whatever the batches."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from stream_twin import events
from stream_twin.alerts.nightsignal import nightly
from stream_twin.lane import Lane
from stream_twin.lane.settings import LaneSettings
from tests.lane.log import CATALOGUE, Log, alerts, applied, dead_letters, encode, state
from tests.lane.test_rebuild import ask, base_of, bring

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


START = FIRST.timestamp()


def begun():
    log = Log()
    log.profile("p", age_years=40, time_zone=ZONE)
    log.tick(START - 3600)
    return log


def count(lane):
    """Of heart rates in the night that is gathered."""
    return sum(memoryview(lane.patients[b"p"].state.nights.counts).cast("i"))


def test_over_what_steps_are_counted_is_what_was_told_by_then():
    def steps(log, end, value, period_s):
        period = events.Period(start=end - period_s, end=end)
        told = {"unit": CATALOGUE["steps"].unit, "period": period, "value": value, "device_id": "w"}
        log.send(
            "wearable.observations",
            events.Observation(id=f"s-{end}", patient_id="p", code="steps", code_system=events.CATALOGUE, **told),
        )

    log, moment = begun(), START + 3 * 3600
    for second in range(12):
        steps(log, moment - 320 + second, 30.0 if second == 3 else 0.0, 60)
    log.tick(moment)
    steps(log, moment - 10, 0.0, 60)  # with it the others are settled
    steps(log, moment - 5, 0.0, 3600)
    log.tick(moment + 1)
    whole, _ = applied(log.records)
    single, _ = applied(log.records, batch=1)
    assert whole.patients[b"p"].state.nights.walked == [34]
    assert state(single) == state(whole)


def test_a_rebuild_leaves_the_night_as_it_was_whatever_the_batches():
    def play(rebuilt):
        log, base = begun(), None
        for minute in range(-30, 7 * 60 + 10):
            if rebuilt and minute == 60:
                base = base_of(log.records, ask(log))
            if rebuilt and minute == 180:
                bring(log, base)
            log.sample("p", "heart_rate", START + 60 * minute, 80.0 if 60 <= minute < 180 else 60.0, device_id="w")
            log.tick(START + 60 * minute + 1)
        return log.records

    quiet, _ = applied(play(False))
    lane, outputs = applied(play(True))
    assert dead_letters(outputs) == []
    assert lane.belief("p").night == quiet.belief("p").night
    assert told(lane) == ("2025-03-01", 65, 0)
    assert state(applied(play(True), batch=1)[0]) == state(lane)


def test_what_is_settled_in_the_batch_of_a_base_is_of_the_night():
    log = begun()
    for minute in range(60):
        log.sample("p", "heart_rate", START + 60 * minute, 60.0, device_id="w")
        log.tick(START + 60 * minute + 1)
    base, moment = base_of(log.records, ask(log)), START + 3600
    for number in range(20):
        log.sample("p", "heart_rate", moment + 50 * number, 80.0, device_id="w")
    log.tick(moment + 1200)
    log.tick(moment + 1201)
    log.sample("p", "heart_rate", moment + 1201, 80.0, device_id="w")
    bring(log, base)
    log.sample("p", "heart_rate", moment + 1151, 80.0, device_id="w")  # older than what is not settled, and in time
    for second in range(1202, 2400, 10):
        log.tick(moment + second)
        log.sample("p", "heart_rate", moment + second, 80.0, device_id="w")
    whole, _ = applied(log.records)
    settled_at = whole.patients[b"p"].latest["heart_rate"].block.settled_at
    assert settled_at > moment + 1202
    assert count(whole) == 60 + 20 + 2 + len(range(1202, int(settled_at - moment) + 1, 10))
    assert state(applied(log.records, batch=1)[0]) == state(whole)


@pytest.mark.parametrize("ticks", [False, True])
def test_an_outage_of_days_loses_no_night(ticks):
    log = begun()
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(pending_limit=100)))
    over = START + 4 * 86400 + 8 * 3600
    for number, now in enumerate(range(int(START), int(over), 300)):
        rate = (60.0, 61.0, 60.0, 66.0, 67.0)[(now - int(START)) // 86400]
        log.sample("p", "heart_rate", float(now), rate, device_id="w")
        if ticks and number % 96 == 0:  # the lane knows what time it is, and that it lags behind
            log.tick(over + number / 50, START - 1800)
    log.tick(over + 60)
    lane, outputs = applied(log.records)
    assert list(lane.patients[b"p"].state.nights.rates) == [60, 61, 60, 66, 67]
    assert [change.state for change in nights(outputs)] == ["raised"]
    assert lane.patients[b"p"].state.nights.later == []
    single, _ = applied(log.records, batch=50)
    assert state(single) == state(lane)
