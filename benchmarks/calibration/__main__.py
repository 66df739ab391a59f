"""Calibration, accuracy and fusion gain of the shipped models, on people on whom nothing was fitted: tables, JSON, plots."""

import argparse
import datetime
import json
import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import comparators, plots, sets, tables
from benchmarks.calibration.predictions import Predictions, predicted
from benchmarks.calibration.scores import Predicted, Scored, scored
from benchmarks.calibration.subgroups import subgroups
from stream_twin import signals
from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Catalogue, Signal
from stream_twin.twin.model import Population, PopulationModel

FOLDERS = {"sepsis2019": "sepsis2019", "lifesnaps": "lifesnaps", "welltory": "welltory_covid", "t1d": "t1d_uom"}
LEAST = 100
"""Samples of a signal below which it is not in a table."""
LOCAL_PEOPLE = 60
"""Persons, at most, for whom a local level is fitted per signal: it takes a tenth of a second each."""
MASK = {"ahead": ("mean", "sd"), "joint": ("mean_joint", "sd_joint")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help=f"directory with {', '.join(FOLDERS.values())}")
    parser.add_argument("--sets", default=",".join(FOLDERS), help="which to measure; the others stay as the report has them")
    parser.add_argument("--draw", action="store_true", help="only draw again what is in the report")
    parser.add_argument("--limit", type=int, help="people of each set, for a quick look")
    parser.add_argument("--out", type=Path, default=Path("build/reports/calibration.json"))
    parser.add_argument("--plots", type=Path, default=Path("docs/twin"))
    given = parser.parse_args()
    catalogue = signals.load()
    known = json.loads(given.out.read_text())["sets"] if given.out.exists() else {}
    found = {name: part for name, part in known.items() if given.draw or name not in given.sets.split(",")}
    for name in [] if given.draw else given.sets.split(","):
        if not (given.data / FOLDERS[name]).is_dir():
            print(f"{name}: skipped, no {given.data / FOLDERS[name]}")
            continue
        began = time.monotonic()
        found[name] = report(sets.build(name, given.data / FOLDERS[name], catalogue, given.limit), catalogue)
        found[name]["seconds"] = round(time.monotonic() - began)
        print(tables.text(found[name]), flush=True)
    found = {name: found[name] for name in FOLDERS if name in found}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now(datetime.UTC).date().isoformat()
    given.out.write_text(json.dumps({"date": date, "sets": found}, indent=1) + "\n")
    if given.limit is None:
        given.plots.mkdir(parents=True, exist_ok=True)
        plots.all_of(found, given.plots)
        (given.plots / "measured.md").write_text(tables.markdown(found, date))


def report(one: sets.Set, catalogue: Catalogue) -> dict[str, Any]:
    people = [person.only(one.names) for person in one.reported]
    bare = PopulationModel(Population(name="catalogue", version=1, date="", holds_for=""), catalogue)
    twin = [predicted(model, person) for model, person in zip(one.models, people, strict=True)]
    alone = [predicted(model, person) for model, person in zip(one.alone, people, strict=True)]
    plain = [predicted(bare, person) for person in people]
    same = [bare] * len(people)
    usual = [predicted(_impersonal(model), person) for model, person in zip(one.models, people, strict=True)]
    sums: dict[str, list[NDArray]] = {}
    rows, days = {}, []
    for k, name in enumerate(one.names):
        signal = catalogue[name]
        if sum(int(np.sum(person.signals == k)) for person in people) < LEAST:
            continue
        got = _signal(one, signal, k, people, twin, alone, plain, same)
        rows[name] = got.pop("row")
        for key, values in got.items():
            sums.setdefault(key, []).append(values)
        days.append(_by_day(one, signal, k, people, twin, usual))
    totals = {key: np.concatenate(values) for key, values in sums.items()}
    return {
        "title": one.title,
        "people": len(people),
        "signals": rows,
        "overall": _overall(totals, rows),
        "days": _days(days),
    }


def _signal(
    one: sets.Set,
    signal: Signal,
    k: int,
    people: list[Recorded],
    twin: list[Predictions],
    alone: list[Predictions],
    plain: list[Predictions],
    bare: list[PopulationModel],
) -> dict[str, Any]:
    here = [np.flatnonzero(person.signals == k) for person in people]
    have = [n for n, at in enumerate(here) if len(at)]
    steps = [person.steps(dict.fromkeys(one.names, 0) | {signal.name: signal.decimals}) for person in people]

    def of(all_of: list[Predictions], models: list[PopulationModel], when: str) -> Scored:
        mean, sd = MASK[when]
        parts = []
        for n in have:
            at, tail = here[n], models[n].models[signal.name].tail
            some = Predicted(getattr(all_of[n], mean)[at], getattr(all_of[n], sd)[at], tail)
            parts.append(scored(signal, people[n].values[at], steps[n][at], some))
        return _joined(parts)

    hidden = [predicted(one.models[n], people[n].only([signal.name])) for n in have]
    ahead, joint = of(twin, one.models, "ahead"), of(twin, one.models, "joint")
    without = _joined(
        [
            scored(
                signal,
                people[n].values[here[n]],
                steps[n][here[n]],
                Predicted(own.mean, own.sd, one.models[n].models[signal.name].tail),
            )
            for n, own in zip(have, hidden, strict=True)
        ]
    )
    apart = of(alone, one.alone, "ahead")
    catalogues = of(plain, bare, "ahead")
    fitted = [comparators.series(person, signal) for person in one.fitted if signal.name in person.names]
    fitted = [some for some in fitted if len(some.values)]
    reported = [comparators.series(people[n], signal) for n in have]
    last, average = comparators.pooled(fitted, 1.0), comparators.best(fitted)
    by_last, by_average = comparators.score(signal, reported, last), comparators.score(signal, reported, average)
    local = _local(signal, reported, have, here, ahead)
    compared = {
        "twin": ahead, "twin, same moment": joint, "others hidden": without, "each alone, fitted": apart,
        "catalogue, alone": catalogues, "last value": by_last, "average": by_average,
    }  # fmt: skip
    row = {
        "samples": len(ahead.low),
        "people": len(have),
        "aside": float(np.mean(np.concatenate([twin[n].aside[here[n]] for n in have]))),
        "covered": ahead.covered(),
        "covered_joint": joint.covered(),
        "covered_50": ahead.covered(0.5),
        "pit": ahead.histogram().round(4).tolist(),
        "log_score": {name: float(some.log_score.mean()) for name, some in compared.items()},
        "crps": {name: float(some.crps.mean()) for name, some in compared.items()},
        "average_weight": average.weight,
        "fusion_ahead": float((ahead.log_score - without.log_score).mean()),
        "fusion": float((joint.log_score - without.log_score).mean()),
        "fusion_over_alone": float((joint.log_score - apart.log_score).mean()),
        "local_level": local,
        "subgroups": {
            name: {"samples": int(chosen.sum()), "covered": ahead.take(chosen).covered()}
            for name, chosen in subgroups(signal, [people[n] for n in have], [here[n] for n in have]).items()
            if chosen.sum() >= LEAST
        },
    }
    return {
        "row": row,
        "low": ahead.low, "high": ahead.high, "low_joint": joint.low, "high_joint": joint.high,
        "fusion_ahead": ahead.log_score - without.log_score, "fusion": joint.log_score - without.log_score,
        "fusion_over_alone": joint.log_score - apart.log_score,
        **{f"over {name}": ahead.log_score - compared[name].log_score for name in tables.RULES},
    }  # fmt: skip


def _joined(parts: Iterable[Scored]) -> Scored:
    return Scored(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _local(
    signal: Signal, people: list[comparators.Series], have: list[int], here: list[NDArray], ahead: Scored
) -> dict[str, Any] | str:
    """statsmodels' local level and the twin on the second half of the same persons' samples."""
    try:
        import statsmodels.tsa.statespace.structural  # noqa: F401  # an extra, see pyproject.toml
    except ImportError:
        return "skipped: statsmodels is not installed (pip install '.[bench]')"
    parts, chosen = [], []
    place = 0
    for one, n in zip(people, have, strict=True):
        done = comparators.local_level(one) if len(parts) < LOCAL_PEOPLE and len(one.values) <= 2000 else None
        if done is not None:
            level, half = done
            parts.append(scored(signal, one.values[half:], one.steps[half:], level))
            chosen.append(np.arange(place + half, place + len(one.values)))
        place += len(here[n])
    if len(parts) < 3:
        return "skipped: too few persons with 20 to 2,000 samples"
    level, twin = _joined(parts), ahead.take(np.concatenate(chosen))
    return {
        "people": len(parts),
        "samples": len(level.low),
        "log_score": float(level.log_score.mean()),
        "crps": float(level.crps.mean()),
        "twin_log_score": float(twin.log_score.mean()),
        "twin_crps": float(twin.crps.mean()),
    }


def _impersonal(model: PopulationModel) -> PopulationModel:
    """The same filter, that learns nothing lasting of a person: no baseline, daily rhythm, own noise, nor lasting drivers.

    What it then does not know of a sample is in its noise.
    """
    long = {name for name, driver in model.population.drivers.items() if driver.time_s > 20 * 86400.0}
    changed = {}
    for name, signal in model.models.items():
        if name not in model.population.signals and name != "glucose":
            continue
        lost = signal.between_sd**2 + signal.circadian_sd**2 + sum(v * v for d, v in signal.loadings.items() if d in long)
        kept = {d: v for d, v in signal.loadings.items() if d not in long}
        still = signal.slow_sd > 0 or signal.fast_sd > 0
        changed[name] = msgspec.structs.replace(
            signal,
            between_sd=0.0 if still else 1e-3 * math.sqrt(lost + 1e-12),
            circadian_sd=0.0,
            noise_sd=math.sqrt(signal.noise_sd**2 + lost),
            noise_count=math.inf,
            loadings=kept,
        )
    return PopulationModel(msgspec.structs.replace(model.population, signals=changed), model.catalogue)


def _by_day(
    one: sets.Set, signal: Signal, k: int, people: list[Recorded], twin: list[Predictions], usual: list[Predictions]
) -> tuple[NDArray, NDArray]:
    """(days since the person's first sample of the signal, personal minus population's log score) of each sample."""
    days, gains = [], []
    for n, person in enumerate(people):
        at = np.flatnonzero(person.signals == k)
        if not len(at):
            continue
        tail = one.models[n].models[signal.name].tail
        step = person.steps(dict.fromkeys(one.names, 0) | {signal.name: signal.decimals})[at]
        both = [
            scored(signal, person.values[at], step, Predicted(some[n].mean[at], some[n].sd[at], tail)).log_score
            for some in (twin, usual)
        ]
        days.append((person.times[at] - person.times[at][0]) / 86400.0)
        gains.append(both[0] - both[1])
    return np.concatenate(days), np.concatenate(gains)


DAYS = (0, 1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 90)


def _days(parts: list[tuple[NDArray, NDArray]]) -> list[dict[str, float]]:
    """Mean gain of the personal twin by days since a signal's first sample."""
    days, gains = (np.concatenate(column) for column in zip(*parts, strict=True))
    found = []
    for low, high in zip(DAYS, (*DAYS[1:], np.inf), strict=True):
        here = (days >= low) & (days < high)
        if here.sum() >= LEAST:
            found.append({"from_day": low, "samples": int(here.sum()), "gain": float(gains[here].mean())})
    return found


def _overall(totals: dict[str, NDArray], rows: dict[str, Any]) -> dict[str, Any]:
    nothing = np.zeros(len(totals["low"]))
    ahead = Scored(totals["low"], totals["high"], nothing, nothing)
    joint = Scored(totals["low_joint"], totals["high_joint"], nothing, nothing)
    names = sorted({name for row in rows.values() for name in row["subgroups"]})
    groups = {}
    for name in names:
        there = [row["subgroups"][name] for row in rows.values() if name in row["subgroups"]]
        weight = sum(one["samples"] for one in there)
        groups[name] = {"samples": weight, "covered": sum(one["samples"] * one["covered"] for one in there) / weight}
    return {
        "samples": len(nothing),
        "covered": ahead.covered(),
        "covered_joint": joint.covered(),
        "pit": ahead.histogram().round(4).tolist(),
        "subgroups": groups,
        **{key: float(np.mean(values)) for key, values in totals.items() if key.startswith(("fusion", "over"))},
    }


if __name__ == "__main__":
    main()
