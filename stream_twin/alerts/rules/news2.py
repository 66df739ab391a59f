"""NEWS2 from what was measured."""

from typing import Annotated, Any

from msgspec import Meta, field

from stream_twin.alerts.handling import Case
from stream_twin.alerts.news2 import (
    CHART,
    DECIMALS,
    EMERGENCY,
    ON_OXYGEN,
    PARAMETERS,
    RED,
    URGENT,
    Bands,
    Observations,
    Score,
    not_applicable,
    points_of,
    score,
)
from stream_twin.alerts.rule import Evidence, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import measured
from stream_twin.events import Priority
from stream_twin.twin.belief import Belief, Measured

SUBJECT = "score"
NAMES = {
    "respiratory_rate": "breathing",
    "spo2": "oxygen saturation",
    "oxygen": "whether oxygen is given",
    "systolic_blood_pressure": "blood pressure",
    "heart_rate": "pulse",
    "consciousness": "consciousness",
    "body_temperature": "temperature",
}
MAX_AGE_S = dict.fromkeys(PARAMETERS, 6 * 3600.0) | {"oxygen": 24 * 3600.0}
ROOM_AIR = 21.0


class News2Parameters(Parameters, frozen=True, kw_only=True):
    max_age_s: Annotated[
        dict[str, Annotated[float, Meta(gt=0)]],
        Meta(description="How old each parameter may be, measured by hand or told; older is missing. Replaces the whole table."),
    ] = field(default_factory=lambda: dict(MAX_AGE_S))
    wearable_max_age_s: Annotated[
        float, Meta(gt=0, description="The same for a sensor's value, or twice the interval at which its device should speak.")
    ] = 900.0
    hold_s: Annotated[float, Meta(ge=0, description="How long the score must last where a sensor is part of it.")] = 180.0
    unrested_hold_s: Annotated[
        float,
        Meta(
            ge=0,
            description="The same of medium priority where sensors alone make it and nobody knows whether the person is at rest.",
        ),
    ] = 1200.0
    release_s: Annotated[float, Meta(ge=0, description="How long it must be lower where a sensor's value is part of it.")] = (
        1800.0
    )
    worse_by: Annotated[float, Meta(gt=0, description="So many points more end an acknowledgement or a snooze.")] = 2.0

    def __post_init__(self) -> None:
        if set(self.max_age_s) != set(PARAMETERS):
            raise ValueError(f"max_age_s wants an age for each of {', '.join(PARAMETERS)}")


class News2(Rule[News2Parameters]):
    """The National Early Warning Score 2 of the Royal College of Physicians (2017).

    From measured values, never from estimates: by hand, or the median of five minutes at rest of a wearable. What is missing or
    too old makes the score a range; the alert goes by its lower end. Scale 2 of oxygen saturation only where the profile sets it.
    It does not apply under 16 years, in pregnancy and after a spinal-cord injury. It begins only where the newest values alone
    would score as much, and an open one ends only when what made it was measured again.
    """

    name = "news2"
    kind = "physiological"
    version = 2
    priorities = (
        Case("high", "the lower end of the score is 7 or more", "death or irreversible injury", "prompt"),
        Case("medium", "the lower end is 5 or 6, or one parameter scores 3", "death or irreversible injury", "delayed"),
    )
    defaults = News2Parameters()

    def judge(self, belief: Belief, parameters: News2Parameters, standing: Standing) -> list[Verdict]:
        told = standing.alerts.get(SUBJECT)
        if told is None and not _may_begin(belief):
            return []
        reason = not_applicable(belief.profile)
        if reason is not None:
            return [] if told is None else [Verdict(subject=SUBJECT, active=False, reason=f"NEWS2 does not apply: {reason}")]
        taken = _taken(belief, parameters)
        found = _score(belief, taken)
        at = max((at for _, at, _ in taken.values()), default=belief.at)
        by_sensor = any(one is not None and one.quality != "by hand" for _, _, one in taken.values())
        red = found.red
        if found.low < URGENT and not red:
            if told is None:
                return []
            if any(name in found.missing for name in PARAMETERS if told.evidence.get(f"points.{name}") not in (None, 0.0)):
                return [Verdict(subject=SUBJECT, active=None)]
            release_s = parameters.release_s if by_sensor else 0.0
            return [
                Verdict(subject=SUBJECT, active=False, reason=_range(found), release_s=release_s, at=at, devices=told.devices)
            ]
        priority: Priority = "high" if found.low >= EMERGENCY else "medium"
        devices = _devices(belief, found, taken)
        hold_s = parameters.hold_s if by_sensor else 0.0
        if priority == "medium" and _by_sensors_alone(found, taken) and belief.at_rest() is None:
            hold_s = parameters.unrested_hold_s
        return [
            Verdict(
                subject=SUBJECT,
                active=True,
                priority=priority,
                reason=_reason(belief, found, taken),
                evidence=_evidence(belief, found, taken),
                next_step=_next_step(priority, found),
                hold_s=hold_s,
                release_s=parameters.release_s if by_sensor else 0.0,
                severity=found.low / parameters.worse_by,
                at=at,
                contributions={name: float(low) for name, (low, _) in found.points.items() if low},
                devices=devices,
            )
        ]


def told(belief: Belief, parameters: News2Parameters | None = None) -> str:
    """The score now, in a sentence; or why there is none."""
    reason = not_applicable(belief.profile)
    if reason is not None:
        return f"NEWS2 does not apply: {reason}"
    taken = _taken(belief, parameters or News2.defaults)
    return _reason(belief, _score(belief, taken), taken)


Taken = dict[str, tuple[Any, float, Measured | None]]
"""By parameter: value, when it was measured or told, and how where it is a signal. What is missing is not there."""


def _usual(bands: Bands, decimals: int) -> tuple[float, float]:
    """Between these a value is sure to score 0."""
    number = next(number for number, (_, points) in enumerate(bands) if points == 0)
    return bands[number - 1][0] + 10.0**-decimals, bands[number][0]


CHECKS = tuple((name, *_usual(bands, DECIMALS.get(name, 0)), bands, DECIMALS.get(name, 0)) for name, bands in CHART.items())


def _may_begin(belief: Belief) -> bool:
    """Whether the newest values alone score enough: cheap, and of most people at most times they do not."""
    if belief.profile.spo2_scale == 2 or (belief.consciousness is not None and belief.consciousness[0] != "alert"):
        return True
    total = 0
    signals = belief.signals
    for name, low, high, bands, decimals in CHECKS:
        signal = signals.get(name)
        if signal is not None and not low <= signal.last_value <= high:
            points = points_of(bands, signal.last_value, decimals)
            if points == RED:
                return True
            total += points
    return total > 0 and total + (ON_OXYGEN if belief.oxygen is not None or "fio2" in signals else 0) >= URGENT


def _taken(belief: Belief, parameters: News2Parameters) -> Taken:
    taken: Taken = {}
    rest = belief.at_rest()
    for name in CHART:
        one = belief.measured(name, rest=rest)
        if one is not None and belief.at - one.at <= _max_age(belief, name, one, parameters):
            taken[name] = one.value, one.at, one
    oxygen, fio2 = belief.oxygen, belief.signals.get("fio2")
    if fio2 is not None and (oxygen is None or fio2.last_at > oxygen[1]):
        oxygen = fio2.last_value > ROOM_AIR + 1e-6, fio2.last_at
    for name, condition in (("oxygen", oxygen), ("consciousness", belief.consciousness)):
        if condition is not None and belief.at - condition[1] <= parameters.max_age_s[name]:
            taken[name] = *condition, None
    return {name: taken[name] for name in PARAMETERS if name in taken}


def _score(belief: Belief, taken: Taken) -> Score:
    values: dict[str, Any] = {name: value for name, (value, _, _) in taken.items()}
    return score(Observations(**values), belief.profile.spo2_scale)


def _max_age(belief: Belief, name: str, one: Measured, parameters: News2Parameters) -> float:
    by_hand = parameters.max_age_s[name]
    if one.quality == "by hand":
        return by_hand
    device = belief.devices.get(belief.signals[name].device or "")
    every_s = (device.every_s if device is not None else None) or 0.0
    return min(by_hand, max(parameters.wearable_max_age_s, 2 * every_s))


def _range(found: Score) -> str:
    return f"NEWS2 {found.low}" if found.low == found.high else f"NEWS2 {found.low} to {found.high}"


def _reason(belief: Belief, found: Score, taken: Taken) -> str:
    limit = f"limit {EMERGENCY if found.low >= EMERGENCY else URGENT}"
    if found.low < URGENT and found.red:
        limit = f"{RED} in one parameter"
    parts = [f"{_value(belief, name, taken[name])} ({low})" for name, (low, _) in found.points.items() if low]
    text = f"{_range(found)} ({limit})" + (f": {', '.join(parts)}" if parts else "")
    if found.missing:
        text += f"; not known: {', '.join(NAMES[name] for name in found.missing)}"
    signals = {name: one for name, (_, _, one) in taken.items() if one is not None}
    if any(one.quality == "rest not known" for one in signals.values()):
        text += "; whether at rest is not known"
    doubts = [f"{NAMES[name]}, {why}" for name in signals if (why := belief.signals[name].distrust)]
    return text + (f"; doubtful: {'; '.join(doubts)}" if doubts else "")


def _value(belief: Belief, name: str, taken: tuple[Any, float, Measured | None]) -> str:
    value, _, one = taken
    if one is not None:
        return f"{NAMES[name]} {measured(belief.signals[name].signal, value)}"
    return "oxygen is given" if name == "oxygen" else "new confusion" if value == "confusion" else f"consciousness: {value}"


def _devices(belief: Belief, found: Score, taken: Taken) -> tuple[str, ...]:
    """Whose values score; none where a value by hand, what somebody told or a sensor without a name does."""
    if not _by_sensors_alone(found, taken):
        return ()
    devices = {belief.signals[name].device or "" for name, (low, _) in found.points.items() if low}
    return () if "" in devices else tuple(sorted(devices))


def _by_sensors_alone(found: Score, taken: Taken) -> bool:
    scoring = [taken[name][2] for name, (low, _) in found.points.items() if low]
    return all(one is not None and one.quality != "by hand" for one in scoring)


def _evidence(belief: Belief, found: Score, taken: Taken) -> Evidence:
    evidence: Evidence = {"low": float(found.low), "high": float(found.high), "spo2_scale": float(belief.profile.spo2_scale)}
    for name, (low, _) in found.points.items():
        if name not in taken:
            evidence[f"points.{name}"] = None
            continue
        value, at, one = taken[name]
        evidence[f"points.{name}"] = float(low)
        evidence[f"value.{name}"] = float(value) if one is not None or name == "oxygen" else value
        evidence[f"measured_at.{name}"] = at
        if one is not None:
            evidence[f"quality.{name}"] = one.quality
            evidence[f"samples.{name}"] = float(one.samples)
    return evidence


def _next_step(priority: Priority, found: Score) -> str:
    first = (
        "Have the team for critical care assess the patient now"
        if priority == "high"
        else "Have a clinician assess the patient within the hour"
    )
    missing = [NAMES[name] for name in found.missing]
    if not missing:
        return f"{first}."
    listed = f"{', '.join(missing[:-1])} and {missing[-1]}" if len(missing) > 1 else missing[0]
    return f"{first}, and find out {listed}."
