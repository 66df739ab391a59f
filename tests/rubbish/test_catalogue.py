"""Every kind of the catalogue, through the real ingest and, where it takes memory, the lane: one dead letter, the right reason,
the bytes as they came."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import pytest

from benchmarks.rubbish import good
from benchmarks.rubbish.catalogue import KINDS, WAYS
from benchmarks.rubbish.fields import MESSAGES
from benchmarks.rubbish.good import Case, Record, keyed, setting
from benchmarks.rubbish.kinds import Kind
from stream_twin import signals, topics
from stream_twin.events import Output, Tick
from stream_twin.ingest import REASONS, Ingest
from stream_twin.lane import Lane

NOW = 1_772_352_000.25
CATALOGUE = signals.load()
INGEST = Ingest(CATALOGUE)
HELD_S = 120.0


class Read(NamedTuple):
    """A record as a lane's owner reads it from a source or from the log."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = round(NOW * 1000)


class Service:
    """Ingest and one lane, with a clock that stands at NOW until :meth:`later`."""

    def __init__(self) -> None:
        self.lane, self._offset, self._sent = Lane(0, CATALOGUE), 0, 0
        self._apply(b"", msgspec.json.encode(Tick(clock=NOW, complete_to=NOW)))

    def send(self, record: Record) -> list[Output]:
        """Dead letters."""
        done = INGEST.run(record.topic, 0, [Read(self._sent, record.key, record.value)], NOW)
        self._sent += 1
        letters = list(done.rejected)
        for key, value in done.inputs:
            letters += self._apply(key, value)
        return letters

    def later(self) -> list[Output]:
        """Dead letters of what was held in vain."""
        return self._apply(b"", msgspec.json.encode(Tick(clock=NOW + HELD_S, complete_to=NOW + HELD_S)))

    def _apply(self, key: bytes, value: bytes) -> list[Output]:
        outputs = self.lane.apply([Read(self._offset, key, value)]).outputs
        self._offset += 1
        return [output for _, output in outputs if output.topic == "dead.letters"]


def letters_of(records: Iterable[Record]) -> list[Output]:
    service = Service()
    letters = [letter for record in (*setting(Case(0, NOW)), *records) for letter in service.send(record)]
    return letters + service.later()


def test_kinds_are_distinct_and_many_and_on_every_topic() -> None:
    assert [name for name, count in Counter(kind.name for kind in KINDS).items() if count > 1] == []
    assert len(WAYS) >= 300
    assert {kind.topic for kind in KINDS} == {topic.name for topic in topics.SOURCES}
    assert {kind.reason for kind in KINDS if kind.stage == "ingest"} == REASONS
    for topic in topics.SOURCES:
        assert sum(kind.topic == topic.name for kind in KINDS) >= 150


def test_bytes_differ_from_kind_to_kind() -> None:
    """Two kinds that send the same bytes to the same topic would be one kind."""
    names: dict[tuple[Record, ...], list[str]] = {}
    for kind in KINDS:
        names.setdefault(tuple(kind.make(Case(7, NOW))), []).append(kind.name)
    assert [same for same in names.values() if len(same) > 1] == []


@pytest.mark.parametrize(("topic", "called", "_", "make"), MESSAGES, ids=[f"{m[0]}-{m[1]}" for m in MESSAGES])
def test_what_bad_ones_are_made_from_is_good(topic: str, called: str, _: object, make: object) -> None:
    bodies = make(Case(7, NOW))  # type: ignore[operator]  # a kind of the catalogue
    wanted = {"command": ["unknown_alert"], "rebuilt": ["rebuild_refused"]}.get(called, [])
    assert [dict(letter.headers)["reason"].decode() for letter in letters_of([keyed(topic, bodies)])] == wanted, called


@pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
def test_ends_as_one_dead_letter_with_its_reason(kind: Kind) -> None:
    records = kind.make(Case(7, NOW))
    letters = letters_of(records)
    assert [dict(letter.headers)["reason"].decode() for letter in letters] == [kind.reason]
    (letter,), bad, headers = letters, records[-1], dict(letters[0].headers)
    assert headers["stage"].decode() == kind.stage
    assert headers["topic"].decode() == kind.topic
    assert headers["detail"].decode().isprintable()
    assert len(headers["detail"]) <= 800
    assert letter.key == (bad.key or b"")
    assert letter.value == (bad.value or b"")


def test_all_of_them_in_a_row_leave_good_neighbours_alone() -> None:
    """And the same reasons come whatever came before."""
    service = Service()
    for record in setting(Case(0, NOW)):
        assert service.send(record) == []
    found, wanted = Counter[str](), Counter[str]()
    for number, kind in enumerate(KINDS):
        case = Case(number + 1, NOW)
        for record in (
            *kind.make(case),
            keyed(good.WEARABLE, good.observation(case, id=f"good/{number}", measured_at=NOW - 100 + number / 100)),
        ):
            found.update(dict(letter.headers)["reason"].decode() for letter in service.send(record))
        wanted[kind.reason] += 1
    found.update(dict(letter.headers)["reason"].decode() for letter in service.later())
    assert found == wanted
    assert service.lane.fates()["applied"] > len(KINDS)
