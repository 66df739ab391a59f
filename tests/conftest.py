"""Fixtures for every test: a real Kafka, one for all of them, also with pytest-xdist."""

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import kafka_broker


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a broker: KAFKA_BOOTSTRAP's, or one started from Maven's JARs. Use topics with a prefix of your own."""
    if address := os.environ.get("KAFKA_BOOTSTRAP"):
        yield address
        return
    if reason := kafka_broker.missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    base = tmp_path_factory.getbasetemp()
    with _Shared(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) as address:
        yield address


class _Shared:
    """The first process starts the broker, the last one stops it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "kafka.json"

    def _change(self, by: int) -> str:
        with (self._directory / "kafka.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = json.loads(self._file.read_text()) if self._file.exists() else {"users": 0}
            if by > 0 and not known["users"]:
                broker = kafka_broker.KafkaBroker(self._directory / f"kafka-{os.getpid()}")
                broker.start()
                known |= {"address": broker.address, "pid": broker.pid}
            known["users"] += by
            if not known["users"]:
                os.kill(known["pid"], signal.SIGKILL)  # nobody needs its data any more
            self._file.write_text(json.dumps(known))
            address: str = known["address"]
            return address

    def __enter__(self) -> str:
        return self._change(1)

    def __exit__(self, *_: object) -> None:
        self._change(-1)
