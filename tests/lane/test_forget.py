"""Who was refused as unknown is forgotten, and each input still counts once, whatever of it was written before a crash."""

from collections import deque
from itertools import count

import msgspec
from hypothesis import event, given, settings
from hypothesis import strategies as st

from stream_twin import events
from stream_twin.audit import Audit
from stream_twin.lane import Lane, LaneSettings
from tests.lane.log import CATALOGUE, T0, Log, Record, dead_letters, encode
from tests.memory_service import Record as Committed

HOLD_S = 20.0
TICK_S = 10.0
TOPICS = ("twin.state", "alerts", "learning.examples", "dead.letters")
PEOPLE = ["a", "b", "c"]


class Owner:
    """A lane and what is committed of it: transactions, checkpoints in slices, crashes, all when they are asked for."""

    def __init__(self) -> None:
        self.log = Log()
        self.at, self.known, self.numbers = T0, set[str](), count()
        self.topics: dict[str, list[Committed]] = {
            topic: [] for topic in ("twin.state", "alerts", "learning.examples", "dead.letters")
        }
        self.stored: dict[bytes, bytes | None] = {}
        self.emitted = 0
        self.crash()
        first = self.lane.configuration(LaneSettings(hold_unknown_s=HOLD_S))
        self.log.put(b"", first)
        self.tick()

    def crash(self) -> None:
        snapshots = ((key[1:], value) for key, value in self.stored.items() if key[:1] == b"p" and value is not None)
        self.lane = Lane.restore(0, CATALOGUE, self.stored.get(b"lcheckpoint"), snapshots)
        self.ready_at = len(self.log.records)
        self.outputs, self.alerted = [], dict[bytes, None]()
        self.slices: deque[bytes] | None = None

    # ------------------------------------------------------------------------------------------------ what comes

    def sample(self, person: str, signal: str, value: float) -> None:
        self.log.sample(person, signal, self.at, value, number=f"n{next(self.numbers)}")

    def enrol(self, person: str) -> None:
        self.log.profile(person, version=next(self.numbers) + 1)

    def tick(self, seconds: float = TICK_S) -> None:
        self.at += seconds
        self.log.tick(self.at)

    # ------------------------------------------------------------------------------------------ what the owner does

    def forget(self) -> None:
        if self.lane.position >= self.ready_at and (value := self.lane.forgetting()) is not None:
            self.log.put(b"", value)

    def apply(self, records: int) -> None:
        done = self.lane.apply([r for r in self.log.records if r.offset >= self.lane.position][:records])
        self.outputs += [output for offset, output in done.outputs if offset >= self.emitted]
        self.alerted |= dict.fromkeys(done.alerted)

    def commit(self, slices: int = 0, cut: bool = False) -> None:
        for output in self.outputs:
            if output.topic in self.topics:
                self.write(output.topic, output.key, output.value, output.headers)
        for key in self.alerted:
            self.store(b"p" + key, self.lane.snapshot(key))
        if cut and self.slices is None:
            self.slices, self.cut = deque(self.lane.changed()), self.lane.checkpoint()
        if self.slices is not None:
            for _ in range(min(slices, len(self.slices))):
                key = self.slices.popleft()
                self.store(b"p" + key, self.lane.snapshot(key))
            if not self.slices:
                self.slices = None
                self.store(b"lcheckpoint", self.cut)
        self.emitted = max(self.emitted, self.lane.position)
        self.outputs, self.alerted = [], {}

    def turn(self, slices: int, cut: bool) -> None:
        self.tick()
        self.forget()
        self.apply(1000)
        self.commit(slices, cut)

    def store(self, key: bytes, value: bytes | None) -> None:
        self.stored[key] = value
        self.write("twin.state", key, value)

    def write(self, topic: str, key: bytes, value: bytes | None, headers=()) -> None:
        self.topics[topic].append(Committed(len(self.topics[topic]), key, value, headers))

    def alerts(self) -> list[events.AlertChange]:
        return [msgspec.json.decode(record.value or b"", type=events.AlertChange) for record in self.topics["alerts"]]

    def finish(self) -> None:
        """Long enough for everybody to be refused and forgotten, and all of it committed."""
        for _ in range(8):
            self.turn(1000, cut=False)


def plain(records: list[Record]) -> tuple[Lane, list[str]]:
    """The lane that read the log without a fault, and the reasons of its dead letters."""
    lane = Lane(0, CATALOGUE)
    return lane, dead_letters(lane.apply(records).outputs)


def judged(owner: Owner) -> dict[str, bool]:
    """The rows of the audit that speak of a lane."""
    audit = Audit(CATALOGUE, 1, lambda key: 0)
    for topic in TOPICS:
        for record in owner.topics[topic]:
            audit.feed(topic, 0, record)
    for record in owner.log.records:
        audit.feed("twin.inputs", 0, record)
    audit._lanes[0].emitted = owner.emitted
    return {row.name: row.ok for row in audit.report() if row.ok is not None and "source" not in row.name}


STEPS = st.one_of(
    st.tuples(
        st.just("sample"),
        st.sampled_from(PEOPLE),
        st.sampled_from(["heart_rate", "spo2"]),
        st.sampled_from([72.0, 80.0, 97.0]),
    ),
    st.tuples(st.just("enrol"), st.sampled_from(PEOPLE)),
    st.tuples(st.just("tick")),
    st.tuples(st.just("tick"), st.just(3 * TICK_S)),
    st.tuples(st.just("forget")),
    st.tuples(st.just("apply"), st.integers(1, 8)),
    st.tuples(st.just("apply"), st.just(1000)),
    st.tuples(st.just("commit"), st.integers(0, 3), st.booleans()),
    *[st.tuples(st.just("turn"), st.integers(0, 3), st.booleans())] * 3,
    st.tuples(st.just("crash")),
)


@settings(max_examples=400, deadline=None)
@given(steps=st.lists(STEPS, min_size=5, max_size=60))
def test_state_counts_and_letters_are_those_of_a_lane_without_faults(steps):
    owner = Owner()
    for name, *arguments in steps:
        getattr(owner, name)(*arguments)
    owner.finish()
    assert all(judged(owner).values())
    whole, letters = plain(owner.log.records)
    for lane in (owner.lane, whole):
        assert lane.fates() == whole.fates()
        assert lane.fates().total() == len(owner.log.records)
        assert lane.patients.keys() == whole.patients.keys()
    assert len(letters) == len(owner.topics["dead.letters"])
    strangers = [patient for patient in whole.patients.values() if patient.state.profile is None]
    assert not strangers
    alive = {key[1:] for key, value in owner.stored.items() if key[:1] == b"p" and value is not None}
    assert alive <= whole.patients.keys()
    event(f"alerts: {bool(owner.topics['alerts'])}")


def test_a_flood_of_strangers_leaves_nothing_behind():
    owner = Owner()
    for number in range(5000):
        owner.sample(f"nobody{number}", "heart_rate", 70.0)
    owner.tick()
    owner.apply(10_000)
    owner.commit(10_000, cut=True)
    assert len(owner.lane.patients) == 5000
    owner.finish()
    assert not owner.lane.patients
    assert {key for key, value in owner.stored.items() if value is not None} == {b"lcheckpoint"}
    assert owner.lane.fates()["rejected"] == len(owner.topics["dead.letters"]) == 5000
    assert max(len(record.value) for record in owner.log.records) < 200_000


def test_who_comes_back_is_somebody_new():
    owner = Owner()
    owner.sample("a", "heart_rate", 70.0)
    owner.apply(10)
    owner.commit(10, cut=True)
    owner.finish()
    before = owner.lane.fates()
    owner.enrol("a")
    owner.sample("a", "heart_rate", 71.0)
    owner.finish()
    assert list(owner.lane.patients) == [b"a"]
    assert owner.lane.patients[b"a"].state.fates == {"applied": 2}
    assert owner.lane.fates()["rejected"] == before["rejected"] == 1
    owner.crash()
    owner.finish()
    assert all(judged(owner).values())
    assert owner.lane.fates()["rejected"] == 1


def test_what_arrives_while_the_forgetting_is_on_its_way_stays():
    owner = Owner()
    owner.sample("a", "heart_rate", 70.0)
    owner.tick()
    owner.tick(3 * TICK_S)
    owner.apply(10)
    asked = owner.lane.forgetting()
    assert asked is not None
    assert owner.lane.forgetting() is None, "one at a time"
    owner.sample("a", "heart_rate", 71.0)
    owner.log.put(b"", asked)
    owner.apply(10)
    assert owner.lane.patients[b"a"].state.fates == {"held": 1, "rejected": 0}
    owner.enrol("a")
    owner.finish()
    assert owner.lane.patients[b"a"].state.fates["applied"] == 2
    assert owner.lane.fates()["rejected"] == 1
    assert all(judged(owner).values())


def test_a_snapshot_that_is_newer_than_the_forgetting_survives_an_older_checkpoint():
    owner = Owner()
    owner.apply(10)
    owner.commit(10, cut=True)
    for person in ("a", "b"):
        owner.sample(person, "heart_rate", 70.0)
    owner.turn(0, cut=True)
    for _ in range(3):
        owner.turn(0, cut=False)
    assert not owner.lane.patients
    owner.enrol("a")
    owner.sample("a", "heart_rate", 71.0)
    owner.turn(1, cut=False)
    checkpoint = owner.stored[b"lcheckpoint"]
    owner.crash()
    assert list(owner.lane.patients) == [b"a"]
    owner.turn(0, cut=False)
    assert owner.stored[b"lcheckpoint"] == checkpoint
    assert list(owner.lane.patients) == [b"a"]
    owner.finish()
    assert all(judged(owner).values())
    assert owner.lane.fates() == plain(owner.log.records)[0].fates()


def test_what_was_asked_twice_counts_once():
    owner = Owner()
    owner.sample("a", "heart_rate", 70.0)
    owner.tick(3 * TICK_S)
    owner.tick(3 * TICK_S)
    owner.apply(10)
    asked = owner.lane.forgetting()
    owner.crash()
    owner.apply(10)
    for value in (asked, owner.lane.forgetting()):
        owner.log.put(b"", value)
    owner.finish()
    assert owner.lane.fates()["rejected"] == 1
    assert owner.lane.fates()["duplicate"] == 1
    assert all(judged(owner).values())


def test_strangers_of_the_log_before_are_forgotten_too():
    """`topics grow` takes everybody over; what became of their inputs was counted in the log before."""
    before = Owner()
    before.sample("a", "heart_rate", 70.0)
    before.tick(3 * TICK_S)
    before.tick(3 * TICK_S)
    before.apply(10)
    left = before.lane.snapshot(b"a")
    assert left is not None
    owner = Owner()
    owner.log.put(b"a", encode(events.PatientBase(snapshot=left)))
    owner.apply(10)
    assert list(owner.lane.patients) == [b"a"]
    owner.finish()
    assert not owner.lane.patients
    assert owner.lane.fates().total() == len(owner.log.records)
    assert owner.lane.fates()["rejected"] == 0


def test_who_only_sent_a_command_is_forgotten_and_a_refused_command_can_be_put_through_again():
    owner = Owner()
    command = events.AlertCommand(id="c", patient_id="a", by="nurse", at=T0, action="acknowledge", alert_id="x")
    for _ in range(2):
        owner.log.send("alert.commands", command)
    owner.finish()
    assert not owner.lane.patients
    assert owner.lane.fates()["rejected"] == len(owner.topics["dead.letters"]) == 2
    owner.enrol("a")
    owner.turn(0, cut=True)
    for at in range(3):
        owner.sample("a", "spo2", 70.0 + at)
        owner.turn(0, cut=False)
    [*_, alert] = owner.alerts()
    for told in ("x", alert.alert_id):
        owner.log.send("alert.commands", msgspec.structs.replace(command, alert_id=told))
    owner.finish()
    assert owner.lane.fates()["rejected"] == 3
    assert "acknowledged" in [change.state for change in owner.alerts()]
    assert all(judged(owner).values())
