"""``topics grow`` on a real Kafka: more lanes, the same twins, a clean audit before and after, whatever stops the command."""

import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner, Result

from stream_twin import cli
from stream_twin.datasets.ward import START, Ward
from stream_twin.kafka import reader, state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import Generation, generation_of, lane_of
from stream_twin.kafka.player import Pacing, Player
from stream_twin.lane import Lane
from stream_twin.lane.patient import Snapshot
from stream_twin.signals import load
from tests.commands.test_on_kafka import _read, _stands_still, until, worker

pytestmark = pytest.mark.kafka
BEFORE, AFTER = 2, 5
STEPS = ("finishing lane 1", "making", "writing the twins of lane 1", "closing lane 1", "raising")
"""What the command tells."""
CATALOGUE = load()


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")


@pytest.fixture
def prefix(kafka: str) -> str:
    name = f"grow-{uuid.uuid4().hex[:8]}."
    assert run("topics", "create", kafka, name, "--partition-count", str(BEFORE)).exit_code == 0
    return name


def run(*command: str) -> Result:
    """``command``: words, broker, prefix, options."""
    words = [word for word in command[:2] if word != ""]
    return CliRunner().invoke(cli.application(), [*words, "--broker", command[2], "--prefix", command[3], *command[4:]])


def play(kafka: str, prefix: str, part: int) -> None:
    """An hour and a half of a ward, ``part`` times that later."""
    Player(Broker(kafka), prefix, Pacing()).play(Ward(8, seed=3, start=START + part * 5400.0, hours=1.5))


@contextmanager
def busy(kafka: str, prefix: str, lanes: int) -> Iterator[str]:
    with worker(kafka, prefix, "--clock", "stream", "--partition-count", str(lanes)) as address:
        until(lambda: _read(address) > 100 and _stands_still(address), 120)
        yield address


def audit(kafka: str, prefix: str, file: Path) -> dict[str, dict[str, object]]:
    done = run("audit", "", kafka, prefix, "--json", str(file))
    assert done.exit_code == 0, done.stderr
    return {row["name"]: row for row in json.loads(file.read_text())}


def twins(kafka: str, prefix: str, lanes: int, suffix: str) -> dict[bytes, bytes]:
    """Each patient's state as the log's end leaves it, without what goes by offsets of the log."""
    found, broker = {}, Broker(kafka)
    for number in range(lanes):
        kept = state.read(broker, prefix, number, suffix)
        lane = Lane.restore(number, CATALOGUE, kept.checkpoint, kept.snapshots.items())
        lane.apply(list(reader.read(broker, f"{prefix}twin.inputs{suffix}", [number], start={number: lane.position})))
        for key in lane.patients:
            assert lane_of(key, lanes) == number
            saved = msgspec.msgpack.decode(lane.snapshot(key), type=Snapshot)
            saved.covered, saved.state.fates = 0, {}
            found[key] = msgspec.msgpack.encode(saved)
    return found


def grow(kafka: str, prefix: str, lanes: int = AFTER) -> Result:
    return run("topics", "grow", kafka, prefix, "--group", prefix, "--partition-count", str(lanes))


def test_more_lanes_go_on_with_the_same_twins(kafka: str, prefix: str, tmp_path: Path) -> None:
    play(kafka, prefix, part=0)
    with busy(kafka, prefix, BEFORE):
        refused = grow(kafka, prefix)
        assert "1 workers of group" in str(refused.exception)
        assert "stop them" in str(refused.exception)
    audit(kafka, prefix, tmp_path / "before.json")
    before = twins(kafka, prefix, BEFORE, "")
    play(kafka, prefix, part=1)  # nobody has read this: it stays in the sources, for the lanes to come

    done = grow(kafka, prefix)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert f"{AFTER} lanes, with {len(before)} twins" in done.stdout
    assert generation_of(Broker(kafka), prefix) == Generation(AFTER, f".{AFTER}")
    assert twins(kafka, prefix, AFTER, f".{AFTER}") == before
    assert grow(kafka, prefix).stdout == f"there are {AFTER} lanes already\n"
    assert "takes no partitions away" in str(grow(kafka, prefix, BEFORE).exception)
    old = [sys.executable, "-m", "stream_twin.cli", "worker", "--broker", kafka, "--prefix", prefix, "--metrics-port", "0"]
    late = subprocess.run([*old, "--partition-count", str(BEFORE)], capture_output=True, text=True, timeout=60, check=False)
    assert late.returncode == 5
    assert f"start with --partition-count {AFTER}" in late.stderr

    play(kafka, prefix, part=2)
    with busy(kafka, prefix, AFTER):
        pass
    shown = run("show", sorted(before)[0].decode(), kafka, prefix)
    assert shown.exit_code == 0, shown.stderr
    rows = audit(kafka, prefix, tmp_path / "after.json")
    assert rows["source records end once, as what their route names"]["counted"] > 5000
    assert rows["learning.examples equal the oracle's"]["counted"] > 0
    assert rows["twins restored from twin.state equal the oracle's"]["counted"] >= len(before)
    done = grow(kafka, prefix, AFTER + 1)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert generation_of(Broker(kafka), prefix) == Generation(AFTER + 1, f".{AFTER + 1}")


def test_a_growth_that_is_killed_is_run_again(kafka: str, prefix: str, tmp_path: Path) -> None:
    """SIGKILL in every step; whichever generation is in force then holds every twin."""
    play(kafka, prefix, part=0)
    with busy(kafka, prefix, BEFORE):
        pass
    before = twins(kafka, prefix, BEFORE, "")
    options = ["--broker", kafka, "--prefix", prefix, "--group", prefix, "--partition-count", str(AFTER)]
    command = [sys.executable, "-m", "stream_twin.cli", "topics", "grow", *options]
    for step in STEPS:
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert any(line.startswith(step) for line in process.stderr), f"it never came to {step}"
            process.send_signal(signal.SIGKILL)
        lanes, suffix = generation_of(Broker(kafka), prefix)
        assert lanes == BEFORE or step == STEPS[-1]
        assert twins(kafka, prefix, lanes, suffix) == before, f"killed at {step}, {lanes} lanes are in force"
    done = grow(kafka, prefix)
    assert done.exit_code == 0, (done.stderr, done.exception)
    assert twins(kafka, prefix, AFTER, f".{AFTER}") == before
    play(kafka, prefix, part=1)
    with busy(kafka, prefix, AFTER):
        pass
    audit(kafka, prefix, tmp_path / "audit.json")
