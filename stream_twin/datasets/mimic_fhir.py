"""MIMIC-IV on FHIR: hospital patients as FHIR R4 resources, ``Mimic*.ndjson.gz``.

Licence: ODbL 1.0 (the demo). https://physionet.org/content/mimic-iv-fhir-demo/2.1.0/

Every patient's dates were moved to a century of their own, so each person is shifted by itself. What is sent how:

- **Vital signs** of the emergency department at once, with LOINC code and unit as they are; ``bedside``. A blood pressure is one
  resource with two components: two observations. No value but a reason: absent, with that reason. Temperatures in °F below 50
  are sent in °F.
- Their other observations (pain, rhythm, acuity, complaint) as findings.
- **Encounters** at their start, and again with the end at the end (version 2). Hospital stays are ``ward``, those of class AMB
  and SS ``ambulatory``; the emergency department and intensive care by the files they come from.
- **Medication** administered: at once, what ran for a time when it ended. Dispensed in the emergency department: at once.
- **Microbiology** as findings. Tests and organisms bear the time of the specimen, and nothing says when they were known: they
  are sent two days later, susceptibilities at their own time.
- A death is an outcome ``died`` and a profile that says so, at the end of its day (or at the last record, if that is later).
- First a profile: sex, age at the first record, time zone of Boston.
- A line that is no JSON is sent as it is, with the first patient's first record. A time that cannot be read stays as it is, and
  its resource is sent with the one before it.
- Not read: prescriptions, statements, diagnoses, procedures, outputs and dates of lines. Laboratory values and charts are not in
  this excerpt.

The resources of all patients are read at once and kept as records: about 1 KB each.
"""

import functools
import gzip
import math
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from stream_twin.datasets.recording import (
    CLINICAL,
    DAY,
    HAPPENED,
    OUTCOMES,
    PROFILES,
    DataSet,
    Sent,
    by_time,
    in_order,
    sent,
)
from stream_twin.events import Encounter, Finding, Medication, Observation, Outcome, Profile

Resource = dict[str, Any]
CULTURE_S = 2 * DAY
SEX: dict[Any, Literal["female", "male"]] = {"female": "female", "male": "male"}


class _Read(msgspec.Struct):
    patients: dict[str, Resource]
    resources: dict[str, list[tuple[str, Resource]]]
    """Patient -> (file, resource) in the order of files and lines."""
    rubbish: list[bytes]


def people(path: Path) -> list[str]:
    """Ids of patients in the order of their file; those without a record are left out."""
    read = _read(path)
    return [patient for patient in read.patients if patient in read.resources]


def events(path: Path, person: str, shift_s: float = 0.0) -> Iterator[Sent]:
    """One patient. Raises FileNotFoundError for one that is not there."""
    read = _read(path)
    if person not in read.patients:
        raise FileNotFoundError(f"{path}: no patient {person}")
    patient = _Patient(person, read.patients[person], shift_s)
    unsorted = [one for file, resource in read.resources.get(person, []) for one in patient.resource(file, resource)]
    first = min((one.at for one in unsorted if not math.isnan(one.at)), default=shift_s)
    messages = by_time(one._replace(at=first) if math.isnan(one.at) else one for one in unsorted)
    if not messages:
        return
    last = messages[-1].at
    rubbish = read.rubbish if person == next(iter(read.resources)) else []
    yield from patient.enrolment(first)
    yield from (Sent(first, CLINICAL, person.encode(), line) for line in rubbish)
    yield from in_order(messages, patient.death(last))


FILES: dict[str, str] = {
    "MimicObservationVitalSignsED": "vital_sign",
    "MimicObservationED": "finding",
    "MimicObservationMicroTest": "culture",
    "MimicObservationMicroOrg": "culture",
    "MimicObservationMicroSusc": "finding",
    "MimicEncounter": "encounter",
    "MimicEncounterED": "encounter",
    "MimicEncounterICU": "encounter",
    "MimicMedicationAdministration": "medication",
    "MimicMedicationAdministrationICU": "medication",
    "MimicMedicationDispenseED": "medication",
}


@functools.lru_cache(maxsize=1)
def _read(path: Path) -> _Read:
    folder = path / "fhir" if (path / "fhir").is_dir() else path
    file = folder / "MimicPatient.ndjson.gz"
    if not file.exists():
        raise FileNotFoundError(f"{path}: no MimicPatient.ndjson.gz here or in fhir/")
    read = _Read({}, {}, [])
    for patient in _lines(file, read.rubbish):
        read.patients[str(patient.get("id"))] = patient
    for name in FILES:
        if (file := folder / f"{name}.ndjson.gz").exists():
            for resource in _lines(file, read.rubbish):
                about = str(_at(resource, "subject", "reference")).removeprefix("Patient/")
                read.resources.setdefault(about, []).append((name, _needed(resource)))
    return read


def _lines(file: Path, rubbish: list[bytes]) -> Iterator[Resource]:
    decode: Callable[[bytes], Resource] = msgspec.json.Decoder(dict[str, Any]).decode
    with gzip.open(file) as lines:
        for line in lines:
            try:
                yield decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                if line.strip():
                    rubbish.append(line.rstrip(b"\n"))


def _needed(resource: Resource) -> Resource:
    unread = (
        "meta",
        "identifier",
        "category",
        "encounter",
        "partOf",
        "location",
        "hospitalization",
        "text",
        "request",
        "context",
    )
    return {key: value for key, value in resource.items() if key not in unread}


def _at(resource: Any, *path: str | int) -> Any:
    """What stands at a path of a resource; None where the resource ends before."""
    for step in path:
        if isinstance(step, int):
            resource = resource[step] if isinstance(resource, list) and len(resource) > step else None
        else:
            resource = resource.get(step) if isinstance(resource, dict) else None
    return resource


class _Patient:
    def __init__(self, patient: str, resource: Resource, shift: float) -> None:
        self.patient, self.about, self.shift = patient, resource, shift
        self._last = math.nan

    def resource(self, file: str, resource: Resource) -> Iterator[Sent]:
        what: Callable[[str, Resource], Iterator[Sent]] = getattr(self, "_" + FILES[file])
        yield from what(file, resource)

    def _time(self, written: Any) -> Any:
        """Seconds, shifted; what cannot be read as an instant stays as it is written, None stays None."""
        if not isinstance(written, str):
            return written
        try:
            instant = datetime.fromisoformat(written)
        except ValueError:
            return written
        return written if instant.tzinfo is None else instant.timestamp() + self.shift

    def _when(self, time: Any) -> float:
        if isinstance(time, float):
            self._last = time
        return self._last

    def enrolment(self, first: float) -> Iterator[Sent]:
        yield sent(first, PROFILES, self._profile(first, first))

    def _profile(self, first: float, valid_from: float, **changes: Any) -> Profile:
        born = _day(self.about.get("birthDate"))
        seen = date.fromordinal(EPOCH + math.floor((first - self.shift) / DAY))
        age = None if born is None else seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day))
        return Profile(
            population="ward",
            patient_id=self.patient,
            valid_from=valid_from,
            sex=SEX.get(self.about.get("gender")),
            age_years=age,
            time_zone="America/New_York",
            **changes,
        )

    def death(self, last: float) -> Iterator[Sent]:
        died = _day(self.about.get("deceasedDateTime"))
        if died is None:
            return
        end = (died.toordinal() + 1 - EPOCH) * DAY + 5 * 3600.0 + self.shift
        at = max(end, last)
        outcome = Outcome(id=f"died-{self.patient}", patient_id=self.patient, kind="died", occurred_at=end, issued_at=at)
        yield sent(at, OUTCOMES, outcome)
        yield sent(at, PROFILES, self._profile(at, at, version=2, state="died"))

    def _vital_sign(self, file: str, resource: Resource) -> Iterator[Sent]:
        measured = self._time(resource.get("effectiveDateTime"))
        issued = self._time(resource.get("issued"))
        parts = resource.get("component")
        for place, part in enumerate(parts if isinstance(parts, list) else [resource]):
            coding = _at(part, "code", "coding", 0) or {}
            quantity = _at(part, "valueQuantity") or {}
            value = quantity.get("value")
            absent = _at(part, "dataAbsentReason", "coding", 0, "code") or "unknown"
            observation = Observation(
                id=f"{resource.get('id')}-{place}" if parts else str(resource.get("id")),
                patient_id=self.patient,
                code=coding.get("code", ""),
                code_system=coding.get("system", ""),
                value=value,
                absent_reason=absent if value is None else None,
                comparator=quantity.get("comparator"),
                unit=quantity.get("code") or UNITS.get(coding.get("code", ""), ""),
                measured_at=measured,
                issued_at=issued,
                status=resource.get("status", "final"),
                device_kind="bedside",
            )
            yield sent(self._when(issued if issued is not None else measured), CLINICAL, observation)

    def _finding(self, file: str, resource: Resource, later: float = 0.0) -> Iterator[Sent]:
        coding = _at(resource, "code", "coding", 0) or {}
        at = self._time(resource.get("effectiveDateTime"))
        quantity = resource.get("valueQuantity") or {}
        coded = _at(resource, "valueCodeableConcept", "coding", 0) or {}
        value = resource.get("valueString") or coded.get("display") or coded.get("code")
        finding = Finding(
            id=str(resource.get("id")),
            patient_id=self.patient,
            at=at,
            code=coding.get("code", ""),
            code_system=coding.get("system", ""),
            display=coding.get("display"),
            value=quantity.get("value") if value is None else str(value).strip()[:1000],
            unit=quantity.get("code"),
            status=resource.get("status", "final"),
        )
        yield sent(self._when(at) + later, HAPPENED, finding)

    def _culture(self, file: str, resource: Resource) -> Iterator[Sent]:
        return self._finding(file, resource, later=CULTURE_S)

    def _encounter(self, file: str, resource: Resource) -> Iterator[Sent]:
        start, end = (self._time(_at(resource, "period", side)) for side in ("start", "end"))
        ambulatory = _at(resource, "class", "code") in ("AMB", "SS")
        kind = {"MimicEncounterED": "emergency", "MimicEncounterICU": "intensive_care"}.get(
            file, "ambulatory" if ambulatory else "ward"
        )
        about: dict[str, Any] = {"id": str(resource.get("id")), "patient_id": self.patient, "kind": kind, "at": start}
        yield sent(self._when(start), HAPPENED, Encounter(**about))
        if end is not None:
            yield sent(max(self._when(end), self._when(start)), HAPPENED, Encounter(**about, version=2, until=end))

    def _medication(self, file: str, resource: Resource) -> Iterator[Sent]:
        start = self._time(
            resource.get("effectiveDateTime") or _at(resource, "effectivePeriod", "start") or resource.get("whenHandedOver")
        )
        end = self._time(_at(resource, "effectivePeriod", "end"))
        concept = resource.get("medicationCodeableConcept") or {}
        coding = _at(concept, "coding", 0) or {}
        dose = _at(resource, "dosage", "dose") or {}
        medication = Medication(
            id=str(resource.get("id")),
            patient_id=self.patient,
            at=start,
            until=end,
            code=coding.get("code") or concept.get("text", ""),
            code_system=coding.get("system") or "urn:mimic:medication-text",
            display=coding.get("display") or concept.get("text"),
            dose=dose.get("value"),
            unit=dose.get("code"),
        )
        at = self._when(start)
        yield sent(max(at, end) if isinstance(end, float) else at, HAPPENED, medication)


EPOCH = date(1970, 1, 1).toordinal()
UNITS = {
    "8867-4": "/min",
    "9279-1": "/min",
    "2708-6": "%",
    "8310-5": "[degF]",
    "8480-6": "mm[Hg]",
    "8462-4": "mm[Hg]",
}
"""What an absent value would have been measured in; a message has a unit even then."""


def _day(written: Any) -> date | None:
    try:
        return date.fromisoformat(str(written)[:10])
    except ValueError:
        return None


DATASET = DataSet("mimic-fhir", "MIMIC-IV demo on FHIR", people, events, calendar="own")
