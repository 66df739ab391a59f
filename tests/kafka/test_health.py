"""/livez and /readyz tell the truth, of a real worker on a real broker."""

import asyncio
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from stream_twin.clock import elapsed
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.health import Health
from tests import kafka_broker


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError:
        return 0, ""


def until(url: str, right: Callable[[int, str], bool], seconds: float) -> str:
    """What the probe at ``url`` said once it was ``right``."""
    deadline = time.monotonic() + seconds
    while True:
        status, text = get(url)
        if right(status, text):
            return text
        assert time.monotonic() < deadline, f"{url} still says {status} {text}"
        time.sleep(0.1)


@pytest.mark.kafka
@pytest.mark.skipif(kafka_broker.missing() is not None, reason=str(kafka_broker.missing()))
def test_a_worker_is_ready_while_it_watches_its_patients(tmp_path: Path) -> None:
    port = kafka_broker.free_port()
    ready, live = f"http://127.0.0.1:{port}/readyz", f"http://127.0.0.1:{port}/livez"
    with kafka_broker.broker(tmp_path / "broker") as broker:
        options = ["--broker", broker.address, "--partition-count", "2", "--metrics-port", str(port)]
        admin.create(Broker(broker.address), "", 2)
        broker.stop()
        process = subprocess.Popen([sys.executable, "-m", "stream_twin.cli", "worker", *options], stderr=subprocess.DEVNULL)
        try:
            until(ready, lambda status, text: (status, "not answered yet" in text) == (503, True), 30)
            broker.start()
            until(ready, lambda status, text: (status, "not answered yet" in text) == (503, False), 30)
            until(ready, lambda status, _: status == 200, 30)
            broker.kill()
            said = until(ready, lambda status, _: status == 503, 30)
            assert "has not answered" in said or "has not committed" in said, said
            assert get(live)[0] == 200, "it waits for its broker; nothing would be won by killing it"
            broker.start()
            until(ready, lambda status, _: status == 200, 40)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        finally:
            process.kill()
            process.wait()


def lane(number: int, *, restored: bool = True, settled_s_ago: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(number=number, is_restored=restored, settled_at=elapsed() - settled_s_ago)


def test_readiness_names_what_is_missing() -> None:
    health = Health(silent_s=5)
    assert "has not answered yet" in str(health.unready([]))
    health.heard()
    assert "has not given" in str(health.unready([]))
    health.is_assigned = True
    assert health.unready([]) is None, "others have all the lanes: it stands by"
    assert health.unready([lane(1), lane(2)]) is None
    assert "1 of 2 lanes are being restored, such as lane 2" in str(health.unready([lane(1), lane(2, restored=False)]))
    assert "lane 1 has not committed for 6 s" in str(health.unready([lane(1, settled_s_ago=6), lane(2)]))


def test_a_worker_is_alive_while_its_loop_comes_round() -> None:
    health = Health(stuck_s=1.5)
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_until_complete, args=(health.beat(),), daemon=True)
    thread.start()
    time.sleep(2)
    assert health.stuck() is None
    loop.call_soon_threadsafe(time.sleep, 4)
    time.sleep(2.7)
    assert "has stood still for" in str(health.stuck())
    assert "has stood still for" in str(health.unready([]))
    time.sleep(2.5)
    assert health.stuck() is None
