"""A person unlike themselves: several signals at once against the person's own twin."""

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Evidence, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.wording import duration, measured
from stream_twin.signals import SignalModel
from stream_twin.twin.belief import Belief, DriverBelief, SignalBelief

SUBJECT = "person"
LARGE = 1.5
"""Standard deviations of a driver that is worth telling."""
SIGNALS = ("heart_rate", "respiratory_rate", "spo2", "body_temperature", "systolic_blood_pressure")
HARMLESS_WHEN_HIGH = frozenset({"spo2"})
"""Nobody is told that a person has more oxygen than usual."""


class DeviationParameters(Parameters, frozen=True, kw_only=True):
    chance: Annotated[float, Meta(gt=0, lt=1, description="Low priority where it is this rare by chance.")] = 1e-4
    medium_chance: Annotated[float, Meta(gt=0, lt=1, description="Medium priority; not above `chance`.")] = 1e-7
    clear_chance: Annotated[float, Meta(gt=0, lt=1, description="It is gone when it is this common again.")] = 1e-2
    hold_s: Annotated[float, Meta(ge=0, description="How long it must last.")] = 1800.0
    release_s: Annotated[float, Meta(ge=0, description="How long it must be gone before the alert is resolved.")] = 1800.0
    least_watched_s: Annotated[float, Meta(ge=0, description="Nobody is judged who was watched for less than this.")] = 86400.0
    max_sd: Annotated[
        float, Meta(gt=0, description="A signal counts only where its deviation is known to this standard deviation.")
    ] = 0.7
    max_age_s: Annotated[float, Meta(gt=0, description="A signal counts only where its last sample is not older.")] = 3600.0
    signals: Annotated[tuple[str, ...], Meta(description="Whose deviations count; no two of them measure the same.")] = SIGNALS

    def __post_init__(self) -> None:
        if not self.medium_chance <= self.chance < self.clear_chance:
            raise ValueError("medium_chance <= chance < clear_chance is wanted")


class Deviation(Rule[DeviationParameters]):
    """Several signals together are further from what is usual for this person at this time of day than chance explains.

    The squared distance of the deviations from 0, in the measure of how they usually go together (they share latent drivers),
    against the chi-square distribution. The filter's deviations are drawn towards 0 by as much as they are uncertain, so the
    chance that is told is an upper bound. Who exercises is not judged.
    """

    name = "deviation"
    kind = "physiological"
    priorities = (
        Case("medium", "far beyond chance (by default less than once in ten million)", "death or irreversible injury", "delayed"),
        Case("low", "beyond chance (by default less than once in 10,000)", "reversible injury", "delayed"),
    )
    defaults = DeviationParameters()

    def judge(self, belief: Belief, parameters: DeviationParameters, standing: Standing) -> list[Verdict]:
        if belief.clock - belief.watched_since < parameters.least_watched_s:
            return []
        if belief.exercising() and not standing.open(SUBJECT):
            if SUBJECT not in standing.alerts:
                return []
            return [Verdict(subject=SUBJECT, active=False, reason="the patient moves about", at=belief.at)]
        used: dict[str, tuple[float, SignalBelief]] = {}
        newest = 0.0
        oldest, max_sd = belief.at - parameters.max_age_s, parameters.max_sd
        for name in parameters.signals:
            signal = belief.signals.get(name)
            if signal is not None and signal.last_at >= oldest and signal.deviation_sd <= max_sd:
                deviation = min(signal.deviation, 0.0) if name in HARMLESS_WHEN_HIGH else signal.deviation
                used[name] = (deviation, signal)
                newest = max(newest, signal.last_at)
        if not used or (all(abs(deviation) < 1 for deviation, _ in used.values()) and SUBJECT not in standing.alerts):
            return []
        shares = contributions([deviation for deviation, _ in used.values()], [signal.model for _, signal in used.values()])
        total = sum(shares)
        chance = chi_square_tail(total, len(used))
        is_open = standing.open(SUBJECT)
        if chance > (parameters.clear_chance if is_open else parameters.chance):
            if SUBJECT not in standing.alerts:
                return []
            text = "the signals together are again as is usual for this person"
            return [Verdict(subject=SUBJECT, active=False, reason=text, release_s=parameters.release_s, at=newest)]
        lasted = max(belief.complete_to, newest) - standing.since(SUBJECT, newest)
        largest = sorted(used.items(), key=lambda item: -abs(item[1][0]))
        told = ", ".join(
            f"{signal.signal.display} {measured(signal.signal, signal.level)} (usual {measured(signal.signal, signal.baseline)})"
            for _, (deviation, signal) in largest[:3]
            if abs(deviation) >= 1
        )
        driver = max(belief.drivers.values(), key=lambda driver: abs(driver.mean), default=None)
        if driver is not None and abs(driver.mean) >= LARGE:
            told += f"; {driver.driver.display.lower()} {driver.mean:+.1f} standard deviations ({_shares(driver, belief)})"
        devices = {signal.device or "" for _, signal in used.values()}
        evidence: Evidence = {"chance": chance, "signals": float(len(used))}
        evidence |= {f"deviation.{name}": deviation for name, (deviation, _) in largest}
        evidence |= {f"driver.{name}": driver.mean for name, driver in belief.drivers.items()}
        return [
            Verdict(
                subject=SUBJECT,
                active=True,
                priority="medium" if chance <= parameters.medium_chance else "low",
                reason=f"Unlike this person for {duration(lasted)}: {told}; by chance {_odds(chance)}",
                evidence=evidence,
                next_step="Ask the patient how they are, and look at the signals that contribute most.",
                hold_s=parameters.hold_s,
                release_s=parameters.release_s,
                severity=-math.log10(max(chance, 1e-300)) / 3,
                at=newest,
                contributions=dict(sorted(zip(used, shares, strict=True), key=lambda item: -item[1])),
                devices=tuple(sorted(devices)) if "" not in devices else (),
            )
        ]


def _shares(driver: DriverBelief, belief: Belief) -> str:
    """Who moved a driver, in words: contributions of signals, largest first."""
    largest = sorted(driver.contributions.items(), key=lambda item: -abs(item[1]))[:3]
    return ", ".join(f"{belief.signals[name].signal.display} {share:+.1f}" for name, share in largest if name in belief.signals)


def contributions(deviations: Sequence[float], models: Sequence[SignalModel]) -> list[float]:
    """Squared Mahalanobis distance of deviations, each in its usual standard deviations, from 0, by signal: they add up to it.

    Deviations correlate as their signals load on the same drivers; what is left is each signal's own. Where two that go together
    differ, a contribution may be negative.
    """
    names = sorted({name for model in models for name in model.loadings})
    loadings = np.array([[model.loadings.get(name, 0.0) for name in names] for model in models]).reshape(len(models), -1)
    covariance = loadings @ loadings.T + np.diag([model.slow_sd**2 + model.fast_sd**2 for model in models])
    spread = np.sqrt(np.diag(covariance))
    x = np.array(deviations)
    return [float(share) for share in x * np.linalg.solve(covariance / np.outer(spread, spread), x)]


def _odds(chance: float) -> str:
    if chance < 1e-9:
        return "less than once in a billion"
    return f"once in {float(f'{1 / chance:.1g}'):,.0f}"


def chi_square_tail(x: float, degrees: int) -> float:
    """P(X >= x) for X chi-square with ``degrees`` >= 1: the finite series of Abramowitz and Stegun 26.4.4 and 26.4.5."""
    if x <= 0:
        return 1.0
    half = x / 2
    if degrees % 2:
        tail, term, order = math.erfc(math.sqrt(half)), 2 * math.sqrt(half / math.pi) * math.exp(-half), 1
    else:
        tail, term, order = math.exp(-half), half * math.exp(-half), 2
    while order < degrees:
        tail += term
        order += 2
        term *= x / order
    return min(tail, 1.0)
