"""Days of many people from a CSV file: what comes out, what is said of faulty lines, and that no row looks ahead."""

import csv
import random
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from stream_twin import nights
from stream_twin.cli import application

FIRST = date(2026, 1, 5)
Line = tuple[str, str, str, str]


def run(table: Path, out: Path, *more: str) -> Result:
    return CliRunner().invoke(application(), ["backtest", "nights", "--csv", str(table), "--out", str(out), *more])


def write(path: Path, lines: list[Line]) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([nights.COLUMNS, *lines])
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scored(path: Path, lines: list[Line], budget: float = 1.0) -> dict[tuple[str, str], tuple[str, str]]:
    write(path / "in.csv", lines)
    nights.write(path / "out.csv", nights.read(path / "in.csv").people, budget)
    return {(row["patient"], row["date"]): (row["score"], row["alert"]) for row in rows(path / "out.csv")}


def recorded(seed: int = 1, days: int = 60, ill_from: int = 45) -> list[Line]:
    chance = random.Random(seed)
    lines = []
    for day in range(days):
        when = (FIRST + timedelta(days=day)).isoformat()
        for patient in ("anna", "ben"):
            ill = patient == "anna" and ill_from <= day < ill_from + 8
            lines.append((patient, when, "resting_heart_rate", f"{60 + chance.gauss(0, 1) + 7 * ill:.1f}"))
            lines.append((patient, when, "rmssd", f"{40 * (1 + 0.1 * chance.gauss(0, 1)) * (0.7 if ill else 1):.1f}"))
            lines.append((patient, when, "steps", str(int(8000 + 2000 * chance.gauss(0, 1) - 3000 * ill))))
    return lines


def test_one_row_for_each_person_and_date(tmp_path: Path) -> None:
    lines = recorded()
    result = run(write(tmp_path / "in.csv", lines), tmp_path / "deep" / "out.csv")
    assert result.exit_code == 0, result.output
    found = rows(tmp_path / "deep" / "out.csv")
    assert list(found[0]) == ["patient", "date", "score", "alert"]
    assert [(row["patient"], row["date"]) for row in found] == sorted({(patient, day) for patient, day, _, _ in lines})
    alerts = [(row["patient"], date.fromisoformat(row["date"])) for row in found if row["alert"] == "1"]
    assert [alert for alert in alerts if alert[0] == "anna"][-1][1] in {FIRST + timedelta(days=day) for day in (45, 46, 47)}
    assert {row["alert"] for row in found} == {"0", "1"}
    assert "2 people, 120 days" in result.stdout


def test_lines_may_come_in_any_order(tmp_path: Path) -> None:
    lines = recorded()
    mixed = random.Random(2).sample(lines, len(lines))
    assert scored(tmp_path, mixed) == scored(tmp_path, lines)


def test_of_several_values_the_median_counts(tmp_path: Path) -> None:
    lines = recorded()
    extremes = {"resting_heart_rate": ("25", "150"), "rmssd": ("2", "500"), "steps": ("100", "90000")}
    outliers = [(patient, day, signal, value) for patient, day, signal, _ in lines for value in extremes[signal]]
    assert scored(tmp_path, lines + outliers) == scored(tmp_path, lines)


def test_names_of_the_catalogue_are_known(tmp_path: Path) -> None:
    lines = recorded()
    renamed = [(patient, day, "steps_daily" if signal == "steps" else signal, value) for patient, day, signal, value in lines]
    assert scored(tmp_path, renamed) == scored(tmp_path, lines)


CUTS = st.tuples(st.integers(1, 40), st.sampled_from([0.5, 2.0]), st.integers(0, 1000))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CUTS)
def test_what_comes_later_changes_no_earlier_row(tmp_path: Path, cut: tuple[int, float, int]) -> None:
    """Also where a signal nobody knows begins after the cut, and somebody else comes."""
    day, budget, seed = cut
    chance = random.Random(seed)
    lines = [line for line in recorded(seed, 45, 25) if chance.random() < 0.8]
    end = (FIRST + timedelta(days=day)).isoformat()
    lines += [("anna", when, "x", str(chance.gauss(5, 1))) for _, when, _, _ in lines if when > end]
    lines += [("carl", when, "rmssd", "30") for _, when, _, _ in lines if when > end]
    before = scored(tmp_path, [line for line in lines if line[1] <= end], budget)
    whole = scored(tmp_path, lines, budget)
    assert before == {key: row for key, row in whole.items() if key[1] <= end}


def test_what_a_line_lacks_is_said(tmp_path: Path) -> None:
    lines: list[Line] = [
        ("anna", "2026-01-05", "resting_heart_rate", "60"),
        ("anna", "05/01/2026", "resting_heart_rate", "61"),
        ("anna", "2026-01-06", "resting_heart_rate", "0"),
        ("anna", "2026-01-07", "rmssd", "many"),
        ("", "2026-01-07", "rmssd", "30"),
        ("anna", "2026-01-08", "rmssd", ""),
        ("anna", "2026-01-08", "", "4"),
    ]
    result = run(write(tmp_path / "in.csv", lines), tmp_path / "out.csv")
    assert result.exit_code == 0
    for said in (
        "line 3: date '05/01/2026' is no ISO date",
        "line 4: resting_heart_rate 0 is outside 25..150: not measured",
        "line 5: rmssd 'many' is no number",
        "line 6: no patient",
        "line 7: rmssd has no value",
        "line 8: no signal",
    ):
        assert said in result.stderr
    assert [row["date"] for row in rows(tmp_path / "out.csv")] == ["2026-01-05", "2026-01-06", "2026-01-07", "2026-01-08"]


def test_only_the_first_faults_are_written_out() -> None:
    said = nights.reported([nights.Fault(line, "no patient") for line in range(2, 40)])
    assert len(said) == 21
    assert said[-1] == "and 18 more such lines"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("patient,date,value\n", "no column signal in its first line"),
        ("", "no column patient, date, signal, value"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "in.csv").write_text(text)
    result = run(tmp_path / "in.csv", tmp_path / "out.csv")
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_nights_take_a_file_and_the_others_a_directory(tmp_path: Path) -> None:
    table = write(tmp_path / "in.csv", [])
    for wrong in (["nights", "--out", "x"], ["nights", str(tmp_path), "--csv", str(table), "--out", "x"], ["t1d", "--out", "x"]):
        assert CliRunner().invoke(application(), ["backtest", *wrong]).exit_code == 2
