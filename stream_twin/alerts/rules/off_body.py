"""Sensors that are not on the body."""

from typing import Annotated

from msgspec import Meta, field

from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.watching import UNWATCHED, priority_of, told_of
from stream_twin.alerts.wording import duration, moment
from stream_twin.twin.belief import Belief, DeviceBelief

HOUR_S = 3600.0


class OffBodyParameters(Parameters, frozen=True, kw_only=True):
    contact: Annotated[
        list[str],
        Meta(
            description="Signals that a device measures all the time, and only on the body; who never sent one is not judged. "
            "Not one that some measure at night only, as oxygen saturation."
        ),
    ] = field(default_factory=lambda: ["heart_rate"])
    missed: Annotated[float, Meta(ge=1, description="How many times its usual interval such a signal may be missing.")] = 3.0
    minimum_s: Annotated[float, Meta(ge=0, description="No sensor is said to be off the body before this.")] = 600.0
    max_age_s: Annotated[
        float, Meta(gt=0, description="A device that has not spoken for longer is silent, not off the body.")
    ] = 900.0


class OffBody(Rule[OffBodyParameters]):
    """A device still speaks, but gives none of the signals any more that it can only measure on the body.

    While it is open, alarms below high priority that rest on this device alone are held back: a thermometer on a table measures
    the room. It ends when the device measures on the body again, when another one measures that instead (nobody can tell then),
    and when the device is no longer assigned.
    """

    name = "off_body"
    kind = "technical"
    version = 2
    priorities = UNWATCHED
    unreliable = True
    defaults = OffBodyParameters()

    def judge(self, belief: Belief, parameters: OffBodyParameters, standing: Standing) -> list[Verdict]:
        signals = belief.signals
        contact = [signal for name in parameters.contact if (signal := signals.get(name)) is not None and signal.device]
        if not contact and not standing.alerts:
            return []
        off = dict[str, float]()
        on = set[str]()
        for signal in contact:
            device = belief.devices.get(signal.device or "")
            if device is None:
                continue
            missing_s = device.last_at - signal.last_at
            if missing_s >= max(parameters.minimum_s, parameters.missed * signal.sparse * HOUR_S):
                off[device.device_id] = max(signal.last_at, off.get(device.device_id, 0.0))
            else:
                on.add(device.device_id)
        verdicts = list[Verdict]()
        for name, since in off.items():
            device = belief.devices[name]
            if name not in on and belief.at - device.last_at <= parameters.max_age_s and _is_assigned(name, belief):
                verdicts.append(_off(device, since, belief, parameters, standing))
        for name in standing.alerts:
            if not _is_assigned(name, belief):
                verdicts.append(Verdict(subject=name, active=False, reason=f"device {name} is no longer assigned"))
            elif name in on:
                text = f"device {name} measures on the body again"
                verdicts.append(Verdict(subject=name, active=False, reason=text, at=belief.devices[name].last_at))
            elif name not in off:
                text = f"whether device {name} is on the body cannot be told any more: another device measures what would say so"
                verdicts.append(Verdict(subject=name, active=False, reason=text, at=belief.at))
        return verdicts

    def wake_at(self, belief: Belief, parameters: OffBodyParameters, standing: Standing) -> float | None:
        """When a device is no longer assigned: what is open of it is over."""
        ends = [device.end for device in belief.devices.values() if device.end is not None and device.end > belief.complete_to]
        return min(ends, default=None)


def _is_assigned(name: str, belief: Belief) -> bool:
    """Where nobody assigns devices to the patient, all that speak are."""
    device = belief.devices.get(name)
    if device is None or (device.end is not None and device.end <= belief.complete_to):
        return False
    return device.start is not None or all(other.start is None for other in belief.devices.values())


def _off(device: DeviceBelief, since: float, belief: Belief, parameters: OffBodyParameters, standing: Standing) -> Verdict:
    name = device.device_id
    others = [
        other
        for other in belief.devices.values()
        if other is not device and belief.at - other.last_at <= parameters.max_age_s and other.kind in ("streaming", "syncing")
    ]
    priority, unwatched = priority_of(device, others, belief, standing, until=since)
    return Verdict(
        subject=name,
        active=True,
        priority=priority,
        reason=f"Device {name} speaks, but has measured nothing on the body since {moment(belief, since)} "
        f"({duration(device.last_at - since)}): it may be off" + told_of(unwatched),
        evidence={"device": name, "kind": device.kind, "since": since, "last_at": device.last_at},
        next_step="Check that the sensor is on the body, and measure by hand until it is.",
        at=device.last_at,
    )
