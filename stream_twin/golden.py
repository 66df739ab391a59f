"""One golden example per message of ``topics/``: what producers send, and what the service makes of it."""

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import msgspec
from msgspec import Struct

from stream_twin import events
from stream_twin.ingest import Ingest
from stream_twin.signals import Catalogue

AT = 1_772_352_000.0
"""2026-03-01T08:00:00Z; the examples' morning."""
PATIENT = "patient-7"
SNAPSHOT = msgspec.msgpack.encode({"schema": 1, "covered": 88_213, "state": {}, "signals": {}})

SOURCES: dict[str, tuple[Struct, ...]] = {
    "wearable.observations": (
        events.Observation(
            id="watch-17/2026-03-01T08:00:00Z",
            patient_id=PATIENT,
            code="8867-4",
            unit="/min",
            value=72.0,
            measured_at="2026-03-01T08:00:00Z",
            device_id="watch-17",
        ),
        events.Series(
            id="cgm-4/2026-03-01T07",
            patient_id=PATIENT,
            code="99504-3",
            unit="mmol/L",
            values=[6.1, 6.3, None, 6.8],
            start="2026-03-01T08:00:00+01:00",
            interval_s=300.0,
            device_id="cgm-4",
        ),
    ),
    "clinical.events": (
        events.Insulin(id="pump-2/8123", patient_id=PATIENT, at=AT, kind="rapid", dose_units=4.5),
        events.Meal(id="diary/55", patient_id=PATIENT, at=AT, carbohydrates_g=45.0, protein_g=12.0),
        events.Activity(id="watch-17/bout-9", patient_id=PATIENT, at=AT - 1800, until=AT, kind="walking", intensity=3.0),
        events.Medication(
            id="mar/991",
            patient_id=PATIENT,
            at=AT,
            code="1719",
            code_system="http://www.nlm.nih.gov/research/umls/rxnorm",
            display="furosemide",
            dose=40.0,
            unit="mg",
        ),
        events.Oxygen(id="ward/o2-3", patient_id=PATIENT, at=AT, flow_l_per_min=2.0),
        events.Encounter(id="adt/4711", patient_id=PATIENT, at=AT, kind="home"),
        events.Finding(
            id="survey/12",
            patient_id=PATIENT,
            at=AT,
            code="49727002",
            code_system="http://snomed.info/sct",
            display="cough",
            value="mild",
        ),
    ),
    "environment.observations": (
        events.EnvironmentObservation(
            id="station-3/2026-03-01T08", place="station-3", code="pm25", unit="ug/m3", measured_at=AT, value=41.0
        ),
    ),
    "patient.profiles": (
        events.Profile(
            patient_id=PATIENT,
            version=2,
            valid_from=AT,
            place="station-3",
            time_zone="Europe/London",
            sex="female",
            age_years=64,
            limits={"spo2": events.Limits(low=86.0)},
            cohort="home",
        ),
    ),
    "device.assignments": (
        events.DeviceAssignments(
            patient_id=PATIENT,
            version=3,
            devices=[
                events.AssignedDevice(device_id="watch-17", kind="streaming", start=AT - 86400, every_s=60.0),
                events.AssignedDevice(device_id="cgm-4", kind="syncing", start=AT - 86400, every_s=300.0),
                events.AssignedDevice(device_id="watch-9", kind="streaming", start=AT - 864000, end=AT - 86400),
            ],
        ),
    ),
    "patient.outcomes": (
        events.Outcome(
            id="adt/4712",
            patient_id=PATIENT,
            kind="admitted",
            occurred_at=AT - 7200,
            issued_at=AT,
            note="from home, by ambulance",
        ),
    ),
    "alert.commands": (
        events.AlertCommand(
            id="console/31",
            patient_id=PATIENT,
            alert_id="3f2a9c51d0e47b86",
            action="snooze",
            by="nurse.okafor",
            at=AT,
            until=AT + 1800,
        ),
    ),
    "patient.rebuilds": (
        events.RebuildAsked(id="rebuild/5f0c", patient_id=PATIENT, by="dr.lindqvist", at=AT),
        events.Rebuilt(id="rebuild/5f0c", patient_id=PATIENT, base=zlib.compress(SNAPSHOT)),
    ),
    "models": (
        events.ModelParameters(
            cohort="home",
            version=12,
            schema=1,
            trained_on=18_250,
            effective_at=AT,
            weights={"heart_rate.deviation": 0.41, "respiratory_rate.deviation": 0.66},
            intercept=-4.2,
            means={"heart_rate.deviation": 0.02, "respiratory_rate.deviation": -0.01},
            scales={"heart_rate.deviation": 1.1, "respiratory_rate.deviation": 0.9},
            metrics={"log_loss": 0.081},
        ),
    ),
    "rule.configurations": (
        events.RuleConfiguration(
            version=3,
            by="dr.lindqvist",
            reason="fewer calls at night",
            rules={"limits": {"hold_s": 240.0}},
            populations={"ward": {"news2": {"hold_s": 60.0}}},
            patients={PATIENT: {"limits": {"hold_s": 120.0}}},
        ),
    ),
    "clock.ticks": (events.ClockTick(at=AT, behind={"wearable.observations": 5120, "clinical.observations": 212}),),
}

OTHERS: tuple[Struct, ...] = (
    events.Configured(settings=msgspec.Raw(b'{"estimate_every_s":5.0}')),
    events.Tick(clock=AT, complete_to=AT - 0.4),
    events.Forgotten(position=88_214, patients={"nobody": {"rejected": 12}}),
    events.LaneBase(
        lanes_before=16,
        checkpoint=msgspec.msgpack.encode({"schema": 1, "clock": AT, "complete_to": AT - 0.4}),
        positions={"wearable.observations": 5120, "alerts": 17},
    ),
    events.PatientBase(snapshot=SNAPSHOT),
    events.Estimate(
        patient_id=PATIENT,
        at=AT,
        signals={
            "heart_rate": events.SignalEstimate(
                level=72.4, low=64.0, high=81.9, baseline=68.1, last_value=72.0, last_at=AT, surprise=0.3
            )
        },
        drivers={"inflammation": events.DriverEstimate(mean=0.8, sd=0.6)},
        risk=events.Risk(probability=0.021, cohort="home", model_version=12, at=AT, reasons={"respiratory_rate.deviation": 0.31}),
        open_alerts=1,
        arrived_at=AT + 0.2,
    ),
    events.AlertChange(
        alert_id="3f2a9c51d0e47b86",
        sequence=1,
        patient_id=PATIENT,
        rule="limits",
        rule_version=1,
        subject="spo2",
        kind="physiological",
        priority="medium",
        state="raised",
        at=AT,
        reason="oxygen saturation 85 % is below the limit of 86 %",
        evidence={"value": 85.0, "limit": 86.0},
        next_step="Check the sensor, then call the patient.",
        arrived_at=AT + 0.2,
    ),
    events.Example(
        patient_id=PATIENT,
        cohort="home",
        at=AT,
        features={"heart_rate.deviation": 0.7, "respiratory_rate.deviation": 1.4},
        probability=0.021,
        model_version=12,
    ),
    events.Label(patient_id=PATIENT, cohort="home", kind="admitted", occurred_at=AT - 7200, known_at=AT),
)


class Golden(NamedTuple):
    topic: str
    """Where it is sent, or ``twin.inputs``, or empty where a stage writes it."""
    key: bytes
    message: Struct


def key_of(message: Struct) -> bytes:
    for field in ("patient_id", "place", "cohort", "name"):
        if hasattr(message, field):
            return str(getattr(message, field)).encode()
    return b""


def examples(catalogue: Catalogue) -> Iterator[Golden]:
    """One of each message; the inputs are what ingest makes of the sources' examples.

    Raises:
        ValueError: ingest refuses one of the examples.
    """
    ingest = Ingest(catalogue)
    seen: set[type] = set()
    for topic, messages in SOURCES.items():
        for offset, message in enumerate(messages):
            key = key_of(message)
            yield Golden(topic, key, message)
            if topic not in ingest.topics:
                continue
            made = ingest.run(topic, 0, [_Record(offset, key, msgspec.json.encode(message), round(AT * 1000) + 200)], AT)
            if made.rejected:
                raise ValueError(f"the example of {type(message).__name__} is refused: {dict(made.rejected[0].headers)}")
            made_key, value = made.inputs[0]
            of_kind = msgspec.json.decode(value, type=events.AnyInput)
            if type(of_kind) not in seen:
                seen.add(type(of_kind))
                yield Golden("twin.inputs", made_key, of_kind)
    for other in OTHERS:
        yield Golden("", key_of(other), other)


class _Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int
