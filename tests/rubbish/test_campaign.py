"""The short campaign: the fuzzer, then a worker on a real Kafka under the catalogue and the floods, and the audits after it."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.kafka
@pytest.mark.timeout(300)
def test_bad_input_ends_as_dead_letters_and_good_input_is_not_lost(kafka: str) -> None:
    command = [sys.executable, "-m", "benchmarks.rubbish", "--short", "--broker", kafka]
    run = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=280, check=False, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, f"{run.stdout[-6000:]}\n{run.stderr[-3000:]}"
    assert "findings" in run.stdout
