"""Everything that is not a measurement: events, profiles, devices, outcomes, commands, models. Instants become seconds."""

from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgspec.structs import replace

from stream_twin.events import (
    AlertCommand,
    AssignedDevice,
    DeviceAssignments,
    Insulin,
    ModelParameters,
    Outcome,
    Oxygen,
    PatientBody,
    Profile,
)
from stream_twin.ingest import reasons
from stream_twin.ingest.identity import check_identifier
from stream_twin.ingest.reasons import Rejection, shown
from stream_twin.ingest.times import optional_seconds, seconds
from stream_twin.signals import Catalogue


def event(body: PatientBody, latest: float) -> PatientBody:
    """A clinical event. It cannot start after ``latest``, but may be planned to last."""
    check_identifier(body.id, "id")
    at = seconds(body.at, "at", latest)
    until = optional_seconds(body.until, "until")
    if until is not None and until < at:
        raise Rejection(reasons.PERIOD_REVERSED, f"until is {at - until:g} s before at: swap them")
    if body.status != "entered-in-error":
        if isinstance(body, Insulin):
            field = "rate_units_per_h" if body.kind == "basal_rate" else "dose_units"
            if getattr(body, field) is None:
                raise Rejection(reasons.MISSING_FIELD, f"insulin of kind {body.kind} needs {field}")
        elif isinstance(body, Oxygen) and body.flow_l_per_min is None and body.fraction is None:
            raise Rejection(reasons.MISSING_FIELD, "oxygen needs flow_l_per_min or fraction: a flow of 0 means air")
    return replace(body, at=at, until=until)


def profile(body: Profile, catalogue: Catalogue) -> Profile:
    if body.time_zone is not None and not _zone_exists(body.time_zone):
        raise Rejection(
            reasons.TIME_ZONE,
            f"time_zone {shown(body.time_zone)} is no IANA zone: send a name such as Europe/Berlin, or leave it out",
        )
    if body.place is not None:
        check_identifier(body.place, "place")
    if body.cohort is not None:
        check_identifier(body.cohort, "cohort")
    for name, limits in body.limits.items():
        if name not in catalogue:
            raise Rejection(
                reasons.UNKNOWN_CODE, f"limits name {shown(name)}, which is no signal: use a name of topics/signals.json"
            )
        if limits.low is not None and limits.high is not None and not limits.low < limits.high:
            raise Rejection(reasons.INVALID_VALUE, f"limits of {name}: low {limits.low:g} is not below high {limits.high:g}")
    return replace(
        body,
        valid_from=seconds(body.valid_from, "valid_from"),
        paused_until=optional_seconds(body.paused_until, "paused_until"),
    )


def assignments(body: DeviceAssignments) -> DeviceAssignments:
    return replace(body, devices=[_device(device, f"devices[{i}]") for i, device in enumerate(body.devices)])


def outcome(body: Outcome, latest: float) -> Outcome:
    check_identifier(body.id, "id")
    return replace(
        body,
        occurred_at=seconds(body.occurred_at, "occurred_at", latest),
        issued_at=optional_seconds(body.issued_at, "issued_at", latest),
    )


def command(body: AlertCommand, latest: float) -> AlertCommand:
    check_identifier(body.id, "id")
    if body.action == "comment" and not body.comment:
        raise Rejection(reasons.MISSING_FIELD, "a comment needs its text in comment")
    return replace(body, at=seconds(body.at, "at", latest), until=optional_seconds(body.until, "until"))


def model(body: ModelParameters) -> ModelParameters:
    if body.version < 1:
        raise Rejection(reasons.VERSION, f"version {body.version}: versions count from 1")
    seconds(body.effective_at, "effective_at")
    for feature, scale in body.scales.items():
        if not scale > 0:
            raise Rejection(
                reasons.INVALID_VALUE, f"scale of feature {shown(feature)} is {scale:g}, but features are divided by it"
            )
    return body


def _device(device: AssignedDevice, where: str) -> AssignedDevice:
    check_identifier(device.device_id, f"{where}.device_id")
    start = seconds(device.start, f"{where}.start")
    end = optional_seconds(device.end, f"{where}.end")
    if end is not None and end < start:
        raise Rejection(reasons.PERIOD_REVERSED, f"{where} ends {start - end:g} s before it starts: swap start and end")
    return replace(device, start=start, end=end)


@lru_cache(maxsize=1024)
def _zone_exists(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
