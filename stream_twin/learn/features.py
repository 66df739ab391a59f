"""What a model may know of a patient: numbers drawn from the twin's belief, by name.

For every signal that was ever measured:

- ``NAME.level`` on the filter's working scale, so that skewed signals are not, in standard deviations from the population's mean;
- ``NAME.deviation`` from what is usual for this person, in standard deviations of what is usual for such a deviation;
- ``NAME.instability``: logarithm of the mean squared surprise of the last two days, newest first. About ``log(1.1)`` while the
  filter's model holds; a patient whose signs jump is worse off than one with the same levels.

To these come ``shock_index``, ``pulse_pressure``, ``age`` and ``sex`` (1: male). What is not known is left out. Time since
admission, which test was ordered and how often are left out on purpose: they say what the staff believes, not how the patient is.
"""

from math import hypot, isnan, log

from stream_twin.events import Profile
from stream_twin.twin.belief import Belief, SignalBelief


def features(belief: Belief) -> dict[str, float]:
    """Features of one patient at ``belief.at``, in the order of the belief's signals."""
    known: dict[str, float] = {}
    for name, signal in belief.signals.items():
        model = signal.model
        known[f"{name}.level"] = (signal.working_mean - model.mean) / hypot(model.between_sd, model.slow_sd, model.fast_sd)
        known[f"{name}.deviation"] = signal.deviation
        unstable = instability(signal)
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


def instability(signal: SignalBelief) -> float | None:
    """Logarithm of the exponentially weighted mean squared surprise, a tenth added; None where there was none."""
    return None if isnan(signal.unrest) else log(0.1 + signal.unrest)
