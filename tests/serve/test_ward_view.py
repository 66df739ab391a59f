"""The live view: who is in need stands on top, everything that must be seen is there, and it fits the terminal."""

import io

import pytest
from rich.console import Console

from stream_twin import signals
from stream_twin.events import AlertChange, Estimate, Risk, SignalEstimate
from stream_twin.serve.ward_view import Figures, WardView, alert_line, figures_line

START = 1_772_474_400.0
CATALOGUE = signals.load()


def belief(level: float, at: float) -> SignalEstimate:
    return SignalEstimate(level=level, low=level - 4, high=level + 4, baseline=level, last_value=level + 1, last_at=at)


def estimate(patient: str, at: float = START, **levels: float) -> Estimate:
    return Estimate(patient_id=patient, at=at, signals={name: belief(level, at) for name, level in levels.items()})


def alert(patient: str, subject: str, **given: object) -> AlertChange:
    body = {
        "alert_id": f"{patient}/{subject}",
        "sequence": 1,
        "rule": "limits",
        "rule_version": 1,
        "kind": "physiological",
        "priority": "medium",
        "state": "raised",
        "at": START,
        "reason": f"{subject} is out of its limits",
        "next_step": "Look at the patient.",
    }
    return AlertChange(patient_id=patient, subject=subject, **(body | given))  # type: ignore[arg-type]  # mixed fields in one dict


def drawn(view: WardView, width: int = 100, height: int = 30, figures: Figures | None = None) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), record=True)
    console.print(view.render(width, height, figures or Figures(clock=START)), end="")
    return console.export_text().splitlines()


def ward(patients: int = 24) -> WardView:
    view = WardView(CATALOGUE)
    for number in range(1, patients + 1):
        view.see_estimate(estimate(f"home-{number:02d}", heart_rate=60.0 + number, spo2=97.0, body_temperature=36.6))
    return view


@pytest.mark.parametrize(("width", "height"), [(80, 24), (100, 30), (120, 36), (200, 50), (250, 70)])
@pytest.mark.parametrize("patients", [0, 1, 24, 60])
def test_it_fits_the_terminal(width: int, height: int, patients: int) -> None:
    view = ward(patients)
    for number in range(40):
        view.see_alert(alert(f"home-{number:02d}", "spo2", reason="a long reason " * 20, next_step="a long next step " * 9))
        view.see_dead_letter(f"reason_{number}")
    lines = drawn(view, width, height)
    assert len(lines) <= height
    assert all(len(line.rstrip()) <= width for line in lines)


def test_the_graver_need_stands_higher() -> None:
    view = ward()
    view.see_alert(alert("home-07", "watch-07", kind="technical", priority="low"))
    view.see_alert(alert("home-20", "spo2", priority="high"))
    view.see_alert(alert("home-11", "heart_rate"))
    assert [one.patient_id for one in view.by_need()][:4] == ["home-20", "home-11", "home-07", "home-01"]


def test_a_resolved_alert_leaves_the_row_and_stays_in_the_list() -> None:
    view = ward(3)
    view.see_alert(alert("home-03", "spo2"))
    view.see_alert(alert("home-03", "spo2", sequence=2, state="resolved", reason="spo2 is back"))
    assert view.open_alerts == []
    assert view.alerts_raised == 1
    assert view.by_need()[0].patient_id == "home-01"
    text = "\n".join(drawn(view))
    assert "spo2 is back" in text
    assert "spo2 is out of its limits" in text


def test_an_alert_that_comes_before_the_first_estimate_is_not_lost() -> None:
    view = WardView(CATALOGUE)
    view.see_alert(alert("home-02", "spo2", priority="high"))
    view.see_estimate(estimate("home-01", spo2=97.0))
    view.see_estimate(estimate("home-02", spo2=84.0))
    assert len(view.open_alerts) == 1
    assert view.by_need()[0].patient_id == "home-02"


def test_values_belief_reason_and_numbers_are_to_be_seen() -> None:
    view = ward(2)
    view.see_alert(alert("home-02", "heart_rate"))
    view.see_dead_letter("not_json")
    view.see_dead_letter("not_json")
    figures = Figures(clock=START, speed=120, events_in=12345, events_per_s=1001.4, lag=77, estimates=999, note="no guarantee")
    lines = drawn(view, 200, 50, figures)
    text = "\n".join(lines)
    row = next(line for line in lines if "home-02" in line)
    assert "63 62±4" in row
    assert "97±4" in row
    for told in (
        *("Mon 02 Mar", "18:00:00 UTC", "×120", "1,001 events/s", "12,345 in", "77 behind", "999 estimates", "no guarantee"),
        *("heart_rate is out of its limits", "Look at the patient.", "2 dead letters", "not json 2"),
    ):
        assert told in text, told


def test_what_is_old_shows_its_age_in_place_of_a_trend() -> None:
    view = WardView(CATALOGUE)
    for minute in range(10):
        view.see_estimate(estimate("home-01", START + 300 * minute, heart_rate=60.0 + minute))
    fresh = next(line for line in drawn(view, figures=Figures(clock=START + 2700)) if "home-01" in line)
    old = next(line for line in drawn(view, figures=Figures(clock=START + 2700 + 1500)) if "home-01" in line)
    assert "▃▅▆" in fresh
    assert "25m" in old
    assert not set("▁▂▃▄▅▆▇█") & set(old)


def test_noise_is_not_drawn_as_a_wave() -> None:
    view = WardView(CATALOGUE)
    for minute in range(10):
        view.see_estimate(estimate("home-01", START + 300 * minute, heart_rate=60.0 + 0.2 * (minute % 2)))
    row = next(line for line in drawn(view, figures=Figures(clock=START + 2700)) if "home-01" in line)
    assert not set("▁▂▆▇█") & set(row)


def test_risk_is_shown_where_there_is_room() -> None:
    view = WardView(CATALOGUE)
    risk = Risk(probability=0.37, cohort="home", model_version=3, at=START)
    view.see_estimate(Estimate(patient_id="home-01", at=START, signals={"spo2": belief(97, START)}, risk=risk))
    assert "37%" in "\n".join(drawn(view, 200, 50))


def test_lines_for_a_log() -> None:
    view = ward(3)
    change = alert("home-02", "spo2")
    view.see_alert(change)
    assert alert_line(change) == (
        "18:00:00  raised       medium home-02  limits spo2: spo2 is out of its limits  ->  Look at the patient."
    )
    figures = Figures(clock=START + 5, events_in=2000, events_per_s=500, lag=3, estimates=9)
    assert figures_line(view, figures) == (
        "18:00:05  500 events/s  2,000 in  3 behind  9 estimates  1 open alerts  0 dead letters"
    )
    assert figures_line(view, Figures()).startswith("--:--:--")
