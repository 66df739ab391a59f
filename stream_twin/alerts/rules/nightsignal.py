"""NightSignal from nightly resting heart rates."""

from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.nightsignal import RED
from stream_twin.alerts.rule import Parameters, Rule, Standing, Verdict
from stream_twin.twin.belief import Belief, NightBelief

SUBJECT = "night"
COLOURS = ("green", "yellow", "red")


class NightSignalParameters(Parameters, frozen=True, kw_only=True):
    max_age_s: Annotated[
        float, Meta(gt=0, description="A night is not judged longer after its end; by default the next one is late by 6 hours.")
    ] = 30 * 3600.0


def told(belief: Belief) -> str:
    """The newest level, in a sentence; or why there is none."""
    night = belief.night
    if belief.profile.time_zone is None:
        return "NightSignal does not run: the profile has no time zone"
    if night is None:
        return "NightSignal: no night with a heart rate yet"
    return f"NightSignal {COLOURS[night.level]}: {_values(night)}, after {night.nights} nights"


def _values(night: NightBelief) -> str:
    return f"resting heart rate {night.rate:.0f} /min in the night to {night.date}, usual {night.baseline}"


class NightSignal(Rule[NightSignalParameters]):
    """The resting heart rate of two nights in a row is at least 4 per minute above its baseline: NightSignal, red.

    Alavi et al., Nature Medicine 2022. A night is the mean from 00:00 to 06:59 by the patient's clock, at rest, cut to a whole
    number; the baseline the median of all nights so far. A single missing night is filled when the second night after it is
    known; a level that was told is never rewritten. Without a time zone in the profile it does not run. Yellow tells nobody.
    """

    name = "nightsignal"
    kind = "physiological"
    priorities = (Case("low", "red: two nights at least 4 per minute above their baselines", "reversible injury", "delayed"),)
    defaults = NightSignalParameters()

    def judge(self, belief: Belief, parameters: NightSignalParameters, standing: Standing) -> list[Verdict]:
        night = belief.night
        if night is None or belief.at - night.at > parameters.max_age_s:
            return []
        if night.level < 2:
            if SUBJECT not in standing.alerts:
                return []
            text = f"{_values(night)}: NightSignal is {COLOURS[night.level]}"
            return [Verdict(subject=SUBJECT, active=False, reason=text, at=night.at)]
        above = night.rate - night.baseline
        return [
            Verdict(
                subject=SUBJECT,
                active=True,
                priority="low",
                reason=f"Up for two nights: {_values(night)} (limit {RED} above usual in both)",
                evidence={
                    "date": night.date.isoformat(),
                    "rate": night.rate,
                    "baseline": float(night.baseline),
                    "nights": float(night.nights),
                },
                contributions={"resting_heart_rate": above},
                next_step="Ask the patient how they are, and whether alcohol, a late meal or stress may explain it.",
                severity=above / RED,
                at=night.at,
            )
        ]
