"""A limit that is going to be crossed."""

from math import hypot
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Evidence, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration, measured, slope_at
from stream_twin.events import Priority
from stream_twin.twin.belief import Belief, SignalBelief

SHARES = (0.5, 1.0)
"""When the forecast is looked at, in shares of the time ahead: a fall that turns is lowest on the way."""
FAR = 1.25
"""No forecast for half an hour is made of what is further from the limit than so many usual deviations; more for longer ones."""
NEAR_S = 1800.0
RANK: dict[Priority, int] = {"low": 0, "medium": 1, "high": 2}


class Crossing(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A forecast that people are told. ``limit`` None: the patient's own, or the catalogue's."""

    side: Literal["low", "high"]
    limit: float | None = None
    within_s: Annotated[float, Meta(ge=300, le=6 * 3600)] = 1800.0
    priority: Literal["low", "medium"] = "low"


GLUCOSE = (
    Crossing(side="low", limit=54.0, priority="medium"),
    Crossing(side="low"),
    Crossing(side="high"),
)
"""Below 54 mg/dL is level 2 hypoglycaemia, 70 and 250 are the catalogue's limits (Battelino et al., Diabetes Care 2019)."""


class ForecastParameters(Parameters, frozen=True, kw_only=True):
    crossings: Annotated[
        dict[str, tuple[Crossing, ...]],
        Meta(
            description="By signal: side, limit (null: the patient's own, or the catalogue's), seconds ahead and priority; "
            "replaces the whole table."
        ),
    ] = field(default_factory=lambda: {"glucose": GLUCOSE})
    raise_at: Annotated[float, Meta(gt=0, lt=1, description="Least probability from which people are told.")] = 0.4
    clear_at: Annotated[float, Meta(ge=0, lt=1, description="It is gone below this probability.")] = 0.2
    release_s: Annotated[float, Meta(ge=0, description="How long it must be improbable before the alert is resolved.")] = 900.0
    worse_by: Annotated[
        float, Meta(gt=0, description="A rise of the probability by this much ends an acknowledgement or a snooze.")
    ] = 0.3
    max_age_s: Annotated[float, Meta(gt=0, description="Nothing is forecast from a value older than this.")] = 1200.0

    def __post_init__(self) -> None:
        if not self.clear_at < self.raise_at:
            raise ValueError("clear_at < raise_at is wanted")


class Forecast(Rule[ForecastParameters]):
    """The twin holds it for likely that a signal crosses a limit soon, by the normal distribution of what a sample will read.

    The probability is the larger of those half of the time ahead and at its end, so it is a lower bound of that of crossing
    the limit at any time. A value beyond the limit already is a matter for the rule `limits`: what is open is resolved after
    `release_s`, so that a value at the limit does not flap. The threshold is fixed: a budget of false alerts steers it in
    back-tests only.
    """

    name = "forecast"
    kind = "physiological"
    priorities = (
        Case("medium", "glucose is likely to be below 54 mg/dL within 30 min", "death or irreversible injury", "delayed"),
        Case("low", "another limit is likely to be crossed", "reversible injury", "delayed"),
    )
    defaults = ForecastParameters()

    def judge(self, belief: Belief, parameters: ForecastParameters, standing: Standing) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for name, crossings in parameters.crossings.items():
            signal = belief.signals.get(name)
            if signal is None or belief.expects is None:
                continue
            if belief.at - signal.last_at > parameters.max_age_s or signal.set_aside or signal.frozen:
                continue
            verdict = _judge_one(signal, crossings, belief, parameters, standing)
            if verdict is not None:
                verdicts.append(verdict)
        return verdicts


class _Likely(Struct):
    """A crossing with its limit, how probable it is, and from when on people are told."""

    crossing: Crossing
    limit: float
    probability: float = 0.0
    mean: float = 0.0
    threshold: float = 1.0


def _judge_one(
    signal: SignalBelief, crossings: tuple[Crossing, ...], belief: Belief, parameters: ForecastParameters, standing: Standing
) -> Verdict | None:
    name, alert = signal.signal.name, standing.alerts.get(signal.signal.name)
    near = [found for crossing in crossings if (found := _near(signal, crossing, belief)) is not None]
    if near:
        _forecast(signal, near, belief)
    for found in near:
        told = (
            alert is not None
            and standing.open(name, found.crossing.side)
            and RANK[alert.priority] >= RANK[found.crossing.priority]
        )
        found.threshold = parameters.clear_at if told else parameters.raise_at
    likely = [found for found in near if found.probability >= found.threshold]
    shown = measured(signal.signal, signal.last_value)
    if not likely:
        if alert is None:
            return None
        beyond = any(_beyond(signal.last_value, c, limit) for c in crossings if (limit := _limit(signal, c, belief)) is not None)
        chance = max((found.probability for found in near if found.crossing.side == alert.problem), default=0.0)
        text = f"{signal.signal.display} is {shown}: " + (
            "the limit is crossed already" if beyond else f"{100 * chance:.0f} % likely to cross a limit"
        )
        return Verdict(
            subject=name,
            active=False,
            problem=alert.problem,
            reason=text,
            release_s=parameters.release_s,
            at=signal.last_at,
        )
    worst = max(likely, key=lambda found: (RANK[found.crossing.priority], found.probability))
    side, limit, within_s = worst.crossing.side, worst.limit, worst.crossing.within_s
    percent = 100 * worst.probability
    evidence: Evidence = {
        "probability": round(worst.probability, 4),
        "threshold": worst.threshold,
        "limit": limit,
        "side": side,
        "within_s": within_s,
        "forecast": round(worst.mean, signal.signal.decimals + 1),
        "value": signal.last_value,
        "measured_at": signal.last_at,
    }
    return Verdict(
        subject=name,
        active=True,
        problem=side,
        priority=worst.crossing.priority,
        reason=f"{signal.signal.display} {shown}{_going(signal, worst.mean)}: {percent:.0f} % likely "
        f"{'below' if side == 'low' else 'above'} {measured(signal.signal, limit)} within {duration(within_s)}"
        + (f"; doubtful, {signal.distrust}" if signal.distrust else ""),
        evidence=evidence,
        next_step="Look at the patient and measure again soon; be ready before the limit is crossed.",
        release_s=parameters.release_s,
        severity=(RANK[worst.crossing.priority] * 1.0 + worst.probability) / parameters.worse_by,
        at=signal.last_at,
    )


def _limit(signal: SignalBelief, crossing: Crossing, belief: Belief) -> float | None:
    if crossing.limit is not None:
        return crossing.limit
    personal = belief.profile.limits.get(signal.signal.name)
    low, high = signal.signal.limits
    if crossing.side == "low":
        return low if personal is None or personal.low is None else personal.low
    return high if personal is None or personal.high is None else personal.high


def _beyond(value: float, crossing: Crossing, limit: float) -> bool:
    return value < limit if crossing.side == "low" else value > limit


def _near(signal: SignalBelief, crossing: Crossing, belief: Belief) -> _Likely | None:
    """None where it is crossed already, or so far away that no forecast is worth making."""
    limit = _limit(signal, crossing, belief)
    if limit is None or _beyond(signal.last_value, crossing, limit):
        return None
    usual = hypot(signal.model.slow_sd, signal.model.fast_sd) * slope_at(signal.signal, limit)
    far = FAR * max(crossing.within_s / NEAR_S, 1.0) ** 0.5 * usual
    return None if abs(signal.level - limit) > far else _Likely(crossing, limit)


def _forecast(signal: SignalBelief, near: list[_Likely], belief: Belief) -> None:
    """One look at the twin for all of them."""
    assert belief.expects is not None
    moments = sorted({signal.last_at + share * found.crossing.within_s for found in near for share in SHARES})
    expected = dict(zip(moments, belief.expects(signal.signal.name, moments), strict=True))
    for found in near:
        for share in SHARES:
            then = expected[signal.last_at + share * found.crossing.within_s]
            below = then.below(found.limit)
            found.probability = max(found.probability, below if found.crossing.side == "low" else 1 - below)
            found.mean = then.value


def _going(signal: SignalBelief, mean: float) -> str:
    step = 2 * 10.0**-signal.signal.decimals
    return " and falling" if mean < signal.last_value - step else " and rising" if mean > signal.last_value + step else ""
