"""Measured values against limits."""

import math
from typing import Annotated

from msgspec import Meta, field
from msgspec.structs import replace

from stream_twin.alerts.handling import STANDARD, Case, Handlings
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration, measured, moment, slope_at
from stream_twin.events import Priority
from stream_twin.twin.belief import Belief, SignalBelief

Limit = float | None
WELL_KNOWN_S = 86400.0
"""What is usual for a person is told only after this time of watching."""

URGENT: dict[str, tuple[Limit, Limit]] = {
    "spo2": (85.0, None),
    "heart_rate": (35.0, 170.0),
    "respiratory_rate": (6.0, 36.0),
    "body_temperature": (34.0, 40.5),
    "systolic_blood_pressure": (75.0, 220.0),
    "mean_blood_pressure": (50.0, None),
    "glucose": (54.0, 400.0),
    "glucose_lab": (54.0, 500.0),
    "ph": (7.1, None),
    "potassium": (2.5, 6.5),
}
"""Glucose 54 mg/dL: level 2 hypoglycaemia (Battelino et al., Diabetes Care 2019). The others are this project's own
choice, beyond the catalogue's limits: what a clinician is called to at once."""

HANDLING: Handlings = {
    **STANDARD["physiological"],
    "high": replace(STANDARD["physiological"]["high"], latching=True),
}


class LimitsParameters(Parameters, frozen=True, kw_only=True):
    urgent: Annotated[
        dict[str, tuple[Limit, Limit]],
        Meta(
            description="Low and high value beyond which a broken limit is of high priority, by signal; replaces the whole table."
        ),
    ] = field(default_factory=lambda: dict(URGENT))
    hold_s: Annotated[float, Meta(ge=0, description="How long a sensor's value must be beyond its limit.")] = 180.0
    urgent_hold_s: Annotated[
        float, Meta(ge=0, description="The same beyond the urgent value, where the twin's level is beyond the limit too.")
    ] = 30.0
    release_s: Annotated[float, Meta(ge=0, description="How long it must be back inside before the alert is resolved.")] = 120.0
    hysteresis: Annotated[
        float, Meta(ge=0, description="How far inside it must be to be back, in standard deviations of the sensor's noise.")
    ] = 0.5
    worse_by: Annotated[
        float,
        Meta(gt=0, description="How much further out ends an acknowledgement or a snooze, in usual deviations of the signal."),
    ] = 1.0
    max_age_s: Annotated[float, Meta(gt=0, description="A sensor's value older than this is not judged.")] = 900.0
    bedside_max_age_s: Annotated[float, Meta(gt=0, description="The same for a value measured by hand.")] = 4 * 3600.0
    laboratory_max_age_s: Annotated[float, Meta(gt=0, description="The same for a laboratory result.")] = 24 * 3600.0
    adult_years: Annotated[
        int, Meta(ge=0, description="The catalogue's limits are for adults: below this age only a clinician's limits count.")
    ] = 16


class Limits(Rule[LimitsParameters]):
    """A measured value is beyond a limit: the clinician's in the patient's profile, else the catalogue's.

    A sensor's value must hold, a value measured by hand counts at once. A value that has grown old neither raises nor
    resolves. One good reading does not resolve while the twin's level is still beyond the limit. What was urgent stays on the
    list until somebody has seen it, though it is over.
    """

    name = "limits"
    version = 3
    kind = "physiological"
    priorities = (
        Case("high", "beyond the limit and beyond the urgent value", "death or irreversible injury", "prompt"),
        Case("medium", "beyond the limit", "reversible injury", "prompt"),
    )
    handling = HANDLING
    defaults = LimitsParameters()

    def judge(self, belief: Belief, parameters: LimitsParameters, standing: Standing) -> list[Verdict]:
        verdicts: list[Verdict] = []
        alerts, own, age = standing.alerts, belief.profile.limits, belief.profile.age_years
        adult = age is None or age >= parameters.adult_years
        for name, signal in belief.signals.items():
            low, high = signal.signal.limits if adult else (None, None)
            if own and name in own:
                limits = own[name]
                low = low if limits.low is None else limits.low
                high = high if limits.high is None else limits.high
            value = signal.last_value
            if (low is not None and value < low) or (high is not None and value > high) or name in alerts:
                verdict = _judge_one(signal, (low, high), belief, parameters, standing)
                if verdict is not None:
                    verdicts.append(verdict)
        return verdicts


def _judge_one(
    signal: SignalBelief,
    limits: tuple[Limit, Limit],
    belief: Belief,
    parameters: LimitsParameters,
    standing: Standing,
) -> Verdict | None:
    kind = belief.kind_of(signal)
    oldest = {"bedside": parameters.bedside_max_age_s, "laboratory": parameters.laboratory_max_age_s}.get(
        kind, parameters.max_age_s
    )
    if belief.at - signal.last_at > max(oldest, signal.period_s):
        return None
    low, high = limits
    limit: Limit
    name = signal.signal.name
    value, alert = signal.last_value, standing.alerts.get(name)
    if low is not None and value < low:
        side, limit = "low", low
    elif high is not None and value > high:
        side, limit = "high", high
    elif alert is not None:
        side, limit = alert.problem, low if alert.problem == "low" else high
    else:
        return None
    if limit is None:
        text = f"{signal.signal.display} has no {side} limit any more"
        return Verdict(subject=name, active=False, problem=side, reason=text, at=signal.last_at)
    sign = 1.0 if side == "high" else -1.0
    model = signal.model
    noise = model.noise_sd * slope_at(signal.signal, limit)
    spread = math.hypot(model.slow_sd, model.fast_sd) * slope_at(signal.signal, limit)
    beyond, level_beyond = sign * (value - limit), sign * (signal.level - limit)
    shown = measured(signal.signal, value, limit)
    release_s = parameters.release_s if kind in ("streaming", "syncing") else 0.0
    if beyond <= 0:
        near = standing.open(name, side) and beyond > -parameters.hysteresis * noise
        if not near and level_beyond <= 0:
            text = f"{signal.signal.display} is {shown} again (limit {measured(signal.signal, limit)})"
            return Verdict(
                subject=name,
                active=False,
                problem=side,
                reason=text,
                release_s=release_s,
                at=signal.last_at,
                devices=(signal.device,) if signal.device else (),
            )
    urgent = _urgent(parameters.urgent.get(name), side, value)
    priority: Priority = "high" if urgent else "medium"
    if kind not in ("streaming", "syncing"):
        hold_s = 0.0
    else:
        hold_s = parameters.urgent_hold_s if urgent and level_beyond > 0 else parameters.hold_s
    lasted = max(belief.complete_to, signal.last_at) - standing.since(name, signal.last_at, side)
    reason = f"{signal.signal.display} {shown} (limit {measured(signal.signal, limit)})"
    reason += f" for {duration(lasted)}" if lasted >= 1 else f" at {moment(belief, signal.last_at)}"
    if beyond <= 0:
        reason += ", not clear of the limit yet"
    if belief.clock - belief.watched_since >= WELL_KNOWN_S:
        reason += f"; usual for this person {measured(signal.signal, signal.baseline)}"
    if signal.distrust:
        reason += f"; doubtful, {signal.distrust}"
    return Verdict(
        subject=name,
        active=True,
        problem=side,
        priority=priority,
        reason=reason,
        evidence={
            "value": value,
            "limit": limit,
            "side": side,
            "limit_from": "profile" if _is_own(belief, name, side) else "catalogue",
            "measured_at": signal.last_at,
            "level": signal.level,
            "baseline": signal.baseline,
            "device": signal.device,
        },
        next_step="Go to the patient now and measure again." if urgent else "Look at the patient and measure again.",
        hold_s=hold_s,
        release_s=release_s,
        severity=max(beyond, 0.0) / (parameters.worse_by * spread) if spread > 0 else 0.0,
        at=signal.last_at,
        contributions={name: 1.0},
        devices=(signal.device,) if signal.device else (),
    )


def _urgent(values: tuple[Limit, Limit] | None, side: str, value: float) -> bool:
    if values is None:
        return False
    low, high = values
    return low is not None and value < low if side == "low" else high is not None and value > high


def _is_own(belief: Belief, name: str, side: str) -> bool:
    limits = belief.profile.limits.get(name)
    return limits is not None and (limits.low if side == "low" else limits.high) is not None
