"""What a model may know of a patient: numbers drawn from the twin's belief, by name.

For every signal that was ever measured:

- ``NAME.level`` on the filter's working scale, so that skewed signals are not, in standard deviations from the population's mean;
- ``NAME.deviation`` from what is usual for this person, in standard deviations of what is usual for such a deviation;
- ``NAME.instability``: logarithm of the mean squared surprise of the last two days, newest first. About ``log(1.1)`` while the
  filter's model holds; a patient whose signs jump is worse off than one with the same levels.

To these come ``shock_index``, ``pulse_pressure``, ``age`` and ``sex`` (1: male). What is not known is left out. Time since
admission, which test was ordered and how often are left out on purpose: they say what the staff believes, not how the patient is.
"""

from math import exp, hypot, isnan, log

from stream_twin.events import Profile
from stream_twin.twin.belief import Belief, SignalBelief

MEMORY_S = 12 * 3600.0
"""Time constant with which surprises are forgotten."""
HORIZON_S = 2 * 86400.0
SURPRISES = 64
"""The newest so many surprises are looked at, however often the signal is sampled."""
CLIP = 4.0
"""A surprise beyond counts as this one: an artefact is no instability."""


def features(belief: Belief) -> dict[str, float]:
    """Features of one patient at ``belief.at``, in the order of the belief's signals."""
    known: dict[str, float] = {}
    for name, signal in belief.signals.items():
        model = signal.signal.model
        known[f"{name}.level"] = (signal.working_mean - model.mean) / hypot(model.between_sd, model.slow_sd, model.fast_sd)
        known[f"{name}.deviation"] = signal.deviation
        unstable = instability(signal, belief.at)
        if unstable is not None:
            known[f"{name}.instability"] = unstable
    signals = belief.signals
    heart, systolic, diastolic = (signals.get(n) for n in ("heart_rate", "systolic_blood_pressure", "diastolic_blood_pressure"))
    if heart is not None and systolic is not None and systolic.level > 0:
        known["shock_index"] = heart.level / systolic.level
    if systolic is not None and diastolic is not None:
        known["pulse_pressure"] = systolic.level - diastolic.level
    return known | person(belief.profile)


def person(profile: Profile) -> dict[str, float]:
    """What is known of somebody of whom nothing was measured yet."""
    known = {} if profile.age_years is None else {"age": float(profile.age_years)}
    if profile.sex is not None:
        known["sex"] = float(profile.sex == "male")
    return known


def instability(signal: SignalBelief, at: float) -> float | None:
    """Logarithm of the exponentially weighted mean squared surprise, a tenth added; None where no sample is remembered."""
    total = weights = 0.0
    surprises, times = signal.surprises, signal.surprised_at
    for index in range(len(surprises) - 1, max(-1, len(surprises) - 1 - SURPRISES), -1):
        age, z = at - times[index], surprises[index]
        if age > HORIZON_S:
            break
        if not isnan(z):
            weight = exp(-max(age, 0.0) / MEMORY_S)
            weights += weight
            total += weight * min(z * z, CLIP * CLIP)
    return log(0.1 + total / weights) if weights else None
