"""What a measurement ran on, and how busy the machine was with other things: numbers mean nothing without it."""

import json
import os
import platform
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks import report

ROOT = Path(__file__).parents[1]


@contextmanager
def noted(name: str) -> Iterator[None]:
    """Write ``build/reports/NAME-machine.json`` about what happens inside."""
    began, load, before = time.time(), os.getloadavg()[0], psutil.cpu_times()
    yield
    after = psutil.cpu_times()
    steal, total = (getattr(after, "steal", 0.0) - getattr(before, "steal", 0.0)), sum(after) - sum(before)
    about = {
        "began": time.strftime("%Y-%m-%d %H:%M", time.gmtime(began)),
        "minutes": round((time.time() - began) / 60, 1),
        "commit": _commit(),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gb": round(psutil.virtual_memory().total / 2**30),
        "python": platform.python_version(),
        "load_before": round(load, 2),
        "steal_percent": round(100 * steal / total, 1) if total else 0.0,
    }
    report.DIRECTORY.mkdir(parents=True, exist_ok=True)
    (report.DIRECTORY / f"{name}-machine.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
