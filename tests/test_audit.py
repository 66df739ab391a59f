"""The audit accepts a service without faults, and names every record that somebody dropped, doubled, moved or altered."""

import copy
import re
from collections.abc import Callable

import msgspec
import pytest

from stream_twin import signals
from stream_twin.audit import READING_ORDER, Audit, Row
from stream_twin.audit.sources import SourcePartition
from stream_twin.datasets.ward import Ward
from stream_twin.events import Samples
from stream_twin.lane import Lane, UpdateFailed
from tests.memory_service import MemoryService, Record

LANES = 2
CATALOGUE = signals.load()
Topics = dict[tuple[str, int], list[Record]]
SOURCES_END = "source records end once, as what their route names"
ORDER = "inputs stand in their lane, in their source's order"
WAYS = "inputs end in one way each"
SNAPSHOTS = "snapshots equal the oracle's"
ALERTS = "alerts equal the oracle's"
LETTERS = "dead.letters equal the oracle's"
EXAMPLES = "learning.examples equal the oracle's"
RESTORED = "twins restored from twin.state equal the oracle's"


@pytest.fixture(scope="module")
def service() -> MemoryService:
    """An evening of a ward: alerts, rubbish, late and double records, environment into every lane."""
    service = MemoryService(CATALOGUE, LANES)
    service.run(Ward(8, seed=3, hours=2))
    for topic in ("alerts", "dead.letters", "learning.examples", "environment.observations"):
        assert any(service.topics[topic, lane] for lane in range(LANES)), topic
    return service


def audit(
    service: MemoryService,
    topics: Topics,
    order: tuple[str, ...] = READING_ORDER,
    begins: dict[tuple[str, int], int] | None = None,
) -> dict[str, Row]:
    found = Audit(CATALOGUE, LANES, service.lane_of)
    for topic in order:
        for lane in range(LANES):
            records = topics[topic, lane]
            begin = (begins or {}).get((topic, lane), 0)
            found.bounds(topic, lane, begin, records[-1].offset + 1 if records else begin)
            for record in records:
                if record.offset >= begin:
                    found.feed(topic, lane, record)
    return {row.name: row for row in found.report()}


def failing(rows: dict[str, Row]) -> set[str]:
    return {name for name, row in rows.items() if row.ok is False}


def forged(service: MemoryService, topic: str, forge: Callable[[list[Record]], object], lane: int | None = None) -> Topics:
    """Topics with one partition of ``topic`` changed: the first that has records."""
    topics = dict(service.topics)
    where = next(number for number in range(LANES) if topics[topic, number]) if lane is None else lane
    topics[topic, where] = copy.copy(topics[topic, where])
    forge(topics[topic, where])
    return topics


def test_a_service_without_faults_is_clean(service: MemoryService) -> None:
    rows = audit(service, service.topics)
    assert failing(rows) == set()
    log = [msgspec.json.decode(record.value) for lane in range(LANES) for record in service.topics["twin.inputs", lane]]
    inputs = sum(len(entry.get("samples", ".")) for entry in log)
    assert inputs > len(log)
    assert sum(rows[f"inputs {way}"].counted for way in ("applied", "duplicate", "late", "rejected", "failed", "held")) == inputs
    assert rows["inputs duplicate"].counted > 0
    assert rows["inputs rejected"].counted > 0
    letters = sum(len(service.topics["dead.letters", lane]) for lane in range(LANES))
    assert sum(row.counted for name, row in rows.items() if name.startswith("dead letters, ")) == letters


def test_the_order_of_topics_does_not_matter(service: MemoryService) -> None:
    assert audit(service, service.topics, READING_ORDER[::-1]) == audit(service, service.topics)


def test_reading_along_gives_the_same(service: MemoryService) -> None:
    """Applying the log as it comes, as an audit of a long demo does, loses nothing but snapshots that came late."""
    found = Audit(CATALOGUE, LANES, service.lane_of)
    everything = [
        (topic, lane, record) for topic in READING_ORDER for lane in range(LANES) for record in service.topics[topic, lane]
    ]
    for number, (topic, lane, record) in enumerate(everything):
        found.feed(topic, lane, record)
        if number % 5000 == 0:
            found.advance()
    assert failing({row.name: row for row in found.report()}) == set()


# ------------------------------------------------------------------------------------------------ source records


@pytest.mark.parametrize("topic", ["wearable.observations", "environment.observations", "device.assignments"])
def test_an_input_that_was_lost_is_named(service: MemoryService, topic: str) -> None:
    def drop(log: list[Record]) -> None:
        del log[next(i for i, record in enumerate(log) if f'"source":["{topic}"'.encode() in record.value)]

    lane = next(
        lane
        for lane in range(LANES)
        if any(f'"source":["{topic}"'.encode() in r.value for r in service.topics["twin.inputs", lane])
    )
    row = audit(service, forged(service, "twin.inputs", drop, lane))[SOURCES_END]
    assert row.ok is False
    assert row.wrong == 1
    assert row.offenders[0].startswith(f"{topic}/")


def test_an_input_that_is_there_twice_is_named(service: MemoryService) -> None:
    def double(log: list[Record]) -> None:
        original = next(record for record in log if b'"source":["wearable' in record.value)
        log.append(original._replace(offset=log[-1].offset + 1))

    rows = audit(service, forged(service, "twin.inputs", double))
    assert "is in the log twice" in rows[SOURCES_END].offenders[0]
    assert "after a later one" in rows[ORDER].offenders[0]


def test_a_broadcast_that_is_there_twice_is_named(service: MemoryService) -> None:
    def double(log: list[Record]) -> None:
        original = next(record for record in log if b'"source":["environment' in record.value)
        log.append(original._replace(offset=log[-1].offset + 1))

    offender = audit(service, forged(service, "twin.inputs", double))[SOURCES_END].offenders[0]
    assert re.search("is in the log of (a lane twice|lane 0 2 times)", offender)


def test_an_input_in_the_wrong_lane_is_named(service: MemoryService) -> None:
    topics = dict(service.topics)
    log = topics["twin.inputs", 0]
    stray = next(record for record in log if record.key and b'"source":["wearable' in record.value)
    topics["twin.inputs", 0] = [record for record in log if record is not stray]
    topics["twin.inputs", 1] = [*topics["twin.inputs", 1], stray._replace(offset=topics["twin.inputs", 1][-1].offset + 1)]
    assert "is in the wrong lane" in audit(service, topics)[ORDER].offenders[0]


def test_an_input_that_is_another_than_was_sent_is_named(service: MemoryService) -> None:
    def alter(sent: list[Record]) -> None:
        sent[7] = sent[7]._replace(value=sent[7].value.replace(b'"', b'" ', 1))

    row = audit(service, forged(service, "wearable.observations", alter))[SOURCES_END]
    assert row.offenders == ("wearable.observations/0/7 is another there than was sent",)


def test_an_input_nobody_sent_is_named(service: MemoryService) -> None:
    row = audit(service, forged(service, "wearable.observations", lambda sent: sent.pop(3)))[SOURCES_END]
    assert row.offenders == ("wearable.observations/0/3 is in the log or a dead letter, but was never sent",)


def test_a_compacted_source_may_have_gone(service: MemoryService) -> None:
    rows = audit(service, forged(service, "patient.profiles", lambda sent: sent.pop(0)))
    assert failing(rows) == set()
    assert "1 more were replaced in compacted topics" in rows[SOURCES_END].note


def _of_stage(stage: bytes, letters: list[Record]) -> int:
    return next(i for i, record in enumerate(letters) if dict(record.headers)["stage"] == stage)


def test_a_dead_letter_of_ingest_that_was_lost_or_doubled_is_named(service: MemoryService) -> None:
    lost = audit(service, forged(service, "dead.letters", lambda letters: letters.pop(_of_stage(b"ingest", letters))))
    assert failing(lost) == {SOURCES_END}
    assert "is neither in the log nor a dead letter" in lost[SOURCES_END].offenders[0]
    twice = audit(
        service,
        forged(service, "dead.letters", lambda x: x.append(x[_of_stage(b"ingest", x)]._replace(offset=x[-1].offset + 1))),
    )
    assert failing(twice) == {SOURCES_END}
    assert "is a dead letter twice" in twice[SOURCES_END].offenders[0]


def test_what_the_service_has_not_read_yet_is_not_lost(service: MemoryService) -> None:
    def more(sent: list[Record]) -> None:
        sent.append(sent[-1]._replace(offset=sent[-1].offset + 1))

    rows = audit(service, forged(service, "wearable.observations", more))
    assert failing(rows) == set()
    assert "1 not read by the service yet" in rows[SOURCES_END].note


def test_what_retention_took_cannot_be_judged(service: MemoryService) -> None:
    rows = audit(service, service.topics, begins={("wearable.observations", 0): 500})
    assert failing(rows) == set()
    assert "wearable.observations/0 cannot be judged before offset 500" in rows[SOURCES_END].note
    rows = audit(service, service.topics, begins={("twin.inputs", 1): 10, ("alerts", 0): 1})
    assert SNAPSHOTS not in failing(rows)
    assert "lane 1 not before twin.inputs offset 10" in rows[SNAPSHOTS].note
    assert "alerts/0 cannot be judged: it begins at offset 1" in rows[ALERTS].note


# ------------------------------------------------------------------------------------------------ state


def _newest(state: list[Record], prefix: bytes) -> int:
    return max(i for i, record in enumerate(state) if record.key.startswith(prefix))


def test_a_snapshot_that_was_altered_is_named(service: MemoryService) -> None:
    def alter(state: list[Record]) -> None:
        i = _newest(state, b"p")
        twin = msgspec.msgpack.decode(state[i].value)
        twin["state"]["watched_since"] += 1.0
        state[i] = state[i]._replace(value=msgspec.msgpack.encode(twin))

    rows = audit(service, forged(service, "twin.state", alter))
    assert {SNAPSHOTS, RESTORED} <= failing(rows)
    assert re.match(
        r"twin.state/0 at twin.inputs offset \d+: patient \S+ differs from the oracle's", rows[SNAPSHOTS].offenders[0]
    )


def test_a_snapshot_that_claims_more_than_there_is_is_named(service: MemoryService) -> None:
    def claim(state: list[Record]) -> None:
        i = _newest(state, b"p")
        twin = msgspec.msgpack.decode(state[i].value)
        twin["covered"] = 10**9
        state[i] = state[i]._replace(value=msgspec.msgpack.encode(twin))

    rows = audit(service, forged(service, "twin.state", claim))
    assert "covers twin.inputs up to 1000000000" in rows[SNAPSHOTS].offenders[0]


def test_a_twin_that_was_never_written_down_is_named(service: MemoryService) -> None:
    def forget(state: list[Record]) -> None:
        patient = state[_newest(state, b"p")].key
        state[:] = [record for record in state if record.key != patient]

    rows = audit(service, forged(service, "twin.state", forget))
    assert {RESTORED, WAYS} <= failing(rows)


def test_a_checkpoint_that_was_altered_is_named(service: MemoryService) -> None:
    def alter(state: list[Record]) -> None:
        i = _newest(state, b"lcheckpoint")
        own = msgspec.msgpack.decode(state[i].value)
        own["fates"]["applied"] += 1
        state[i] = state[i]._replace(value=msgspec.msgpack.encode(own))

    rows = audit(service, forged(service, "twin.state", alter))
    assert {SNAPSHOTS, RESTORED, WAYS} <= failing(rows)
    assert "the lane's own record differs" in rows[SNAPSHOTS].offenders[0]


# ------------------------------------------------------------------------------------------------ outputs


@pytest.mark.parametrize(("topic", "row"), [("alerts", ALERTS), ("learning.examples", EXAMPLES)])
def test_an_output_that_was_lost_doubled_or_altered_is_named(service: MemoryService, topic: str, row: str) -> None:
    lost = audit(service, forged(service, topic, lambda records: records.pop(0)))
    assert failing(lost) == {row}
    assert re.match(rf"{topic}/\d: what twin.inputs/\d/\d+ caused is missing", lost[row].offenders[0])
    twice = audit(
        service, forged(service, topic, lambda records: records.append(records[0]._replace(offset=records[-1].offset + 1)))
    )
    assert failing(twice) == {row}
    assert "is there twice" in twice[row].offenders[0]
    altered = audit(service, forged(service, topic, lambda x: x.__setitem__(0, x[0]._replace(value=x[0].value + b" x"))))
    assert failing(altered) == {row}
    assert re.match(rf"{topic}/\d/0 is not what the oracle put out", altered[row].offenders[0])


def test_outputs_of_one_patient_in_another_order_are_named(service: MemoryService) -> None:
    def swap(records: list[Record]) -> None:
        key = next(record.key for record in records if sum(other.key == record.key for other in records) > 1)
        first, second = [i for i, record in enumerate(records) if record.key == key][:2]
        records[first], records[second] = (
            records[second]._replace(offset=records[first].offset),
            records[first]._replace(offset=records[second].offset),
        )

    rows = audit(service, forged(service, "learning.examples", swap))
    assert failing(rows) == {EXAMPLES}
    assert "out of order" in rows[EXAMPLES].offenders[0]


def test_a_dead_letter_of_the_twin_with_another_reason_is_named(service: MemoryService) -> None:
    def alter(letters: list[Record]) -> None:
        i = _of_stage(b"twin", letters)
        headers = tuple((name, b"because" if name == "reason" else value) for name, value in letters[i].headers)
        letters[i] = letters[i]._replace(headers=headers)

    lane = next(
        lane for lane in range(LANES) if any(dict(r.headers)["stage"] == b"twin" for r in service.topics["dead.letters", lane])
    )
    rows = audit(service, forged(service, "dead.letters", alter, lane))
    assert failing(rows) == {LETTERS}


def test_what_is_not_said_to_have_left_may_be_missing(service: MemoryService) -> None:
    """While a service goes on, the newest alerts may not be committed yet; those before `emitted` must be."""
    topics = dict(service.topics)
    lane = next(lane for lane in range(LANES) if topics["alerts", lane])
    topics["alerts", lane] = topics["alerts", lane][:-1]
    topics["twin.state", lane] = [
        record._replace(value=msgspec.msgpack.encode({**msgspec.msgpack.decode(record.value), "emitted": 0}))
        if record.key == b"lsources"
        else record
        for record in topics["twin.state", lane]
    ]
    assert failing(audit(service, topics)) == set()


def test_an_update_that_failed_is_accounted_for(service: MemoryService) -> None:
    """The live lane went on without the record and said so; the oracle does the same, or names the record if nobody said so."""
    broken = MemoryService(CATALOGUE, LANES)
    broken.run(Ward(2, seed=3, hours=0.2))
    log = broken.topics["twin.inputs", 0]
    last = next(record for record in reversed(log) if b'"type":"samples"' in record.value)
    samples = msgspec.json.decode(last.value, type=Samples)
    sample = samples.samples[-1]
    sent = broken.topics["wearable.observations", 0]
    spoilt = msgspec.structs.replace(sample, signal="no such signal", offset=sent[-1].offset + 1)
    poison = msgspec.structs.replace(samples, topic="wearable.observations", partition=0, samples=[spoilt])
    broken.write("wearable.observations", 0, last.key, bytes(sample.original))
    broken.write("twin.inputs", 0, last.key, msgspec.json.encode(poison))
    with pytest.raises(UpdateFailed):
        broken.lanes[0].apply(log[broken.lanes[0].position :])
    lane = Lane(0, CATALOGUE)
    lane.apply(log[:-1])
    letters = [output for _, output in lane.apply(log[-1:], careful=True).outputs]
    assert [output.topic for output in letters] == ["dead.letters"]
    silent = audit(broken, broken.topics)
    assert f"twin.inputs/0/{log[-1].offset}: the oracle's update fails, and no dead letter says so" in silent[SNAPSHOTS].offenders
    for output in letters:
        broken.put(output, 0)
    broken.write("twin.state", 0, b"p" + last.key, lane.snapshot(last.key))
    rows = audit(broken, broken.topics)
    assert failing(rows) == set()
    assert rows["inputs failed"].counted == 1


def test_what_could_not_be_read_is_not_compared() -> None:
    """Its dead letter carries the batch as the broker has it, and where it cannot be unpacked, nobody knows what was sent."""
    source = SourcePartition("wearable.observations", 0, lanes=1, compacted=False)
    source.bounds(0, 4)
    for offset in (0, 1, 3):
        source.sent(offset, 7)
    source.ended(0, 7, 0, dead=False)
    source.passed_over(1)
    source.passed_over(2)  # not even this could be read
    source.ended(3, 7, 0, dead=False)
    assert source.judge().offenders == []
    source.passed_over(2)
    assert ["twice" in offender for offender in source.judge().offenders] == [True]
