"""A log of a new generation starts from what the one before ended with, and its lanes go on as if nothing had been."""

from collections import Counter
from zlib import crc32

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin import events
from stream_twin.lane import Lane, base_of
from stream_twin.lane.lane import Checkpoint
from stream_twin.lane.patient import Snapshot
from tests.lane.log import CATALOGUE, Record, applied, encode, state
from tests.lane.test_lane import ward


def grown(before, rest, lanes):
    """Logs of the new generation: bases made of the lanes ``before``, then the records ``rest``, in their new lanes."""
    logs = [[] for _ in range(lanes)]

    def put(lane, key, value):
        logs[lane].append(Record(len(logs[lane]), key, value))

    ended = {lane.number: lane.checkpoint() for lane in before}
    for number in range(lanes):
        put(number, b"", encode(events.LaneBase(lanes_before=len(before), checkpoint=base_of(number, ended), positions={})))
    for lane in before:
        for key in lane.patients:
            put(crc32(key) % lanes, key, encode(events.PatientBase(snapshot=lane.snapshot(key))))
    for record in rest:
        for number in [crc32(record.key) % lanes] if record.key else range(lanes):
            put(number, record.key, record.value)
    return logs


def essence(snapshot):
    """Of a patient what does not name places in a log."""
    decoded = msgspec.msgpack.decode(snapshot, type=Snapshot)
    state = msgspec.structs.replace(decoded.state, fates={}, held=[held.value for held in decoded.state.held], book=None)
    alerts = [(rule, subject, alert.stage, alert.reason) for rule, subject, alert in decoded.state.book.open()]
    return msgspec.structs.replace(decoded, covered=0, state=state), sorted(alerts)


def told(outputs):
    """What was put out, without the ids of alerts, which come from the place in the log of what raised them."""
    found = Counter()
    for _, output in outputs:
        value, headers = output.value, {**dict(output.headers), "log_offset": b""}
        if output.topic == "alerts":
            change = msgspec.json.decode(value)
            del change["alert_id"]
            value = msgspec.json.encode(change)
        found[output.topic, output.key, value, tuple(sorted(headers.items()))] += 1
    return found


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100), data=st.data())
def test_more_lanes_go_on_where_one_ended(seed, data):
    records = ward(seed)
    cut = data.draw(st.integers(1, len(records) - 1))
    whole, outputs = applied(records)
    before, _ = applied(records[:cut])
    lanes, later = [], []
    for number, log in enumerate(grown([before], records[cut:], 3)):
        lane = Lane(number, CATALOGUE)
        later += lane.apply(log).outputs
        assert lane.fates().total() == len(log), "each record of the new log ends in one way, those before do not count again"
        lanes.append(lane)
    assert {key: essence(lane.snapshot(key)) for lane in lanes for key in lane.patients} == {
        key: essence(whole.snapshot(key)) for key in whole.patients
    }
    assert told(later) == told([(offset, output) for offset, output in outputs if offset >= cut])


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 100), data=st.data())
def test_a_lane_that_stops_among_its_bases_is_restored_exactly(seed, data):
    """A checkpoint anywhere in the new log, patients saved later, then the log read again from the checkpoint."""
    records = ward(seed, minutes=8)
    [log] = grown([applied(records[:-40])[0]], records[-40:], 1)
    whole, _ = applied(log)
    cut = data.draw(st.integers(1, len(log) - 1))
    later = data.draw(st.integers(cut, len(log)))
    lane = Lane(0, CATALOGUE)
    lane.apply(log[:cut])
    checkpoint, kept = lane.checkpoint(), {key: lane.snapshot(key) for key in lane.changed()}
    lane.apply(log[cut:later])
    kept.update({key: lane.snapshot(key) for key in lane.patients if data.draw(st.booleans())})
    again = Lane.restore(0, CATALOGUE, checkpoint, kept.items())
    again.apply(log[cut:])
    assert state(again) == state(whole)


def test_a_lane_starts_from_what_all_lanes_knew():
    def model(version):
        return events.ModelParameters(
            cohort="home", version=version, schema=1, trained_on=1, effective_at=0.0, weights={}, intercept=0.0
        )

    one = Checkpoint(
        clock=10.0, complete_to=9.0, models={"home": model(2)}, places={"a": {"pm2_5": (5.0, 1.0)}}, fates={"late": 3}
    )
    two = Checkpoint(clock=11.0, complete_to=8.0, models={"home": model(3)}, places={"a": {"pm2_5": (4.0, 2.0)}, "b": {}})
    one.service.since = 7.0
    ended = {0: msgspec.msgpack.encode(one), 1: msgspec.msgpack.encode(two)}
    first, third = (msgspec.msgpack.decode(base_of(number, ended), type=Checkpoint) for number in (0, 2))
    assert (first.clock, first.complete_to, first.position, first.fates) == (11.0, 9.0, 0, {})
    assert first.models == {"home": model(3)}
    assert first.places == {"a": {"pm2_5": (5.0, 1.0)}, "b": {}}
    assert first.service.since == 7.0
    assert third.service.since is None
