"""The short campaign: two workers of the real service under ten random kills, stops and freezes, then the audit."""

import subprocess
import sys
from pathlib import Path

import pytest

ROUNDS = 10


@pytest.mark.kafka
@pytest.mark.timeout(600)
def test_nothing_is_lost_or_counted_twice_under_random_faults(kafka: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.chaos", "--rounds", str(ROUNDS), "--broker", kafka, "--seed", "1"]
    run = subprocess.run(
        command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=580, check=False, stdin=subprocess.DEVNULL
    )
    assert run.returncode == 0, f"{run.stdout[-6000:]}\n{run.stderr[-3000:]}"
    assert "holds" in run.stdout
