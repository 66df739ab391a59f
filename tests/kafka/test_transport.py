"""Sharing lanes, and taking in what was read."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_twin.kafka.intake import Intake
from stream_twin.kafka.transport import Batch, share_lanes

LANES = st.integers(1, 40)


@given(LANES, st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.sets(st.integers(0, 50)), min_size=1, max_size=6))
def test_every_lane_has_one_owner_and_shares_are_even(lanes: int, held: dict[str, set[int]]) -> None:
    owned = share_lanes(set(range(lanes)), held)
    assert sorted(lane for mine in owned.values() for lane in mine) == list(range(lanes))
    sizes = [len(mine) for mine in owned.values()]
    assert max(sizes) - min(sizes) <= 1


@given(LANES, st.integers(1, 5))
def test_who_stays_keeps_its_lanes_when_another_comes_or_goes(lanes: int, members: int) -> None:
    before = share_lanes(set(range(lanes)), {f"w{number}": () for number in range(members)})
    joined = share_lanes(set(range(lanes)), {**before, "new": ()})
    for name, mine in before.items():
        assert set(joined[name]) <= set(mine)
    left = share_lanes(set(range(lanes)), {name: mine for name, mine in joined.items() if name != "new"})
    for name, mine in left.items():
        assert set(joined[name]) <= set(mine)


@dataclass
class Stub:
    offset: int


def batch(start: int, end: int, *offsets: int) -> Batch:
    return Batch(start, end, [Stub(offset) for offset in offsets])


def intake(limit: int = 100) -> tuple[Intake, list[str]]:
    told: list[str] = []
    return Intake(
        {"a": 5}, limit, lambda topic: told.append(f"pause {topic}"), lambda topic: told.append(f"resume {topic}")
    ), told


def test_positions_move_over_what_is_no_record() -> None:
    box, _ = intake()
    assert box.position("a") == 5
    assert box.offer("a", batch(5, 9, 6, 7))
    assert box.position("a") == 6
    assert [record.offset for record in box.take("a", 10)] == [6, 7]
    assert box.position("a") == 9
    assert box.offer("a", batch(9, 11))  # a transaction's marker
    assert box.positions() == {"a": 11}


def test_what_was_taken_in_already_is_passed_over_and_a_gap_is_refused() -> None:
    box, _ = intake()
    assert box.offer("a", batch(5, 8, 5, 6, 7))
    assert box.offer("a", batch(5, 8, 5, 6, 7))
    assert box.offer("a", batch(6, 10, 6, 7, 8, 9))
    assert not box.offer("a", batch(12, 13, 12))
    assert [record.offset for record in box.take("a", 10)] == [5, 6, 7, 8, 9]
    assert box.ends == {"a": 10}


@pytest.mark.parametrize("below", [None, 12])
def test_reading_pauses_when_a_queue_is_full_and_resumes_when_it_is_half_empty(below: int | None) -> None:
    box, told = intake(limit=4)
    box.offer("a", batch(5, 10, 5, 6, 7, 8, 9))
    assert told == ["pause a"]
    box.take("a", 2, below)
    assert told == ["pause a"]
    box.take("a", 2, below)
    assert told == ["pause a", "resume a"]
