"""PhysioNet/CinC Challenge 2019: one ``pNNNNNN.psv`` per stay in intensive care, one row per hour.

Licence: CC BY 4.0. https://physionet.org/content/challenge-2019/1.0.0/

There are no dates: ``ICULOS`` counts the hours in the unit, and hour 0 is :data:`HOUR_0` plus the shift. What is sent how:

- A row is sent at its hour: one observation per value, vital signs as ``bedside``, the others as ``laboratory``, in the
  unit of the challenge's description. ``NaN`` is a value that nobody measured: nothing is sent.
- Nothing is repaired: FiO2 of -50 and calcium of 1.2 (ionised mmol/L in a column of mg/dL) are sent as charted.
- FiO2 above 0.21, once charted, sets ``on_oxygen`` of the oxygen saturations after it, until another FiO2 is charted.
- First a profile (sex, age, cohort ``intensive_care``, the unit as a subgroup), the time in hospital before the unit as an
  encounter on a ward, and the encounter in the unit.
- The label arrives half an hour after the last row and never before: ``sepsis``, which occurred 6 h after the label's
  first hour, since the label is positive from 6 h before onset; at the stay's end at the latest. A stay that is positive
  from its first row says so in ``note``: its onset may be earlier. Otherwise ``well``. Then the encounter's end and a
  profile that says ``discharged``.
- ``ICULOS`` does not start at 1 in some stays; the encounter begins at hour 0 all the same. Where Age or Gender is no number,
  the profile goes without it; a row without an hour is sent one hour after the row before.
"""

import csv
import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Literal

from stream_twin.datasets.recording import CLINICAL, HAPPENED, HOUR, OUTCOMES, PROFILES, DataSet, Sent, code, number, sent
from stream_twin.events import DeviceKind, Encounter, Observation, Outcome, Profile

HOUR_0 = 1_546_819_200.0
"""Hour 0 of an unshifted stay: Monday 2019-01-07T00:00:00Z."""
COHORT = "intensive_care"

SEX: dict[Any, Literal["female", "male"]] = {0: "female", 1: "male"}

VITAL_SIGNS = {
    "HR": ("heart_rate", "/min"),
    "O2Sat": ("spo2", "%"),
    "Temp": ("body_temperature", "Cel"),
    "SBP": ("systolic_blood_pressure", "mm[Hg]"),
    "MAP": ("mean_blood_pressure", "mm[Hg]"),
    "DBP": ("diastolic_blood_pressure", "mm[Hg]"),
    "Resp": ("respiratory_rate", "/min"),
    "EtCO2": ("etco2", "mm[Hg]"),
    "FiO2": ("fio2", "1"),
}
LABORATORY = {
    "BaseExcess": ("base_excess", "mmol/L"),
    "HCO3": ("hco3", "mmol/L"),
    "pH": ("ph", "[pH]"),
    "PaCO2": ("paco2", "mm[Hg]"),
    "SaO2": ("sao2", "%"),
    "AST": ("ast", "U/L"),
    "BUN": ("bun", "mg/dL"),
    "Alkalinephos": ("alkaline_phosphatase", "U/L"),
    "Calcium": ("calcium", "mg/dL"),
    "Chloride": ("chloride", "mmol/L"),
    "Creatinine": ("creatinine", "mg/dL"),
    "Bilirubin_direct": ("bilirubin_direct", "mg/dL"),
    "Glucose": ("glucose_lab", "mg/dL"),
    "Lactate": ("lactate", "mmol/L"),
    "Magnesium": ("magnesium", "mg/dL"),
    "Phosphate": ("phosphate", "mg/dL"),
    "Potassium": ("potassium", "mmol/L"),
    "Bilirubin_total": ("bilirubin_total", "mg/dL"),
    "TroponinI": ("troponin_i", "ng/mL"),
    "Hct": ("hematocrit", "%"),
    "Hgb": ("hemoglobin", "g/dL"),
    "PTT": ("ptt", "s"),
    "WBC": ("wbc", "10*3/uL"),
    "Fibrinogen": ("fibrinogen", "mg/dL"),
    "Platelets": ("platelets", "10*3/uL"),
}
COLUMNS: dict[str, tuple[str, str, DeviceKind]] = {
    **{column: (*names, "bedside") for column, names in VITAL_SIGNS.items()},
    **{column: (*names, "laboratory") for column, names in LABORATORY.items()},
}


def people(path: Path) -> list[str]:
    """Stays by their numbers: ``p100001``, ... Reads ``path`` or its folders."""
    return sorted(_files(path))


def events(path: Path, person: str, shift_s: float = 0.0, signals: Collection[str] | None = None) -> Iterator[Sent]:
    """One stay; ``signals``: only their measurements. Raises FileNotFoundError for one that is not there."""
    rows = _rows(path, person)
    start = HOUR_0 + shift_s
    yield from _admission(person, rows, start)
    oxygen: bool | None = None
    hour = 0.0
    labels: list[float] = []
    for row, hour in zip(rows, _hours(rows), strict=True):
        at = start + hour * HOUR
        if isinstance(fraction := number(row.get("FiO2")), float):
            oxygen = fraction > 0.21
        if row.get("SepsisLabel") == "1":
            labels.append(hour)
        yield from _row(person, row, at, hour, oxygen, signals)
    if rows:
        yield from _end(person, rows, start, start + hour * HOUR, labels[0] if labels else None)


def hours(path: Path, person: str) -> list[float]:
    """Hour of each row of a stay: for each, a score is wanted, whether or not anything was measured."""
    return list(_hours(_rows(path, person)))


def _rows(path: Path, person: str) -> list[dict[str, Any]]:
    files = _files(path)
    if person not in files:
        raise FileNotFoundError(f"{path}: no stay {person} ({person}.psv)")
    with files[person].open(encoding="utf-8-sig", errors="replace", newline="") as lines:
        return list(csv.DictReader(lines, delimiter="|"))


def _hours(rows: list[dict[str, Any]]) -> Iterator[float]:
    hour = 0.0
    for row in rows:
        counted = number(row.get("ICULOS"))
        hour = counted if isinstance(counted, float) and counted > hour else hour + 1
        yield hour


@functools.lru_cache(maxsize=2)
def _files(path: Path) -> dict[str, Path]:
    files = {file.stem: file for folder in (path, *sorted(path.glob("*/"))) for file in folder.glob("p*.psv")}
    if not files:
        raise FileNotFoundError(f"{path}: no stays (pNNNNNN.psv) here or one folder below")
    return files


def _profile(person: str, rows: list[dict[str, Any]], start: float, **changes: Any) -> Profile:
    first = rows[0] if rows else {}
    age, sex = number(first.get("Age")), number(first.get("Gender"))
    units = [name for column, name in (("Unit1", "medical"), ("Unit2", "surgical")) if number(first.get(column)) == 1]
    return Profile(
        population="intensive_care",
        patient_id=person,
        valid_from=start,
        sex=SEX.get(sex),
        age_years=round(age) if isinstance(age, float) else None,
        cohort=COHORT,
        subgroups={"unit": units[0]} if units else {},
        **changes,
    )


def _admission(person: str, rows: list[dict[str, Any]], start: float) -> Iterator[Sent]:
    yield sent(start, PROFILES, _profile(person, rows, start))
    before = number(rows[0].get("HospAdmTime")) if rows else None
    if isinstance(before, float) and before < 0:
        ward = Encounter(id=f"{person}-ward", patient_id=person, kind="ward", at=start + before * HOUR, until=start)
        yield sent(start, HAPPENED, ward)
    yield sent(start, HAPPENED, Encounter(id=f"{person}-unit", patient_id=person, kind="intensive_care", at=start))


def _row(
    person: str, row: dict[str, Any], at: float, hour: float, oxygen: bool | None, signals: Collection[str] | None
) -> Iterator[Sent]:
    for column, (signal, unit, kind) in COLUMNS.items():
        value = number(row.get(column))
        if value is None or (signals is not None and signal not in signals):
            continue
        observation = Observation(
            id=f"{person}-{hour:g}-{column}",
            patient_id=person,
            value=value,
            unit=unit,
            measured_at=at,
            device_kind=kind,
            on_oxygen=oxygen if column == "O2Sat" else None,
            **code(signal),
        )
        yield sent(at, CLINICAL, observation)


def _end(person: str, rows: list[dict[str, Any]], start: float, last: float, label: float | None) -> Iterator[Sent]:
    known = last + HOUR / 2
    from_start = rows[0].get("SepsisLabel") == "1"
    outcome = Outcome(
        id=f"{person}-outcome",
        patient_id=person,
        kind="well" if label is None else "sepsis",
        occurred_at=last if label is None else min(start + (label + 6) * HOUR, last),
        issued_at=known,
        note="positive from the first row: onset may be earlier" if from_start else None,
    )
    yield sent(known, OUTCOMES, outcome)
    stay = Encounter(id=f"{person}-unit", version=2, patient_id=person, kind="intensive_care", at=start, until=last)
    yield sent(last + HOUR, HAPPENED, stay)
    yield sent(last + HOUR, PROFILES, _profile(person, rows, start, version=2, state="discharged"))


DATASET = DataSet("sepsis2019", "PhysioNet/CinC Challenge 2019", people, events, every_s=300.0)
