"""Dead letters on a real Kafka: what was refused is listed, looked at, and put through again after the fix, once."""

import json
import re
import uuid
from typing import Any

import pytest
from confluent_kafka import Producer

from stream_twin.clock import wall
from stream_twin.commands import dead_letters
from stream_twin.kafka import reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.dead_letters import DeadLetter, Marker, read
from tests.commands.test_on_kafka import create, run, until, worker

WEARABLE = "wearable.observations"
EVIL = b"\x1b[31mred\x07 \xe2\x80\xae[bold]"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")  # or tables break words


def pulse(patient: str, **change: Any) -> bytes:
    body = {"type": "observation", "id": "w/1", "patient_id": patient, "code": "8867-4", "unit": "/min", "value": 71}
    return json.dumps({**body, "measured_at": wall() - 5, **change}).encode()


def letters(kafka: str, prefix: str) -> list[DeadLetter]:
    return [one for one in read(Broker(kafka), prefix) if isinstance(one, DeadLetter)]


@pytest.mark.kafka
def test_what_was_refused_is_put_through_again_after_the_fix(kafka: str, prefix: str) -> None:
    create(kafka, prefix)
    where = ("--broker", kafka, "--prefix", prefix)
    sent, second = pulse("anna"), pulse("anna", id="w/2", value=73)
    producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random", "message.max.bytes": 4_000_000})
    producer.produce(prefix + WEARABLE, sent, "anna")
    producer.produce(prefix + WEARABLE, second, "anna")
    producer.produce(prefix + WEARABLE, EVIL, EVIL)
    producer.produce(prefix + WEARABLE, b"\xff" * 1_100_000, "big")
    producer.produce(prefix + WEARABLE, b"[" + b"1," * 800_000, "bigger")
    assert producer.flush(10) == 0
    with worker(kafka, prefix, "--set", "lane.hold_unknown_s=0", "--set", "bounds.dead_letter_bytes=1500000"):
        until(lambda: len(letters(kafka, prefix)) == 5, 30)

        listed = run("dead-letters", "list", *where)
        assert re.search(r"wearable\.observations\W+unknown_patient\W+2\W+0", listed.stdout)
        assert "no profile of this patient came in time" in listed.stdout
        assert "\x1b" not in run("dead-letters", "list", "--reason", "not_json", *where).stdout
        only = run("dead-letters", "list", "--reason", "too_large", "--topic", WEARABLE, "--since", "1h", *where).stdout
        assert "unknown_patient" not in only
        assert "split it into several records" in only
        assert run("dead-letters", "list", "--since", "2100-01-01T00:00:00Z", *where).stdout == "no dead letters\n"

        by_reason = {letter.reason: letter for letter in letters(kafka, prefix)}
        assert set(by_reason) == {"unknown_patient", "not_json", "too_large"}
        unknown = by_reason["unknown_patient"]
        shown = run("dead-letters", "show", str(unknown.place), *where)
        assert second.decode() in shown.stdout
        assert "log_offset" in shown.stdout
        evil = run("dead-letters", "show", str(by_reason["not_json"].place), *where).stdout
        assert r"\x1b[31mred\x07 \u202e[bold]" in evil
        assert not set(evil) & {"\x1b", "\x07", "\u202e"}
        raw = run("dead-letters", "show", "--raw", str(by_reason["not_json"].place), *where)
        assert raw.stdout_bytes == EVIL

        dry = run("dead-letters", "replay", "--reason", "unknown_patient", "--dry-run", *where)
        assert dry.stdout == f"2 refused for unknown_patient: back to {prefix}{WEARABLE}\n2 records would be put again\n"
        assert run("patients", "enrol", "anna", *where).exit_code == 0
        done = run("dead-letters", "replay", "--yes", *where)
        assert done.exit_code == 0, done.output
        assert "2 refused for unknown_patient" in done.stdout
        assert "1 passed over: would be refused again for not_json" in done.stdout
        assert "only its first bytes were kept of 1600001: send it anew" in done.stdout
        assert done.stdout.endswith("2 records were put again\n")
        again = run("dead-letters", "replay", "--yes", *where)
        assert "2 passed over: was put again before" in again.stdout
        assert again.stdout.endswith("0 records were put again\n")
        refused = run("dead-letters", "replay", "--yes", str(unknown.place), *where)
        assert refused.exit_code == 1
        assert re.search(r"wearable\.observations\W+unknown_patient\W+2\W+2", run("dead-letters", "list", *where).stdout)

        until(lambda: any(record.key == b"anna" for record in reader.read(Broker(kafka), f"{prefix}twin.estimates")), 20)
    found = list(reader.read(Broker(kafka), prefix + WEARABLE))
    replayed = [record for record in found if record.headers]
    assert [(record.key, record.value) for record in replayed] == [(b"anna", sent), (b"anna", second)]
    assert len(letters(kafka, prefix)) == 5
    assert sum(isinstance(one, Marker) for one in read(Broker(kafka), prefix)) == 2
    audit = run("audit", *where)
    assert audit.exit_code == 0, audit.output


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("show", "first"), "give PARTITION:OFFSET"),
        (("show", "0:7"), "0:7 is not there"),
        (("show", "99:7"), "99:7 is not there"),
        (("list", "--since", "yesterday"), "an age such as 30m"),
        (("list", "--since", "2026-03-01T08:30:00"), "has no offset from UTC"),
    ],
)
def test_what_cannot_be_done_says_why(kafka: str, prefix: str, arguments: tuple[str, ...], message: str) -> None:
    create(kafka, prefix)
    done = run("dead-letters", *arguments, "--broker", kafka, "--prefix", prefix)
    assert message in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2


@pytest.fixture
def prefix() -> str:
    return f"letters-{uuid.uuid4().hex[:8]}."


def test_bytes_are_shown_by_sixteen() -> None:
    lines = list(dead_letters.hex_lines(bytes(range(60, 80))))
    assert lines[0] == "00000000  3c 3d 3e 3f 40 41 42 43 44 45 46 47 48 49 4a 4b  <=>?@ABCDEFGHIJK"
    assert lines[1] == f"00000010  {'4c 4d 4e 4f':<47}  LMNO"
    assert not dead_letters.is_text(b"a\0b")
