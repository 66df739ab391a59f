"""What holds for every recording, on a small set of its own."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.datasets.published import DATASETS
from stream_twin.datasets.recording import WEEK, DataSet, Names, Recording, Sent, by_hour, carried, number, positive

MONDAY = datetime(2024, 1, 8, 7, 30, tzinfo=UTC).timestamp()


def made(times: dict[str, list[float]], **more: Any) -> DataSet:
    def events(path: Path, person: str, shift_s: float) -> Iterator[Sent]:
        return (Sent(at + shift_s, "clinical.events", person.encode(), b"%f" % at) for at in times[person])

    return DataSet("made", "Made", lambda path: list(times), events, **more)


@given(st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=20), min_size=1, max_size=6), st.floats(0, 500))
def test_merged_in_order_without_loss(times: list[list[float]], every_s: float) -> None:
    people = {f"p{place}": sorted(one) for place, one in enumerate(times)}
    recording = Recording(made(people, every_s=every_s), Path())
    played = list(recording)
    assert [sent.at for sent in played] == sorted(sent.at for sent in played)
    assert len(played) == recording.count == sum(map(len, times))
    assert (played[0].at, played[-1].at) == (recording.first, recording.last)
    for person, expected in people.items():
        assert [float(sent.value) for sent in played if sent.key == person.encode()] == pytest.approx(expected, abs=1e-6)


@given(st.floats(MONDAY, 4e9))
def test_shifted_by_whole_weeks_to_just_before_now(now: float) -> None:
    recording = Recording(made({"a": [MONDAY, MONDAY + 1000], "b": [MONDAY - 5000]}), Path(), now=now)
    assert now - WEEK < recording.last <= now
    shifts = {round((sent.at - float(sent.value)) / WEEK, 6) for sent in recording}
    assert len(shifts) == 1
    assert shifts.pop().is_integer()


def test_where_everybody_has_a_calendar_each_is_shifted_alone() -> None:
    recording = Recording(made({"a": [MONDAY], "b": [MONDAY + 200 * WEEK]}, calendar="own"), Path(), now=MONDAY + 300 * WEEK + 5)
    assert [sent.at for sent in recording] == [MONDAY + 300 * WEEK] * 2


def test_as_recorded_and_limited() -> None:
    recording = Recording(made({"a": [3.0], "b": [1.0], "c": [2.0]}), Path(), limit=2)
    assert [sent.at for sent in recording] == [1.0, 3.0]
    assert recording.people == ["a", "b"]


def test_plays_again_and_the_same() -> None:
    recording = Recording(made({"a": [1.0, 2.0], "b": [1.5]}), Path(), now=1e9)
    assert list(recording) == list(recording)


def test_only_who_is_being_recorded_is_open() -> None:
    open_now, most = 0, 0

    def events(path: Path, person: str, shift_s: float) -> Iterator[Sent]:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        yield Sent(shift_s, "clinical.events", b"p", b"")
        yield Sent(shift_s + 10, "clinical.events", b"p", b"")
        open_now -= 1

    dataset = DataSet("made", "Made", lambda path: [str(place) for place in range(100)], events, every_s=100.0)
    assert len(list(Recording(dataset, Path()))) == 200
    assert most == 1


def test_nobody_is_said() -> None:
    with pytest.raises(FileNotFoundError, match="nobody is recorded"):
        Recording(made({}), Path("there"))


@pytest.mark.parametrize("name", DATASETS)
def test_another_directory_is_refused_with_what_is_missing(name: str, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        DATASETS[name].people(tmp_path)


def test_cells() -> None:
    assert [number(cell) for cell in ("7.5", " 8 ", "", None, "NaN", "inf", "1e999", "n/a")] == [
        7.5, 8.0, None, None, None, "inf", "1e999", "n/a",
    ]  # fmt: skip
    assert [positive(cell) for cell in ("0", "0.0", "61", "")] == [None, None, 61.0, None]


def test_a_row_without_a_time_goes_with_the_one_before() -> None:
    assert carried([None, 5.0, None, 7.0], 0.0) == [5.0, 5.0, 5.0, 7.0]
    assert carried([None], 3.0) == [3.0]


def test_hours() -> None:
    assert by_hour([(3600.0, "b"), (3599.0, "a"), (7199.0, "c")]) == [
        (3600.0, [(3599.0, "a")]),
        (7200.0, [(3600.0, "b"), (7199.0, "c")]),
    ]


def test_a_repeated_row_has_the_same_name_and_another_one_a_new_name() -> None:
    names = Names()
    assert [names("n", row) for row in ("7.5", "8", "7.5", "8")] == ["n", "n-2", "n", "n-2"]


def test_weeks_keep_the_wall_clock_of_zones_without_daylight_saving() -> None:
    shanghai = ZoneInfo("Asia/Shanghai")
    recording = Recording(made({"a": [MONDAY]}), Path(), now=MONDAY + 1000 * WEEK + 77)
    before, after = (datetime.fromtimestamp(at, shanghai) for at in (MONDAY, next(iter(recording)).at))
    assert (before.weekday(), before.time()) == (after.weekday(), after.time())
