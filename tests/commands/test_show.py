"""``stream-twin show``: one twin from ``twin.state`` alone, and its last hours as a picture."""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from confluent_kafka import Producer

from stream_twin import signals
from stream_twin.datasets.ward import START, Ward
from stream_twin.events import Tick
from stream_twin.ingest import Ingest
from stream_twin.kafka.embedded import EmbeddedBroker
from stream_twin.kafka.placing import lane_of
from stream_twin.lane import Lane

LANES = 2
PATIENT = "home-01"


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = 0


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A broker that holds what a worker would have written of one patient after an hour of the ward."""
    catalogue = signals.load()
    ingest, number = Ingest(catalogue), lane_of(PATIENT.encode(), LANES)
    lane, offsets, log, tick = Lane(number, catalogue), Counter[str](), count(), START
    with EmbeddedBroker(LANES) as broker:
        producer = Producer(broker.librdkafka)

        def put(topic: str, key: bytes, value: bytes) -> None:
            producer.produce(topic, value, key, number)
            producer.poll(0)

        def take(key: bytes, value: bytes) -> None:
            put("twin.inputs", key, value)
            for _, output in lane.apply([Record(next(log), key, value)]).outputs:
                put(output.topic, output.key, output.value)

        for sent in Ward(1, hours=1.2):
            while sent.at >= tick + 30:
                tick += 30
                take(b"", msgspec.json.encode(Tick(clock=tick, complete_to=tick)))
            offsets[sent.topic] += 1
            for key, value in ingest.run(sent.topic, 0, [Record(offsets[sent.topic], sent.key, sent.value)], tick).inputs:
                take(key, value)
        put("twin.state", b"p" + PATIENT.encode(), lane.snapshot(PATIENT.encode()))
        put("twin.state", b"lcheckpoint", lane.checkpoint())
        producer.flush()
        yield broker.address


def show(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "stream_twin.cli", "show", "--broker", address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)


def test_levels_intervals_ages_and_open_alerts_with_reasons(address: str) -> None:
    run = show(address, PATIENT)
    assert run.returncode == 0, run.stderr
    assert "72 years, female" in run.stdout
    assert "as of 2026-03-02 19:1" in run.stdout
    heart = next(line.split() for line in run.stdout.splitlines() if line.lstrip().startswith("Heart rate "))
    level, low, to, high = heart[3:7]
    assert to == "to"
    assert int(low) < int(level) < int(high)
    assert heart[-1] == "watch-01"
    assert heart[-2].endswith("s")
    assert "Respiratory rate" in run.stdout
    assert "raised" in run.stdout
    assert "(limit 30 /min)" in run.stdout
    assert "Look at the patient" in run.stdout


def test_the_last_hours_as_a_picture(address: str, tmp_path: Path) -> None:
    path = tmp_path / "hours.svg"
    run = show(address, PATIENT, "--plot", str(path), "--hours", "1")
    assert run.returncode == 0, run.stderr
    assert "#d55e00" in path.read_text() or "#e69f00" in path.read_text()  # the open alert
    assert path.stat().st_size > 50_000


def test_who_is_not_known_is_told_with_where_it_looked(address: str) -> None:
    run = show(address, "nobody")
    assert run.returncode == 1
    assert "nothing is known of 'nobody'" in run.stderr
    assert address in run.stderr


def test_a_format_that_cannot_be_drawn_is_told(address: str, tmp_path: Path) -> None:
    run = show(address, PATIENT, "--plot", str(tmp_path / "hours.zzz"))
    assert run.returncode == 2
    assert "zzz" in run.stderr
