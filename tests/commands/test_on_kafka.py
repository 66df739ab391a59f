"""The commands on a real Kafka: topics, patients, a worker, the audit and the doctor, as an operator uses them."""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner, Result

from stream_twin import cli
from stream_twin.datasets.ward import Ward
from stream_twin.kafka import reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.player import Pacing, Player
from tests.kafka_broker import free_port

pytestmark = pytest.mark.kafka
LANES = "2"


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")  # or tables break words


@pytest.fixture
def prefix() -> str:
    return f"commands-{uuid.uuid4().hex[:8]}."


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli.application(), list(arguments))


def create(kafka: str, prefix: str) -> None:
    assert run("topics", "create", "--broker", kafka, "--prefix", prefix, "--partition-count", LANES).exit_code == 0


@contextmanager
def worker(kafka: str, prefix: str, *more: str) -> Iterator[str]:
    """A worker in a process of its own, ready; the address of its metrics. It must end with 0 when asked to."""
    port = free_port()
    options = [
        "--broker",
        kafka,
        "--prefix",
        prefix,
        "--group",
        prefix,
        "--partition-count",
        LANES,
        "--metrics-port",
        str(port),
        *more,
    ]
    process = subprocess.Popen([sys.executable, "-m", "stream_twin.cli", "worker", *options])
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _get(f"{address}/readyz") == "ok\n", 60)
        yield address
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def _get(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text
    except OSError:
        return ""


def _read(address: str) -> float:
    """Records of twin.inputs that the worker has read."""
    found = re.search(r'^stream_twin_events_in_total{topic="twin.inputs"} (.*)$', _get(f"{address}/metrics"), re.MULTILINE)
    return float(found[1]) if found else 0.0


def _stands_still(address: str) -> bool:
    before = _read(address)
    time.sleep(2)
    return _read(address) == before


def until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.2)


def test_topics_are_made_checked_and_shown(kafka: str, prefix: str) -> None:
    options = ("--broker", kafka, "--prefix", prefix, "--partition-count", LANES)
    missing = run("topics", "check", *options)
    assert missing.exit_code == 1
    assert f"stream-twin topics create --broker {kafka} --prefix {prefix} --partition-count {LANES}" in missing.stderr
    create(kafka, prefix)
    assert run("topics", "check", *options).exit_code == 0
    assert run("topics", "create", *options).stdout.startswith("0 topics made")
    other = run("topics", "check", *options[:-1], "3")
    assert other.exit_code == 1
    assert "partition count" in other.stderr
    assert "twin.inputs" in run("topics", "show", "--broker", kafka, "--prefix", prefix, "twin.inputs").stdout


def test_a_worker_whose_topics_are_missing_names_the_command_that_mends_it(kafka: str, prefix: str) -> None:
    command = [sys.executable, "-m", "stream_twin.cli", "worker", "--broker", kafka, "--prefix", prefix, "--metrics-port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 5
    assert f"stream-twin topics create --broker {kafka} --prefix {prefix}" in done.stderr


def test_a_patients_life_is_a_sequence_of_whole_messages(kafka: str, prefix: str) -> None:
    create(kafka, prefix)
    where = ("--broker", kafka, "--prefix", prefix)
    enrolled = run("patients", "enrol", "anna", "--time-zone", "Europe/Zurich", "--limit", "heart_rate=45..130", *where)
    assert enrolled.stdout == "anna: enrolled, profile version 1\n"
    assert run("patients", "pause", "anna", "--until", "2030-01-01T00:00:00Z", "--reason", "away", *where).exit_code == 0
    assert run("patients", "assign-device", "anna", "watch-1", "--every-s", "60", *where).exit_code == 0
    assert run("patients", "assign-device", "anna", "watch-1", "--end", "2030-01-01T00:00:00Z", *where).exit_code == 0
    assert run("patients", "resume", "anna", *where).exit_code == 0
    profiles = [json.loads(record.value or b"") for record in reader.read(Broker(kafka), f"{prefix}patient.profiles")]
    assert [profile.get("state", "enrolled") for profile in profiles] == ["enrolled", "paused", "enrolled"]
    assert [profile.get("version", 1) for profile in profiles] == [1, 2, 3]
    assert all(profile["limits"] == {"heart_rate": {"low": 45.0, "high": 130.0}} for profile in profiles)
    assert profiles[1]["state_reason"] == "away"
    assert "paused_until" not in profiles[2]
    devices = [json.loads(record.value or b"")["devices"] for record in reader.read(Broker(kafka), f"{prefix}device.assignments")]
    assert [len(all_) for all_ in devices] == [1, 1]
    assert devices[0][0]["start"] == devices[1][0]["start"]
    assert devices[1][0]["every_s"] == 60.0
    assert re.search(r"anna\W+enrolled", run("patients", "list", *where).stdout)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("pause", "nobody"), "patient nobody is not known: stream-twin patients enrol nobody"),
        (("enrol", "anna", "--time-zone", "Mars/Olympus"), "Mars/Olympus"),
        (("enrol", "anna", "--sex", "unknown"), "unknown"),
        (("enrol", "anna", "--limit", "heart_rate=high"), "such as heart_rate=45..130"),
    ],
)
def test_what_would_become_a_dead_letter_is_not_sent(kafka: str, prefix: str, arguments: tuple[str, ...], message: str) -> None:
    create(kafka, prefix)
    done = run("patients", *arguments, "--broker", kafka, "--prefix", prefix)
    assert message in str(done.exception)
    assert getattr(done.exception, "exit_code", None) == 2
    assert list(reader.read(Broker(kafka), f"{prefix}patient.profiles")) == []


def test_parameters_of_rules_are_put_in_force_under_the_next_version(kafka: str, prefix: str, tmp_path: Path) -> None:
    create(kafka, prefix)
    at = ("--broker", kafka, "--prefix", prefix)
    assert "nothing was put in force" in run("rules", "show", *at).stdout
    (tmp_path / "rules.toml").write_text("[rules.limits]\nhold_s = 120\nurgent.spo2 = [80, inf]\n")
    file = str(tmp_path / "rules.toml")
    assert "version 1 is in force" in run("rules", "apply", file, *at, "--by", "dr-1").stdout
    assert "version 1 says the same" in run("rules", "apply", file, *at).stdout
    (tmp_path / "shown.json").write_text(run("rules", "show", *at).stdout)
    shown = json.loads((tmp_path / "shown.json").read_text())
    assert shown == {"version": 1, "by": "dr-1", "rules": {"limits": {"hold_s": 120, "urgent": {"spo2": [80, None]}}}}
    assert "version 1 says the same" in run("rules", "apply", str(tmp_path / "shown.json"), *at).stdout
    (tmp_path / "rules.toml").write_text("[rules.limits]\nhold_s = 60\n")
    assert "version 2 is in force" in run("rules", "apply", file, *at).stdout
    (tmp_path / "rules.toml").write_text("[rules.limits]\nhold_s = -1\n")
    wrong = run("rules", "apply", file, *at)
    assert "rules.limits.hold_s = -1" in str(wrong.exception)
    assert json.loads(run("rules", "show", *at).stdout)["version"] == 2


def test_a_worker_is_audited_and_a_doubled_alert_is_found(kafka: str, prefix: str, tmp_path: Path) -> None:
    create(kafka, prefix)
    (tmp_path / "rules.toml").write_text('[populations.home.limits]\nhold_s = 120\n[patients."home-01".news2]\nhold_s = 60\n')
    assert run("rules", "apply", str(tmp_path / "rules.toml"), "--broker", kafka, "--prefix", prefix).exit_code == 0
    Player(Broker(kafka), prefix, Pacing()).play(Ward(8, seed=3, hours=1.5))
    with worker(kafka, prefix, "--clock", "stream") as address:
        healthy = run("doctor", "--broker", kafka, "--prefix", prefix, "--group", prefix, "--partition-count", LANES)
        assert healthy.exit_code == 0, healthy.stdout
        until(lambda: _read(address) > 100 and _stands_still(address), 60)
        scraped = _get(f"{address}/metrics")
    assert 'stream_twin_rejected_total{reason="not_json",stage="ingest"}' in scraped
    assert "home-01" not in scraped
    clean = run("audit", "--broker", kafka, "--prefix", prefix, "--json", str(tmp_path / "audit.json"))
    assert clean.exit_code == 0, clean.stderr
    rows = {row["name"]: row for row in json.loads((tmp_path / "audit.json").read_text())}
    assert rows["source records end once, as what their route names"]["counted"] > 10_000
    assert rows["alerts equal the oracle's"]["counted"] > 0
    assert rows["twins restored from twin.state equal the oracle's"]["counted"] >= 8

    alert = next(reader.read(Broker(kafka), f"{prefix}alerts"))
    producer = Producer({"bootstrap.servers": kafka})
    producer.produce(f"{prefix}alerts", alert.value, alert.key, alert.partition)
    producer.flush()
    doubled = run("audit", "--broker", kafka, "--prefix", prefix)
    assert doubled.exit_code == 1
    assert re.search(rf"alerts equal the oracle's: alerts/{alert.partition}/\d+ is there twice", doubled.stderr)


def test_a_doctor_says_what_to_do(kafka: str, prefix: str) -> None:
    done = run("doctor", "--broker", kafka, "--prefix", prefix, "--partition-count", LANES)
    told = re.sub(r"\W+", " ", done.stdout)
    assert done.exit_code == 1
    assert "18 are missing" in told
    assert "start stream twin worker" in told
    away = run("doctor", "--broker", f"127.0.0.1:{free_port()}")
    assert away.exit_code == 1
    assert "does not answer" in re.sub(r"\W+", " ", away.stdout)
