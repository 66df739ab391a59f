"""What happens in the simulated ward, and what must come of it.

====================  =======  ==========================================  =====================================================
story                 patient  what happens                                what must come of it
====================  =======  ==========================================  =====================================================
deterioration         home-01  from minute 4 heart and breathing rise,     an alert about SpO2 or breathing before minute 75;
                               SpO2 falls, fever, within 70 minutes;       outcome ``deterioration`` at hour 5
                               oxygen and admission at hour 4, then
                               recovery over ten hours
night hypoglycaemia   home-02  too much insulin at hour 3, asleep          glucose below 54 mg/dL and a glucose alert before
                                                                           hour 5:30; treated then, outcome
                                                                           ``hypoglycaemia_treated``
infection             home-03  from hour 20, over three days: resting      an alert about temperature or person between hour 24
                               heart rate and temperature up, HRV down     and hour 60; outcome ``illness`` at hour 92
silent device         home-04  the watch says nothing from minute 10 on,   a technical alert about ``watch-04`` within 30 minutes,
                               for three hours                             resolved when it speaks again
frozen sensor         home-06  the oximeter repeats one value from minute  a technical alert about ``oximeter-06``; no belief
                               15 on, for four hours                       follows the frozen value
fast fibrillation     home-10  heart rate above 150 from minute 80 to 115  an alert about the heart rate before minute 95,
                                                                           gone before minute 135
rubbish               home-07  its gateway sends one record of every kind  each a dead letter with its reason; the good records
                               of rubbish from minute 4 on, then one       between them are applied; what the twin refuses
                               every minute or so                          becomes a technical alert about ``watch-07``
bad radio             home-08  2 % of the samples come twice, 0.5 % are    duplicates and late samples are counted, no alert
                               ten minutes late, many out of order; a
                               laboratory result is corrected, a blood
                               pressure withdrawn
====================  =======  ==========================================  =====================================================

A ward too small for a story's patient goes without it. From hour 12 on, every nine hours or so, somebody else deteriorates in a
milder or worse way: that is what the cohort's model learns from.
"""

from dataclasses import dataclass

from stream_twin.datasets.recording import HOUR
from stream_twin.datasets.ward_body import Draws, Effect, Illness

SEPSIS = Effect(heart_rate=50, respiratory_rate=19, spo2=-12.0, temperature=2.3, systolic=-26, variability=0.45)
FIBRILLATION = Effect(heart_rate=96, respiratory_rate=3, spo2=-0.5, systolic=-12, variability=2.0)
INFECTION = Effect(heart_rate=24, respiratory_rate=6, spo2=-2.5, temperature=2.8, variability=0.55)


@dataclass(frozen=True, slots=True)
class Story:
    """``patient`` counts from 0; times are seconds after the start of the ward."""

    name: str
    patient: int
    begins_s: float
    ends_s: float


DETERIORATION = Story("deterioration", 0, 240.0, 14 * HOUR)
HYPOGLYCAEMIA = Story("night hypoglycaemia", 1, 3 * HOUR, 6 * HOUR)
INFECTED = Story("infection", 2, 20 * HOUR, 92 * HOUR)
SILENT = Story("silent device", 3, 600.0, 3 * HOUR + 600)
FROZEN = Story("frozen sensor", 5, 900.0, 4 * HOUR + 900)
FIBRILLATING = Story("fast fibrillation", 9, 4800.0, 6900.0)
RUBBISH = Story("rubbish", 6, 240.0, float("inf"))
BAD_RADIO = Story("bad radio", 7, 0.0, float("inf"))
STORIES = (DETERIORATION, HYPOGLYCAEMIA, INFECTED, SILENT, FROZEN, FIBRILLATING, RUBBISH, BAD_RADIO)


def sepsis(onset: float) -> Illness:
    """70 minutes to the worst, treated in the fourth hour, over after fourteen."""
    return Illness(onset, onset + 4200.0, onset + 4 * HOUR, onset + 14 * HOUR, SEPSIS)


def fibrillation(onset: float, end: float) -> Illness:
    return Illness(onset, onset + 60.0, end - 60.0, end, FIBRILLATION)


def infection(onset: float) -> Illness:
    return Illness(onset, onset + 30 * HOUR, onset + 54 * HOUR, onset + 72 * HOUR, INFECTION)


def episode(onset: float, draws: Draws) -> Illness:
    """One of the deteriorations that are not told beforehand."""
    worst = draws.uniform(0.5, 1.1)
    effect = Effect(
        heart_rate=worst * draws.normal(36, 6),
        respiratory_rate=worst * draws.normal(11, 2),
        spo2=-worst * draws.normal(7, 1.5),
        temperature=worst * draws.normal(1.2, 0.5),
        systolic=-worst * 20,
        variability=1 - 0.5 * worst,
    )
    peak = onset + draws.uniform(2, 5) * HOUR
    relief = peak + draws.uniform(1, 3) * HOUR
    return Illness(onset, peak, relief, relief + draws.uniform(6, 12) * HOUR, effect)
