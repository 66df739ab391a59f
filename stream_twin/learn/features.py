"""What a model may know of a patient: numbers drawn from the twin's belief, by name.

For every signal that was ever measured:

- ``NAME.level`` on the filter's working scale, so that skewed signals are not, in standard deviations from the population's mean;
- ``NAME.deviation`` from what is usual for this person, in standard deviations of what is usual for such a deviation;
- ``NAME.instability``: logarithm of the mean squared surprise of the last two days, newest first. About ``log(1.1)`` while the
  filter's model holds; a patient whose signs jump is worse off than one with the same levels;
- ``NAME.noise``: logarithm of how much a sample of this person scatters, over the population's: 0 where it is usual; of
  hourly signals only;
- ``NAME.bias``: mean surprise of the last two days in its standard deviations: for how long a signal has been going one way.

To these come ``strain`` (below), ``shock_index``, ``pulse_pressure``, ``age`` and ``sex`` (1: male). What is not known is left
out. Time since admission, which test was ordered and how often, and the twin's uncertainties, which tell both, are left out on
purpose: they say what the staff believes, not how the patient is.
"""

from collections.abc import Mapping
from math import hypot, isnan, log

from stream_twin.events import Profile
from stream_twin.twin.belief import Belief, SignalBelief

BAD_SIDE = {
    "heart_rate": (1.0,),
    "respiratory_rate": (1.0,),
    "spo2": (-1.0,),
    "body_temperature": (1.0, -1.0),
    "systolic_blood_pressure": (-1.0,),
    "mean_blood_pressure": (-1.0,),
}
"""On which side of the mean a vital sign is scored, as in NEWS2."""
SPARSE = 0.5
"""Of a signal that comes more often than each half hour the noise is left out: it is smaller between two minutes than between two
hours, and the models were fitted to hours."""
USUAL = 0.3
"""Up to so many standard deviations there is no strain."""


def features(belief: Belief) -> dict[str, float]:
    """Features of one patient at ``belief.at``, in the order of the belief's signals."""
    known: dict[str, float] = {}
    for name, signal in belief.signals.items():
        model = signal.model
        spread = hypot(model.between_sd, model.slow_sd, model.fast_sd, *model.loadings.values())
        known[f"{name}.level"] = (signal.working_mean - model.mean) / spread
        known[f"{name}.deviation"] = signal.deviation
        unstable = instability(signal)
        if unstable is not None:
            known[f"{name}.instability"] = unstable
        if signal.sparse >= SPARSE:
            known[f"{name}.noise"] = log(signal.noise)
        known[f"{name}.bias"] = signal.bias
    if not BAD_SIDE.keys().isdisjoint(belief.signals):
        known["strain"] = strain(known)
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


def strain(known: Mapping[str, float]) -> float:
    """How far vital signs are to their bad sides, in standard deviations, together: one sign far off or several a little."""
    levels = ((known.get(f"{name}.level", 0.0), sides) for name, sides in BAD_SIDE.items())
    return sum(max(side * level - USUAL, 0.0) for level, sides in levels for side in sides)
