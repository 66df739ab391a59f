"""The cohort's model of deterioration."""

from typing import Annotated

from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Evidence, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration
from stream_twin.twin.belief import Belief


class RiskParameters(Parameters, frozen=True, kw_only=True):
    raise_at: Annotated[float, Meta(gt=0, lt=1, description="Probability from which it is of low priority.")] = 0.2
    medium_at: Annotated[float, Meta(gt=0, lt=1, description="Probability from which it is of medium priority.")] = 0.5
    clear_at: Annotated[float, Meta(ge=0, lt=1, description="It is gone below this probability.")] = 0.12
    hold_s: Annotated[float, Meta(ge=0, description="How long the probability must stay up; patients are scored hourly.")] = 0.0
    release_s: Annotated[float, Meta(ge=0, description="How long it must be down before the alert is resolved.")] = 3600.0
    worse_by: Annotated[
        float, Meta(gt=0, description="A rise of the probability by this much ends an acknowledgement or a snooze.")
    ] = 0.2
    max_age_s: Annotated[float, Meta(gt=0, description="A prediction older than this is not judged.")] = 2 * 3600.0

    def __post_init__(self) -> None:
        if not self.clear_at < self.raise_at <= self.medium_at:
            raise ValueError("clear_at < raise_at <= medium_at is wanted")


class Risk(Rule[RiskParameters]):
    """The online model of the patient's cohort holds deterioration for likely; its largest contributions are the evidence."""

    name = "risk"
    kind = "physiological"
    priorities = (
        Case("medium", "the model's probability is at least `medium_at`", "death or irreversible injury", "delayed"),
        Case("low", "the model's probability is at least `raise_at`", "reversible injury", "delayed"),
    )
    defaults = RiskParameters()

    def judge(self, belief: Belief, parameters: RiskParameters, standing: Standing) -> list[Verdict]:
        risk = belief.risk
        if risk is None:
            return []
        verdicts = [
            Verdict(subject=cohort, active=False, reason=f"the patient is no longer of the cohort {cohort}")
            for cohort in standing.alerts
            if cohort != risk.cohort
        ]
        if belief.at - risk.at > parameters.max_age_s:
            return verdicts
        probability, cohort = risk.probability, risk.cohort
        percent = f"{100 * probability:.0f} %"
        if probability < (parameters.clear_at if standing.open(cohort) else parameters.raise_at):
            if cohort in standing.alerts:
                text = f"the risk of deterioration is down to {percent}"
                verdicts.append(Verdict(subject=cohort, active=False, reason=text, release_s=parameters.release_s, at=risk.at))
            return verdicts
        medium = probability >= parameters.medium_at
        lasted = max(belief.complete_to, risk.at) - standing.since(cohort, risk.at)
        lasting = f" for {duration(lasted)}" if lasted >= 60 else ""
        largest = sorted(risk.reasons.items(), key=lambda item: (-abs(item[1]), item[0]))
        told = f"; most of it from {', '.join(name for name, _ in largest[:3])}" if largest else ""
        threshold = parameters.medium_at if medium else parameters.raise_at
        evidence: Evidence = {"probability": probability, "threshold": threshold, "model_version": float(risk.model_version)}
        verdicts.append(
            Verdict(
                subject=cohort,
                active=True,
                priority="medium" if medium else "low",
                reason=f"Risk of deterioration {percent} (limit {100 * threshold:.0f} %){lasting}{told}",
                evidence=evidence,
                next_step="Look at the patient, take a full set of vital signs and tell the team.",
                hold_s=parameters.hold_s,
                release_s=parameters.release_s,
                severity=probability / parameters.worse_by,
                at=risk.at,
                contributions=dict(largest),
            )
        )
        return verdicts
