from itertools import pairwise
from pathlib import Path

import pytest

from stream_twin.datasets import sepsis2019
from stream_twin.datasets.recording import HOUR, Recording
from tests.datasets.judged import bodies, judge

HEADER = [*sepsis2019.COLUMNS, "Age", "Gender", "Unit1", "Unit2", "HospAdmTime", "ICULOS", "SepsisLabel"]


def stay(path: Path, name: str, rows: list[dict[str, object]]) -> Path:
    folder = path / "training_setB"
    folder.mkdir(exist_ok=True)
    fixed = {"Age": 73, "Gender": 1, "Unit1": 1, "Unit2": 0, "HospAdmTime": -10.5, "SepsisLabel": 0}
    lines = ["|".join(HEADER)]
    lines += ["|".join(str({**fixed, **row}.get(column, "NaN")) for column in HEADER) for row in rows]
    (folder / f"{name}.psv").write_text("\n".join(lines) + "\n")
    return path


def test_an_hour_is_sent_at_its_hour_and_nothing_for_nan(tmp_path: Path) -> None:
    stay(tmp_path, "p000001", [{"ICULOS": 3, "HR": 93, "Lactate": 2.1}, {"ICULOS": 4}])
    stream = list(sepsis2019.events(tmp_path, "p000001"))
    pulse, lactate = bodies(stream, "clinical.observations")
    assert (pulse["value"], pulse["measured_at"], pulse["device_kind"]) == (93.0, sepsis2019.HOUR_0 + 3 * HOUR, "bedside")
    assert (lactate["value"], lactate["unit"], lactate["device_kind"]) == (2.1, "mmol/L", "laboratory")
    assert not judge(stream).refused


def test_the_label_comes_after_the_last_row_and_only_there(tmp_path: Path) -> None:
    rows = [{"ICULOS": hour, "HR": 80, "SepsisLabel": int(hour >= 5)} for hour in range(1, 16)]
    stream = list(sepsis2019.events(stay(tmp_path, "p000001", rows), "p000001"))
    [outcome] = [sent for sent in stream if sent.topic == "patient.outcomes"]
    last = max(sent.at for sent in stream if sent.topic == "clinical.observations")
    assert last < outcome.at
    [label] = bodies([outcome])
    assert label["kind"] == "sepsis"
    assert label["occurred_at"] == sepsis2019.HOUR_0 + 11 * HOUR, "positive from 6 h before onset"
    assert "note" not in label


def test_positive_from_the_first_row_is_said_and_onset_is_never_after_the_stay(tmp_path: Path) -> None:
    rows = [{"ICULOS": hour, "SepsisLabel": 1} for hour in (1, 2)]
    [label] = bodies(sepsis2019.events(stay(tmp_path, "p000001", rows), "p000001"), "patient.outcomes")
    assert label["occurred_at"] == sepsis2019.HOUR_0 + 2 * HOUR
    assert "onset may be earlier" in label["note"]


def test_no_sepsis_is_well(tmp_path: Path) -> None:
    [label] = bodies(sepsis2019.events(stay(tmp_path, "p000001", [{"ICULOS": 1}]), "p000001"), "patient.outcomes")
    assert label["kind"] == "well"


def test_profile_and_encounters(tmp_path: Path) -> None:
    stream = list(sepsis2019.events(stay(tmp_path, "p000001", [{"ICULOS": 1, "Gender": 0}]), "p000001"))
    first, last = bodies(stream, "patient.profiles")
    assert (first["sex"], first["age_years"], first["cohort"], first["subgroups"]) == (
        "female",
        73,
        "intensive_care",
        {"unit": "medical"},
    )
    assert (last["state"], last["version"]) == ("discharged", 2)
    ward, unit, left = bodies(stream, "clinical.events")
    assert (ward["kind"], ward["at"], ward["until"]) == ("ward", sepsis2019.HOUR_0 - 10.5 * HOUR, sepsis2019.HOUR_0)
    assert unit["id"] == left["id"]
    assert (left["version"], left["until"]) == (2, sepsis2019.HOUR_0 + HOUR)


def test_traps_end_as_dead_letters(tmp_path: Path) -> None:
    rows = [
        {"ICULOS": 1, "FiO2": -50, "Calcium": 1.2, "HR": "??", "Age": "old", "Gender": 7},
        {"ICULOS": "x", "HR": "inf"},
        {"ICULOS": 1, "HR": 60},
    ]
    stream = list(sepsis2019.events(stay(tmp_path, "p000001", rows), "p000001"))
    judged = judge(stream)
    assert judged.refused == {"out_of_range": 2, "wrong_type": 2}
    assert judged.accepted["clinical.observations"] == 1
    assert judged.accepted["patient.profiles"] == 2


def test_oxygen_is_known_from_the_charted_fraction_on(tmp_path: Path) -> None:
    rows = [
        {"ICULOS": 1, "O2Sat": 97}, {"ICULOS": 2, "O2Sat": 98, "FiO2": 0.4},
        {"ICULOS": 3, "O2Sat": 99}, {"ICULOS": 4, "O2Sat": 96, "FiO2": 0.21},
    ]  # fmt: skip
    stream = sepsis2019.events(stay(tmp_path, "p000001", rows), "p000001")
    assert [body.get("on_oxygen") for body in bodies(stream, code="59408-5")] == [None, True, True, False]


def test_stays_start_one_after_another(tmp_path: Path) -> None:
    for name in ("p000002", "p000001", "p000003"):
        stay(tmp_path, name, [{"ICULOS": 1, "HR": 60}])
    recording = Recording(sepsis2019.DATASET, tmp_path)
    assert recording.people == ["p000001", "p000002", "p000003"]
    starts = [sent.at for sent in recording if sent.topic == "patient.profiles" and b'"state"' not in sent.value]
    assert [after - before for before, after in pairwise(starts)] == [300.0, 300.0]


def test_nothing_depends_on_later_rows(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"ICULOS": hour, "HR": 60 + hour, "FiO2": 0.3} for hour in range(1, 11)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "part").mkdir()
    whole = list(sepsis2019.events(stay(tmp_path / "whole", "p000001", rows), "p000001"))
    part = list(sepsis2019.events(stay(tmp_path / "part", "p000001", rows[:5]), "p000001"))
    measured = [sent for sent in part if sent.topic == "clinical.observations"]
    assert measured == [sent for sent in whole if sent.topic == "clinical.observations"][: len(measured)]


def test_a_stay_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"p000009\.psv"):
        list(sepsis2019.events(stay(tmp_path, "p000001", []), "p000009"))
