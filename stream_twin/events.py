"""The frozen types that cross stages and the wire.

Three families: messages that arrive on the source topics, inputs that ``twin.inputs`` carries, and messages that
the service puts out. All are JSON on the wire; ``topics/`` is generated from this module.

Times on the wire of the source topics are an :data:`Instant`; everywhere else they are seconds since
1970-01-01T00:00:00Z as a float. Values inside are in the catalogue's canonical unit.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Raw, Struct, UnsetType

Instant = float | str
"""Seconds since 1970-01-01T00:00:00Z, or RFC 3339 with an offset."""

Text = Annotated[str, Meta(max_length=1000)]
Identifier = Annotated[str, Meta(min_length=1, max_length=128)]
Comparator = Literal["<", "<=", ">=", ">"]
Status = Literal["preliminary", "final", "corrected", "entered-in-error"]
DeviceKind = Literal["streaming", "syncing", "laboratory", "bedside"]
LOINC = "http://loinc.org"
CATALOGUE = "urn:stream-twin:signal"
"""Code system of signals without a LOINC code: the code is the catalogue's own name."""


SERVICE = "service"
"""Rule and patient of alerts about the service itself; no patient may be called so."""


class Message(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of every message on the wire; unknown fields are ignored, so that a producer may be newer."""


# ---------------------------------------------------------------------------------------------- source topics


class Period(Message, frozen=True, kw_only=True):
    """What a sum, a mean or a rate spans. ``start`` may equal ``end``."""

    start: Instant
    end: Instant


class Measured(Message, frozen=True, kw_only=True):
    """What an observation and a series share."""

    id: Identifier
    patient_id: Identifier
    code: Identifier
    code_system: str = LOINC
    unit: Annotated[str, Meta(max_length=32)]
    """UCUM; one of those that the catalogue accepts for the code."""
    device_id: Identifier | None = None
    device_kind: DeviceKind | None = None
    """Sets the lateness; otherwise the assignment's kind, otherwise the topic's."""
    issued_at: Instant | None = None
    """When the result became known, where that is not when it was measured."""
    received_at: Instant | None = None
    status: Status = "final"
    version: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    """A correction or retraction has a higher version of the same id."""
    method: Text | None = None
    body_position: Text | None = None
    on_oxygen: bool | None = None
    quality: Annotated[float, Meta(ge=0, le=1)] | None = None


class Observation(Measured, tag="observation", tag_field="type", frozen=True, kw_only=True):
    """One value. Exactly one of ``measured_at`` and ``period``; ``value`` or ``absent_reason``."""

    value: float | None = None
    measured_at: Instant | None = None
    period: Period | None = None
    comparator: Comparator | None = None
    absent_reason: Text | None = None


class Series(Measured, tag="series", tag_field="type", frozen=True, kw_only=True):
    """Many values of one code, as a device syncs them. Times are ``measured_at``, or ``start`` and ``interval_s``.

    A null among the values is an absent sample.
    """

    values: list[float | None]
    measured_at: list[Instant] | None = None
    start: Instant | None = None
    interval_s: Annotated[float, Meta(gt=0)] | None = None


class ClinicalEvent(Message, frozen=True, kw_only=True):
    id: Identifier
    patient_id: Identifier
    at: Instant
    until: Instant | None = None
    """End of what lasts (a pump's rate, oxygen, an encounter); otherwise open or instantaneous."""
    version: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    status: Status = "final"
    note: Text | None = None


class Insulin(ClinicalEvent, tag="insulin", tag_field="type", frozen=True, kw_only=True):
    """``dose_units`` for a bolus or a long-acting dose; ``rate_units_per_h`` for a pump's basal rate."""

    kind: Literal["rapid", "long", "basal_rate"]
    dose_units: Annotated[float, Meta(ge=0, le=300)] | None = None
    rate_units_per_h: Annotated[float, Meta(ge=0, le=50)] | None = None


class Meal(ClinicalEvent, tag="meal", tag_field="type", frozen=True, kw_only=True):
    carbohydrates_g: Annotated[float, Meta(ge=0, le=1000)] | None = None
    energy_kcal: Annotated[float, Meta(ge=0, le=10_000)] | None = None
    fat_g: Annotated[float, Meta(ge=0, le=1000)] | None = None
    protein_g: Annotated[float, Meta(ge=0, le=1000)] | None = None


class Activity(ClinicalEvent, tag="activity", tag_field="type", frozen=True, kw_only=True):
    """A bout of movement or a stage of sleep as a device classified it."""

    kind: Identifier
    intensity: Annotated[float, Meta(ge=0)] | None = None


class Medication(ClinicalEvent, tag="medication", tag_field="type", frozen=True, kw_only=True):
    code: Identifier
    code_system: str
    display: Text | None = None
    dose: float | None = None
    unit: Annotated[str, Meta(max_length=32)] | None = None


class Oxygen(ClinicalEvent, tag="oxygen", tag_field="type", frozen=True, kw_only=True):
    """Supplemental oxygen; a flow of 0 and a fraction of 0.21 mean air."""

    flow_l_per_min: Annotated[float, Meta(ge=0, le=100)] | None = None
    fraction: Annotated[float, Meta(ge=0.2, le=1)] | None = None


class Encounter(ClinicalEvent, tag="encounter", tag_field="type", frozen=True, kw_only=True):
    kind: Literal["home", "ambulatory", "emergency", "ward", "intensive_care"]


class Finding(ClinicalEvent, tag="finding", tag_field="type", frozen=True, kw_only=True):
    """Anything else that a system has coded: a diagnosis, a culture, a survey's answer, a symptom."""

    code: Identifier
    code_system: str
    display: Text | None = None
    value: float | str | None = None
    unit: Annotated[str, Meta(max_length=32)] | None = None


class EnvironmentObservation(Message, frozen=True, kw_only=True):
    """Air and weather of a place; patients refer to a place in their profile."""

    id: Identifier
    place: Identifier
    code: Identifier
    code_system: str = CATALOGUE
    unit: Annotated[str, Meta(max_length=32)]
    measured_at: Instant
    value: float | None = None
    absent_reason: Text | None = None
    version: Annotated[int, Meta(ge=1, le=1_000_000)] = 1


class Limits(Message, frozen=True, kw_only=True):
    """A clinician's limits for one signal of one patient, in the canonical unit."""

    low: float | None = None
    high: float | None = None


class Profile(Message, frozen=True, kw_only=True):
    """The whole profile of a patient; each one replaces the one before."""

    patient_id: Identifier
    version: Annotated[int, Meta(ge=1)] = 1
    state: Literal["enrolled", "paused", "discharged", "died"] = "enrolled"
    state_reason: Text | None = None
    paused_until: Instant | None = None
    valid_from: Instant
    place: Identifier | None = None
    time_zone: Annotated[str, Meta(max_length=64)] | None = None
    """IANA name. Without one no rule about nights runs."""
    sex: Literal["female", "male"] | None = None
    age_years: Annotated[int, Meta(ge=0, le=130)] | None = None
    pregnant: bool | None = None
    spinal_cord_injury: bool | None = None
    """Then NEWS2 does not apply."""
    spo2_scale: Literal[1, 2] = 1
    """NEWS2's for oxygen saturation; 2, for a target of 88 to 92 %, only where a clinician has set it."""
    limits: dict[str, Limits] = {}
    """By the signal's catalogue name."""
    population: Literal["home", "ward", "intensive_care"] | None = None
    """Whose numbers the twin starts from: how signals move among people at home, on a ward, in intensive care. By default
    the cohort, where it is one of these, else home."""
    cohort: Identifier | None = None
    """Whose risk model is used and taught; none: no risk."""
    subgroups: dict[str, str] = {}
    consent: bool = True


class AssignedDevice(Message, frozen=True, kw_only=True):
    device_id: Identifier
    kind: DeviceKind
    start: Instant
    end: Instant | None = None
    every_s: Annotated[float, Meta(gt=0)] | None = None
    """How often it should speak; without it nobody is told of its silence."""


class DeviceAssignments(Message, frozen=True, kw_only=True):
    """Who wears what: all of a patient's devices, past ones included; each message replaces the one before."""

    patient_id: Identifier
    version: Annotated[int, Meta(ge=1)] = 1
    devices: list[AssignedDevice]


class Outcome(Message, frozen=True, kw_only=True):
    """A label that arrives later."""

    id: Identifier
    patient_id: Identifier
    kind: Literal["sepsis", "deterioration", "admitted", "died", "hypoglycaemia_treated", "illness", "false_alarm", "well"]
    """``well``: nothing of what the cohort's model predicts happened until ``occurred_at``."""
    occurred_at: Instant
    issued_at: Instant | None = None
    alert_id: Identifier | None = None
    note: Text | None = None


class AlertCommand(Message, frozen=True, kw_only=True):
    id: Identifier
    patient_id: Identifier
    alert_id: Identifier
    action: Literal["acknowledge", "snooze", "resolve", "comment"]
    by: Identifier
    at: Instant
    until: Instant | None = None
    comment: Text | None = None


RuleSettings = dict[str, dict[str, Any]]
"""Parameters by rule, where they are not the rule's own."""


class RuleConfiguration(Message, frozen=True, kw_only=True):
    """Parameters of alert rules, all of them: each one replaces the one before. What is not said is the rule's own.

    A patient's own parameters go before the population's, those before what holds for everybody; ``patient.profiles`` holds
    a clinician's limits, which go before them all.
    """

    name: Literal["rules"] = "rules"
    """The record's key."""
    version: Annotated[int, Meta(ge=0, le=2**53)]
    """From 1; only a higher one than the last is taken."""
    by: Identifier | None = None
    reason: Text | None = None
    rules: RuleSettings = {}
    """For everybody."""
    populations: dict[str, RuleSettings] = {}
    """By population: home, ward, intensive_care."""
    patients: dict[str, RuleSettings] = {}
    """By patient's id."""


class RebuildAsked(Message, tag="rebuild_asked", tag_field="type", frozen=True, kw_only=True):
    """From where this stands in the patient's log, the lane keeps what it accepts, until a :class:`Rebuilt` of this id comes."""

    id: Identifier
    patient_id: Identifier
    by: Identifier
    at: Instant


class Rebuilt(Message, tag="rebuilt", tag_field="type", frozen=True, kw_only=True):
    """The twin as it would be if everything before the request had come in time. ``stream-twin rebuild`` writes it."""

    id: Identifier
    """Of the :class:`RebuildAsked`."""
    patient_id: Identifier
    base: bytes
    """A snapshot as ``twin.state`` holds it, which covers the log up to the request; zlib."""


class ClockTick(Message, frozen=True, kw_only=True):
    """The time, where a simulation or a replay sets it; one record per partition.

    ``behind``: per source topic (without prefix) the end offset of this partition. The tick is passed on once those
    records are read, and no record beyond them is read before.
    """

    at: float
    behind: dict[str, int]


# -------------------------------------------------------------------------------------------------- twin.inputs


class Source(Struct, frozen=True, array_like=True):
    """Where an input came from. ``topic`` is without the prefix."""

    topic: str
    partition: int
    offset: int


class Input(Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """What the lane's log carries. The record's key is the patient's id, or empty where it is for the whole lane."""


class FromSource(Input, frozen=True, kw_only=True):
    source: Source
    arrived_at: float
    """The source record's Kafka timestamp: when it was written."""
    original: Raw
    """The source record's value, byte for byte."""


class Sample(Struct, frozen=True, array_like=True, gc=False):
    """A checked observation in canonical units. ``at`` is when it was measured, or its period's end."""

    offset: int
    """Of its source record, in the topic and partition of its :class:`Samples`."""
    arrived_at: float
    """The source record's Kafka timestamp: when it was written."""
    original: Raw
    """The source record's value, byte for byte."""
    id: str
    signal: str
    at: float
    value: float | None
    """None: absent, or entered in error."""
    device: str | None = None
    kind: DeviceKind = "streaming"
    version: int = 1
    period_s: float = 0.0
    retracted: bool = False
    known_at: float | None = None
    comparator: Comparator | None = None
    on_oxygen: bool | None = None
    quality: float | None = None
    body_position: str | None = None
    method: str | None = None


class Samples(Input, tag="samples", frozen=True, kw_only=True):
    """Observations of one patient that were read together, in the order of their source; one or several source records."""

    topic: str
    """Of the sources, without the prefix."""
    partition: int
    arrived_at: float
    """Of the first."""
    samples: list[Sample]
    thinned: dict[int, list[int]] = {}
    """In a flood: offset of a sample here -> offsets of those for which it stands, which are in no input."""


class SampleSeries(FromSource, tag="series", frozen=True, kw_only=True):
    """Samples of one series in canonical units, in the order sent; the id of number i is ``{id}#{i}``."""

    id: str
    signal: str
    at: list[float]
    values: list[float | None]
    device: str | None = None
    kind: DeviceKind = "syncing"
    version: int = 1
    retracted: bool = False
    on_oxygen: bool | None = None
    quality: float | None = None


PatientBody = Insulin | Meal | Activity | Medication | Oxygen | Encounter | Finding


class Happened(FromSource, tag="happened", frozen=True, kw_only=True):
    """A clinical event; its instants are seconds."""

    event: PatientBody


class ProfileSet(FromSource, tag="profile", frozen=True, kw_only=True):
    profile: Profile


class DevicesSet(FromSource, tag="devices", frozen=True, kw_only=True):
    assignments: DeviceAssignments


class OutcomeKnown(FromSource, tag="outcome", frozen=True, kw_only=True):
    outcome: Outcome


class Commanded(FromSource, tag="command", frozen=True, kw_only=True):
    command: AlertCommand


class RebuildBegun(FromSource, tag="rebuild_begun", frozen=True, kw_only=True):
    """A :class:`RebuildAsked`."""

    id: str


class RebuiltBase(FromSource, tag="rebuilt_base", frozen=True, kw_only=True):
    """A :class:`Rebuilt`. The base itself is in ``original``: once, since it may be large."""

    id: str


class EnvironmentSample(FromSource, tag="environment", frozen=True, kw_only=True):
    """For every lane. ``value`` None: absent."""

    place: str
    signal: str
    at: float
    value: float | None


class ModelPublished(FromSource, tag="model", frozen=True, kw_only=True):
    """For every lane."""

    parameters: "ModelParameters"


class RulesConfigured(FromSource, tag="rules", frozen=True, kw_only=True):
    """For every lane. What is wrong with it only the lane can say, which knows the rules."""

    configuration: RuleConfiguration


class Configured(Input, tag="configured", frozen=True, kw_only=True):
    """From here on the lane decides by these settings. Written by its owner where they differ from the lane's own."""

    settings: Raw
    """A ``LaneSettings`` of :mod:`stream_twin.lane` as JSON."""


class Tick(Input, tag="tick", frozen=True, kw_only=True):
    """Time as the lane's owner sees it. Everything sent to the sources before ``complete_to`` is in the lane's log."""

    clock: float
    complete_to: float


class Forgotten(Input, tag="forgotten", frozen=True, kw_only=True):
    """Patients whose samples were refused and of whom nothing else is known. Written by the lane's owner.

    What became of their inputs before ``position`` counts with the lane from here on; who sent nothing since is forgotten. The
    counts are in the log, not looked up, so a lane that is restored without such a patient counts the same.
    """

    position: int
    """The lane's, when it was asked: offset of the record it wanted next."""
    patients: dict[str, dict[str, int]]
    """Inputs of each by what became of them."""


class LaneBase(Input, tag="lane_base", frozen=True, kw_only=True):
    """First in the log of a later generation (``topics grow``): what a lane starts from that is not one patient's."""

    lanes_before: int
    """How many lanes the generation before had: its log and state are twin.inputs and twin.state of so many partitions."""
    checkpoint: bytes
    """As ``twin.state`` holds it."""
    positions: dict[str, int]
    """Of this partition, by topic without prefix: what is before these offsets was read or caused by the log before."""


class PatientBase(Input, tag="patient_base", frozen=True, kw_only=True):
    """After it, one for each patient of the lane: the state to start from."""

    snapshot: bytes
    """As ``twin.state`` holds it."""


AnyInput = (
    Samples
    | SampleSeries
    | Happened
    | ProfileSet
    | DevicesSet
    | OutcomeKnown
    | Commanded
    | RebuildBegun
    | RebuiltBase
    | EnvironmentSample
    | ModelPublished
    | RulesConfigured
    | Configured
    | Tick
    | Forgotten
    | LaneBase
    | PatientBase
)


# ------------------------------------------------------------------------------------------------------ put out


class SignalEstimate(Message, frozen=True, kw_only=True):
    """Belief about one signal, in the canonical unit. ``low``, ``high``: 90 % of what a sample would read."""

    level: float
    low: float
    high: float
    baseline: float
    """What is usual for this person at this time of day."""
    last_value: float
    last_at: float
    surprise: float = 0.0
    """Standardised innovation of the last sample."""
    doubt: str | None = None
    """Why the sensor is trusted less than usual."""


class DriverEstimate(Message, frozen=True, kw_only=True):
    """A latent driver on which several signals load, in standard deviations of the population."""

    mean: float
    sd: float


class Risk(Message, frozen=True, kw_only=True):
    probability: float
    cohort: str
    model_version: int
    at: float
    reasons: dict[str, float] = {}
    """Contribution of each feature to the log odds, the largest few."""


class Estimate(Message, frozen=True, kw_only=True):
    """What the twin believes now; ``arrived_at``: Kafka timestamp of the source record that caused it, if one did."""

    patient_id: str
    at: float
    signals: dict[str, SignalEstimate]
    drivers: dict[str, DriverEstimate] = {}
    unfit: str | None = None
    """Why the population's numbers are not for this person."""
    state: str = "enrolled"
    risk: Risk | None = None
    open_alerts: int = 0
    arrived_at: float | None = None


AlertKind = Literal["physiological", "technical"]
Priority = Literal["high", "medium", "low"]
AlertState = Literal["raised", "escalated", "repeated", "acknowledged", "snoozed", "commented", "latched", "resolved", "expired"]


class AlertChange(Message, frozen=True, kw_only=True):
    """One change of one alert. ``at`` is the lane's clock."""

    alert_id: str
    sequence: int
    patient_id: str
    rule: str
    rule_version: int
    subject: str
    """The signal, device or model that the alert is about."""
    kind: AlertKind
    priority: Priority
    state: AlertState
    at: float
    reason: str
    evidence: dict[str, float | str | None] = {}
    contributions: dict[str, float] = {}
    """Of each signal or feature to what the rule judged, in the rule's own measure."""
    next_step: str = ""
    """What to do next, in one plain sentence."""
    told: list[str] = []
    """Who is to be told of this change: roles. Empty: it is for the record."""
    command_id: str | None = None
    """Of the :class:`AlertCommand` that was followed."""
    by: str | None = None
    comment: str | None = None
    until: float | None = None
    arrived_at: float | None = None


class Example(Message, tag="example", tag_field="type", frozen=True, kw_only=True):
    """What a cohort's learner learns from: features as the twin knew them at ``at`` and the prediction then made."""

    patient_id: str
    cohort: str
    at: float
    features: dict[str, float]
    """A feature that is not known is left out."""
    probability: float | None = None
    model_version: int = 0


class Label(Message, tag="label", tag_field="type", frozen=True, kw_only=True):
    """What became of the patient: judges the examples before it."""

    patient_id: str
    cohort: str
    kind: str
    occurred_at: float
    known_at: float


class ModelParameters(Message, frozen=True, kw_only=True):
    """Numbered parameters of a cohort's model, broadcast to the lanes. Named numbers, never a pickle."""

    cohort: str
    version: int
    schema: int
    trained_on: int
    """Examples learnt from."""
    effective_at: float
    weights: dict[str, float]
    intercept: float
    means: dict[str, float] = {}
    scales: dict[str, float] = {}
    metrics: dict[str, float] = {}
    name: str | UnsetType = UNSET


class Output(Struct, frozen=True):
    """A record that a stage wants written. ``topic`` is without the prefix; the lane's own partition is meant."""

    topic: str
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
