"""NEWS2, the National Early Warning Score: pure, by its publication.

Source: Royal College of Physicians, National Early Warning Score (NEWS) 2: Standardising the assessment of acute-illness severity
in the NHS. Updated report of a working party, London 2017; chart 1 (the scoring system), chart 2 (thresholds and triggers).
"""

from math import floor, inf
from typing import Literal, NamedTuple

from msgspec import Struct

from stream_twin.events import Profile

Consciousness = Literal["alert", "confusion", "voice", "pain", "unresponsive"]
"""ACVPU; confusion is new confusion."""
Scale = Literal[1, 2]
"""Of oxygen saturation; 2 only where a clinician has set it: target 88 to 92 %."""
Bands = tuple[tuple[float, int], ...]
"""(upper end, included; points), from low to high."""

RED = 3
"""Points of a single parameter that call for an urgent review by themselves."""
URGENT, EMERGENCY = 5, 7
"""Thresholds of the whole score."""
ADULT_YEARS = 16

CHART: dict[str, Bands] = {
    "respiratory_rate":        ((8, 3), (11, 1), (20, 0), (24, 2), (inf, 3)),
    "spo2":                    ((91, 3), (93, 2), (95, 1), (inf, 0)),
    "systolic_blood_pressure": ((90, 3), (100, 2), (110, 1), (219, 0), (inf, 3)),
    "heart_rate":              ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2), (inf, 3)),
    "body_temperature":        ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1), (inf, 2)),
}  # fmt: skip  # reads like the chart
"""By signal, in the catalogue's units; oxygen saturation by scale 1."""
SPO2_SCALE_2: dict[bool, Bands] = {
    False: ((83, 3), (85, 2), (87, 1), (inf, 0)),
    True:  ((83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2), (inf, 3)),
}  # fmt: skip
"""By whether oxygen is given: on air everything from 88 % on is 0."""
DECIMALS = {"body_temperature": 1}
"""The chart knows whole numbers, and tenths of a degree: values are rounded to that, half up."""
ON_OXYGEN = 2
NOT_ALERT = 3

PARAMETERS = ("respiratory_rate", "spo2", "oxygen", "systolic_blood_pressure", "heart_rate", "consciousness", "body_temperature")
"""In the chart's order."""


class Observations(Struct, frozen=True, kw_only=True):
    """One set, in the catalogue's units; None: not measured, or too old."""

    respiratory_rate: float | None = None
    spo2: float | None = None
    oxygen: bool | None = None
    systolic_blood_pressure: float | None = None
    heart_rate: float | None = None
    consciousness: Consciousness | None = None
    body_temperature: float | None = None


class Score(NamedTuple):
    """``low`` to ``high``: what the score can be whatever the missing parameters are; equal where none is missing.

    points: lowest and highest of each parameter, in the chart's order; they add up to ``low`` and ``high``.
    missing: not measured.
    """

    low: int
    high: int
    points: dict[str, tuple[int, int]]
    missing: tuple[str, ...]

    @property
    def red(self) -> tuple[str, ...]:
        """Parameters that are certain to score 3."""
        return tuple(name for name, (low, _) in self.points.items() if low == RED)


def score(observations: Observations, scale: Scale = 1) -> Score:
    """The score of one set, as a range where something is missing.

    On oxygen saturation scales at least what it scores on air, so each parameter's range can be taken by itself.
    """
    points: dict[str, tuple[int, int]] = {}
    missing = []
    for name in PARAMETERS:
        value = getattr(observations, name)
        if value is None:
            missing.append(name)
        points[name] = _range(name, value, observations.oxygen, scale)
    return Score(sum(low for low, _ in points.values()), sum(high for _, high in points.values()), points, tuple(missing))


def _range(name: str, value: float | str | bool | None, oxygen: bool | None, scale: Scale) -> tuple[int, int]:
    if name == "oxygen":
        return (0, ON_OXYGEN) if value is None else (ON_OXYGEN,) * 2 if value else (0, 0)
    if name == "consciousness":
        return (0, NOT_ALERT) if value is None else (0, 0) if value == "alert" else (NOT_ALERT,) * 2
    charts = [CHART[name]]
    if name == "spo2" and scale == 2:
        charts = [SPO2_SCALE_2[on] for on in ((False, True) if oxygen is None else (oxygen,))]
    if value is None:
        return 0, max(points for bands in charts for _, points in bands)
    assert not isinstance(value, str)
    found = [points_of(bands, value, DECIMALS.get(name, 0)) for bands in charts]
    return min(found), max(found)


def points_of(bands: Bands, value: float, decimals: int = 0) -> int:
    """Points of one measured value."""
    steps = 10.0**decimals
    rounded = floor(value * steps + 0.5 + 1e-9) / steps  # 38.05 is stored as a little less
    for upper, points in bands:
        if rounded <= upper:
            return points
    return bands[-1][1]


def not_applicable(profile: Profile) -> str | None:
    """Why the score is not for this person; None where it is. Who is of no known age counts as an adult."""
    if profile.age_years is not None and profile.age_years < ADULT_YEARS:
        return f"the patient is {profile.age_years} years old, and it is for adults from {ADULT_YEARS}"
    if profile.pregnant:
        return "the patient is pregnant"
    if profile.spinal_cord_injury:
        return "the patient has a spinal-cord injury"
    return None
