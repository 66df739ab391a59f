"""``make backtest``: both back-tests on the recordings, scored by the judges that lie beside them.

python -m benchmarks.backtest [DIRECTORY] [--judges DIRECTORY] [--jobs N]

Writes into ``build/backtest/`` and ``build/reports/backtest.json``. Wanted: better than the last value for glucose, better than
NEWS2 with charted oxygen for deterioration. A stay is scored by a model that was not fitted on it.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.report import Result, report

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
LAST_VALUE_RMSE = {"5min": (27.2, 42.5), "15min": (26.3, 41.8)}
"""mg/dL at 30 and 60 min."""
NEWS2_WITH_OXYGEN = {"auroc": 0.680, "auroc_time_matched": 0.671, "utility": 0.09}
SETTINGS = ("vital_signs", "laboratory")


def run(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True)


def judged(judge: Path, *arguments: str) -> dict[str, Any]:
    found = ROOT / "build" / "backtest" / "judged.json"
    subprocess.run([sys.executable, str(judge), *arguments, "--json", str(found)], check=True, stdout=subprocess.DEVNULL)
    result: dict[str, Any] = json.loads(found.read_text())
    return result


def glucose(data: Path, judges: Path, jobs: int) -> list[Result]:
    out = ROOT / "build" / "backtest" / "t1d"
    run("-m", "stream_twin.cli", "backtest", "t1d", str(data), "--out", str(out), "--jobs", str(jobs))
    judge = judges / "glucose.py"
    forecast = judged(judge, "--preds", str(out / "preds.csv"), "--subjects", "dev", "--data", str(data))["forecast"]
    alerts = judged(judge, "--alerts", str(out / "alerts.csv"), "--subjects", "dev", "--data", str(data))["alerts"]["all"]
    results = []
    for sensor, limits in LAST_VALUE_RMSE.items():
        for horizon, limit in zip((30, 60), limits, strict=True):
            rmse, covered = forecast[sensor][f"rmse{horizon}"], forecast[sensor][f"cov90_{horizon}"]
            results.append(Result(f"glucose {sensor} sensors, RMSE at {horizon} min", "mg/dL", [rmse], limit, at_most=True))
            results.append(Result(f"glucose {sensor} sensors, in the 90 % interval at {horizon} min", "share", [covered]))
    for name, lead in (("sens", "at any lead"), ("sens_ge15", "15 min ahead"), ("sens_ge20", "20 min ahead")):
        results.append(Result(f"hypoglycaemia {lead}, one false alert a day", "share", [alerts[name]]))
    return results


def sepsis(data: Path, judges: Path, jobs: int) -> list[Result]:
    results = []
    for setting in SETTINGS:
        out = ROOT / "build" / "backtest" / f"sepsis2019-{setting}"
        options = ("--out", str(out), "--jobs", str(jobs), "--setting", setting)
        run("-m", "stream_twin.cli", "backtest", "sepsis2019", str(data), *options)
        scored = judged(judges / "sepsis.py", str(out / "scores.csv"), "--boot", "0", "--data", str(data / "training_setB"))
        for name, wanted in NEWS2_WITH_OXYGEN.items():
            results.append(Result(f"deterioration, {setting}, {name}", "", [scored[name]], wanted))
        results.append(Result(f"deterioration, {setting}, calibration error", "probability", [scored["ece_raw"]]))
    return results


def main(
    directory: Annotated[Path, typer.Argument(envvar="STREAM_TWIN_RECORDINGS")] = SHARED / "data",
    judges: Path = SHARED / "judges",
    jobs: int = 2,
) -> None:
    results = glucose(directory / "t1d_uom", judges, jobs)
    results += sepsis(directory / "sepsis2019", judges, jobs)
    if not report("backtest", results):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
