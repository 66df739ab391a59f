"""Pictures of a patient: what must be drawn is drawn, where it belongs."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from stream_twin import signals
from stream_twin.events import Activity, AlertChange, Insulin, Meal, Oxygen, Priority, Profile
from stream_twin.serve import panels, strip
from stream_twin.serve.picture import MOST, MOST_DRIVERS, Picture, Point
from stream_twin.serve.plots import plot_patient

NOW = 1_772_474_400.0
HOUR_S, DAY_S = 3600.0, 86400.0
CATALOGUE = signals.load()
PROFILE = Profile(patient_id="home-01", valid_from=NOW, time_zone="Europe/Athens", age_years=71, sex="female")
HIGH, LOW, ORANGE = "#d55e00", "#56b4e9", "#e69f00"


@dataclass
class Belief:
    """A trace around a level, or a driver's."""

    at: np.ndarray
    centre: float
    display: str = "Inflammation"
    contributions: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        flat = np.full(len(self.at), self.centre)
        self.level, self.baseline, self.mean, self.sd = flat, flat - 2, flat, np.full(len(self.at), 0.5)
        self.low, self.lower, self.upper, self.high = flat - 8, flat - 3, flat + 3, flat + 8


def picture(hours: float = 2.0, ahead: float = 1.0) -> Picture:
    """A reading a minute, belief to the hour after now."""
    minutes = np.arange(int(hours * 60))
    at = np.linspace(NOW - hours * HOUR_S, NOW + ahead * HOUR_S, 100)
    return Picture(
        PROFILE,
        since=NOW - hours * HOUR_S,
        until=NOW + ahead * HOUR_S,
        now=NOW,
        points={"heart_rate": [Point(NOW - 60.0 * m, 70 + 10 * np.sin(m / 9)) for m in reversed(minutes)]},
        traces={"heart_rate": Belief(at, 70.0)},
    )


def alert(state: str, at: float, priority: Priority = "high", subject: str = "heart_rate", sequence: int = 1) -> AlertChange:
    return AlertChange(
        alert_id=f"a/{subject}",
        sequence=sequence,
        patient_id="home-01",
        rule="limits",
        rule_version=1,
        subject=subject,
        kind="physiological",
        priority=priority,
        state=state,  # type: ignore[arg-type]  # a str of the test's table
        at=at,
        reason="high",
    )


def draw(tmp_path: Path, what: Picture, *named: str) -> str:
    path = tmp_path / "patient.svg"
    plot_patient(path, CATALOGUE, what, named)
    return path.read_text().lower()


def colour(tmp_path: Path, alerts: list[AlertChange], which: str) -> int:
    what = picture()
    what.alerts = alerts
    return draw(tmp_path, what).count(which)


def test_a_picture_is_written_in_the_format_of_its_name(tmp_path: Path) -> None:
    plot_patient(tmp_path / "patient.png", CATALOGUE, picture())
    assert (tmp_path / "patient.png").read_bytes()[:4] == b"\x89PNG"


def test_the_same_is_drawn_with_the_same_bytes(tmp_path: Path) -> None:
    assert draw(tmp_path, picture()) == draw(tmp_path, picture())


def test_an_unknown_format_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="zzz"):
        plot_patient(tmp_path / "patient.zzz", CATALOGUE, picture())


def test_nothing_to_draw_is_said(tmp_path: Path) -> None:
    what = picture()
    what.points = {"heart_rate": [Point(NOW - 90_000, 70.0)]}
    with pytest.raises(ValueError, match="nothing to show"):
        draw(tmp_path, what)


def test_alerts_are_marked_for_as_long_as_they_are_open_and_on_their_signal_only(tmp_path: Path) -> None:
    shut = colour(tmp_path, [alert("raised", NOW - 30_000), alert("resolved", NOW - 20_000, sequence=2)], HIGH)
    other = colour(tmp_path, [alert("raised", NOW - 600, subject="glucose")], HIGH)
    still = colour(tmp_path, [alert("raised", NOW - 30_000)], HIGH)
    assert shut == other
    assert still > other
    escalated = [alert("raised", NOW - 1800, "medium"), alert("escalated", NOW - 600, "high", sequence=2)]
    assert colour(tmp_path, escalated, ORANGE) > colour(tmp_path, [alert("raised", NOW - 600, subject="glucose")], ORANGE)


def axis_of(what: Picture) -> "tuple[Figure, panels.Axes]":
    figure = Figure()
    axis = figure.add_subplot()
    axis.set_xlim(what.since / DAY_S, what.until / DAY_S)
    return figure, axis


def test_what_was_set_aside_is_hollow_and_at_the_edge_where_it_would_squeeze_the_rest() -> None:
    what = picture()
    what.points = {
        "heart_rate": [*what.points["heart_rate"], Point(NOW - 10, 250.0, aside=True), Point(NOW - 5, 71.0, aside=True)]
    }
    _, axis = axis_of(what)
    panels.draw_signal(axis, CATALOGUE["heart_rate"], what)
    hollow = {line.get_marker(): line.get_ydata()[0] for line in axis.lines if line.get_markerfacecolor() == "none"}
    assert hollow["o"] == 71.0
    bottom, top = axis.get_ylim()
    assert 80 < hollow["^"] < top < 100
    assert bottom < 60


def test_a_sum_is_drawn_over_what_it_spans() -> None:
    _, axis = axis_of(picture())
    panels.draw_points(axis, [Point(NOW, 400.0, period_s=900.0)])
    (line,) = axis.collections[0].get_segments()
    assert line[:, 0] * DAY_S == pytest.approx([NOW - 900, NOW])


def test_what_is_beyond_now_is_dotted_and_what_was_is_not() -> None:
    _, axis = axis_of(picture())
    panels.draw_belief(axis, picture().traces["heart_rate"], picture())
    levels = [line for line in axis.lines if line.get_color() == panels.BLUE]
    assert [line.get_linestyle() for line in levels] == ["-", "--"]  # matplotlib's name of every broken line
    assert max(levels[0].get_xdata()) * DAY_S <= NOW + 1
    assert min(levels[1].get_xdata()) * DAY_S >= NOW - 1


def test_each_scale_is_shown_and_no_more_signals_than_fit() -> None:
    what = picture()
    what.points = {
        name: [Point(NOW - 60 - second, 1.0) for second in range(100 - position)]
        for position, name in enumerate(CATALOGUE.signals)
        if CATALOGUE[name].scale != "environment"
    }
    what.air = {"pm25": [(NOW - 60, 12.0)]}
    groups = what.chosen(CATALOGUE)
    assert sum(map(len, groups.values())) == MOST
    assert list(groups) == [scale for scale in panels_scales() if scale in groups]
    assert {"molecular", "cellular", "organ", "behaviour", "environment"} <= set(groups)
    assert what.chosen(CATALOGUE, ["glucose"]) == {"molecular": ["glucose"]}


def panels_scales() -> list[str]:
    return ["molecular", "cellular", "tissue", "organ", "whole_body", "behaviour", "environment"]


def test_what_happened_has_a_row_for_each_kind() -> None:
    what = picture()
    what.events = [
        Meal(id="m", patient_id="p", at=NOW - 3000, carbohydrates_g=45.0),
        Insulin(id="i", patient_id="p", at=NOW - 2900, kind="rapid", dose_units=4.5),
        Insulin(id="b", patient_id="p", at=NOW - 90_000, kind="basal_rate", rate_units_per_h=0.8, until=NOW - 600),
        Oxygen(id="o", patient_id="p", at=NOW - 1200, flow_l_per_min=2.0),
        Activity(id="s", patient_id="p", at=NOW - 7000, until=NOW - 4000, kind="sleep_light"),
        Meal(id="old", patient_id="p", at=NOW - 90_000, carbohydrates_g=99.0),
        Meal(id="soon", patient_id="p", at=NOW + 100, carbohydrates_g=98.0),
    ]
    found = strip.marks(what)
    assert [(mark.row, mark.text) for mark in found] == [
        ("Basal insulin", "0.8 U/h"),
        ("Sleep", "sleep light"),
        ("Meals", "45 g"),
        ("Insulin", "4.5 U"),
        ("Oxygen", "2 L/min"),
    ]
    figure, axis = axis_of(what)
    strip.draw_strip(axis, found, what)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == strip.rows_of(found)
    widths = {round(bar.get_width() * DAY_S) for bar in axis.patches}
    assert widths == {6600, 3000, 1200}  # cut where the picture begins; until it ended; until now
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in axis.texts]
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def test_many_amounts_are_bars_as_high_as_they_are() -> None:
    what = picture()
    what.events = [
        Insulin(id=f"i{n}", patient_id="p", at=NOW - 60.0 * n, kind="rapid", dose_units=float(n + 1)) for n in range(20)
    ]
    _, axis = axis_of(what)
    strip.draw_strip(axis, strip.marks(what), what)
    heights = sorted(float(np.ptp(lines.get_segments()[0][:, 1])) for lines in axis.collections)
    assert heights[-1] / heights[0] == pytest.approx(20)
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["Insulin ≤ 20 U"]


def test_contributions_add_up_and_the_smallest_go_together() -> None:
    names = list(CATALOGUE.signals)[:9]
    parts = {name: (-1) ** n / (n + 1) for n, name in enumerate(names)}
    driver = Belief(np.array([NOW - 60, NOW]), sum(parts.values()), contributions=parts)
    _, axis = axis_of(picture())
    named = panels.contributions(driver, CATALOGUE)
    panels.draw_contributions(axis, driver, named, len(named), (-1.0, 1.0), NOW)
    assert len(axis.patches) == panels.MOST_PARTS + 1
    assert sum(bar.get_width() for bar in axis.patches) == pytest.approx(driver.centre)
    assert axis.get_yticklabels()[-1].get_text() == "others"


def test_of_many_drivers_those_furthest_from_usual_are_shown(tmp_path: Path) -> None:
    what = picture()
    at = what.traces["heart_rate"].at
    what.drivers = {f"d{n}": Belief(at, float(n), display=f"Driver {n}", contributions={"heart_rate": 1.0}) for n in range(6)}
    assert [driver.display for driver in what.leading()] == [f"Driver {n}" for n in range(6 - MOST_DRIVERS, 6)]
    plot_patient(tmp_path / "patient.svg", CATALOGUE, what)


@pytest.mark.parametrize(
    ("ucum", "written"), [("Cel", "°C"), ("mm[Hg]", "mmHg"), ("10*3/uL", "10³/µL"), ("{steps}", "steps"), ("1", "")]
)
def test_units_are_written_as_people_write_them(ucum: str, written: str) -> None:
    assert panels.readable(ucum) == written
