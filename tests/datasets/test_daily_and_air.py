"""LifeSnaps, Welltory and Beijing: tables of days and hours."""

import csv
from datetime import UTC, datetime
from pathlib import Path

from stream_twin.datasets import beijing_pm25, lifesnaps, welltory
from stream_twin.datasets.recording import DAY, HOUR, Recording
from tests.datasets.judged import bodies, judge


def utc(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()


def table(path: Path, *rows: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)


def fitbit(path: Path, *rows: dict[str, object]) -> Path:
    table(
        path / lifesnaps.FILE,
        *({"": place, "id": "a", "gender": "FEMALE", "age": "<30", **row} for place, row in enumerate(rows)),
    )
    return path


def test_a_day_is_known_at_its_end(tmp_path: Path) -> None:
    stream = list(lifesnaps.events(fitbit(tmp_path, {"date": "2021-05-24", "resting_hr": 62.1, "steps": ""}), "a"))
    [day] = [sent for sent in stream if sent.topic == "wearable.observations"]
    assert day.at == utc(2021, 5, 25)
    [body] = bodies([day])
    assert body["period"] == {"start": utc(2021, 5, 24), "end": utc(2021, 5, 25)}
    assert body["value"] == 62.1
    [profile] = bodies(stream, "patient.profiles")
    assert (profile["sex"], profile["subgroups"]) == ("female", {"age": "<30"})
    assert "time_zone" not in profile
    assert not judge(stream).refused


def test_zeros_that_mean_missing_are_absent_and_others_are_not(tmp_path: Path) -> None:
    row = {"date": "2021-05-24", "nremhr": 0.0, "rmssd": "0.0", "full_sleep_breathing_rate": 0, "steps": 0}
    stream = list(lifesnaps.events(fitbit(tmp_path, row), "a"))
    found = {body["code"]: body.get("value") for body in bodies(stream, "wearable.observations")}
    assert found == {"sleeping_heart_rate": None, "rmssd": None, "breathing_rate": None, "41950-7": 0.0}
    assert not judge(stream).refused


def test_literals_and_units(tmp_path: Path) -> None:
    row = {
        "date": "2021-05-24",
        "activityType": "['Walk', 'Run']",
        "HAPPY": "1.0",
        "SAD": "0.0",
        "HOME": 1,
        "sleep_duration": "31260000.0",
    }
    stream = list(lifesnaps.events(fitbit(tmp_path, row), "a"))
    said = [(body["code"], body["value"]) for body in bodies(stream, "clinical.events")]
    assert said == [("activity", "Walk"), ("activity", "Run"), ("mood", "HAPPY"), ("whereabouts", "HOME")]
    [bed] = bodies(stream, code="time_in_bed_minutes")
    assert (bed["value"], bed["unit"]) == (31260000.0, "ms")
    assert not judge(stream).refused


def test_rubbish_of_a_day(tmp_path: Path) -> None:
    rows = [
        {"date": "2021-05-24", "steps": "many", "bpm": 600, "activityType": "['Walk'"},
        {"date": "yesterday", "steps": 5},
        {"date": "2021-05-26", "steps": 6},
    ]
    judged = judge(lifesnaps.events(fitbit(tmp_path, *rows), "a"))
    assert judged.refused == {"wrong_type": 1, "out_of_range": 1, "time_format": 1}
    assert judged.accepted["wearable.observations"] == 1
    assert judged.accepted["clinical.events"] == 1


def user(path: Path, **about: object) -> Path:
    table(
        path / "data" / "participants.csv",
        {"user_code": "u", "gender": "f", "age_range": "25-34", "city": "Oslo", "country": "Norway", **about},
    )
    return path


def test_hrv_at_once_with_the_units_of_the_file(tmp_path: Path) -> None:
    user(tmp_path, height="170.1", weight="70")
    row = {
        "user_code": "u",
        "rr_code": "r",
        "measurement_datetime": "2020-04-21 21:23:08",
        "bpm": 75,
        "rmssd": 54.2,
        "mode": 0.775,
    }
    table(tmp_path / "data" / "hrv_measurements.csv", {**row, "how_feel": -1, "tags": "Sleep; Meal", "rr_data": "819,1008"})
    stream = list(welltory.events(tmp_path, "u"))
    at = utc(2020, 4, 21, 21, 23, 8)
    assert {sent.at for sent in stream} == {at}
    assert [body["value"] for body in bodies(stream, code="tag")] == ["Sleep", "Meal"]
    [mode] = bodies(stream, code="rr_mode")
    assert (mode["value"], mode["unit"]) == (0.775, "s")
    assert bodies(stream, code="feeling")[0]["value"] == -1.0
    assert bodies(stream, code="8302-2")[0]["value"] == 170.1
    assert bodies(stream, "patient.profiles")[0]["place"] == "Oslo, Norway"
    assert not judge(stream).refused


def test_days_sleep_pressure_weather_and_surveys(tmp_path: Path) -> None:
    user(tmp_path)
    data = tmp_path / "data"
    table(data / "wearables.csv", {"user_code": "u", "day": "2020-04-26", "average_spo2_value": 0.97, "pulse_min": 10})
    table(
        data / "sleep.csv",
        {
            "user_code": "u",
            "day": "2020-04-26",
            "sleep_begin": "2020-04-26 23:00:00",
            "sleep_end": "2020-04-27 06:00:00",
            "sleep_duration": 25200,
        },
    )
    table(
        data / "blood_pressure.csv",
        {"user_code": "u", "measurement_datetime": "2020-04-26  22:33:33", "systolic": 150, "diastolic": 100},
    )
    table(data / "weather.csv", {"user_code": "u", "day": "2020-04-26", "avg_temperature_C": -1.2, "atmospheric_pressure": 1016})
    table(data / "surveys.csv", {"user_code": "u", "scale": "S_CORONA", "created_at": "2020-04-26", "value": 2, "text": "yes"})
    stream = list(welltory.events(tmp_path, "u"))
    assert [sent.at for sent in stream if b"systolic" in sent.value] == [utc(2020, 4, 26, 22, 33, 33)]
    assert [sent.at for sent in stream if b"93832-4" in sent.value] == [utc(2020, 4, 27, 6)]
    assert {sent.at for sent in stream if b"S_CORONA" in sent.value or b"41950" in sent.value} == {utc(2020, 4, 27)}
    air = [sent for sent in stream if sent.topic == "environment.observations"]
    assert {(sent.key, sent.at) for sent in air} == {(b"Oslo, Norway", utc(2020, 4, 27))}
    judged = judge(stream)
    assert judged.refused == {"out_of_range": 1}, "a lowest pulse of 10"
    assert "10" in judged.details[0]


def test_onsets_are_outcomes_and_impossible_ones_go_with_what_there_is(tmp_path: Path) -> None:
    told = {}
    for written in ("5/15/2020", "1/30/1967", "4/21/2022", "soon"):
        path = user(tmp_path / written.replace("/", "-"), symptoms_onset=written)
        days = [{"user_code": "u", "day": f"2020-05-{day}", "steps_count": 5000} for day in (10, 30)]
        table(path / "data" / "wearables.csv", *days)
        stream = list(welltory.events(path, "u"))
        [outcome] = [sent for sent in stream if sent.topic == "patient.outcomes"]
        assert bodies([outcome])[0]["kind"] == "illness"
        told[written] = (outcome.at, judge(stream).refused)
    assert told == {
        "5/15/2020": (utc(2020, 5, 16), {}),
        "1/30/1967": (utc(2020, 5, 11), {}),
        "4/21/2022": (utc(2020, 5, 31), {"time_in_future": 1}),
        "soon": (utc(2020, 5, 31), {"time_format": 1}),
    }


def test_who_has_no_record_is_not_played(tmp_path: Path) -> None:
    assert welltory.people(user(tmp_path)) == []


def air(path: Path, *rows: str) -> Path:
    header = "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir"
    (path / "PRSA_data_2010.csv").write_text("\n".join([header, *rows]) + "\n")
    return path


def test_air_of_a_place(tmp_path: Path) -> None:
    stream = list(
        beijing_pm25.events(
            air(tmp_path, "1,2010,1,1,0,NA,-21,-11,1021,NW,1.79,0,0", "2,2010,1,1,1,129,-21,-12,1020,NW,4.92,0,0")
        )
    )
    missing, measured = bodies(stream, code="pm25")
    assert missing["absent_reason"] == "unknown"
    assert "value" not in missing
    assert (measured["value"], measured["measured_at"]) == (129.0, utc(2010, 1, 1) - 8 * HOUR + HOUR)
    assert {sent.key for sent in stream} == {b"beijing"}
    assert {sent.topic for sent in stream} == {"environment.observations"}
    assert not judge(stream).refused


def test_rubbish_of_the_air(tmp_path: Path) -> None:
    rows = ("1,2010,13,1,0,5,0,0,1021,NW,0,0,0", "2,2010,1,1,1,-7,99,x,1020,NW,0,0,0", "3")
    judged = judge(beijing_pm25.events(air(tmp_path, *rows)))
    assert judged.refused == {"time_format": 14, "out_of_range": 2, "wrong_type": 1}


def test_whole_weeks_for_the_daily_ones(tmp_path: Path) -> None:
    fitbit(tmp_path, {"date": "2021-05-24", "steps": 5})
    recording = Recording(lifesnaps.DATASET, tmp_path, now=utc(2026, 11, 24, 4))
    [day] = [sent for sent in recording if sent.topic == "wearable.observations"]
    assert utc(2026, 11, 24, 4) - 7 * DAY < day.at <= utc(2026, 11, 24, 4)
    assert (day.at - utc(2021, 5, 25)) % (7 * DAY) == 0
