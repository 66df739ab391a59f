"""Whatever people and bodies do, in whatever order: nothing high is hidden, nothing is lost, and a replay says the same."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_twin.alerts.desk import AlertBook, Desk, Rejection
from stream_twin.alerts.handling import LONGEST_HIGH_SNOOZE_S, STANDARD
from stream_twin.alerts.rule import Case, Parameters, Rule, Verdict
from stream_twin.alerts.rules.limits import Limits
from stream_twin.events import AlertChange, AlertCommand, Profile
from stream_twin.signals import load
from stream_twin.twin.belief import Belief, DeviceBelief, SignalBelief

START = 1_772_150_400.0
SPO2 = load()["spo2"]
HOLD_S, HIGH_BELOW = Limits.defaults.hold_s, 85.0
DESK = Desk()

readings = st.tuples(st.just("reads"), st.sampled_from([97.0, 90.0, 89.0, 87.0, 84.0, 83.0, 76.0, 60.0]), st.booleans())
ticks = st.tuples(st.just("ticks"), st.sampled_from([0.0, 1.0, 300.0]))
commands = st.tuples(
    st.just("commands"),
    st.sampled_from(["acknowledge", "snooze", "resolve", "comment"]),
    st.sampled_from([None, -5.0, 60.0, 1000.0, 7200.0]),
    st.sampled_from([0.0, 30.0, 400.0]),
)
states = st.tuples(st.just("becomes"), st.sampled_from(["enrolled", "enrolled", "paused"]))
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 5.0, 31.0, 60.0, 200.0, 1000.0, 1000.0, 180_000.0]),
        st.one_of(readings, readings, readings, ticks, commands, states),
    ),
    max_size=40,
)


class Patient:
    """A patient with a clip, a desk and a book, and beside them what the test itself knows to be true."""

    def __init__(self, *, forgetful: bool = False) -> None:
        self.forgetful, self.book, self.clock, self.offset = forgetful, AlertBook(), START, 0
        profile = Profile(patient_id="p-1", valid_from=0.0)
        clip = DeviceBelief("clip", "streaming", last_at=START)
        self.belief = Belief("p-1", START, START, START, profile, devices={"clip": clip}, watched_since=START - 1e6)
        self.high_since: float | None = None
        self.changes: list[AlertChange] = []
        self.answered_as: dict[str, str] = {}

    def step(self, wait_s: float, what: tuple) -> None:
        until = self.clock + wait_s
        while self.book.wake_at is not None and self.book.wake_at <= until:
            self.clock = max(self.clock, self.book.wake_at)
            self.judge(False, 0.0)
        self.clock = until
        late, lag_s = False, 0.0
        match what:
            case "reads", value, late:
                before = self.belief.signals.get("spo2")
                if before is not None and self.clock - before.last_at > STANDARD["physiological"]["high"].expires_s:
                    self.high_since = None  # nobody knew for so long that it begins anew
                self.belief.signals["spo2"] = SignalBelief(
                    SPO2, SPO2.model, value, value, value, 97.0, 0.0, 0.3, 0.0, value, self.clock, 0.0, 1.0, device="clip"
                )
                self.high_since = None if value >= HIGH_BELOW else self.high_since or self.clock
            case "ticks", lag_s:
                pass
            case "becomes", state:
                self.belief.profile = msgspec.structs.replace(self.belief.profile, state=state)
            case "commands", action, until, ago:
                self.command(action, until, ago)
                return
        self.judge(late, lag_s)
        if self.belief.profile.state != "enrolled":
            self.high_since = None
            self.belief.signals.clear()

    def judge(self, late: bool, lag_s: float) -> None:
        self.offset += 1
        if self.forgetful:
            self.book = msgspec.msgpack.decode(msgspec.msgpack.encode(self.book), type=AlertBook)
        self.belief.at = self.belief.clock = self.clock
        self.belief.complete_to = max(self.belief.complete_to, self.clock - lag_s)
        self.changes += DESK.judge(self.book, self.belief, self.offset, late=late)

    def command(self, action: str, until: float | None, ago: float) -> None:
        self.offset += 1
        alert = next((alert for _, _, alert in self.book.open()), None)
        command = AlertCommand(
            id=str(self.offset),
            patient_id="p-1",
            alert_id=alert.alert_id if alert else "none",
            action=action,
            by="nurse-1",
            at=self.clock - ago,
            until=None if until is None else self.clock + until,
            comment="seen",
        )
        result = DESK.command(self.book, command, self.clock, self.offset)
        if not isinstance(result, Rejection):
            self.changes += result
            if alert and action in ("acknowledge", "snooze"):
                self.answered_as[alert.alert_id] = alert.priority
            if action == "resolve":
                self.high_since = None

    def limit_alert(self):
        return self.book.alerts.get("limits", {}).get("spo2")


@given(steps)
@settings(max_examples=300, deadline=None)
def test_nothing_hides_a_high_alert(steps):
    """Once it has been high for as long as it must, it is open as high, and who answered it had seen it as high."""
    patient = Patient()
    for wait_s, what in steps:
        patient.step(wait_s, what)
        known_s = 0.0 if patient.high_since is None else patient.belief.complete_to - patient.high_since
        last_at = patient.belief.signals["spo2"].last_at if "spo2" in patient.belief.signals else 0.0
        if what[0] == "commands" or known_s < HOLD_S or patient.belief.at - last_at > Limits.defaults.max_age_s:
            continue
        alert = patient.limit_alert()
        assert alert is not None
        assert alert.priority == "high"
        assert alert.stage != "pending"
        if alert.stage in ("acknowledged", "snoozed"):
            assert patient.answered_as[alert.alert_id] == "high"
        if alert.stage == "snoozed":
            assert patient.clock < alert.until <= patient.clock + LONGEST_HIGH_SNOOZE_S


@given(steps)
@settings(max_examples=200, deadline=None)
def test_every_alert_that_was_raised_is_resolved_expired_or_open(steps):
    patient = Patient()
    for wait_s, what in steps:
        patient.step(wait_s, what)
    by_id: dict[str, list[AlertChange]] = {}
    for change in patient.changes:
        by_id.setdefault(change.alert_id, []).append(change)
    still_open = {alert.alert_id: alert for _, _, alert in patient.book.open()}
    for alert_id, changes in by_id.items():
        assert [change.sequence for change in changes] == list(range(1, len(changes) + 1))
        assert changes[0].state == "raised"
        assert not {"resolved", "expired"} & {change.state for change in changes[:-1]}
        assert (changes[-1].state in ("resolved", "expired")) != (alert_id in still_open)
    assert set(still_open) <= set(by_id)


@given(steps)
@settings(max_examples=150, deadline=None)
def test_a_high_alert_that_nobody_answers_is_told_again_to_more_people(steps):
    patient = Patient()
    high = STANDARD["physiological"]["high"]
    for wait_s, what in steps:
        patient.step(wait_s, what)
        alert = patient.limit_alert()
        if alert is None or alert.priority != "high" or alert.stage not in ("raised", "escalated") or what[0] == "commands":
            continue
        if alert.gone_since is not None:  # it is about to end
            continue
        told = [change for change in patient.changes if change.alert_id == alert.alert_id and change.told]
        assert patient.clock - told[-1].at < high.repeat_s
        since = max(change.at for change in told if not change.reason.startswith("nobody has answered"))
        pressed = sum(change.state == "escalated" for change in told if change.at > since)
        assert pressed >= min((patient.clock - since) // (2 * high.escalate_s), 1)
        assert told[-1].told == list(high.tell[: pressed + 1])


@given(steps)
@settings(max_examples=100, deadline=None)
def test_a_replay_says_the_same_and_so_does_a_book_that_was_saved_and_restored(steps):
    patients = [Patient(), Patient(), Patient(forgetful=True)]
    for patient in patients:
        for wait_s, what in steps:
            patient.step(wait_s, what)
    first = patients[0]
    for other in patients[1:]:
        assert msgspec.json.encode(other.changes) == msgspec.json.encode(first.changes)
        assert msgspec.msgpack.encode(other.book) == msgspec.msgpack.encode(first.book)


def test_two_patients_never_share_an_id():
    ids = set()
    for number in range(50):
        patient = Patient()
        patient.belief.patient_id = f"p-{number}"
        patient.belief.devices.clear()
        patient.step(0.0, ("reads", 70.0, False))
        ids.update(change.alert_id for change in patient.changes if change.rule == "limits")
    assert len(ids) == 50


def test_the_snapshot_names_its_fields():
    patient = Patient()
    patient.step(0.0, ("reads", 70.0, False))
    patient.step(60.0, ("reads", 70.0, False))
    alert = msgspec.msgpack.decode(msgspec.msgpack.encode(patient.book))["alerts"]["limits"]["spo2"]
    assert (alert["stage"], alert["problem"], alert["priority"]) == ("raised", "low", "high")
    assert alert["reason"].startswith("Oxygen saturation 70 %")


class Scripted(Rule[Parameters]):
    """Says what the test has it say: of high priority, and gone only after 30 min."""

    name = "scripted"
    kind = "physiological"
    priorities = (Case("high", "as told", "death or irreversible injury", "prompt"),)
    defaults = Parameters()

    def __init__(self, says: dict[float, bool | None], *, mute: bool) -> None:
        self.says, self.mute = says, mute
        """By seconds since the start, from which it holds; mute: no verdict where it is not known."""

    def judge(self, belief, parameters, standing):
        after_s = belief.clock - START
        active = next((active for since, active in reversed(self.says.items()) if since <= after_s), None)
        if active is None and self.mute:
            return []
        return [Verdict(subject="x", active=active, priority="high", release_s=1800.0, at=min(belief.clock, START + 180.0))]


@pytest.mark.parametrize("snooze", [False, True])
@pytest.mark.parametrize("mute", [False, True])
def test_better_and_then_unknown_is_no_reason_to_be_silent(mute, snooze):
    """One better reading, and then nobody knows: it may still be true, so people are told again, and no snooze lasts for ever."""
    rule = Scripted({0.0: True, 180.0: False, 240.0: None}, mute=mute)
    desk, book = Desk(rules=[rule]), AlertBook()
    belief = Belief("p-1", START, START, START, Profile(patient_id="p-1", valid_from=0.0), watched_since=START)
    told = []
    for second in range(0, 3 * 86400, 60):
        belief.at = belief.clock = belief.complete_to = START + second
        changes = desk.judge(book, belief, second)
        told += [(second, change.state) for change in changes]
        if snooze and second == 120:
            (alert,) = [alert for _, _, alert in book.open()]
            command = AlertCommand(
                id="c", patient_id="p-1", alert_id=alert.alert_id, action="snooze", by="n", at=START + 120, until=START + 1800
            )
            assert not isinstance(desk.command(book, command, START + 120, 1), Rejection)
    first = (1800, "raised") if snooze else (300, "repeated")
    assert told[:2] == [(0, "raised"), first]
    assert told[-1] >= (3 * 86400 - 600, "repeated")
    assert {state for _, state in told} == {"raised", "repeated", "escalated"}
