"""``stream-twin alerts`` on a real Kafka, with a worker that follows the commands or refuses them."""

import json
import uuid

import pytest
from typer.testing import CliRunner, Result

from stream_twin import cli
from stream_twin.clock import wall
from stream_twin.datasets.recording import sent
from stream_twin.events import CATALOGUE, Observation
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.player import Pacing, Player
from tests.commands.test_on_kafka import create, until, worker

pytestmark = pytest.mark.kafka


@pytest.fixture
def prefix() -> str:
    return f"alerts-{uuid.uuid4().hex[:8]}."


class Console:
    """``stream-twin alerts`` at one broker."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._where = "--broker", kafka, "--prefix", prefix

    def __call__(self, *arguments: str) -> Result:
        return CliRunner().invoke(cli.application(), ["alerts", *arguments, *self._where])

    def open(self, patient: str = "anna") -> list[dict[str, object]]:
        listed = self("list", "--json", "--patient", patient)
        assert listed.exit_code == 0, listed.output
        return [alert for line in listed.stdout.splitlines() if (alert := json.loads(line))["rule"] == "limits"]


def measure(kafka: str, prefix: str, spo2: float) -> None:
    """By hand, so that it counts at once."""
    now = wall()
    message = Observation(
        id=f"o/{now}",
        patient_id="anna",
        code="spo2",
        code_system=CATALOGUE,
        unit="%",
        measured_at=now,
        value=spo2,
        device_kind="bedside",
    )
    Player(Broker(kafka), prefix, Pacing(ticks=False)).play([sent(now, "clinical.observations", message)])


def test_an_alert_is_answered(kafka: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "250")
    create(kafka, prefix)
    alerts = Console(kafka, prefix)
    where = "--broker", kafka, "--prefix", prefix
    with worker(kafka, prefix):
        assert CliRunner().invoke(cli.application(), ["patients", "enrol", "anna", *where]).exit_code == 0
        measure(kafka, prefix, 87)
        until(lambda: bool(alerts.open()), 30)
        [alert] = alerts.open()
        named = str(alert["alert_id"])
        assert alert["told"] == ["nurse"]
        assert "Oxygen saturation 87 % (limit 88 %)" in alerts("list").stdout

        nurse = "--by", "nurse-1", "--why", "on my way"
        early = alerts("resolve", named, *nurse)
        assert early.exception is not None
        assert "refused: still_true: it is still true that Oxygen saturation 87 %" in str(early.exception)
        assert getattr(early.exception, "exit_code", None) == 1
        done = alerts("ack", named[:9], *nurse)
        assert done.exit_code == 0, done.output
        assert done.stdout == f"acknowledged: limits spo2 of anna, alert {named}\n"
        again = alerts("ack", named, "--by", "nurse-2")
        assert "refused: already_acknowledged" in str(again.exception)
        slept = alerts("snooze", named, "--by", "nurse-1", "--why", "oxygen is on its way", "--minutes", "45")
        assert slept.stdout.startswith("snoozed until 2"), slept.output
        too_long = alerts("snooze", named, "--by", "nurse-1", "--why", "asleep", "--minutes", "600")
        assert "refused: snooze_too_long: a snooze of 600 min: medium ones sleep 240 min at most" in str(too_long.exception)
        assert alerts("comment", named, "--by", "dr-2", "--why", "as usual for her").exit_code == 0
        [alert] = alerts.open()
        assert alert["state"] == "commented"
        assert "snoozed" in alerts("list").stdout

        measure(kafka, prefix, 97)
        until(lambda: not alerts.open(), 30)
    told = [json.loads(line) for line in alerts("history", named, "--json").stdout.splitlines()]
    assert [change["state"] for change in told] == ["raised", "acknowledged", "snoozed", "commented", "resolved"]
    assert [change.get("by") for change in told] == [None, "nurse-1", "nurse-1", "dr-2", None]
    assert [change.get("comment") for change in told][1:4] == ["on my way", "oxygen is on its way", "as usual for her"]
    assert told[0]["contributions"] == {"spo2": 1.0}
    shown = alerts("history", named).stdout
    assert "as usual for her" in shown
    assert "Oxygen saturation is 97 % again" in shown
    assert named in alerts("list", "--all").stdout

    late = alerts("ack", named, "--by", "nurse-1", "--wait", "0.5")
    assert "is sent, but no worker has come to it within 0.5 s" in str(late.exception)


def test_what_cannot_be_meant_is_refused_at_once(kafka: str, prefix: str) -> None:
    create(kafka, prefix)
    alerts = Console(kafka, prefix)
    unknown = alerts("ack", "abc", "--by", "nurse-1")
    assert "there is no alert abc: stream-twin alerts list shows what is open" in str(unknown.exception)
    assert getattr(unknown.exception, "exit_code", None) == 2
    assert alerts("snooze", "abc", "--by", "nurse-1").exit_code == 2  # without a why
