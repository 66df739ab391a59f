"""Each measurement once, small, on the tests' broker: that it ends, and that its rows are there."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import latency, restore, throughput
from benchmarks.scale import QUICK
from benchmarks.service import Place
from stream_twin.kafka.broker import Broker
from tests.kafka.rig import fresh_prefix

TINY = QUICK._replace(events=4000, patients=100, messages=50, warm_s=6.0, measured_s=2.0, twins=(100,), pending=20, minutes=0.05)


@pytest.fixture
def place(kafka: str, tmp_path: Path, request: pytest.FixtureRequest) -> Place:
    return Place(Broker(kafka), fresh_prefix(request.node.name), TINY.lanes, tmp_path)


@pytest.mark.kafka
def test_one_topic_is_read_by_the_service_and_by_faust(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_SECONDS", "3")
    rows = {row.name: row for row in throughput.measure(place, TINY, peers=("limit", "faust"))}
    assert rows["limit"].median > rows["stream-twin"].median > rows["faust"].median / 4
    assert rows["stream-twin to faust"].values == [rows["stream-twin"].median / rows["faust"].median]


@pytest.mark.kafka
def test_urgent_alerts_are_heard_within_seconds(place: Place) -> None:
    found = latency.once(place, TINY, rate=200, patients=50)
    assert len(found.estimates) > 10
    assert 1 < found.alerts[0] <= found.alerts[-1] < 5000


@pytest.mark.kafka
def test_a_killed_worker_is_back_without_leaving_the_group_again(place: Place) -> None:
    found = restore.once(place, twins=50, copies=2, after_s=3.0)
    assert 0 < found.open_s < 60
    assert found.open_s <= found.live_s + 1
    assert found.changes == 0


def test_a_measurement_that_does_not_exist_is_refused_with_those_that_do() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--only", "speed"],
        capture_output=True,
        text=True,
        check=False,
        cwd=throughput.ROOT,
    )
    assert done.returncode == 2
    assert "speed" in done.stderr
    assert "restore" in done.stderr
