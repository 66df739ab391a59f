"""On recordings: nearly everything real is accepted, and what README of the recordings calls a trap is not."""

import csv
import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from stream_twin.events import CATALOGUE, LOINC
from stream_twin.ingest import Ingest
from stream_twin.signals import load

RECORDINGS = Path(os.environ.get("STREAM_TWIN_RECORDINGS", Path(__file__).parents[3] / "shared" / "data"))
pytestmark = [
    pytest.mark.recordings,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason=f"no recordings at {RECORDINGS}; set STREAM_TWIN_RECORDINGS"),
]
NOW = 1_800_000_000.0
CATALOG = load()
INGEST = Ingest(CATALOG)
SEPSIS = {
    "HR": "heart_rate",
    "O2Sat": "spo2",
    "Temp": "body_temperature",
    "SBP": "systolic_blood_pressure",
    "MAP": "mean_blood_pressure",
    "DBP": "diastolic_blood_pressure",
    "Resp": "respiratory_rate",
    "EtCO2": "etco2",
    "BaseExcess": "base_excess",
    "HCO3": "hco3",
    "pH": "ph",
    "PaCO2": "paco2",
    "SaO2": "sao2",
    "AST": "ast",
    "BUN": "bun",
    "Alkalinephos": "alkaline_phosphatase",
    "Calcium": "calcium",
    "Chloride": "chloride",
    "Creatinine": "creatinine",
    "Bilirubin_direct": "bilirubin_direct",
    "Glucose": "glucose_lab",
    "Lactate": "lactate",
    "Magnesium": "magnesium",
    "Phosphate": "phosphate",
    "Potassium": "potassium",
    "Bilirubin_total": "bilirubin_total",
    "TroponinI": "troponin_i",
    "Hct": "hematocrit",
    "Hgb": "hemoglobin",
    "PTT": "ptt",
    "WBC": "wbc",
    "Fibrinogen": "fibrinogen",
    "Platelets": "platelets",
}


class Record(NamedTuple):
    offset: int
    value: bytes
    key: bytes = b"p"
    timestamp: int = round(NOW * 1000)


def fates(system: str, code: str, unit: str, values: list[float]) -> Counter[str]:
    records = []
    for i, value in enumerate(values):
        body = {"type": "observation", "id": str(i), "patient_id": "p", "code": code, "code_system": system, "unit": unit}
        records.append(Record(i, json.dumps({**body, "value": value, "measured_at": NOW}).encode()))
    result = INGEST.run("clinical.observations", 0, records, NOW)
    return Counter({reason: n for (_, reason), n in result.counts.items()})


def sepsis_columns(stays: int) -> dict[str, list[float]]:
    columns: dict[str, list[float]] = {}
    for path in sorted((RECORDINGS / "sepsis2019/training_setB").glob("*.psv"))[:stays]:
        with path.open(newline="") as lines:
            for row in csv.DictReader(lines, delimiter="|"):
                for column, value in row.items():
                    if value != "NaN":
                        columns.setdefault(column, []).append(float(value))
    return columns


def test_sepsis_values_are_plausible_but_for_the_traps():
    columns = sepsis_columns(400)
    shares = {}
    for column, name in SEPSIS.items():
        made = fates(CATALOGUE, name, CATALOG[name].unit, columns[column])
        shares[column] = made["out_of_range"] / made.total()
    fio2 = fates(CATALOGUE, "fio2", "1", columns["FiO2"])
    ionised = shares.pop("Calcium")
    assert 0.1 < ionised < 0.3, "about a fifth of calcium is ionised calcium under the wrong unit"
    assert fio2["out_of_range"] / fio2.total() < 0.02
    assert max(shares.values()) < 0.01, max(shares.items(), key=lambda item: item[1])


def vital_signs() -> Iterator[tuple[str, str, float]]:
    with gzip.open(RECORDINGS / "mimic_iv_demo_fhir/fhir/MimicObservationVitalSignsED.ndjson.gz") as lines:
        for line in lines:
            resource = json.loads(line)
            for part in [resource, *resource.get("component", [])]:
                if "valueQuantity" in part:
                    quantity = part["valueQuantity"]
                    yield part["code"]["coding"][0]["code"], quantity["code"], float(quantity["value"])


def test_emergency_department_vital_signs_are_understood():
    by_kind: dict[tuple[str, str], list[float]] = {}
    for code, unit, value in vital_signs():
        by_kind.setdefault((code, unit), []).append(value)
    made = {kind: fates(LOINC, *kind, values) for kind, values in by_kind.items()}
    for (code, unit), fate in made.items():
        assert set(fate) <= {"clinical.observations", "out_of_range"}, f"{code} in {unit} is not understood"
        if code != "8310-5":
            assert fate["out_of_range"] <= 2
    assert made["8310-5", "[degF]"]["out_of_range"] == 37, "degrees Celsius under the unit of Fahrenheit"


def test_glucose_sensors_are_accepted_but_for_nonsense():
    values: list[float] = []
    for path in sorted((RECORDINGS / "t1d_uom/Glucose Data").glob("*.csv")):
        with path.open(encoding="utf-8-sig", newline="") as lines:
            values += [float(row["value"]) for row in csv.DictReader(lines) if row.get("value")]
    made = fates(LOINC, "99504-3", "mmol/L", values)
    assert made.total() > 200_000
    assert made["out_of_range"] < 10


def test_air_of_beijing_is_accepted():
    columns = {
        "pm2.5": "pm25",
        "TEMP": "ambient_temperature",
        "DEWP": "dew_point",
        "PRES": "air_pressure",
        "Iws": "wind_accumulated",
        "Is": "snow_hours",
        "Ir": "rain_hours",
    }
    (path,) = (RECORDINGS / "beijing_pm25").glob("*.csv")
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for column, name in columns.items():
        low, high = CATALOG[name].plausible
        values = [float(row[column]) for row in rows if row[column] not in {"", "NA"}]
        assert all(low <= value <= high for value in values), column
