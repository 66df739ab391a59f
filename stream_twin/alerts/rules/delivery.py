"""Devices of which much comes too late, is refused, or comes in a flood."""

from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration
from stream_twin.twin.belief import Belief

SAID = {"late": "came too late", "refused": "were refused", "thinned": "were too many and are represented by others"}
NEXT = {
    "late": "Check the device's connection and its clock.",
    "refused": "Look at what was refused with `stream-twin dead-letters`, and correct its sender.",
    "thinned": "Check why the device sends so often.",
}


class DeliveryParameters(Parameters, frozen=True, kw_only=True):
    late: Annotated[int, Meta(ge=1, description="So many samples that came too late to be used are told.")] = 20
    refused: Annotated[int, Meta(ge=1, description="The same of refused ones: sent again with another value or time.")] = 20
    thinned: Annotated[int, Meta(ge=1, description="The same of those for which others stand: a flood.")] = 1000
    quiet_s: Annotated[float, Meta(gt=0, le=3600, description="How long none must come before it is over.")] = 3600.0


class Delivery(Rule[DeliveryParameters]):
    """Much of what a device sends cannot be used: it comes too late, is refused by the twin, or comes in a flood.

    What ingest refuses (not readable, not plausible) is not counted here: it is in the dead letters and in the metrics.
    """

    name = "delivery"
    kind = "technical"
    priorities = (Case("low", "the twin lacks what the device measured", "reversible injury", "delayed"),)
    defaults = DeliveryParameters()

    def judge(self, belief: Belief, parameters: DeliveryParameters, standing: Standing) -> list[Verdict]:
        verdicts = list[Verdict]()
        for name, device in belief.devices.items():
            if not device.troubles:
                continue
            recent = {
                what: trouble for what, trouble in device.troubles.items() if belief.clock - trouble[2] < parameters.quiet_s
            }
            much = {what: trouble for what, trouble in recent.items() if trouble[0] >= getattr(parameters, what)}
            if much:
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
            elif name in standing.alerts:
                text = f"nothing of device {name} came too late, was refused or too much for {duration(parameters.quiet_s)}"
                verdicts.append(Verdict(subject=name, active=False, reason=text))
        return verdicts

    def wake_at(self, belief: Belief, parameters: DeliveryParameters, standing: Standing) -> float | None:
        """Asked again when it may be over."""
        ends = [
            last + parameters.quiet_s
            for name, device in belief.devices.items()
            if device.troubles and name in standing.alerts
            for _, _, last in device.troubles.values()
        ]
        return min((end for end in ends if end > belief.complete_to), default=None)
