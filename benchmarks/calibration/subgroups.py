"""Samples by what might make a filter wrong: night, movement, gaps, who the person is, the edge of what can be measured."""

import numpy as np
from numpy.typing import NDArray

from stream_twin.fitting.recordings import Recorded
from stream_twin.signals import Signal

NIGHT = (22.0, 6.0)
"""Hours UTC: in T1D-UOM within an hour of the wall clock of nearly all; the intensive-care data have no clock."""
MOVING = 500.0
"""Steps in a quarter of an hour that count as exercise."""
GAP = 6.0
"""Times the usual distance of a person's samples of a signal."""
EDGES: dict[str, tuple[float, float]] = {"spo2": (0.0, 98.5), "glucose": (54.0, 360.0), "sao2": (0.0, 98.5)}
"""Near the ends of what the method can tell, or of what there is."""


def subgroups(signal: Signal, people: list[Recorded], here: list[NDArray]) -> dict[str, NDArray[np.bool_]]:
    """Name -> which samples. ``here``: places of the signal's samples in each person's."""
    total = sum(map(len, here))
    ages = [one.age_years for one in people if one.age_years is not None]
    oldest = float(np.quantile(ages, 2 / 3)) if len(ages) > 10 else np.inf
    found: dict[str, list[NDArray[np.bool_]]] = {}
    for one, at in zip(people, here, strict=True):
        times, values = one.times[at], one.values[at]
        hour = times % 86400.0 / 3600.0
        gaps = np.diff(times, prepend=times[0])
        usual = float(np.median(gaps[1:])) if len(gaps) > 2 else np.inf
        low, high = EDGES.get(signal.name, (-np.inf, np.inf))
        everyone = np.ones(len(at), np.bool_)
        parts = {
            "night": (hour >= NIGHT[0]) | (hour < NIGHT[1]),
            "exercise": _moving(one, times) & (signal.name != "steps"),  # not those that are chosen by their own value
            "first of a person": np.arange(len(at)) == 0,
            "after a gap": gaps > GAP * usual,
            "women": everyone if one.sex == "female" else ~everyone,
            "men": everyone if one.sex == "male" else ~everyone,
            "oldest third": everyone if one.age_years is not None and one.age_years >= oldest else ~everyone,
            "near a limit": (values < low) | (values > high),
        }
        for name, chosen in parts.items():
            found.setdefault(name, []).append(chosen)
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: chosen for name, chosen in joined.items() if 0 < chosen.sum() < total}


def _moving(one: Recorded, times: NDArray) -> NDArray[np.bool_]:
    """Whether the quarter of an hour in which each sample is had many steps."""
    if "steps" not in one.names:
        return np.zeros(len(times), np.bool_)
    steps = one.signals == one.names.index("steps")
    busy = set(np.ceil(one.times[steps][one.values[steps] >= MOVING] / 900.0).astype(int).tolist())
    return np.array([int(np.ceil(time / 900.0)) in busy for time in times], np.bool_)
