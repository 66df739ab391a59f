"""Pictures of a patient: what must be drawn is drawn, and the bands are what they say."""

import math
from pathlib import Path
from statistics import NormalDist

import pytest

from stream_twin import signals
from stream_twin.events import AlertChange, Estimate, Profile, SignalEstimate
from stream_twin.serve import plots
from stream_twin.serve.plots import History, plot_patient

NOW = 1_772_474_400.0
CATALOGUE = signals.load()
PROFILE = Profile(patient_id="home-01", valid_from=NOW, time_zone="Europe/Athens", age_years=71, sex="female")
HIGH, LOW = "#d55e00", "#56b4e9"


def alert(state: str, at: float, priority: str = "high", subject: str = "heart_rate", sequence: int = 1) -> AlertChange:
    return AlertChange(
        alert_id=f"a/{subject}",
        sequence=sequence,
        patient_id="home-01",
        rule="limits",
        rule_version=1,
        subject=subject,
        kind="physiological",
        priority=priority,  # type: ignore[arg-type]  # a str of the test's table
        state=state,  # type: ignore[arg-type]  # as above
        at=at,
        reason="high",
    )


def history(hours: int = 3) -> History:
    minutes = range(hours * 60)
    samples = {
        "heart_rate": [(NOW - 60 * minute, 70 + 10 * math.sin(minute / 9)) for minute in minutes],
        "spo2": [(NOW - 60 * minute, 97.0) for minute in minutes],
    }
    band = SignalEstimate(level=70, low=62, high=78, baseline=68, last_value=70, last_at=NOW)
    estimates = [
        Estimate(patient_id="home-01", at=NOW - 60 * minute, signals={"heart_rate": band}) for minute in reversed(minutes)
    ]
    return History(samples, estimates, [])


def draw(tmp_path: Path, what: History, hours: float = 2.0) -> str:
    path = tmp_path / "patient.svg"
    plot_patient(path, CATALOGUE, PROFILE, what, until=NOW, hours=hours)
    return path.read_text()


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    plot_patient(tmp_path / "patient.png", CATALOGUE, PROFILE, history(), until=NOW, hours=2)
    assert (tmp_path / "patient.png").read_bytes()[:4] == b"\x89PNG"


def test_an_open_alert_is_marked_in_the_colour_of_its_priority(tmp_path: Path) -> None:
    without = draw(tmp_path, history())
    limited = history()
    limited.alerts = [alert("raised", NOW - 1800, "low"), alert("escalated", NOW - 600, "high", sequence=2)]
    marked = draw(tmp_path, limited)
    assert marked.count(LOW) > without.count(LOW)
    assert marked.count(HIGH) > without.count(HIGH)


def test_an_alert_over_before_the_picture_begins_is_not_marked(tmp_path: Path) -> None:
    over = history()
    over.alerts = [alert("raised", NOW - 30_000), alert("resolved", NOW - 20_000, sequence=2)]
    assert draw(tmp_path, over).count(HIGH) == draw(tmp_path, history()).count(HIGH)


def test_an_alert_raised_before_the_picture_begins_and_still_open_is_marked(tmp_path: Path) -> None:
    still = history()
    still.alerts = [alert("raised", NOW - 30_000)]
    assert draw(tmp_path, still).count(HIGH) > draw(tmp_path, history()).count(HIGH)


def test_an_alert_about_another_signal_is_not_marked_here(tmp_path: Path) -> None:
    other = history()
    other.alerts = [alert("raised", NOW - 600, subject="glucose")]
    assert draw(tmp_path, other).count(HIGH) == draw(tmp_path, history()).count(HIGH)


def test_only_what_lies_in_the_time_asked_for_is_drawn() -> None:
    window = history(5).between(NOW - 3600, NOW)
    assert {len(rows) for rows in window.samples.values()} == {61}
    assert len(window.estimates) == 61
    assert window.samples["spo2"] == sorted(window.samples["spo2"])


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing of home-01 lies in the 2 hours before 2026-03-02 18:00 UTC"):
        draw(tmp_path, History({"heart_rate": [(NOW - 90_000, 70.0)]}))


def test_an_unknown_format_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zzz"):
        plot_patient(tmp_path / "patient.zzz", CATALOGUE, PROFILE, history(), until=NOW)


@pytest.mark.parametrize("name", ["heart_rate", "glucose", "spo2"])
def test_the_inner_band_holds_half_of_what_the_outer_holds_nine_tenths_of(name: str) -> None:
    """On the scale on which the signal is normal, by quantiles of the standard library."""
    signal = CATALOGUE[name]
    to, back = {
        "identity": (float, float),
        "log": (math.log, math.exp),
        "log_headroom": (lambda x: -math.log(signal.ceiling + 1 - x), lambda y: signal.ceiling + 1 - math.exp(-y)),
    }[signal.transform]
    level = 92.0
    normal = NormalDist(to(level), 0.2 * abs(to(level + 1) - to(level)))
    low, lower, upper, high = (back(normal.inv_cdf(share)) for share in (0.05, 0.25, 0.75, 0.95))
    about = SignalEstimate(level=level, low=low, high=high, baseline=level, last_value=level, last_at=NOW)
    band = plots._band(signal, Estimate(patient_id="home-01", at=NOW, signals={name: about}))
    assert band[:5] == pytest.approx((low, lower, level, upper, high), rel=1e-4)


def test_more_signals_than_fit_leave_those_with_most_samples(tmp_path: Path) -> None:
    names = [name for name, signal in CATALOGUE.signals.items() if signal.scale != "environment"][:12]
    samples = {name: [(NOW - 60 * i, 1.0 + i) for i in range(2 + position)] for position, name in enumerate(names)}
    assert plots._most_seen(CATALOGUE, History(samples)) == names[4:]
