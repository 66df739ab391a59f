"""``stream-twin demo`` as a newcomer runs it: the real command, its broker and its worker, in processes of their own."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "stream_twin.cli", "demo", "--plain", "--patients", "6"]


def start(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_said(process: subprocess.Popen[str], what: str, patience_s: float = 90.0) -> list[str]:
    """Lines up to the first that has ``what``."""
    lines, end = [], time.monotonic() + patience_s
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if what in line:
            return lines
        assert time.monotonic() < end, lines
    raise AssertionError("".join(lines))


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_the_ward_is_played_alerted_and_accounted_for(tmp_path: Path) -> None:
    summary, picture = tmp_path / "summary.json", tmp_path / "view.svg"
    run = start("--speed", "240", "--duration", "14", "--summary", str(summary), "--picture", str(picture))
    said, _ = run.communicate(timeout=150)
    assert run.returncode == 0, said
    told = json.loads(summary.read_text())
    assert told["audit_ok"] is True
    assert told["guarantee"] == "none"
    assert told["alerts_raised"] >= 1
    assert 0 < told["first_alert_s"] < 60
    # 0.36 messages a second and patient, of a whole hour
    assert told["events_in"] == pytest.approx(0.36 * 6 * 240 * 14, rel=0.25)
    assert sum(told["inputs"].values()) >= told["events_in"] - sum(told["dead_letters"].values())
    assert told["inputs"]["held"] == told["inputs"]["failed"] == 0
    assert "silence watch-04" in said
    assert "nothing lost, nothing twice" in said
    view = picture.read_text()
    assert "home-04" in view
    assert "@font-face" not in view


def test_control_c_ends_it_with_the_accounting() -> None:
    run = start()
    until_said(run, "events/s")
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=90)
    assert run.returncode == 0, said
    assert "nothing lost, nothing twice" in said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker by /proc")
def test_a_worker_that_dies_ends_it_with_the_reason() -> None:
    run = start()
    until_said(run, "embedded broker at")
    [worker] = children(run.pid)
    os.kill(worker, signal.SIGKILL)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 1, said
    assert "the worker ended with exit code -9" in said
    assert "Traceback" not in said


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker by /proc")
def test_it_leaves_no_worker_behind() -> None:
    run = start("--duration", "1")
    until_said(run, "embedded broker at")
    [worker] = children(run.pid)
    run.communicate(timeout=90)
    assert run.returncode == 0
    assert not Path(f"/proc/{worker}").exists()


def test_a_ward_of_nobody_is_refused() -> None:
    run = subprocess.run([*COMMAND[:-1], "0"], capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert "--patients" in run.stderr
