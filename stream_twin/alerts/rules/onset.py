"""Onset of an illness over days."""

from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.onset import FIRST_DAYS, LEAST_EVIDENCE, SIGNALS, allowed
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.twin.belief import Belief, OnsetBelief

SUBJECT = "person"
WORTH_TELLING = 0.3
"""Of the shift that a published illness has."""


class OnsetParameters(Parameters, frozen=True, kw_only=True):
    budget: Annotated[
        float, Meta(gt=0, le=30, description="Alerts per patient and 30 days that are borne without an illness.")
    ] = 1.0
    least_evidence: Annotated[
        float,
        Meta(ge=LEAST_EVIDENCE, description="Logarithm of the likelihood ratio below which nobody is told, whatever the budget."),
    ] = LEAST_EVIDENCE
    clear_evidence: Annotated[
        float, Meta(le=LEAST_EVIDENCE, description="It is gone below this: the days speak for health.")
    ] = -0.5
    max_age_s: Annotated[float, Meta(gt=0, description="A day is not judged longer after its end.")] = 36 * 3600.0


class Onset(Rule[OnsetParameters]):
    """Resting heart rate, HRV, breathing, skin temperature, sleep and steps move over days as at the onset of an illness.

    Judged once a day, at noon by the patient's clock, against what is usual for this person: the likelihood ratio of an illness
    that began on one of the last days, and how rare so much evidence is in this person's own past. Without a time zone in the
    profile it does not run, and nobody is judged in the first week.
    """

    name = "onset"
    kind = "physiological"
    priorities = (Case("low", "rarer than the budget allows, and likelier an illness than not", "reversible injury", "delayed"),)
    defaults = OnsetParameters()

    def judge(self, belief: Belief, parameters: OnsetParameters, standing: Standing) -> list[Verdict]:
        told = belief.onset
        if told is None or told.days <= FIRST_DAYS or belief.at - told.at > parameters.max_age_s:
            return []
        is_open = standing.open(SUBJECT)
        rare = told.chance <= allowed(parameters.budget) and told.evidence >= parameters.least_evidence
        if not rare and (not is_open or told.evidence < parameters.clear_evidence):
            if SUBJECT not in standing.alerts:
                return []
            text = f"the day to {told.date} is again as is usual for this person"
            return [Verdict(subject=SUBJECT, active=False, reason=text, at=told.at)]
        moved, odds = shifts(told), round(1 / told.chance)
        largest = sorted((name for name in moved if moved[name] >= WORTH_TELLING), key=lambda name: -moved[name])
        words = ", ".join(worded(name, told) for name in largest) or "the signals of the days before, together"
        return [
            Verdict(
                subject=SUBJECT,
                active=True,
                priority="low",
                reason=f"Signs of an illness in the day to {told.date}: {words}; on a healthy day once in {odds}",
                evidence={
                    "date": told.date.isoformat(),
                    "evidence": told.evidence,
                    "chance": told.chance,
                    "days": float(told.days),
                    **{name: told.values[name] for name in told.values},
                    **{f"usual.{name}": told.usual[name] for name in told.usual},
                },
                contributions=moved,
                next_step="Ask the patient how they are, and about contacts with sick people, alcohol or a hard day before.",
                severity=told.evidence / 3,
                at=told.at,
            )
        ]


def shifts(told: OnsetBelief) -> dict[str, float]:
    """How far each signal is from what is usual, in shifts of a published illness: positive where an illness moves it."""
    found = {}
    for name, value in told.values.items():
        prior = SIGNALS[name]
        found[name] = (prior.transform(value) - prior.transform(max(told.usual[name], prior.low))) / prior.shift
    return found


def worded(name: str, told: OnsetBelief) -> str:
    """``resting heart rate 6 /min above usual (64)``; what varies in proportion as a percentage."""
    value, usual = told.values[name], told.usual[name]
    up = "above" if value > usual else "below"
    words, unit, decimals = WORDS[name]
    if unit:
        return f"{words} {abs(value - usual):.{decimals}f} {unit} {up} usual ({usual:.{decimals}f})"
    return f"{words} {abs(value / usual - 1):.0%} {up} usual ({usual:.0f})" if usual > 0 else f"{words} {value:.0f}"


WORDS = {
    "resting_heart_rate": ("resting heart rate", "/min", 0),
    "rmssd": ("heart-rate variability", "", 0),
    "breathing_rate": ("breathing rate", "/min", 1),
    "skin_temperature_deviation": ("skin temperature", "°C", 1),
    "sleep": ("sleep", "min", 0),
    "steps": ("steps", "", 0),
}
