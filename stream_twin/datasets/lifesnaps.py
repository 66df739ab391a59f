"""LifeSnaps: people with a Fitbit over some months, one row per person and day.

Licence: CC BY 4.0. https://doi.org/10.5281/zenodo.6826682 (``daily_fitbit_sema_df_unprocessed.csv``)

What is sent how:

- A day's values are known at the end of the day: one observation for each cell that is not empty, over the day, sent at the
  next midnight. The set names no time zone: midnights are UTC and the profile has no zone.
- 0 means that the device had no reading in ``nremhr``, ``rmssd``, ``full_sleep_breathing_rate``, ``scl_avg``, ``stress_score``
  and its points: sent as absent. ``sleep_duration`` is in ms, ``minutesAsleep`` in minutes: each is sent in its own unit.
- ``activityType`` is a Python literal (``['Walk', 'Run']``): one finding for each. Mood and whereabouts of the day (``HAPPY``,
  ``HOME``, ...) are findings where they are 1. A literal that cannot be read is one finding as it stands.
- First the profile: sex; the age is only known as ``<30`` or ``>=30`` and goes into the subgroups, as does the body-mass
  index.
- Not sent: badges, goals and ``mindfulness_session``, which are no measurement, and the unnamed first column, a row number.
"""

import ast
import csv
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from stream_twin.datasets.recording import (
    DAY,
    DEVICES,
    HAPPENED,
    PROFILES,
    WEARABLE,
    DataSet,
    Names,
    Sent,
    by_time,
    carried,
    code,
    number,
    positive,
    sent,
    utc,
)
from stream_twin.events import AssignedDevice, DeviceAssignments, Finding, Observation, Period, Profile

FILE = "daily_fitbit_sema_df_unprocessed.csv"
SYSTEM = "urn:lifesnaps"
SEX: dict[str, Literal["female", "male"]] = {"FEMALE": "female", "MALE": "male"}
Row = dict[str, str]

COLUMNS = {
    "resting_hr": ("resting_heart_rate", "/min"),
    "bpm": ("heart_rate_mean", "/min"),
    "spo2": ("spo2", "%"),
    "nightly_temperature": ("skin_temperature", "Cel"),
    "daily_temperature_variation": ("skin_temperature_deviation", "Cel"),
    "filteredDemographicVO2Max": ("vo2_max", "mL/min/kg"),
    "steps": ("steps_daily", "{steps}"),
    "distance": ("distance_daily", "m"),
    "calories": ("energy_daily", "kcal"),
    "lightly_active_minutes": ("light_activity_minutes", "min"),
    "moderately_active_minutes": ("moderate_activity_minutes", "min"),
    "very_active_minutes": ("vigorous_activity_minutes", "min"),
    "sedentary_minutes": ("sedentary_minutes", "min"),
    "minutes_below_default_zone_1": ("heart_rate_below_zones_minutes", "min"),
    "minutes_in_default_zone_1": ("heart_rate_zone_1_minutes", "min"),
    "minutes_in_default_zone_2": ("heart_rate_zone_2_minutes", "min"),
    "minutes_in_default_zone_3": ("heart_rate_zone_3_minutes", "min"),
    "sleep_duration": ("time_in_bed_minutes", "ms"),
    "minutesAsleep": ("sleep_minutes", "min"),
    "minutesAwake": ("awake_minutes", "min"),
    "minutesToFallAsleep": ("minutes_to_fall_asleep", "min"),
    "minutesAfterWakeup": ("minutes_after_wakeup", "min"),
    "sleep_efficiency": ("sleep_efficiency", "%"),
    "sleep_deep_ratio": ("sleep_deep_ratio", "1"),
    "sleep_wake_ratio": ("sleep_wake_ratio", "1"),
    "sleep_light_ratio": ("sleep_light_ratio", "1"),
    "sleep_rem_ratio": ("sleep_rem_ratio", "1"),
}
ZERO_IS_MISSING = {
    "nremhr": ("sleeping_heart_rate", "/min"),
    "rmssd": ("rmssd", "ms"),
    "full_sleep_breathing_rate": ("breathing_rate", "/min"),
    "scl_avg": ("skin_conductance", "uS"),
    "stress_score": ("stress_score", "{score}"),
    "sleep_points_percentage": ("stress_sleep_points", "1"),
    "exertion_points_percentage": ("stress_exertion_points", "1"),
    "responsiveness_points_percentage": ("stress_responsiveness_points", "1"),
}
SAID = {
    **dict.fromkeys(("ALERT", "HAPPY", "NEUTRAL", "RESTED/RELAXED", "SAD", "TENSE/ANXIOUS", "TIRED"), "mood"),
    **dict.fromkeys(
        ("ENTERTAINMENT", "GYM", "HOME", "HOME_OFFICE", "OTHER", "OUTDOORS", "TRANSIT", "WORK/SCHOOL"), "whereabouts"
    ),
}


def people(path: Path) -> list[str]:
    """Ids in the order of the file."""
    return list(_days(path))


def events(path: Path, person: str, shift_s: float = 0.0) -> Iterator[Sent]:
    """One person. Raises FileNotFoundError for one who is not in the file."""
    days = _days(path).get(person)
    if days is None:
        raise FileNotFoundError(f"{path / FILE}: nobody of id {person!r}")
    known = [utc(row["date"], "%Y-%m-%d") for row in days]
    everybody = (time for rows in _days(path).values() for row in rows if (time := utc(row["date"], "%Y-%m-%d")) is not None)
    starts = carried(known, 0.0 if any(known) else min(everybody, default=0.0))
    first = min(starts) + shift_s
    yield sent(first, PROFILES, _profile(person, first, days))
    device = AssignedDevice(device_id=f"fitbit-{person}", kind="syncing", start=first)
    yield sent(first, DEVICES, DeviceAssignments(patient_id=person, devices=[device]))
    names = Names()
    messages: list[Sent] = []
    for start, readable, row in zip(starts, known, days, strict=True):
        messages += _day(person, row, start + shift_s, names(row["date"], row), readable=readable is not None)
    yield from by_time(messages)


@functools.lru_cache(maxsize=2)
def _days(path: Path) -> dict[str, list[Row]]:
    file = path / FILE
    if not file.exists():
        raise FileNotFoundError(f"{path}: no {FILE} here")
    days: dict[str, list[Row]] = {}
    with file.open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        for row in csv.DictReader(line.replace("\0", "") for line in lines):
            cells = {key: cell or "" for key, cell in row.items() if isinstance(key, str)}
            days.setdefault(cells.get("id", ""), []).append({"date": "", **cells})
    return days


def _profile(person: str, start: float, days: list[Row]) -> Profile:
    first = {column: next((row[column] for row in days if row.get(column)), "") for column in ("gender", "age", "bmi")}
    return Profile(
        patient_id=person,
        valid_from=start,
        sex=SEX.get(first["gender"]),
        subgroups={column: first[column] for column in ("age", "bmi") if first[column]},
    )


def _day(person: str, row: Row, start: float, name: str, *, readable: bool) -> Iterator[Sent]:
    end = start + DAY
    period = Period(start=start, end=end) if readable else Period(start=row["date"], end=row["date"])
    cells = [(column, *names, number(row.get(column))) for column, names in COLUMNS.items()]
    cells += [(column, *names, positive(row.get(column))) for column, names in ZERO_IS_MISSING.items()]
    for column, signal, unit, value in cells:
        if not row.get(column):
            continue
        observation = Observation(
            id=f"{column}-{person}-{name}"[:128],
            patient_id=person,
            device_id=f"fitbit-{person}",
            device_kind="syncing",
            value=value,
            absent_reason="unknown" if value is None else None,
            unit=unit,
            period=period,
            **code(signal),
        )
        yield sent(end, WEARABLE, observation)
    for what, said in _said(row):
        finding = Finding(
            id=f"{what}-{said}-{person}-{name}"[:128],
            patient_id=person,
            at=start if readable else row["date"],
            until=end if readable else row["date"],
            code=what,
            code_system=SYSTEM,
            value=said,
        )
        yield sent(end, HAPPENED, finding)


def _said(row: Row) -> Iterator[tuple[str, str]]:
    if cell := row.get("activityType"):
        try:
            kinds: Any = ast.literal_eval(cell)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            kinds = [cell[:100]]
        for kind in kinds if isinstance(kinds, list) else [cell[:100]]:
            yield "activity", str(kind)
    for column, what in SAID.items():
        if number(row.get(column)) == 1:
            yield what, column


DATASET = DataSet("lifesnaps", "LifeSnaps, Fitbit days", people, events)
