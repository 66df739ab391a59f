"""A rebuild folds in what came too late: then the twin is as if all had come in time, and its alerts stay its own."""

import zlib

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events
from stream_twin.lane import Lane, LaneSettings, Rebuilder, rebuild
from stream_twin.lane.patient import Snapshot
from tests.lane.log import CATALOGUE, T0, Log, alerts, applied, dead_letters, encode, state

PATIENT = "p"
KEY = PATIENT.encode()
USUAL = {"heart_rate": (72.0, 6.0), "respiratory_rate": (15.0, 2.0), "glucose": (110.0, 15.0)}


def ask(log, number="r1"):
    """-> offset of the request in the log."""
    log.send("patient.rebuilds", events.RebuildAsked(id=number, patient_id=PATIENT, by="test", at=T0))
    return log.records[-1].offset


def base_of(records, offset, **options):
    rebuilder = Rebuilder(CATALOGUE, KEY, **options)
    for record in records:
        if record.offset > offset:
            break
        rebuilder.feed(record)
    return rebuilder.base(offset)


def bring(log, base, number="r1"):
    log.send("patient.rebuilds", events.Rebuilt(id=number, patient_id=PATIENT, base=zlib.compress(base)))


def story(seed, minutes=40):
    """Messages as (sent at, measured at, signal, value, options): some come too late, twice, corrected or taken back."""
    rng = np.random.default_rng(seed)
    messages = []
    for signal, (usual, sd) in USUAL.items():
        for number in range(minutes * 3):
            at = T0 + 20.0 * number + round(float(rng.uniform(0, 15)), 3)
            value = round(usual + sd * float(rng.standard_normal()), 2)
            delay = float(rng.choice([0.0, 30.0, 600.0, 1200.0], p=[0.8, 0.1, 0.05, 0.05]))
            name = f"{signal}/{number}"
            messages.append((at + delay, at, signal, value, {"number": name}))
            if rng.random() < 0.05:
                messages.append((at + delay + 40, at, signal, value, {"number": name}))
            if rng.random() < 0.05:
                later = {"number": name, "version": 2}
                if rng.random() < 0.5:
                    messages.append((at + 900, at, signal, value + 1, {**later, "status": "corrected"}))
                else:
                    messages.append((at + 900, at, signal, value, {**later, "status": "entered-in-error"}))
    return messages


def played(messages, key, until, log=None, since=T0):
    """A log of the messages that ``key`` (of a message) puts before ``until``, with a tick each ten seconds."""
    log = log or begun()
    tick = since
    for message in sorted(messages, key=key):
        if since <= key(message) < until:
            while tick + 10 <= key(message):
                tick += 10
                log.tick(tick)
            _, at, signal, value, options = message
            log.sample(PATIENT, signal, at, value, device_kind="streaming", **options)
    log.tick(until)
    return log


def begun():
    log = Log()
    log.profile(PATIENT, age_years=70)
    log.tick(T0)
    return log


def beliefs(lane):
    found = lane.belief(PATIENT, lane.clock)
    return {name: (s.level, s.low, s.high, s.baseline, s.deviation, s.last_value, s.last_at) for name, s in found.signals.items()}


def sent(message):
    return message[0]


def measured(message):
    """In time: a correction comes right after what it corrects."""
    return message[1] + 1e-6 * message[4].get("version", 1)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), minutes_later=st.integers(0, 5))
def test_after_a_rebuild_the_twin_is_as_if_all_had_come_in_time(seed, minutes_later):
    messages, asked_at = story(seed), T0 + 2400.0
    back_at = asked_at + 60.0 * minutes_later
    log = played(messages, sent, asked_at)
    offset = ask(log)
    base = base_of(log.records, offset)
    # What comes too late after the request stays late, so nothing of the kind here.
    prompt = [m for m in story(seed + 1, 60) if m[0] - m[1] <= 60 and asked_at + 120 <= m[1] < back_at and "version" not in m[4]]
    prompt = [(m[0], m[1], m[2], m[3], {"number": f"after/{m[2]}/{m[1]}"}) for m in prompt]
    played(prompt, sent, back_at + 60, log, asked_at)
    before, _ = applied(log.records)
    bring(log, base)
    lane, _ = applied(log.records)
    came = [m for m in messages if m[0] < asked_at] + prompt
    in_time, _ = applied(played(came, measured, back_at + 60).records)
    assert in_time.fates()["late"] == 0
    assert before.fates()["late"] > 0
    assert beliefs(lane) == beliefs(in_time)
    assert beliefs(before) != beliefs(lane)
    for one in (lane, in_time):  # and they go on alike, also with what is late within the lateness
        more = Log()
        more.records = [None] * one.position
        for signal in USUAL:
            more.sample(PATIENT, signal, back_at + 20, USUAL[signal][0] + 9, number=f"more/{signal}")
            more.sample(PATIENT, signal, back_at + 5, USUAL[signal][0] + 8, number=f"between/{signal}")
        more.tick(back_at + 120)
        one.apply(more.records[one.position :])
    assert beliefs(lane) == beliefs(in_time)


def whole(seed):
    """A log with a rebuild in it, of a patient whose data go on coming."""
    messages = story(seed, 60)
    log = played(messages, sent, T0 + 2400)
    offset = ask(log)
    base = base_of(log.records, offset)
    played(messages, sent, T0 + 2700, log, T0 + 2400)
    bring(log, base)
    return played(messages, sent, T0 + 3600, log, T0 + 2700).records


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 100), batch=st.integers(1, 400), data=st.data())
def test_neither_batches_nor_a_crash_in_between_matter(seed, batch, data):
    records = whole(seed)
    lane, outputs = applied(records)
    assert dead_letters(outputs) == []
    assert state(applied(records, batch)[0]) == state(lane)
    assert state(applied(records, careful=True)[0]) == state(lane)
    cut = data.draw(st.integers(1, len(records) - 1))
    half, _ = applied(records[:cut])
    again = Lane.restore(0, CATALOGUE, half.checkpoint(), [(key, half.snapshot(key)) for key in half.patients])
    again.apply(records[cut:])
    assert state(again) == state(lane)
    assert again.fates() == lane.fates()


def test_a_second_rebuild_starts_from_the_first_where_the_log_before_is_gone():
    # What the first has settled stays: nothing older than that comes afterwards.
    messages = [message for message in story(5, 60) if sent(message) < T0 + 2400 or measured(message) >= T0 + 2400]
    log = played(messages, sent, T0 + 2400)
    first = ask(log)
    one = base_of(log.records, first)
    bring(log, one)
    played(messages, sent, T0 + 3600, log, T0 + 2400)
    second = ask(log, "r2")
    from_all = base_of(log.records, second)
    checkpoint = applied(log.records)[0].checkpoint()
    from_base = base_of(log.records[first + 1 :], second, start=one, checkpoint=checkpoint)
    assert look(from_base) == look(from_all)


def look(snapshot):
    lane = Lane(0, CATALOGUE)
    lane._load(KEY, snapshot)
    found = lane.belief(PATIENT, T0 + 3600)
    assert found is not None
    return {name: (s.level, s.low, s.high, s.baseline, s.last_value, s.last_at) for name, s in found.signals.items()}


@pytest.mark.parametrize("population", ["home", "ward", "intensive_care"])
def test_where_nothing_came_late_a_rebuild_changes_nothing_whatever_the_population(population):
    log = Log()
    log.tick(T0)
    log.profile("p", population=population, age_years=60, place="zurich")
    for i in range(120):
        at = T0 + 60.0 * i
        if i % 40 == 0:
            heat = events.EnvironmentSample(
                source=events.Source("e", 0, i),
                arrived_at=at,
                original=msgspec.Raw(b"{}"),
                place="zurich",
                signal="ambient_temperature",
                at=at,
                value=33.0,
            )
            log.put(b"", encode(heat))
        if i % 5 == 0:
            log.tick(at)
        for signal, usual in (("heart_rate", 88.0), ("systolic_blood_pressure", 110.0), ("skin_temperature", 33.0)):
            log.sample("p", signal, at, usual + i % 7 / 5)
    ask(log)
    lane, _ = applied(log.records)
    live = lane.belief("p")
    bring(log, base_of(log.records, log.records[-1].offset))
    rebuilt = applied(log.records)[0].belief("p", at=live.at)
    assert {name: (s.working_mean, s.working_sd) for name, s in rebuilt.signals.items()} == {
        name: (pytest.approx(s.working_mean, rel=1e-9), pytest.approx(s.working_sd, rel=1e-9)) for name, s in live.signals.items()
    }
    assert {name: driver.mean for name, driver in rebuilt.drivers.items()} == pytest.approx(
        {name: driver.mean for name, driver in live.drivers.items()}, rel=1e-9, abs=1e-12
    )


def test_an_alert_that_late_data_disprove_is_resolved_with_that_reason():
    log = begun()
    for minute in range(60):
        now = T0 + 60.0 * minute
        if minute % 10:
            log.sample(PATIENT, "heart_rate", now, 70.0 + minute % 3)
        log.tick(now + 1)
    for minute in range(60, 66):
        log.sample(PATIENT, "heart_rate", T0 + 60.0 * minute, 158.0, number=f"wrong/{minute}")
        log.tick(T0 + 60.0 * minute + 1)
    _, outputs = applied(log.records)
    assert "resolved" not in [change.state for change in alerts(outputs)]
    assert [change.state for change in alerts(outputs)]
    log.tick(T0 + 66 * 60.0 + 400)
    for minute in range(60, 66):  # taken back, too late to be joined
        taken_back = {"version": 2, "status": "entered-in-error"}
        log.sample(PATIENT, "heart_rate", T0 + 60.0 * minute, 158.0, number=f"wrong/{minute}", **taken_back)
    offset = ask(log)
    before = len(log.records)
    bring(log, base_of(log.records, offset))
    _, outputs = applied(log.records)
    told = [change for change in alerts([entry for entry in outputs if entry[0] >= before]) if change.subject == "heart_rate"]
    assert [change.state for change in told] == ["resolved"]
    assert told[0].reason.startswith("corrected by late data: ")


def refusal(log):
    _, outputs = applied(log.records)
    (letter,) = [dict(output.headers) for _, output in outputs if output.topic == "dead.letters"]
    assert (letter["reason"], letter["topic"], letter["stage"]) == (b"rebuild_refused", b"patient.rebuilds", b"twin")
    return letter["detail"].decode()


def asked():
    log = played(story(1, 5), sent, T0 + 300)
    return log, ask(log)


def test_a_base_that_nobody_waits_for_is_refused():
    log = played(story(1, 5), sent, T0 + 300)
    bring(log, b"")
    assert "nobody waits for it any more: ask for a new one" in refusal(log)


def test_a_base_that_was_adopted_is_refused_the_second_time():
    log, offset = asked()
    base = base_of(log.records, offset)
    bring(log, base)
    bring(log, base)
    assert "nobody waits" in refusal(log)


def test_of_two_requests_the_later_counts():
    log, offset = asked()
    base = base_of(log.records, offset)
    ask(log, "r2")
    bring(log, base)
    assert "another one was asked for since" in refusal(log)


def test_too_much_to_keep_meanwhile_is_said(monkeypatch):
    monkeypatch.setattr(rebuild, "KEPT", 20)
    log, offset = asked()
    base = base_of(log.records, offset)
    played(story(1, 10), sent, T0 + 600, log, T0 + 300)
    lane, _ = applied(log.records)
    assert lane.patients[KEY].state.rebuild.accepted == []
    bring(log, base)
    assert "more than 20 samples came since it was asked for" in refusal(log)
    assert applied(log.records)[0].patients[KEY].state.rebuild is not None  # a new request replaces it


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        (lambda base: zlib.compress(base)[:-9], "is cut off"),
        (lambda base: b"nonsense", "cannot be read"),
        (lambda base: zlib.compress(b"\xc1"), "cannot be read"),
        (lambda base: zlib.compress(_with(base, schema=999)), "has schema 999"),
        (lambda base: zlib.compress(_with(base, covered=3)), "covers the log up to 3"),
        (lambda base: zlib.compress(_with_signal(base, "tail_length")), "knows of tail_length"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused(spoilt, why):
    log, offset = asked()
    base = base_of(log.records, offset)
    log.send("patient.rebuilds", events.Rebuilt(id="r1", patient_id=PATIENT, base=spoilt(base)))
    assert why in refusal(log)


def _with(base, **changes):
    return msgspec.msgpack.encode({**msgspec.msgpack.decode(base), **changes})


def _with_signal(base, name):
    snapshot = msgspec.msgpack.decode(base, type=Snapshot)
    snapshot.signals[name] = snapshot.signals["heart_rate"]
    return msgspec.msgpack.encode(snapshot)


def test_of_a_patient_who_is_not_known_nothing_is_rebuilt():
    log = Log()
    log.tick(T0)
    ask(log)
    _, outputs = applied(log.records)
    assert dead_letters(outputs) == ["unknown_patient"]


def test_no_more_is_remembered_than_the_limit_allows():
    messages = [m for m in story(3, 60) if m[0] - m[1] <= 60]
    log = begun()
    log.put(b"", Lane(0, CATALOGUE).configuration(LaneSettings(pending_limit=64, lateness_s={"streaming": 7200.0})))
    played(messages, sent, T0 + 3600, log)
    offset = ask(log)
    bring(log, base_of(log.records, offset))
    before, after = applied(log.records[:-1])[0], applied(log.records)[0]
    assert beliefs(after) == beliefs(before)  # none was too late
    for block in after.patients[KEY].blocks.values():
        assert len(block) <= 2 * 64


def test_a_lane_that_was_restored_believes_the_same_at_once():
    lane, _ = applied(played(story(4), sent, T0 + 1500).records)
    again = Lane.restore(0, CATALOGUE, lane.checkpoint(), [(KEY, lane.snapshot(KEY))])
    assert beliefs(again) == beliefs(lane)
    ahead = [T0 + 3600.0]
    again = Lane.restore(0, CATALOGUE, lane.checkpoint(), [(KEY, lane.snapshot(KEY))])
    assert again.forecast(PATIENT, "glucose", ahead) == lane.forecast(PATIENT, "glucose", ahead)


def test_in_a_log_that_begins_with_a_base_what_the_base_remembers_is_filed_anew():
    """As after ``topics grow``: what comes late after it belongs between what the base has not settled yet."""
    cut = T0 + 2400.0
    messages = [m for m in story(7, 60) if (sent(m) < cut and m[0] - m[1] <= 60) or m[1] >= cut - 100]
    whole_log = played(messages, sent, T0 + 3600)
    before, _ = applied(played(messages, sent, cut).records)
    log = Log()
    log.put(KEY, encode(events.PatientBase(snapshot=before.snapshot(KEY))))
    log.tick(cut)
    played(messages, sent, T0 + 3600, log, cut)
    assert look(base_of(log.records, ask(log))) == look(base_of(whole_log.records, ask(whole_log)))
