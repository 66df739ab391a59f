"""Devices that have stopped speaking."""

import math
from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.watching import UNWATCHED, priority_of, told_of
from stream_twin.alerts.wording import duration, moment
from stream_twin.twin.belief import Belief, DeviceBelief


class SilenceParameters(Parameters, frozen=True, kw_only=True):
    missed: Annotated[float, Meta(ge=1, description="How many times its own interval a device may be silent.")] = 3.0
    minimum_s: Annotated[float, Meta(ge=0, description="No device is called silent before this.")] = 600.0


class Silence(Rule[SilenceParameters]):
    """A device that should speak every so often has not.

    Goes by ``complete_to`` alone: what was sent before it has been read. So while the service is behind, or was down, no
    device is called silent. Only devices that are assigned now, and of which somebody said how often they should speak.
    Where it alone measured what an open alert is about, it takes that alert's priority.
    """

    name = "silence"
    kind = "technical"
    version = 2
    priorities = UNWATCHED
    defaults = SilenceParameters()

    def judge(self, belief: Belief, parameters: SilenceParameters, standing: Standing) -> list[Verdict]:
        alerts = standing.alerts
        verdicts = [
            Verdict(subject=name, active=False, reason=f"device {name} is no longer assigned")
            for name in alerts
            if name not in belief.devices
        ]
        for name, device in belief.devices.items():
            due = _due(device, belief, parameters, standing)
            if due is None:
                if name in alerts:
                    verdicts.append(Verdict(subject=name, active=False, reason=f"device {name} is no longer assigned"))
            elif due <= belief.complete_to:
                verdicts.append(_silent(device, due, belief, parameters, standing))
            elif name in alerts:
                text = f"device {name} speaks again since {moment(belief, device.last_at)}"
                verdicts.append(Verdict(subject=name, active=False, reason=text, at=device.last_at))
        return verdicts

    def wake_at(self, belief: Belief, parameters: SilenceParameters, standing: Standing) -> float | None:
        earliest, now = math.inf, belief.complete_to
        for device in belief.devices.values():
            due = _due(device, belief, parameters, standing)
            if due is not None:
                if now < due < earliest:
                    earliest = due
                if device.end is not None and now < device.end < earliest:
                    earliest = device.end
        return None if earliest == math.inf else earliest


def _due(device: DeviceBelief, belief: Belief, parameters: SilenceParameters, standing: Standing) -> float | None:
    """Until when it must have spoken; None: nobody expects it to. A pause and the time before it was assigned do not count."""
    if device.every_s is None or (device.end is not None and device.end <= belief.complete_to):
        return None
    since = max(device.last_at, standing.watched_since)
    if device.start is not None and device.start > since:
        since = device.start
    return since + max(parameters.missed * device.every_s, parameters.minimum_s)


def _silent(device: DeviceBelief, due: float, belief: Belief, parameters: SilenceParameters, standing: Standing) -> Verdict:
    name, every_s = device.device_id, device.every_s or 0.0
    others = [
        other
        for other in belief.devices.values()
        if other is not device and (_due(other, belief, parameters, standing) or 0.0) > belief.complete_to
    ]
    priority, unwatched = priority_of(device, others, belief, standing)
    ever = device.last_at > 0
    heard = f"has been silent since {moment(belief, device.last_at)}" if ever else "has never spoken"
    silent_s = belief.complete_to - (due - max(parameters.missed * every_s, parameters.minimum_s))
    return Verdict(
        subject=name,
        active=True,
        priority=priority,
        reason=f"Device {name} {heard} ({duration(silent_s)}); expected every {duration(every_s)}"
        + told_of(unwatched)
        + ("" if others else "; no other device of this patient speaks"),
        evidence={
            "device": name,
            "kind": device.kind,
            "last_at": device.last_at if ever else None,
            "expected_by": due,
            "every_s": every_s,
            "others_speaking": float(len(others)),
        },
        next_step="Measure by hand now, and check that the device is worn, charged and in reach of its gateway."
        if priority == "high"
        else "Check that the device is worn, charged and in reach of its gateway.",
    )
