"""The same timelines through Kafka, ingest, log, twin and lane: each file is a patient, all are played at once.

Settings of rules are put in force per patient. Left out is what cannot be sent: what the twin believes, how the lane does; and
what takes days. The clock ticks every :data:`TICK_S`, so everything may come that much later than in the file.
"""

import json
import uuid
from collections import defaultdict
from collections.abc import Iterator
from itertools import count, groupby, pairwise
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from stream_twin.clock import elapsed
from stream_twin.datasets.recording import CLINICAL, DAY, DEVICES, HAPPENED, HOUR, PROFILES, WEARABLE, Sent, sent
from stream_twin.events import CATALOGUE, AlertChange, AlertCommand, DeviceAssignments, Observation, Profile, RuleConfiguration
from stream_twin.kafka import reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import lane_of
from stream_twin.kafka.player import Pacing, Player
from tests.alerts.timeline import CATALOGUE as SIGNALS
from tests.alerts.timeline import Timeline, check, clock, read, seconds
from tests.commands.test_on_kafka import create, until, worker

TICK_S = 5.0
BEGIN, END = seconds("02:00"), seconds("06:00")
ALL = {path.stem: read(path) for path in sorted((Path(__file__).parent / "timelines").glob("*.txt"))}
TWIN_DECIDES = {
    "a_clinician_sets_a_wider_limit",
    "a_ward_has_its_own_times_and_people",
    "an_old_acknowledgement_of_what_came_back_worse",
    "glucose_below_54_is_high",
    "what_was_over_comes_back",
}
"""Jumps that the real twin believes later than these files assume."""
READ_TOGETHER = {
    "news2_a_round_by_hand",
    "news2_a_worse_score_ends_an_acknowledgement",
    "news2_one_red_parameter",
    "news2_what_is_missing_is_asked_for",
}
"""They tell the score of a whole set; here its values may be read in two parts."""
PLAYED = {
    name: timeline
    for name, timeline in ALL.items()
    if not (timeline.inside or timeline.down or timeline.stuck)
    and min(at for at, _ in timeline.readings) >= BEGIN
    and timeline.end <= END
    and name not in TWIN_DECIDES | READ_TOGETHER
}
METRONOMES = next(
    ([a, b] for a, b in pairwise(f"metronome-{n}" for n in count()) if lane_of(a.encode(), 2) != lane_of(b.encode(), 2))
)
"""One patient in each lane, whose alerts say how far the lane is."""
pytestmark = pytest.mark.kafka


class Answer(NamedTuple):
    """A command of a timeline."""

    at: float
    patient: str
    given: Any
    """Its match in the file."""


class Ward:
    """Plays to Kafka and hears what comes of it."""

    def __init__(self, kafka: str, prefix: str) -> None:
        self._broker, self._prefix = Broker(kafka), prefix
        self._player = Player(self._broker, prefix, Pacing(tick_s=TICK_S, settle_s=TICK_S))
        self._people = Player(self._broker, prefix, Pacing(ticks=False))
        self._tail = reader.tail(self._broker, f"{prefix}alerts", from_start=True, idle_s=0.1)
        self._low = True
        self.changes: dict[str, list[AlertChange]] = defaultdict(list)
        self.sent: dict[str, Answer] = {}

    def play(self, stream: list[Sent], until: float) -> None:
        """``stream``, and on to ``until``; returns when every lane is there."""
        self._player.play([*stream, *(measured_by_hand(patient, until, 60.0 if self._low else 97.0) for patient in METRONOMES)])
        self._low = not self._low
        deadline = elapsed() + 30
        while not all(c and c[-1].at >= until - TICK_S for c in (self.changes[patient] for patient in METRONOMES)):
            assert elapsed() < deadline, f"the lanes do not come to {clock(until)}"
            self.listen()

    def listen(self) -> None:
        record = next(self._tail)
        if record is not None:
            change = msgspec.json.decode(record.value or b"", type=AlertChange)
            self.changes[change.patient_id].append(change)

    def answer(self, answers: list[Answer]) -> None:
        """Send commands, and hear what became of them.

        Ticks do not wait for commands as they do for measurements: people answer when they answer.
        """
        now, commands = answers[0].at, [self._command(answer) for answer in answers]
        self._people.play([sent(now, "alert.commands", one) for one in commands])
        deadline = elapsed() + 20
        while missing := self._unanswered():
            assert elapsed() < deadline, f"nobody has followed {missing}"
            self.listen()

    def _unanswered(self) -> list[str]:
        followed = {change.command_id for changes in self.changes.values() for change in changes}
        left = [answer for name, answer in self.sent.items() if name not in followed]
        refused = self.refused() if any(answer.given["rejected"] for answer in left) else {}
        return [answer.given[0] for name, answer in self.sent.items() if name not in followed and name not in refused]

    def _command(self, answer: Answer) -> AlertCommand:
        given = answer.given
        told = [c for c in self.changes[answer.patient] if (c.rule, c.subject) == (given["rule"], given["subject"])]
        assert told or given["rejected"] == "unknown_alert", f"{answer.patient}: at {clock(answer.at)} there is nothing to answer"
        command = AlertCommand(
            id=f"c-{len(self.sent)}",
            patient_id=answer.patient,
            alert_id=told[-1].alert_id if told else "none",
            action=given["action"],
            by=given["by"],
            at=seconds(given["sent"] or given["at"]),
            until=seconds(given["until"]) if given["until"] else None,
            comment="seen",
        )
        self.sent[command.id] = answer
        return command

    def refused(self) -> dict[str, str]:
        """Reasons by the command's id."""
        return {
            json.loads(letter.value or b"")["id"]: headers["reason"].decode()
            for letter in reader.read(self._broker, f"{self._prefix}dead.letters")
            if (headers := dict(letter.headers))["topic"] == b"alert.commands"
        }


def measured_by_hand(patient: str, at: float, spo2: float) -> Sent:
    message = Observation(
        id=f"{patient}/{at}",
        patient_id=patient,
        code="spo2",
        code_system=CATALOGUE,
        unit="%",
        measured_at=at,
        value=spo2,
        device_kind="bedside",
    )
    return sent(at, CLINICAL, message)


def messages(patient: str, timeline: Timeline) -> Iterator[Sent]:
    """Everything but the commands, whose alerts are not known before they are raised."""
    first = min(at for at, _ in timeline.readings)
    began = first - timeline.watched_s
    profile = msgspec.structs.replace(timeline.profile, patient_id=patient, valid_from=began)
    yield sent(began, PROFILES, profile)
    devices = [d if d.start else msgspec.structs.replace(d, start=first) for d in timeline.devices]
    yield sent(began + 1, DEVICES, DeviceAssignments(patient_id=patient, devices=devices))
    for version, (at, changed) in enumerate(timeline.profiles, start=2):
        profile = msgspec.structs.replace(profile, version=version, valid_from=at, **changed)
        yield sent(at, PROFILES, profile)
    for at, event in timeline.happenings:
        yield sent(at, HAPPENED, msgspec.structs.replace(event, patient_id=patient))
    kinds = {device.device_id: device.kind for device in devices}
    versions = defaultdict[str, Iterator[int]](lambda: count(1))
    for at, reading in timeline.readings:
        by_hand = reading.device == "hand"
        identity = f"{patient}/{reading.device}/{reading.signal}/{reading.at}"
        message = Observation(
            id=identity,
            version=next(versions[identity]),
            patient_id=patient,
            code=reading.signal,
            code_system=CATALOGUE,
            unit=SIGNALS[reading.signal].unit,
            measured_at=reading.at,
            value=reading.value,
            absent_reason=None if reading.value is not None else "not-performed",
            device_id=None if by_hand else reading.device,
            device_kind="bedside" if by_hand else kinds[reading.device],
        )
        yield sent(at, CLINICAL if by_hand else WEARABLE, message)


def configured_lanes(kafka: str, prefix: str) -> int:
    """In how many lanes' logs the settings of rules are."""
    return sum(b'"type":"rules"' in (record.value or b"") for record in reader.read(Broker(kafka), f"{prefix}twin.inputs"))


def test_the_timelines_through_kafka(kafka: str) -> None:
    assert len(PLAYED) >= 45
    prefix = f"timelines-{uuid.uuid4().hex[:8]}."
    create(kafka, prefix)
    stream = [sent(BEGIN - 4 * DAY, PROFILES, Profile(patient_id=patient, valid_from=BEGIN - 4 * DAY)) for patient in METRONOMES]
    stream += [message for patient, timeline in PLAYED.items() for message in messages(patient, timeline)]
    stream.sort(key=attrgetter("at"))
    answers = [Answer(at, patient, given) for patient, timeline in PLAYED.items() for at, given in timeline.commands]
    settings = {patient: timeline.settings for patient, timeline in PLAYED.items() if timeline.settings}
    configuration = RuleConfiguration(version=1, patients=settings)
    configured = Sent(BEGIN, "rule.configurations", configuration.name.encode(), msgspec.json.encode(configuration))
    Player(Broker(kafka), prefix, Pacing(ticks=False)).play([configured])
    with worker(kafka, prefix, "--clock", "stream"):
        ward = Ward(kafka, prefix)
        early = [message for message in stream if message.at < BEGIN - HOUR]
        ward.play(early, BEGIN - HOUR)
        stream = stream[len(early) :]
        until(lambda: configured_lanes(kafka, prefix) == 2, 20)
        for moment, together in groupby(sorted(answers, key=attrgetter("at")), attrgetter("at")):
            before = [message for message in stream if message.at < moment]
            ward.play(before, moment)
            stream = stream[len(before) :]
            ward.answer(list(together))
        ward.play(stream, END)
    problems = []
    for patient, timeline in PLAYED.items():
        told = [change for change in ward.changes[patient] if change.at < timeline.end]
        try:
            check(timeline, told, 2 * TICK_S)
        except AssertionError as error:
            problems.append(f"{patient}: {error}")
    assert not problems, "\n\n".join(problems)
    wanted = {name: answer.given["rejected"] for name, answer in ward.sent.items() if answer.given["rejected"]}
    assert ward.refused() == wanted
