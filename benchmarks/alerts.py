"""What judging one patient costs: 8 signals, 3 devices, nothing wrong; and the same with a limit broken.

``python benchmarks/alerts.py``: prints, and writes ``build/reports/alerts.json``. Exits 1 above the wanted time.
"""

import json
import statistics
import sys
import time
from pathlib import Path

from stream_twin.alerts.desk import AlertBook, Desk
from stream_twin.events import Profile, Risk
from stream_twin.signals import load
from stream_twin.twin.belief import Belief, DeviceBelief, SignalBelief

WANTED_US = 25.0
NOW = 1_700_000_000.0
VALUES = {
    "heart_rate": ("watch", 72.0),
    "respiratory_rate": ("watch", 16.0),
    "spo2": ("clip", 96.0),
    "body_temperature": ("watch", 36.8),
    "systolic_blood_pressure": ("cuff", 128.0),
    "diastolic_blood_pressure": ("cuff", 80.0),
    "glucose": ("cgm", 110.0),
    "rmssd": ("watch", 40.0),
}


def belief(**changed: float) -> Belief:
    catalogue = load()
    signals = {}
    for name, (device, usual) in VALUES.items():
        value = changed.get(name, usual)
        signals[name] = SignalBelief(
            signal=catalogue[name],
            level=value,
            low=value * 0.95,
            high=value * 1.05,
            baseline=usual,
            deviation=0.6,
            deviation_sd=0.3,
            surprise=0.2,
            last_value=value,
            last_at=NOW - 5,
            working_mean=0.0,
            working_sd=1.0,
            device=device,
            previous_value=usual,
        )
    devices = {
        name: DeviceBelief(device_id=name, kind="streaming", last_at=NOW - 5, every_s=60.0, repeats=1, repeats_since=NOW - 5)
        for name in ("watch", "clip", "cgm")
    }
    return Belief(
        patient_id="p-1",
        at=NOW,
        clock=NOW,
        complete_to=NOW - 1,
        profile=Profile(patient_id="p-1", valid_from=0.0, age_years=70),
        signals=signals,
        devices=devices,
        risk=Risk(probability=0.03, cohort="home", model_version=1, at=NOW - 60),
        watched_since=NOW - 9 * 86400,
    )


def cost_us(seen: Belief, runs: int = 11, calls: int = 5000) -> list[float]:
    """Microseconds per call, one figure per run."""
    desk, figures = Desk(), []
    for _ in range(runs):
        book = AlertBook()
        start = time.perf_counter()
        for offset in range(calls):
            desk.judge(book, seen, offset)
        figures.append((time.perf_counter() - start) / calls * 1e6)
    return figures


def main() -> int:
    rows = []
    for name, seen, wanted in (
        ("judge a patient with 8 signals, nothing wrong", belief(), WANTED_US),
        ("judge a patient with 8 signals, SpO2 and glucose beyond their limits", belief(spo2=83.0, glucose=60.0), None),
    ):
        figures = cost_us(seen)
        median = statistics.median(figures)
        row = {"name": name, "unit": "us", "min": min(figures), "median": median, "max": max(figures), "wanted": wanted}
        rows.append(row | {"met": wanted is None or median < wanted})
        print(
            f"{name}: {median:.1f} us ({min(figures):.1f} to {max(figures):.1f})" + (f", wanted below {wanted}" if wanted else "")
        )
    report = Path("build/reports/alerts.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps(rows, indent=1) + "\n")
    return 0 if all(row["met"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
