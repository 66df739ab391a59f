"""``stream-twin rebuild`` on a real Kafka: what came too late is folded in, also where the worker is killed meanwhile."""

import json
import math
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from stream_twin import cli, signals
from stream_twin.clock import wall
from stream_twin.commands.rebuild import Pure
from stream_twin.datasets.recording import sent
from stream_twin.events import CATALOGUE, Observation, RebuildAsked
from stream_twin.kafka import rebuild as edge
from stream_twin.kafka import state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import lane_of
from stream_twin.kafka.player import Pacing, Player
from stream_twin.lane import Lane
from tests.commands.test_on_kafka import until
from tests.kafka_broker import free_port
from tests.lane.log import Log, applied

pytestmark = pytest.mark.kafka
LANES, PATIENT = 2, "anna"
KEY = PATIENT.encode()


@pytest.fixture
def prefix(kafka: str) -> str:
    made = f"rebuild-{uuid.uuid4().hex[:8]}."
    assert run("topics", "create", "--broker", kafka, "--prefix", made, "--partition-count", str(LANES)).exit_code == 0
    return made


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.application(), list(arguments))


class Workers:
    """One worker at a time."""

    def __init__(self, kafka: str, prefix: str) -> None:
        options = {"broker": kafka, "prefix": prefix, "group": prefix, "partition-count": str(LANES)}
        self._options = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._options += ["--session-timeout-s", "6", "--checkpoint-every-s", "1"]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "stream_twin.cli", "worker", *self._options, "--metrics-port", str(free_port())]
        self._process = subprocess.Popen(command)

    def end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(20)
            self._process = None


@pytest.fixture
def workers(kafka: str, prefix: str) -> Iterator[Workers]:
    made = Workers(kafka, prefix)
    yield made
    made.end(signal.SIGKILL)


def hour(now: float) -> list[Observation]:
    """A reading every 20 s until now."""
    return [
        Observation(
            id=f"hr/{number}",
            patient_id=PATIENT,
            code="heart_rate",
            code_system=CATALOGUE,
            unit="/min",
            measured_at=round(now - 3600 + 20.0 * number, 3),
            value=round(75 + 12 * math.sin(number / 20), 1),
            device_kind="streaming",
        )
        for number in range(180)
    ]


def send(broker: Broker, prefix: str, messages: list[Observation]) -> None:
    player = Player(broker, prefix, Pacing(ticks=False))
    player.play([sent(wall(), "wearable.observations", message) for message in messages])


def twin(broker: Broker, prefix: str) -> Lane | None:
    number = lane_of(KEY, LANES)
    found = state.read(broker, prefix, number)
    if KEY not in found.snapshots:
        return None
    return Lane.restore(number, signals.load(), found.checkpoint, [(KEY, found.snapshots[KEY])])


def fates(broker: Broker, prefix: str, since: float) -> dict[str, int]:
    """Of the patient's inputs, once the lane knows that it has all from before ``since``."""
    lane = twin(broker, prefix)
    return {} if lane is None or lane.complete_to < since else lane.patients[KEY].state.fates


def believed(lane: Lane, at: float) -> tuple[float, ...]:
    belief = lane.belief(PATIENT, at)
    assert belief is not None
    heart = belief.signals["heart_rate"]
    return heart.level, heart.low, heart.high, heart.baseline, heart.last_value, heart.last_at


def prepared(broker: Broker, prefix: str, workers: Workers) -> tuple[float, tuple[float, ...]]:
    """An hour of readings of which 30 came too late -> now, and what would be believed now had they come in time."""
    now = wall()
    readings, log = hour(now), Log()
    log.profile(PATIENT)
    log.tick(now - 3600)
    for reading in readings:
        log.send("wearable.observations", reading, now=now)
    log.tick(now)
    workers.start()
    assert run("patients", "enrol", PATIENT, "--broker", broker.address, "--prefix", prefix).exit_code == 0
    send(broker, prefix, readings[:90] + readings[120:])
    until(lambda: fates(broker, prefix, now).get("applied") == 151, 60)
    send(broker, prefix, readings[90:120])
    until(lambda: fates(broker, prefix, now).get("late") == 30, 60)
    lane = twin(broker, prefix)
    assert lane is not None
    in_time = believed(applied(log.records)[0], now)
    assert believed(lane, now) != in_time
    return now, in_time


def audit(kafka: str, prefix: str, directory: Path) -> None:
    result = run("audit", "--broker", kafka, "--prefix", prefix, "--json", str(directory / "audit.json"))
    assert result.exit_code == 0, result.output
    rows = {row["name"]: row for row in json.loads((directory / "audit.json").read_text())}
    assert rows["inputs late"]["counted"] == 30
    assert rows["twins restored from twin.state equal the oracle's"]["counted"] > 0


def test_what_came_too_late_is_in_the_twin_afterwards(kafka: str, prefix: str, workers: Workers, tmp_path: Path) -> None:
    broker = Broker(kafka)
    now, in_time = prepared(broker, prefix, workers)
    done = run("rebuild", PATIENT, "--broker", kafka, "--prefix", prefix)
    assert done.exit_code == 0, done.output
    assert "rebuilt from 180 samples, of which 30 records had come too late; taken over at offset" in done.stdout
    lane = twin(broker, prefix)
    assert lane is not None
    assert believed(lane, now) == in_time
    workers.end(signal.SIGTERM)
    audit(kafka, prefix, tmp_path)


def test_the_worker_is_killed_between_request_and_base(kafka: str, prefix: str, workers: Workers, tmp_path: Path) -> None:
    broker = Broker(kafka)
    now, in_time = prepared(broker, prefix, workers)

    def tell(what: str) -> None:
        if what == "bringing it":
            workers.end(signal.SIGKILL)
            workers.start()

    done = edge.rebuild(broker, prefix, PATIENT, Pure(PATIENT), by="test", wait_s=60, tell=tell)
    assert (done.samples, done.late) == (180, 30)
    lane = twin(broker, prefix)
    assert lane is not None
    assert believed(lane, now) == in_time
    workers.end(signal.SIGTERM)
    audit(kafka, prefix, tmp_path)


def test_a_base_that_is_overtaken_is_told_with_the_reason(kafka: str, prefix: str, workers: Workers) -> None:
    broker = Broker(kafka)
    workers.start()
    assert run("patients", "enrol", PATIENT, "--broker", kafka, "--prefix", prefix).exit_code == 0
    until(lambda: twin(broker, prefix) is not None, 60)

    def tell(what: str) -> None:
        if what == "bringing it":
            other = RebuildAsked(id="other", patient_id=PATIENT, by="test", at=wall())
            Player(broker, prefix, Pacing(ticks=False)).play([sent(wall(), edge.TOPIC, other)])

    with pytest.raises(edge.RebuildError, match=r"anna: refused: .* another one was asked for since: ask for a new one"):
        edge.rebuild(broker, prefix, PATIENT, Pure(PATIENT), by="test", wait_s=60, tell=tell)


def test_without_a_worker_or_a_patient_it_says_so(kafka: str, prefix: str, workers: Workers) -> None:
    nothing = run("rebuild", PATIENT, "--broker", kafka, "--prefix", prefix)
    assert "is empty: has a worker ever run?" in str(nothing.exception)
    workers.start()
    assert run("patients", "enrol", "berta", "--broker", kafka, "--prefix", prefix).exit_code == 0
    broker = Broker(kafka)
    part = f"{prefix}twin.inputs", lane_of(KEY, LANES)
    until(lambda: broker.end_offsets([part])[part] > 0, 60)
    unknown = run("rebuild", PATIENT, "--broker", kafka, "--prefix", prefix)
    assert "nothing is known of 'anna'" in str(unknown.exception)
    workers.end(signal.SIGTERM)
    away = run("rebuild", "berta", "--wait", "2", "--broker", kafka, "--prefix", prefix)
    assert "no worker took up the rebuild of berta within 2 s" in str(away.exception)
