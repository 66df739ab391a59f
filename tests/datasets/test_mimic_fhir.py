import gzip
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from stream_twin.datasets import mimic_fhir
from stream_twin.datasets.recording import DAY, Recording
from tests.datasets.judged import bodies, judge

WHEN = "2180-07-22T19:47:00-04:00"
LOINC = "http://loinc.org"


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def resources(path: Path, file: str, *found: dict[str, Any] | bytes) -> Path:
    (path / "fhir").mkdir(exist_ok=True)
    with gzip.open(path / "fhir" / f"{file}.ndjson.gz", "wb") as lines:
        for one in found:
            lines.write((one if isinstance(one, bytes) else msgspec.json.encode(one)) + b"\n")
    return path


def patient(path: Path, *names: str, **about: Any) -> Path:
    return resources(
        path, "MimicPatient", *({"id": name, "gender": "male", "birthDate": "2100-07-23", **about} for name in names or ("a",))
    )


def of(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": f"r-{name}", "status": "final", "subject": {"reference": "Patient/a"}, "effectiveDateTime": WHEN, **fields}


def coded(code: str, system: str = LOINC) -> dict[str, Any]:
    return {"coding": [{"code": code, "system": system, "display": "shown"}]}


def quantity(value: float, unit: str) -> dict[str, Any]:
    return {"value": value, "code": unit, "unit": unit, "system": "http://unitsofmeasure.org"}


ABSENT = {"coding": [{"code": "unknown"}]}


def test_vital_signs_as_they_are(tmp_path: Path) -> None:
    patient(tmp_path)
    resources(
        tmp_path,
        "MimicObservationVitalSignsED",
        of("hr", code=coded("8867-4"), valueQuantity=quantity(91, "/min")),
        of("t", code=coded("8310-5"), valueQuantity=quantity(98.6, "[degF]")),
        of("cold", code=coded("8310-5"), valueQuantity=quantity(36.6, "[degF]")),
        of("none", code=coded("2708-6"), dataAbsentReason=ABSENT),
    )
    stream = list(mimic_fhir.events(tmp_path, "a"))
    pulse, warm, cold, none = bodies(stream, "clinical.observations")
    assert (pulse["value"], pulse["measured_at"], pulse["id"]) == (91, seconds(WHEN), "r-hr")
    assert (warm["unit"], cold["value"]) == ("[degF]", 36.6)
    assert none["absent_reason"] == "unknown"
    judged = judge(stream)
    assert judged.refused == {"out_of_range": 1}, "36.6 °F is refused and not taken for °C"
    assert judged.accepted["clinical.observations"] == 3


def test_blood_pressure_is_two_observations(tmp_path: Path) -> None:
    patient(tmp_path)
    parts = [
        {"code": coded(code), "valueQuantity": quantity(value, "mm[Hg]")} for code, value in (("8480-6", 120), ("8462-4", 70))
    ]
    empty = [{"code": coded(code), "dataAbsentReason": ABSENT} for code in ("8480-6", "8462-4")]
    resources(
        tmp_path,
        "MimicObservationVitalSignsED",
        of("p", code=coded("85354-9"), component=parts),
        of("e", code=coded("85354-9"), component=empty),
    )
    stream = list(mimic_fhir.events(tmp_path, "a"))
    assert [(body["code"], body.get("value")) for body in bodies(stream, "clinical.observations")] == [
        ("8480-6", 120), ("8462-4", 70), ("8480-6", None), ("8462-4", None),
    ]  # fmt: skip
    assert len({body["id"] for body in bodies(stream, "clinical.observations")}) == 4
    assert not judge(stream).refused


def test_encounters_end_when_they_end(tmp_path: Path) -> None:
    patient(tmp_path)
    stay = of(
        "e", **{"class": {"code": "EMER"}}, period={"start": "2180-05-06T19:17:00-04:00", "end": "2180-05-06T23:30:00-04:00"}
    )
    resources(tmp_path, "MimicEncounterED", stay)
    resources(tmp_path, "MimicEncounter", of("h", **{"class": {"code": "AMB"}}, period={"start": "2180-05-06T22:23:00-04:00"}))
    stream = list(mimic_fhir.events(tmp_path, "a"))
    begun, hospital, ended = bodies(stream, "clinical.events")
    assert (begun["kind"], "until" in begun) == ("emergency", False)
    assert (hospital["kind"], "until" in hospital) == ("ambulatory", False)
    assert (ended["id"], ended["version"], ended["until"]) == (begun["id"], 2, seconds("2180-05-06T23:30:00-04:00"))
    assert [sent.at for sent in stream if sent.topic == "clinical.events"][-1] == ended["until"]
    assert not judge(stream).refused


def test_medication_at_once_or_when_it_ended(tmp_path: Path) -> None:
    patient(tmp_path)
    drug = {"coding": [{"code": "ALBU100", "system": "urn:drug"}]}
    dose = {"dose": {"value": 25, "code": "g"}}
    begin, end = "2180-08-06T18:17:00-04:00", "2180-08-06T19:17:00-04:00"
    running = of("run", medicationCodeableConcept=drug, dosage=dose, effectivePeriod={"start": begin, "end": end})
    del running["effectiveDateTime"]
    resources(tmp_path, "MimicMedicationAdministration", of("once", medicationCodeableConcept={"text": "Morphine"}), running)
    stream = list(mimic_fhir.events(tmp_path, "a"))
    once, ran = bodies(stream, "clinical.events")
    assert (once["code"], once["at"]) == ("Morphine", seconds(WHEN))
    assert (ran["code"], ran["dose"], ran["unit"], ran["at"], ran["until"]) == ("ALBU100", 25, "g", seconds(begin), seconds(end))
    assert stream[-1].at == seconds(end)
    assert not judge(stream).refused


def test_a_culture_is_known_days_after_its_specimen(tmp_path: Path) -> None:
    patient(tmp_path)
    resources(tmp_path, "MimicObservationMicroOrg", of("org", code=coded("80053", "urn:organism")))
    resources(
        tmp_path, "MimicObservationMicroSusc", of("susc", code=coded("90011", "urn:antibiotic"), valueCodeableConcept=coded("R"))
    )
    stream = [sent for sent in mimic_fhir.events(tmp_path, "a") if sent.topic == "clinical.events"]
    assert [(sent.at - seconds(WHEN), b"susc" in sent.value) for sent in stream] == [(0, True), (2 * DAY, False)]
    assert bodies(stream)[0]["value"] == "shown"
    assert not judge(stream).refused


def test_profile_and_death(tmp_path: Path) -> None:
    patient(tmp_path, deceasedDateTime="2180-07-30")
    resources(tmp_path, "MimicObservationED", of("pain", code=coded("98137-3"), valueString="7"))
    stream = list(mimic_fhir.events(tmp_path, "a"))
    alive, dead = bodies(stream, "patient.profiles")
    assert (alive["age_years"], alive["sex"], alive["time_zone"]) == (79, "male", "America/New_York")
    assert (dead["state"], dead["version"]) == ("died", 2)
    [outcome] = [sent for sent in stream if sent.topic == "patient.outcomes"]
    assert outcome.at == seconds("2180-07-31T00:00:00-05:00")
    assert not judge(stream).refused


def test_rubbish_is_sent_and_refused(tmp_path: Path) -> None:
    patient(tmp_path)
    resources(
        tmp_path,
        "MimicObservationVitalSignsED",
        of("text", code=coded("8867-4"), valueQuantity={"value": "fast", "code": "/min"}),
        b'{"cut": ',
        of("when", code=coded("8867-4"), valueQuantity=quantity(60, "/min"), effectiveDateTime="last week"),
        of("what", valueQuantity=quantity(60, "/min")),
        of("fine", code=coded("8867-4"), valueQuantity=quantity(60, "/min")),
    )
    judged = judge(mimic_fhir.events(tmp_path, "a"))
    assert judged.accepted["clinical.observations"] == 1
    assert judged.refused.total() == 4
    assert judged.refused["not_json"] == judged.refused["time_format"] == judged.refused["wrong_type"] == 1


def test_every_patient_is_moved_to_the_present_alone(tmp_path: Path) -> None:
    patient(tmp_path, "a", "b", "nobody")
    other = {**of("b", code=coded("8867-4"), valueQuantity=quantity(60, "/min")), "subject": {"reference": "Patient/b"}}
    other["effectiveDateTime"] = "2110-01-01T00:00:00-05:00"
    resources(tmp_path, "MimicObservationVitalSignsED", of("a", code=coded("8867-4"), valueQuantity=quantity(61, "/min")), other)
    now = seconds("2026-11-24T04:00:00+00:00")
    recording = Recording(mimic_fhir.DATASET, tmp_path, now=now)
    assert recording.people == ["a", "b"]
    assert all(now - 7 * DAY < sent.at <= now for sent in recording)
