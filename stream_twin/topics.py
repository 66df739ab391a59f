"""The catalogue of topics: what each carries, how it is keyed and how long it is kept.

Data only. :mod:`stream_twin.contract` renders it into ``topics/``, the Kafka edge creates and checks topics by it.
"""

from typing import Literal, NamedTuple

import msgspec

from stream_twin import events

Role = Literal["source", "log", "output"]
Key = Literal["patient_id", "place", "cohort", "rules", "none", "state", "original"]
Cleanup = Literal["delete", "compact"]

DEFAULT_LANES = 16
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
MAX_RECORD_BYTES = 1_000_000
"""The largest source value that ingest accepts."""
SOURCE_BYTES = 2 * MAX_RECORD_BYTES
"""The largest record that a source topic holds: above the limit of ingest, so that what is too big is seen and said."""
INPUT_BYTES = 6 * MAX_RECORD_BYTES
"""An input carries its source record verbatim beside the checked values: 100,000 times and values of 18 digits are 4 MB."""

KEYS: dict[Key, str] = {
    "patient_id": "the patient's id, UTF-8",
    "place": "the place's id, UTF-8",
    "cohort": "the cohort's id, UTF-8",
    "rules": "`rules`",
    "none": "no key; the partition is chosen by the writer",
    "state": "`p` + patient id for a snapshot, `l` + name for the lane's own records",
    "original": "the key of the record that was refused",
}


class Topic(NamedTuple):
    """One topic; ``name`` is without the prefix.

    Every topic has as many partitions as there are lanes, and the partition of a key is
    ``(murmur2(key) & 0x7FFFFFFF) % lanes``.
    """

    name: str
    summary: str
    role: Role
    key: Key
    messages: tuple[type[msgspec.Struct], ...]
    """Empty where the value is not JSON of one of our messages."""
    cleanup: Cleanup
    config: dict[str, str]
    """Kafka's topic configuration without ``cleanup.policy``."""
    broadcast: bool = False
    """Each record goes into every lane."""
    ingested: bool = True
    """Of a source: read by ingest. ``clock.ticks`` is read by the lanes' owner itself."""

    @property
    def kafka_config(self) -> dict[str, str]:
        """What ``topics create`` sets and ``topics check`` demands."""
        return {"cleanup.policy": self.cleanup, **self.config}


def kept(days: float, max_message_bytes: int = SOURCE_BYTES) -> dict[str, str]:
    return {"retention.ms": str(int(days * DAY_MS)), "max.message.bytes": str(max_message_bytes)}


def for_ever(max_message_bytes: int = SOURCE_BYTES) -> dict[str, str]:
    return {"retention.ms": "-1", "max.message.bytes": str(max_message_bytes)}


def compacted(max_message_bytes: int = SOURCE_BYTES, **more: str) -> dict[str, str]:
    return {"max.message.bytes": str(max_message_bytes), **{name.replace("_", "."): value for name, value in more.items()}}


CLINICAL_EVENTS = (
    events.Insulin,
    events.Meal,
    events.Activity,
    events.Medication,
    events.Oxygen,
    events.Encounter,
    events.Finding,
)
INPUTS = (
    events.Samples,
    events.SampleSeries,
    events.Happened,
    events.ProfileSet,
    events.DevicesSet,
    events.OutcomeKnown,
    events.Commanded,
    events.RebuildBegun,
    events.RebuiltBase,
    events.EnvironmentSample,
    events.ModelPublished,
    events.RulesConfigured,
    events.Configured,
    events.Tick,
    events.Forgotten,
    events.LaneBase,
    events.PatientBase,
)

TOPICS: tuple[Topic, ...] = (
    Topic(
        "wearable.observations",
        "Samples of wearables and home devices, one at a time or a whole series per sync.",
        "source",
        "patient_id",
        (events.Observation, events.Series),
        "delete",
        kept(7),
    ),
    Topic(
        "clinical.observations",
        "Bedside vital signs, laboratory and molecular results.",
        "source",
        "patient_id",
        (events.Observation, events.Series),
        "delete",
        kept(7),
    ),
    Topic(
        "clinical.events",
        "What was done or happened: insulin, meals, activity, medication, oxygen, encounters, findings.",
        "source",
        "patient_id",
        CLINICAL_EVENTS,
        "delete",
        kept(7),
    ),
    Topic(
        "environment.observations",
        "Air and weather of a place; goes into every lane, patients refer to the place in their profile.",
        "source",
        "place",
        (events.EnvironmentObservation,),
        "delete",
        kept(7),
        broadcast=True,
    ),
    Topic(
        "patient.profiles",
        "The whole profile of a patient; each replaces the one before.",
        "source",
        "patient_id",
        (events.Profile,),
        "compact",
        compacted(),
    ),
    Topic(
        "device.assignments",
        "All devices of a patient, from when to when; each message replaces the one before.",
        "source",
        "patient_id",
        (events.DeviceAssignments,),
        "compact",
        compacted(),
    ),
    Topic(
        "patient.outcomes",
        "Labels that arrive later: what became of the patient.",
        "source",
        "patient_id",
        (events.Outcome,),
        "delete",
        for_ever(),
    ),
    Topic(
        "alert.commands",
        "What people do with an alert: acknowledge, snooze, resolve, comment.",
        "source",
        "patient_id",
        (events.AlertCommand,),
        "delete",
        kept(7),
    ),
    Topic(
        "patient.rebuilds",
        "What `stream-twin rebuild` asks of a lane, and the rebuilt twin that it brings back.",
        "source",
        "patient_id",
        (events.RebuildAsked, events.Rebuilt),
        "delete",
        kept(7),
    ),
    Topic(
        "models",
        "Numbered parameters of the cohorts' models; go into every lane.",
        "source",
        "cohort",
        (events.ModelParameters,),
        "compact",
        compacted(),
        broadcast=True,
    ),
    Topic(
        "rule.configurations",
        "Parameters of alert rules for everybody, per population and per patient; go into every lane.",
        "source",
        "rules",
        (events.RuleConfiguration,),
        "compact",
        compacted(),
        broadcast=True,
    ),
    Topic(
        "clock.ticks",
        "The time, where a simulation or a replay sets it: one record per partition; otherwise empty.",
        "source",
        "none",
        (events.ClockTick,),
        "delete",
        {"retention.ms": str(6 * HOUR_MS), "max.message.bytes": str(SOURCE_BYTES)},
        ingested=False,
    ),
    Topic(
        "twin.inputs",
        "Everything above, checked, in canonical units, in one order per patient, with ticks of the clock between.",
        "log",
        "patient_id",
        INPUTS,
        "delete",
        kept(365, INPUT_BYTES),
    ),
    Topic(
        "twin.state",
        "Snapshots of the twins and the lanes' own records: MessagePack, named fields under a schema version.",
        "log",
        "state",
        (),
        "compact",
        compacted(
            INPUT_BYTES,
            segment_bytes=str(32 * 1024 * 1024),
            segment_ms=str(600_000),
            min_cleanable_dirty_ratio="0.1",
            max_compaction_lag_ms=str(1_800_000),
        ),
    ),
    Topic(
        "twin.estimates",
        "What the twin believes now, for dashboards and interfaces.",
        "output",
        "patient_id",
        (events.Estimate,),
        "delete",
        kept(0.5),
    ),
    Topic(
        "alerts",
        "Changes of alerts, each with its reason.",
        "output",
        "patient_id",
        (events.AlertChange,),
        "delete",
        kept(365),
    ),
    Topic(
        "learning.examples",
        "Features and predictions as they were made, and labels as they arrive, for the cohorts' learners.",
        "output",
        "cohort",
        (events.Example, events.Label),
        "delete",
        kept(365),
    ),
    Topic(
        "dead.letters",
        "Records that were refused: key and value as they came, the reason in the headers.",
        "output",
        "original",
        (),
        "delete",
        kept(90, 2 * SOURCE_BYTES),
    ),
)

BY_NAME = {topic.name: topic for topic in TOPICS}
SOURCES = tuple(topic for topic in TOPICS if topic.role == "source" and topic.ingested)
"""What ingest reads."""
