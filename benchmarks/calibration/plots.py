"""The report as pictures: coverage, PIT, gain over simple rules, and when a person's own twin beats the population's."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "twin", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False})
mpl.rcParams["axes.spines.right"] = False
BLUE, GREY, LIGHT = "#2b6cb0", "#718096", "#cbd5e0"


def all_of(found: dict[str, Any], folder: Path) -> None:
    coverage(found, folder / "coverage.svg")
    pit(found, folder / "pit.svg")
    fusion(found, folder / "fusion.svg")
    days(found, folder / "days.svg")


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


def coverage(found: dict[str, Any], path: Path) -> None:
    """Per signal: share of samples in the 90 % interval, one step ahead; and the same for who is who, and when."""
    heights = [len(part["signals"]) + len(part["overall"]["subgroups"]) + 1 for part in found.values()]
    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 0.16 * max(heights) + 0.8), squeeze=False)
    for axis, part in zip(axes[0], found.values(), strict=True):
        rows = [(name.replace("_", " "), row["covered"], GREY) for name, row in part["signals"].items()]
        rows += [(name, row["covered"], LIGHT) for name, row in part["overall"]["subgroups"].items()]
        rows.append(("all", part["overall"]["covered"], BLUE))
        rows.reverse()
        place = np.arange(len(rows))
        axis.axvspan(85, 95, color="#edf2f7", lw=0)
        axis.axvline(90, color=LIGHT, lw=1)
        axis.scatter([100 * row[1] for row in rows], place, color=[row[2] for row in rows], s=16, edgecolor=GREY, lw=0.5)
        axis.set_yticks(place, [row[0] for row in rows])
        axis.set_xlim(min(70, 100 * min(row[1] for row in rows) - 2), 100)
        axis.set_title(part["title"], fontsize=8)
        axis.set_xlabel("samples in the 90 % interval, %")
    figure.tight_layout()
    _save(figure, path)


def pit(found: dict[str, Any], path: Path) -> None:
    """All signals of each set together: flat if calibrated."""
    figure, axes = plt.subplots(1, len(found), figsize=(2.4 * len(found), 1.7), squeeze=False, sharey=True)
    for axis, part in zip(axes[0], found.values(), strict=True):
        bins = np.array(part["overall"]["pit"])
        axis.bar((np.arange(len(bins)) + 0.5) / len(bins), bins * len(bins), width=1 / len(bins), color=BLUE, edgecolor="white")
        axis.axhline(1, color=GREY, lw=0.8)
        axis.set_title(part["title"], fontsize=8)
        axis.set_xlabel("PIT")
    axes[0][0].set_ylabel("density")
    figure.tight_layout()
    _save(figure, path)


def fusion(found: dict[str, Any], path: Path) -> None:
    """Per signal: log score with the other signals minus without."""
    most = max(len(part["signals"]) for part in found.values())
    figure, axes = plt.subplots(1, len(found), figsize=(3.2 * len(found), 0.16 * most + 0.8), squeeze=False)
    for axis, part in zip(axes[0], found.values(), strict=True):
        rows = list(part["signals"].items())[::-1]
        place = np.arange(len(rows))
        axis.axvline(0, color=GREY, lw=0.8)
        axis.barh(
            place + 0.2, [row["fusion"] for _, row in rows], height=0.38, color=BLUE, label="others of the same moment known"
        )
        axis.barh(place - 0.2, [row["fusion_ahead"] for _, row in rows], height=0.38, color=LIGHT, label="only what is older")
        axis.set_yticks(place, [name.replace("_", " ") for name, _ in rows])
        axis.set_xscale("symlog", linthresh=0.05)
        axis.set_title(part["title"], fontsize=8)
        axis.set_xlabel("gain of log score, nats")
    axes[0][0].legend(fontsize=6, frameon=False)
    figure.tight_layout()
    _save(figure, path)


def days(found: dict[str, Any], path: Path) -> None:
    """Log score of a person's own twin minus that of the same filter which learns nothing lasting of a person."""
    figure, axis = plt.subplots(figsize=(4.8, 2.4))
    for part, color in zip(found.values(), ("#2b6cb0", "#c05621", "#2f855a", "#6b46c1"), strict=False):
        steps = part["days"]
        axis.plot([max(step["from_day"], 0.5) for step in steps], [step["gain"] for step in steps], "o-", ms=3, lw=1, color=color,
                  label=part["title"])  # fmt: skip
    axis.axhline(0, color=GREY, lw=0.8)
    axis.set_xscale("log")
    axis.set_xlabel("days since the first sample of the signal")
    axis.set_ylabel("gain of log score, nats")
    axis.legend(fontsize=6, frameon=False)
    figure.tight_layout()
    _save(figure, path)
