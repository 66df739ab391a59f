"""Names of headers that are not UTF-8: Kafka takes such records, so the service must read past them."""

import json
import uuid

import pytest
from aiokafka.consumer import fetcher
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from stream_twin.clock import wall
from stream_twin.kafka import reader, unpacking
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.dead_letters import DeadLetter, read
from stream_twin.kafka.placing import lane_of
from tests.commands.test_on_kafka import LANES, create, run, until, worker
from tests.rubbish import bent

WEARABLE = "wearable.observations"
GZIP = 1


def pulse(number: int) -> bytes:
    body = {"type": "observation", "id": f"w/{number}", "patient_id": "anna", "code": "8867-4", "unit": "/min", "value": 71}
    return json.dumps({**body, "measured_at": wall() - 5 + number}).encode()


def batch(first: int, names: list[str], codec: int) -> bytes:
    builder = DefaultRecordBatchBuilder(2, codec, False, -1, -1, -1, 100_000)
    for number, name in enumerate(names):
        builder.append(number, timestamp=1, key=b"k%d" % (first + number), value=b"v", headers=[(name, b"h")])
    raw = bent.bend(builder.build())
    raw[:8] = first.to_bytes(8, "big")
    return bytes(raw)


@pytest.mark.parametrize("start", range(7))
def test_every_record_is_read_once_from_wherever_reading_begins(start: int) -> None:
    batches = {2: batch(0, ["a", "b"], 0), 5: batch(2, ["a", bent.NAME, "c"], 0)}
    batches |= {6: batch(5, ["a"], GZIP), 7: batch(6, [bent.NAME], 0)}
    raw = b"".join(part for end, part in batches.items() if end > start)  # as a broker answers: from the batch on that has it
    records = unpacking.Records(None, unpacking.Kept(raw), None, start, None, None, True, fetcher.READ_UNCOMMITTED)
    assert [(record.offset, record.key) for record in records] == [(offset, b"k%d" % offset) for offset in range(start, 7)]
    assert records.next_fetch_offset == 7


@pytest.mark.kafka
def test_a_header_that_no_client_can_read_stops_nobody(kafka: str) -> None:
    prefix = f"headers-{uuid.uuid4().hex[:8]}."
    create(kafka, prefix)
    where = ("--broker", kafka, "--prefix", prefix)
    assert run("patients", "enrol", "anna", *where).exit_code == 0
    records = [(b"anna", pulse(0), []), (b"anna", pulse(1), [(bent.NAME, b"1")]), (b"anna", b"{bad", [(bent.NAME, b"2")])]
    bent.send(kafka, prefix + WEARABLE, lane_of(b"anna", int(LANES)), [*records, (b"anna", pulse(2), [])])
    with worker(kafka, prefix):
        until(lambda: any(isinstance(one, DeadLetter) and one.reason == "not_json" for one in read(Broker(kafka), prefix)), 20)
        until(lambda: any(record.key == b"anna" for record in reader.read(Broker(kafka), f"{prefix}twin.estimates")), 20)
    audit = run("audit", *where)
    assert audit.exit_code == 0, audit.output
    assert len(list(reader.read(Broker(kafka), prefix + WEARABLE))) == 4
