"""A tiny recording, by the command, onto librdkafka's own broker."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
import typer
from confluent_kafka import Producer
from typer.testing import CliRunner

from stream_twin.commands import replay
from stream_twin.datasets.published import DATASETS
from stream_twin.kafka.broker import Broker
from stream_twin.topics import SOURCES

HEADER = "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir\n"


@pytest.fixture
def air(tmp_path: Path) -> Path:
    rows = (f"{hour},2010,1,{1 + hour // 24},{hour % 24},50,-21,-11,1021,NW,1.79,0,0\n" for hour in range(48))
    (tmp_path / "PRSA_data_2010.csv").write_text(HEADER + "".join(rows))
    return tmp_path


@pytest.fixture
def broker() -> Iterator[str]:
    host = Producer({"bootstrap.servers": "embedded", "test.mock.num.brokers": 1, "log_level": 2})
    [embedded] = host.list_topics(timeout=5).brokers.values()
    for name in (*(topic.name for topic in SOURCES), "clock.ticks"):
        host.list_topics(name, timeout=5)
    yield f"{embedded.host}:{embedded.port}"
    del host


def test_every_data_set_can_be_named() -> None:
    assert set(get_args(replay.Name)) == set(DATASETS)


def test_plays_and_says_how_much(air: Path, broker: str) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    replay.register(app)
    result = CliRunner().invoke(app, ["replay", "beijing-pm25", str(air), "--broker", broker])
    assert result.exit_code == 0, result.output
    assert "336 records of 1 people or places" in result.output
    ends = Broker(broker).end_offsets([("environment.observations", part) for part in range(4)])
    assert sum(ends.values()) == 336


def test_ctrl_c_stops_a_slow_replay_at_once(air: Path, broker: str) -> None:
    command = [sys.executable, "-m", "stream_twin.cli", "replay", "beijing-pm25", str(air), "--broker", broker, "--speed", "1"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ})
    ends = Broker(broker)
    deadline = time.monotonic() + 60
    while not sum(ends.end_offsets([("environment.observations", part) for part in range(4)]).values()):
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    said, _ = running.communicate(timeout=20)
    assert running.returncode == 130, said
    assert "Traceback" not in said
