"""The short campaign: three workers of the real service under faults of several kinds, with an audit after each."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import kafka_broker

FAULTS = ("SIGSTOP in a broadcast", "SIGKILL after a broadcast", "connection cut", "schema upgrade")


@pytest.mark.kafka
@pytest.mark.timeout(400)
@pytest.mark.skipif(kafka_broker.missing() is not None, reason=str(kafka_broker.missing()))
def test_nothing_is_lost_or_counted_twice_under_faults(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--rounds", str(len(FAULTS)), "--seed", "1"]
    for fault in FAULTS:
        command += ["--only", fault]
    run = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=380, check=False, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, f"{run.stdout[-6000:]}\n{run.stderr[-3000:]}"
    assert run.stdout.count("holds") == len(FAULTS)
