"""Sensors that repeat one value."""

import math
from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration, measured, slope_at
from stream_twin.twin.belief import Belief, SignalBelief


class FrozenParameters(Parameters, frozen=True, kw_only=True):
    chance: Annotated[
        float, Meta(gt=0, lt=1, description="How improbable the run of equal values must be for a working sensor.")
    ] = 1e-12
    least_repeat: Annotated[
        float,
        Meta(gt=0, lt=1, description="Every sensor is granted this probability of repeating a value: devices average and hold."),
    ] = 0.7
    minimum_s: Annotated[float, Meta(ge=0, description="How long the value must have stood still.")] = 3600.0
    max_age_s: Annotated[float, Meta(gt=0, description="A device that has not spoken for longer is silent, not frozen.")] = 1800.0


class Frozen(Rule[FrozenParameters]):
    """A sensor has given the very same value for longer than its noise allows.

    Two samples of an unchanging body with noise ``sd``, shown in steps of ``step``, are equal with a probability of about
    ``step / (2 sqrt(pi) sd)``; that of a whole run is its power. Behaviour (no steps all night) and values at the end of
    their range do not count.
    """

    name = "frozen"
    kind = "technical"
    priorities = (Case("low", "the sensor's values cannot be relied on", "reversible injury", "delayed"),)
    defaults = FrozenParameters()

    def judge(self, belief: Belief, parameters: FrozenParameters, standing: Standing) -> list[Verdict]:
        verdicts: list[Verdict] = []
        alerts = standing.alerts
        for name, device in belief.devices.items():
            repeating = [s for s in belief.signals.values() if s.device == name and _improbable(s, parameters)]
            if not repeating:
                if name in alerts:
                    text = f"the values of device {name} vary again"
                    verdicts.append(Verdict(subject=name, active=False, reason=text, at=device.last_at))
                continue
            longest = max(repeating, key=lambda signal: signal.repeats)
            lasted = longest.last_at - longest.repeats_since
            if lasted < parameters.minimum_s or belief.at - longest.last_at > parameters.max_age_s:
                continue
            shown = measured(longest.signal, longest.last_value)
            verdicts.append(
                Verdict(
                    subject=name,
                    active=True,
                    priority="low",
                    reason=f"Device {name} has given {longest.signal.display} {shown} {longest.repeats} times in a row "
                    f"({duration(lasted)}): its values should vary",
                    evidence={
                        "device": name,
                        "signal": longest.signal.name,
                        "value": longest.last_value,
                        "repeats": float(longest.repeats),
                        "since": longest.repeats_since,
                        "noise": _noise(longest),
                    },
                    next_step="Check the sensor on the patient, measure by hand and restart or replace the device.",
                    at=longest.last_at,
                )
            )
        return verdicts


def _improbable(signal: SignalBelief, parameters: FrozenParameters) -> bool:
    if not signal.repeats:
        return False
    repeat = max(parameters.least_repeat, _repeat(signal))
    return signal.repeats * math.log(repeat) <= math.log(parameters.chance)


def _repeat(signal: SignalBelief) -> float:
    """Probability that the next value shown is the same; 1 for what may stand still."""
    lowest, highest = signal.signal.plausible
    noise = _noise(signal)
    if signal.signal.scale in ("behaviour", "environment") or not lowest < signal.last_value < highest or noise <= 0:
        return 1.0
    return min(1.0, 10.0**-signal.signal.decimals / (2 * math.sqrt(math.pi) * noise))


def _noise(signal: SignalBelief) -> float:
    return signal.model.noise_sd * slope_at(signal.signal, signal.last_value)
