"""``stream-twin show``: one twin from ``twin.state`` alone, and its last hours as a picture; ``history``: its past."""

import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from stream_twin import cli, signals
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


def run(*arguments: str) -> Result:
    """In this process."""
    return CliRunner().invoke(cli.application(), arguments)


def test_levels_intervals_ages_and_open_alerts_with_reasons(address: str) -> None:
    done = show(address, PATIENT)
    assert done.returncode == 0, done.stderr
    assert "72 years, female" in done.stdout
    assert "as of 2026-03-02 19:1" in done.stdout
    heart = next(line.split() for line in done.stdout.splitlines() if line.lstrip().startswith("Heart rate "))
    level, low, to, high = heart[3:7]
    assert to == "to"
    assert int(low) < int(level) < int(high)
    assert heart[-1] == "watch-01"
    assert heart[-2].endswith("s")
    assert "Respiratory rate" in done.stdout
    assert "raised" in done.stdout
    assert "(limit 30 /min)" in done.stdout
    assert "Look at the patient" in done.stdout


def test_the_last_hours_as_a_picture(address: str, tmp_path: Path) -> None:
    path = tmp_path / "hours.svg"
    done = show(address, PATIENT, "--plot", str(path), "--hours", "1")
    assert done.returncode == 0, done.stderr
    assert "#d55e00" in path.read_text() or "#e69f00" in path.read_text()  # the open alert
    assert path.stat().st_size > 50_000


def test_only_signals_that_are_asked_for_are_drawn(address: str, tmp_path: Path) -> None:
    paths = [tmp_path / "all.svg", tmp_path / "two.svg"]
    named = ("--signal", "spo2", "--signal", "heart_rate")
    assert run("show", PATIENT, "--broker", address, "--plot", str(paths[0])).exit_code == 0
    assert run("show", PATIENT, "--broker", address, "--plot", str(paths[1]), *named).exit_code == 0
    assert paths[1].stat().st_size < 0.7 * paths[0].stat().st_size


def test_the_past_in_hindsight_as_picture_and_table(address: str, tmp_path: Path) -> None:
    picture, table = tmp_path / "past.svg", tmp_path / "past.csv"
    span = ("--from", "2026-03-02T18:30", "--to", "2026-03-02T18:45:00+00:00")  # London's clock is UTC in March
    done = run("history", PATIENT, "--broker", address, *span, "--plot", str(picture), "--csv", str(table))
    assert done.exit_code == 0, done.output
    assert picture.stat().st_size > 50_000
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{table}: {len(rows)} rows" in done.stdout
    assert {row["at"][:15] for row in rows} == {"2026-03-02T18:3", "2026-03-02T18:4"}
    beliefs = [row for row in rows if row["row"] == "belief" and row["signal"] == "heart_rate"]
    samples = [row for row in rows if row["row"] == "sample" and row["signal"] == "heart_rate"]
    assert len(beliefs) == 1500
    assert 170 < len(samples) < 190
    for row in beliefs:
        assert float(row["low90"]) < float(row["low50"]) < float(row["level"]) < float(row["high50"]) < float(row["high90"])
    within = [
        float(near["low90"]) <= float(sample["value"]) <= float(near["high90"])
        for sample in samples
        for near in [min(beliefs, key=lambda row: abs(_at(row) - _at(sample)))]
    ]
    assert sum(within) > 0.8 * len(within)


def _at(row: dict[str, str]) -> float:
    return datetime.fromisoformat(row["at"]).timestamp()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give --plot FILE, --csv FILE or both"),
        (("--csv", "x.csv", "--dataset", "t1d"), "--dataset and --path go together"),
        (("--csv", "x.csv", "--signal", "charm"), "charm is no signal"),
        (("--csv", "x.csv", "--from", "yesterday"), "yesterday is no time"),
        (("--csv", "x.csv", "--from", "2026-03-04", "--to", "2026-03-03"), "2026-03-04 is not before 2026-03-03"),
        (("--plot", "x.png", "--from", "2025-03-04", "--to", "2025-03-05"), "nothing to show"),
    ],
)
def test_what_cannot_be_shown_of_the_past_is_told(
    address: str, arguments: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("history", PATIENT, "--broker", address, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())


def test_the_past_of_nobody(address: str) -> None:
    assert "nothing is known of 'nobody'" in str(run("history", "nobody", "--broker", address, "--csv", "x.csv").exception)


def test_who_is_not_known_is_told_with_where_it_looked(address: str) -> None:
    done = show(address, "nobody")
    assert done.returncode == 1
    assert "nothing is known of 'nobody'" in done.stderr
    assert address in done.stderr


def test_a_format_that_cannot_be_drawn_is_told(address: str, tmp_path: Path) -> None:
    done = show(address, PATIENT, "--plot", str(tmp_path / "hours.zzz"))
    assert done.returncode == 2
    assert "zzz" in done.stderr
