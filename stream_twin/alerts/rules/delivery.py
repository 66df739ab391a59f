"""Devices of which much comes too late, is refused, or comes in a flood."""

from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration
from stream_twin.twin.belief import Belief, DeviceBelief

SAID = {"late": "came too late", "refused": "were refused", "thinned": "were too many and are represented by others"}
NEXT = {
    "late": "Check the device's connection and its clock.",
    "refused": "Look at what was refused with `stream-twin dead-letters`, and correct its sender.",
    "thinned": "Check why the device sends so often.",
}


Troubles = dict[str, tuple[int, float, float]]


class DeliveryParameters(Parameters, frozen=True, kw_only=True):
    late: Annotated[int, Meta(ge=1, description="So many samples that came too late to be used are told.")] = 20
    refused: Annotated[int, Meta(ge=1, description="The same of refused ones: sent again with another value or time.")] = 20
    thinned: Annotated[int, Meta(ge=1, description="The same of those for which others stand: a flood.")] = 1000
    quiet_s: Annotated[float, Meta(gt=0, le=3600, description="How long none must come before it is over.")] = 3600.0


class Delivery(Rule[DeliveryParameters]):
    """Much of what a device sends cannot be used: it comes too late, is refused by the twin, or comes in a flood.

    Each sample of a series counts. Of a patient at most 32 devices are remembered; the one with the least trouble goes first.
    What ingest refuses (not readable, not plausible) is not counted here: it is in the dead letters and in the metrics.
    """

    name = "delivery"
    kind = "technical"
    version = 2
    priorities = (Case("low", "the twin lacks what the device measured", "reversible injury", "delayed"),)
    defaults = DeliveryParameters()

    def judge(self, belief: Belief, parameters: DeliveryParameters, standing: Standing) -> list[Verdict]:
        verdicts = list[Verdict]()
        troubled = set[str]()
        for name, device in belief.devices.items():
            if much := _much(device, belief.clock, parameters):
                troubled.add(name)
                told = ", ".join(
                    f"{count} samples {SAID[what]} in {duration(belief.clock - since)}"
                    for what, (count, since, _) in much.items()
                )
                verdicts.append(
                    Verdict(
                        subject=name,
                        active=True,
                        priority="low",
                        reason=f"Of device {name} {told}",
                        evidence={"device": name} | {what: float(count) for what, (count, _, _) in much.items()},
                        next_step=NEXT[next(iter(much))],
                    )
                )
        for name in standing.alerts:
            if name not in troubled:
                text = f"nothing of device {name} came too late, was refused or too much for {duration(parameters.quiet_s)}"
                verdicts.append(Verdict(subject=name, active=False, reason=text))
        return verdicts

    def wake_at(self, belief: Belief, parameters: DeliveryParameters, standing: Standing) -> float | None:
        """Asked again when it may be over."""
        ends = [
            last + parameters.quiet_s
            for device in belief.devices.values()
            if device.troubles
            for _, _, last in _much(device, belief.clock, parameters).values()
        ]
        return min((end for end in ends if end > belief.complete_to), default=None)


def _much(device: DeviceBelief, clock: float, parameters: DeliveryParameters) -> Troubles:
    """What there was too much of, and is not over."""
    return {
        what: trouble
        for what, trouble in (device.troubles or {}).items()
        if clock - trouble[2] < parameters.quiet_s and trouble[0] >= getattr(parameters, what)
    }
