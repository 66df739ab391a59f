from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_twin.datasets import t1d
from stream_twin.datasets.recording import DAY, HOUR, WEEK
from tests.datasets.judged import bodies, judge

BOM = "\ufeff"
ACTIVITY = (
    "activity_ts,activity_type,active_Kcal,step_count,distance_m,duration_s,active_time_s,"
    "start_time_s,start_time_offset_s,met,intensity"
)
NIGHT = (
    "calendar_date,duration_in_sec,start_date_ts,start_time_offset_s,unmeasurable_sleep_s,"
    "deep_sleep_s,light_sleep_s,rem_sleep_s,awake_s"
)


def utc(*when: int) -> float:
    return datetime(*when, tzinfo=UTC).timestamp()


def write(path: Path, name: str, *lines: str) -> Path:
    file = path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")
    return path


def glucose(path: Path, *rows: str) -> Path:
    return write(path, "Glucose Data/UoMGlucose9.csv", BOM + "bg_ts,value", *rows)


def activity(path: Path, *rows: tuple[float, int, int]) -> Path:
    """(start in UTC, offset, steps) of a quarter of an hour each."""
    lines = [f"x,WALKING,5,{steps},10.5,900,300,{start:.0f},{offset},2.5,ACTIVE" for start, offset, steps in rows]
    return write(path, "Activity Data/UoMActivity9.csv", ACTIVITY, *lines)


def test_readings_at_once_in_their_unit_by_day_and_month(tmp_path: Path) -> None:
    stream = list(t1d.events(glucose(tmp_path, "02/01/2024 10:04,7.5", "02/01/2024 10:09,8"), "9"))
    first, second = bodies(stream, "wearable.observations")
    assert (first["value"], first["unit"], first["measured_at"]) == (7.5, "mmol/L", utc(2024, 1, 2, 10, 4))
    assert second["id"] == "cgm-9-2024-01-02T10:09"
    assert [sent.at for sent in stream if sent.topic == "wearable.observations"] == [first["measured_at"], second["measured_at"]]
    assert not judge(stream).refused


def test_repeated_readings(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 10:04,7.5", "02/01/2024 10:04,7.5", "02/01/2024 10:04,7.9")
    assert [body["id"] for body in bodies(t1d.events(tmp_path, "9"), "wearable.observations")] == [
        "cgm-9-2024-01-02T10:04", "cgm-9-2024-01-02T10:04", "cgm-9-2024-01-02T10:04-2",
    ]  # fmt: skip


def test_cells_that_mean_nothing_are_sent_and_refused(tmp_path: Path) -> None:
    glucose(
        tmp_path,
        "02/01/2024 10:04,7.5",
        "02/01/2024 10:09,0.1",
        "02/01/2024 10:14,LOW",
        "13/13/2024 10:19,7",
        "02/01/2024 10:24,",
    )
    judged = judge(t1d.events(tmp_path, "9"))
    assert judged.refused == {"out_of_range": 1, "wrong_type": 1, "time_format": 1}
    assert judged.accepted["wearable.observations"] == 2, "the empty cell is an absent value"


def test_how_often_the_sensor_speaks(tmp_path: Path) -> None:
    glucose(tmp_path, *(f"02/01/2024 {10 + place // 4}:{place % 4 * 15:02d},7" for place in range(12)))
    [assignments] = bodies(t1d.events(tmp_path, "9"), "device.assignments")
    assert assignments["devices"][0]["every_s"] == 900
    glucose(tmp_path, *(f"02/01/2024 10:{place * 5:02d},7" for place in range(12)))
    [assignments] = bodies(t1d.events(tmp_path, "9"), "device.assignments")
    assert assignments["devices"][0]["every_s"] == 300


def test_wall_time_becomes_an_instant_by_the_watch(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7", "02/01/2024 20:00,8")
    activity(tmp_path, (utc(2024, 1, 2, 4), 8 * 3600, 100))
    stream = list(t1d.events(tmp_path, "9"))
    assert [body["measured_at"] for body in bodies(stream, code="99504-3")] == [utc(2024, 1, 2, 0), utc(2024, 1, 2, 12)]
    assert bodies(stream, "patient.profiles")[0]["time_zone"] == "Etc/GMT-8"


def test_daylight_saving_is_a_new_profile_and_no_reading_goes_back(tmp_path: Path) -> None:
    change = utc(2023, 10, 29, 1)
    activity(tmp_path, *((change + place * 900, 3600 if place < 0 else 0, 10) for place in range(-96, 96)))
    glucose(tmp_path, "28/10/2023 12:00,7", "29/10/2023 00:59,7", "29/10/2023 01:30,7", "29/10/2023 12:00,7")
    stream = list(t1d.events(tmp_path, "9"))
    times = [body["measured_at"] for body in bodies(stream, code="99504-3")]
    assert times == sorted(times)
    assert (times[0], times[-1]) == (utc(2023, 10, 28, 11), utc(2023, 10, 29, 12))
    summer, winter = bodies(stream, "patient.profiles")
    assert (summer["time_zone"], winter["time_zone"], winter["valid_from"], winter["version"]) == (
        "Etc/GMT-1",
        "Etc/UTC",
        change,
        2,
    )


def test_of_two_devices_at_once_the_one_in_force_stays(tmp_path: Path) -> None:
    start = utc(2024, 1, 2)
    activity(tmp_path, *((start + place * 900, offset, 1) for place in range(400) for offset in (0, -18000)))
    glucose(tmp_path, "02/01/2024 00:05,7")
    assert t1d.WallClock(t1d._Subject(tmp_path, "9", 0.0).activity, start).offsets == [0.0]


def test_travel_settles_after_hours(tmp_path: Path) -> None:
    start = utc(2024, 1, 2)
    rows = [(start + place * 900, 0 if place < 40 else -18000, 1) for place in range(200)]
    activity(tmp_path, *rows)
    glucose(tmp_path, "02/01/2024 00:05,7")
    wall = t1d.WallClock(t1d._Subject(tmp_path, "9", 0.0).activity, start)
    assert wall.offsets == [0.0, -18000.0]
    assert rows[40][0] < wall.starts[1] <= rows[40][0] + t1d.SETTLE


@pytest.mark.parametrize(
    ("offset", "name"), [(0, "Etc/UTC"), (3600, "Etc/GMT-1"), (-28800, "Etc/GMT+8"), (19800, None), (1e6, None)]
)
def test_names_of_zones(offset: float, name: str | None) -> None:
    assert t1d.zone(offset) == name


def test_insulin_by_kind(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    write(
        tmp_path,
        "Insulin Data/Bolus Data/UoMBolus9.csv",
        BOM + "bolus_ts,bolus_dose",
        "02/01/2024 09:00,4.5",
        "02/01/2024 09:30,",
    )
    basal = ("02/01/2024 00:00,0.9,R,,", "02/01/2024 22:00,23,L,,", "02/01/2024 23:00,5,Q,,")
    write(tmp_path, "Insulin Data/Basal Data/UoMBasal9.csv", BOM + "basal_ts,basal_dose,insulin_kind,,", *basal)
    stream = list(t1d.events(tmp_path, "9"))
    pump, bolus, empty, long, unknown = bodies(stream, "clinical.events")
    assert (pump["kind"], pump["rate_units_per_h"], pump["at"]) == ("basal_rate", 0.9, utc(2024, 1, 2))
    assert (bolus["kind"], bolus["dose_units"]) == ("rapid", 4.5)
    assert (long["kind"], long["dose_units"]) == ("long", 23.0)
    assert "dose_units" not in empty
    assert unknown["kind"] == "Q"
    assert judge(stream).refused == {"missing_field": 1, "invalid_value": 1}


def test_a_diary_with_wrong_years_is_sent_when_it_was_written(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    meals = [f"{day:02d}/01/2024 12:00,Lunch,Soup,30,,,," for day in range(2, 12)]
    meals[3] = "05/01/2204 12:00,Lunch,Soup,30,,,,"
    meals[5] = "07/01/2023 12:00,Lunch,Soup,30,,,,"
    meals[7] = "09/01/2024,Lunch,Soup,30,,,,"
    write(tmp_path, "Nutrition Data/UoMNutrition9.csv", BOM + "meal_ts,meal_type,meal_tag,carbs_g,prot_g,fat_g,fibre_g", *meals)
    stream = list(t1d.events(tmp_path, "9"))
    sent = [one.at for one in stream if one.topic == "clinical.events"]
    assert len(sent) == 10
    assert max(sent) - min(sent) == 9 * DAY
    assert judge(stream).refused == {"time_in_future": 1, "time_format": 1}


def test_the_watch_syncs_by_the_hour_and_zero_is_no_reading(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    rows = ["02/01/2024 10:00,9,61,0,29,0,0", "02/01/2024 10:05,9,0,0,-1,0,52", "02/01/2024 11:00,0,70,0,-2,0,0"]
    header = "sleep_ts,step_count,heart_rate,current_activity_type_intensity,stress_level_value,sleep_level,resting_heart_rate"
    write(tmp_path, "Sleep Data/UoMsleep9.csv", header, *rows)
    stream = list(t1d.events(tmp_path, "9"))
    pulse, later = bodies(stream, type="series", code="8867-4")
    assert pulse["values"] == [61.0, None]
    assert pulse["measured_at"] == [utc(2024, 1, 2, 10), utc(2024, 1, 2, 10, 5)]
    assert later["values"] == [70.0]
    assert [body["values"] for body in bodies(stream, type="series", code="stress")] == [[29.0, None], [None]]
    [resting] = [sent for sent in stream if b"40443-4" in sent.value]
    assert resting.at == utc(2024, 1, 3), "a daily summary is known at the end of its day"
    for sent in stream:
        if b'"series"' in sent.value:
            [body] = bodies([sent])
            assert max(body["measured_at"]) <= sent.at < min(body["measured_at"]) + HOUR + 1
    assert not judge(stream).refused


def test_movement_counts_a_repeated_row_once_and_adds_its_parts(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    start = utc(2024, 1, 2, 9)
    activity(tmp_path, (start, 0, 100), (start, 0, 100), (start, 0, 20), (start + 900, 0, 7))
    stream = list(t1d.events(tmp_path, "9"))
    [steps] = bodies(stream, type="series", code="55423-8")
    assert steps["values"] == [120.0, 7.0]
    assert steps["measured_at"] == [start + 900, start + 1800], "a sum is of the end of its quarter of an hour"
    walks = bodies(stream, "clinical.events", kind="walking")
    assert len(walks) == 4
    assert (walks[0]["at"], walks[0]["until"], walks[0]["intensity"]) == (start, start + 900, 2.5)


def test_a_night_is_known_after_waking_and_may_be_corrected(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    stages = '"[{""startTimeInSeconds"":%d,""endTimeInSeconds"":%d}]"'
    begin = utc(2024, 1, 2, 22, 10)
    night = "03/01/2024,28800,02/01/2024 22:10,0,0,3600,{light},7200,60"
    header = NIGHT + ",sleep_levels_map.deep,sleep_levels_map_light"
    write(
        tmp_path,
        "Sleep Data/UoM9sleeptime.csv",
        header,
        night.format(light=14400) + "," + stages % (begin, begin + 3600) + ",rubbish",
        night.format(light=15000) + "," + stages % (begin, begin + 3600) + ",",
    )
    stream = list(t1d.events(tmp_path, "9"))
    told = utc(2024, 1, 3, 7)
    assert {sent.at for sent in stream if b"sleep" in sent.value} == {told}
    asleep = bodies(stream, code="93832-4")
    assert [(body["value"], body.get("version", 1)) for body in asleep] == [(25200.0, 1), (25800.0, 2)]
    assert len({body["id"] for body in asleep}) == 1
    [deep, again] = bodies(stream, kind="sleep_deep")
    assert (deep["at"], deep["until"], deep["id"]) == (begin, begin + 3600, again["id"])
    assert judge(stream).refused == {"time_format": 1}


def test_shift_moves_every_time_and_no_id(tmp_path: Path) -> None:
    glucose(tmp_path, "02/01/2024 08:00,7")
    activity(tmp_path, (utc(2024, 1, 2, 9), 0, 100))
    plain, shifted = (list(t1d.events(tmp_path, "9", shift)) for shift in (0.0, WEEK))
    assert [sent.at + WEEK for sent in plain] == [sent.at for sent in shifted]
    for before, after in zip(bodies(plain), bodies(shifted), strict=True):
        assert before.get("id") == after.get("id")
        for field in ("measured_at", "at", "until", "valid_from"):
            if isinstance(before.get(field), float):
                assert after[field] == before[field] + WEEK


def test_nothing_depends_on_later_rows(tmp_path: Path) -> None:
    readings = [f"{1 + place // 24:02d}/01/2024 {place % 24:02d}:00,7" for place in range(240)]
    (tmp_path / "whole").mkdir()
    (tmp_path / "part").mkdir()
    moves = [(utc(2024, 1, 1) + place * 900, 0 if place < 500 else -18000, 1) for place in range(960)]
    whole = t1d.events(activity(glucose(tmp_path / "whole", *readings), *moves), "9")
    part = list(t1d.events(activity(glucose(tmp_path / "part", *readings[:200]), *moves[:800]), "9"))
    last = moves[799][0]
    assert [sent for sent in part if sent.at < last - HOUR] == [sent for sent in whole if sent.at < last - HOUR]
