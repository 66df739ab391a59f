"""A log in memory, filled through the real ingest."""

from typing import NamedTuple

import msgspec

from stream_twin import events, signals
from stream_twin.events import Profile
from stream_twin.ingest import Bounds, Ingest
from stream_twin.lane import Lane

CATALOGUE = signals.load()
T0 = 1_760_000_000.0
encode = msgspec.json.encode


class Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0


class Log:
    """Source messages in, records of ``twin.inputs`` out. Every message gets a source offset of its own."""

    def __init__(self):
        self.records = []
        self.ingest = Ingest(CATALOGUE, Bounds())
        self._sent = 0

    def put(self, key, value):
        self.records.append(Record(len(self.records), key, value))

    def send(self, topic, message, now=T0 + 1e7, key=None):
        value = message if isinstance(message, bytes) else encode(message)
        key = message.patient_id.encode() if key is None else key
        record = Record(self._sent, key, value, int(now * 1000))
        self._sent += 1
        done = self.ingest.run(topic, 0, [record], now)
        assert not done.rejected, done.rejected
        for entry_key, entry in done.inputs:
            self.put(entry_key, entry)

    def tick(self, clock, complete_to=None):
        self.put(b"", encode(events.Tick(clock=clock, complete_to=clock if complete_to is None else complete_to)))

    def profile(self, patient, **fields):
        self.send("patient.profiles", Profile(patient_id=patient, valid_from=T0 - 86400, **fields))

    def sample(self, patient, signal, at, value, number=None, **fields):
        entry = CATALOGUE[signal]
        self.send(
            "wearable.observations",
            events.Observation(
                id=number or f"{signal}-{at}",
                patient_id=patient,
                code=signal,
                code_system=events.CATALOGUE,
                unit=entry.unit,
                measured_at=at,
                value=value,
                **fields,
            ),
        )


def applied(records, batch=None, **options):
    """-> the lane after all records and everything that it put out."""
    lane = Lane(0, CATALOGUE)
    outputs = []
    step = batch or len(records) or 1
    for start in range(0, len(records), step):
        outputs += lane.apply(records[start : start + step], **options).outputs
    return lane, outputs


def state(lane):
    """Everything that the lane would save."""
    return {key: lane.snapshot(key) for key in sorted(lane.patients)}, lane.checkpoint()


def dead_letters(outputs):
    return [dict(output.headers)["reason"].decode() for _, output in outputs if output.topic == "dead.letters"]


def alerts(outputs):
    return [msgspec.json.decode(output.value, type=events.AlertChange) for _, output in outputs if output.topic == "alerts"]
