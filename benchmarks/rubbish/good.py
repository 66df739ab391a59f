"""Good messages of every source topic, each with all of its fields: what bad ones are made from."""

from typing import Any, NamedTuple

import msgspec

from stream_twin.events import CATALOGUE, LOINC

WEARABLE, CLINICAL, EVENTS = "wearable.observations", "clinical.observations", "clinical.events"
PLACES, PROFILES, DEVICES = "environment.observations", "patient.profiles", "device.assignments"
OUTCOMES, COMMANDS, MODELS = "patient.outcomes", "alert.commands", "models"
REBUILDS, RULES = "patient.rebuilds", "rule.configurations"
Body = dict[str, Any]
encode = msgspec.json.Encoder().encode


class Record(NamedTuple):
    """What is sent; ``topic`` without the prefix."""

    topic: str
    key: bytes | None
    value: bytes | None


class Case(NamedTuple):
    """What a bad record is made for. ``number``: makes ids that nobody else has; ``now``: the time of sending, seconds."""

    number: int
    now: float
    run: str = "r"
    """Makes the patients' names."""

    @property
    def patient(self) -> str:
        """Enrolled, without devices."""
        return f"{self.run}-anna"

    @property
    def wearer(self) -> str:
        """Enrolled, with the device ``watch`` until an hour ago and ``patch`` from then on."""
        return f"{self.run}-berta"

    @property
    def stranger(self) -> str:
        """Enrolled; somebody else."""
        return f"{self.run}-carl"

    @property
    def left(self) -> str:
        return f"{self.run}-dora"

    @property
    def dead(self) -> str:
        return f"{self.run}-emil"

    @property
    def unwilling(self) -> str:
        """Has withdrawn consent."""
        return f"{self.run}-frida"

    @property
    def id(self) -> str:
        return f"{self.run}/{self.number}"


def setting(case: Case) -> list[Record]:
    """What has to be known before the bad records, so that the twin can judge them."""
    since = case.now - 86_400
    people: list[Body] = [{"patient_id": name} for name in (case.patient, case.wearer, case.stranger)]
    people += [{"patient_id": case.left, "state": "discharged"}, {"patient_id": case.dead, "state": "died"}]
    people += [{"patient_id": case.unwilling, "consent": False}]
    hour_ago = case.now - 3600
    devices = [
        {"device_id": "watch", "kind": "streaming", "start": since, "end": hour_ago},
        {"device_id": "patch", "kind": "streaming", "start": hour_ago},
    ]
    return [keyed(PROFILES, {**person, "valid_from": since}) for person in people] + [
        keyed(DEVICES, {"patient_id": case.wearer, "devices": devices})
    ]


def keyed(topic: str, body: Body) -> Record:
    """A message with the key that it should have."""
    name = {PLACES: "place", MODELS: "cohort", RULES: "name"}.get(topic, "patient_id")
    return Record(topic, str(body.get(name, "nobody")).encode(), encode(body))


def observation(case: Case, **change: Any) -> Body:
    body: Body = {
        "type": "observation",
        "id": case.id,
        "patient_id": case.patient,
        "code": "8867-4",
        "code_system": LOINC,
        "unit": "/min",
        "value": 72.0,
        "measured_at": case.now - 5,
        "issued_at": case.now - 4,
        "received_at": case.now - 3,
        "device_id": "watch",
        "device_kind": "streaming",
        "status": "final",
        "version": 1,
        "method": "optical",
        "body_position": "sitting",
        "on_oxygen": False,
        "quality": 0.9,
    }
    return {**body, **change}


def series(case: Case, **change: Any) -> Body:
    body = observation(case, type="series", values=[71.0, None, 73.0], start=case.now - 30, interval_s=10)
    del body["value"], body["measured_at"]
    return {**body, **change}


def timed_series(case: Case, **change: Any) -> Body:
    """With a time for each value."""
    body = series(case, measured_at=[case.now - 30, case.now - 20, case.now - 10])
    del body["start"], body["interval_s"]
    return {**body, **change}


def _event(case: Case, type_: str, /, **more: Any) -> Body:
    body: Body = {"type": type_, "id": case.id, "patient_id": case.patient, "at": case.now - 60, "until": case.now + 600}
    return {**body, "version": 1, "status": "final", "note": "by hand", **more}


def insulin(case: Case) -> Body:
    return _event(case, "insulin", kind="rapid", dose_units=4, rate_units_per_h=1)


def meal(case: Case) -> Body:
    return _event(case, "meal", carbohydrates_g=40, energy_kcal=500, fat_g=10, protein_g=20)


def activity(case: Case) -> Body:
    return _event(case, "activity", kind="walking", intensity=3)


def medication(case: Case) -> Body:
    return _event(case, "medication", code="1719", code_system="rxnorm", display="furosemide", dose=40, unit="mg")


def oxygen(case: Case) -> Body:
    return _event(case, "oxygen", flow_l_per_min=2, fraction=0.28)


def encounter(case: Case) -> Body:
    return _event(case, "encounter", kind="home")


def finding(case: Case) -> Body:
    return _event(case, "finding", code="fever", code_system="local", display="fever", value="yes", unit="1")


def air(case: Case, **change: Any) -> Body:
    body: Body = {"id": case.id, "place": f"{case.run}-home", "code": "pm25", "code_system": CATALOGUE, "unit": "ug/m3"}
    return {**body, "measured_at": case.now - 5, "value": 12.0, "version": 1, **change}


def profile(case: Case, **change: Any) -> Body:
    body: Body = {
        "patient_id": f"{case.run}-gast",
        "version": case.number + 1,
        "state": "enrolled",
        "state_reason": "by letter",
        "paused_until": case.now + 3600,
        "valid_from": case.now - 60,
        "place": f"{case.run}-home",
        "time_zone": "Europe/Zurich",
        "sex": "female",
        "age_years": 71,
        "pregnant": False,
        "spo2_scale": 1,
        "limits": {"heart_rate": {"low": 45, "high": 130}},
        "cohort": "home",
        "subgroups": {"arm": "b"},
        "consent": True,
    }
    return {**body, **change}


def devices(case: Case, **change: Any) -> Body:
    """``change``: of the device."""
    device: Body = {"device_id": "scale", "kind": "syncing", "start": case.now - 60, "end": case.now + 600, "every_s": 3600}
    return {"patient_id": f"{case.run}-gast", "version": case.number + 1, "devices": [{**device, **change}]}


def outcome(case: Case, **change: Any) -> Body:
    body: Body = {"id": case.id, "patient_id": case.patient, "kind": "well", "occurred_at": case.now - 60}
    return {**body, "issued_at": case.now - 5, "alert_id": "a1", "note": "by telephone", **change}


def command(case: Case, **change: Any) -> Body:
    body: Body = {"id": case.id, "patient_id": case.patient, "alert_id": "a1", "action": "acknowledge", "by": "nurse"}
    return {**body, "at": case.now - 5, "until": case.now + 600, "comment": "seen", **change}


def model(case: Case, **change: Any) -> Body:
    body: Body = {"cohort": f"{case.run}-cohort", "version": case.number + 1, "schema": 1, "trained_on": 10}
    body |= {"effective_at": case.now - 5, "weights": {"age": 0.1}, "intercept": -3.0}
    return {**body, "means": {"age": 70.0}, "scales": {"age": 10.0}, "metrics": {"auroc": 0.8}, "name": "first", **change}


def rules(case: Case, **change: Any) -> Body:
    body: Body = {"name": "rules", "version": case.number + 1, "by": "nurse", "reason": "fewer calls at night"}
    limits = {"limits": {"hold_s": 240.0}}
    return {**body, "rules": limits, "populations": {"ward": limits}, "patients": {case.patient: limits}, **change}


def rebuild_asked(case: Case, **change: Any) -> Body:
    body: Body = {"type": "rebuild_asked", "id": case.id, "patient_id": case.patient, "by": "nurse", "at": case.now - 5}
    return {**body, **change}


def rebuilt(case: Case, **change: Any) -> Body:
    """Nobody waits for it."""
    return {"type": "rebuilt", "id": case.id, "patient_id": case.patient, "base": "eNpLzs8tKEotLgYADH4DNQ==", **change}


BY_TOPIC = {
    WEARABLE: observation,
    CLINICAL: observation,
    EVENTS: meal,
    PLACES: air,
    PROFILES: profile,
    DEVICES: devices,
    OUTCOMES: outcome,
    COMMANDS: command,
    REBUILDS: rebuild_asked,
    MODELS: model,
    RULES: rules,
}
"""One message of each source topic."""
