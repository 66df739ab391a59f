"""A twin as text: drivers with what moved them, and what is to be taken with care."""

from io import StringIO

from rich.console import Console

from stream_twin import signals
from stream_twin.events import Profile
from stream_twin.serve.patient_view import patient_view
from stream_twin.twin.belief import Belief, DriverBelief, SignalBelief
from stream_twin.twin.model import Driver

CATALOGUE = signals.load()
NOW = 1_772_474_400.0


def shown(belief: Belief) -> str:
    console = Console(width=120, record=True, file=StringIO())
    console.print(patient_view(belief, [], CATALOGUE, 120))
    return console.export_text()


def belief(**more: object) -> Belief:
    made = Belief("p", NOW, NOW, NOW, Profile(patient_id="p", valid_from=NOW), **more)  # type: ignore[arg-type]  # by name
    heart = CATALOGUE["heart_rate"]
    made.signals["heart_rate"] = SignalBelief(heart, heart.model, 80, 70, 90, 72, 1.0, 0.2, 0.0, 81, NOW, 80, 2)
    return made


def driver(name: str, mean: float, **contributions: float) -> DriverBelief:
    return DriverBelief(Driver(display=name, scale="whole_body", time_s=3600.0, source="made"), mean, 0.5, contributions)


def test_drivers_away_from_usual_are_told_the_furthest_first_with_what_moved_them() -> None:
    moved = {"body_temperature": 1.1, "heart_rate": 0.4, "spo2": -0.2, "respiratory_rate": 0.15, "glucose": 0.06, "lactate": 0.07}
    text = shown(
        belief(
            drivers={
                "a": driver("Arousal", -0.9, heart_rate=-0.9),
                "i": driver("Inflammation", 1.58, **moved),
                "q": driver("Quiet", 0.2),
            }
        )
    )
    joined = " ".join(text.split())
    parts = "Body temperature +1.10, Heart rate +0.40, Oxygen saturation -0.20, Respiratory rate +0.15, others +0.13"
    assert f"Inflammation +1.6 ± 0.8 sd by {parts} Arousal -0.9 ± 0.8 sd by Heart rate -0.90" in joined
    assert "Quiet" not in text


def test_what_is_to_be_taken_with_care_is_told() -> None:
    doubtful = belief(unfit="fitted on adults, not in pregnancy")
    doubtful.signals["heart_rate"].set_aside = True
    text = shown(doubtful)
    assert "The population's numbers are not for this person: fitted on adults, not in pregnancy" in text
    assert "Heart rate: its last value is implausible" in text
    assert "Heart rate:" not in shown(belief())
