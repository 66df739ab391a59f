"""Names of headers that are not UTF-8: Kafka takes such records, so the service must read past them."""

import json
import uuid

import pytest

from stream_twin.clock import wall
from stream_twin.kafka import reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.dead_letters import DeadLetter, read
from stream_twin.kafka.placing import lane_of
from tests.commands.test_on_kafka import LANES, create, run, until, worker
from tests.rubbish import bent

WEARABLE = "wearable.observations"


def pulse(number: int) -> bytes:
    body = {"type": "observation", "id": f"w/{number}", "patient_id": "anna", "code": "8867-4", "unit": "/min", "value": 71}
    return json.dumps({**body, "measured_at": wall() - 5 + number}).encode()


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
