"""The first stage: one record of a source topic -> once in an input of the lane's log, or exactly one dead letter."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import lru_cache, partial
from math import inf
from typing import Annotated, Any, NamedTuple, Protocol

import msgspec
from msgspec import Meta, Raw, Struct

from stream_twin.events import (
    AlertCommand,
    Commanded,
    DeviceAssignments,
    DevicesSet,
    EnvironmentObservation,
    FromSource,
    Happened,
    Input,
    ModelParameters,
    ModelPublished,
    Observation,
    Outcome,
    OutcomeKnown,
    Output,
    PatientBody,
    Profile,
    ProfileSet,
    RebuildAsked,
    RebuildBegun,
    Rebuilt,
    RebuiltBase,
    RuleConfiguration,
    RulesConfigured,
    Sample,
    Samples,
    Series,
    Source,
)
from stream_twin.ingest import reasons
from stream_twin.ingest import records as checked
from stream_twin.ingest.decode import WHITESPACE, Decoder
from stream_twin.ingest.identity import check_identifier, check_key
from stream_twin.ingest.measurements import Dictionary, Measurements, environment_sample
from stream_twin.ingest.origin import Counts, Origin
from stream_twin.ingest.reasons import Rejection
from stream_twin.ingest.thinning import thin
from stream_twin.ingest.times import seconds
from stream_twin.signals import Catalogue

EVERY_LANE = b""
"""The key of an input that goes into every lane."""
TOGETHER = 500
"""Observations of one patient in one record of the log, at most: so a device that floods costs few records."""
LARGE_BYTES = 2_000
"""A larger observation is the last of its record, so that what goes together fits into one."""


class SourceRecord(Protocol):
    """A record of a source topic; aiokafka's ``ConsumerRecord`` fits. ``timestamp`` is Kafka's, in ms."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def timestamp(self) -> int: ...


class Bounds(Struct, frozen=True, kw_only=True):
    """What is accepted at most."""

    future_tolerance_s: float = 300.0
    """How far a device's clock may run ahead."""
    max_bytes: int = 1_000_000
    max_depth: int = 32
    max_samples: int = 100_000
    """In one series."""
    dead_letter_bytes: int = 2_000_000
    """A larger value is cut to ``dead_letter_head`` bytes in its dead letter."""
    dead_letter_head: int = 65_536
    samples_per_s: Annotated[int, Meta(ge=1)] = 100
    """Of one patient, device and signal, by the time of measurement. If more are read at once, one stands for all of a second."""


class Ingested(NamedTuple):
    """What became of some records of one partition: each is in exactly one of the two lists, those of a key in their order.

    ``counts``: ("accepted", topic), ("rejected", reason), ("absent", topic), ("thinned", topic) -> how many; absent are samples
    without a value, thinned are accepted records for which another one's sample stands.
    """

    inputs: list[tuple[bytes, bytes]]
    """Key and value for ``twin.inputs``; key b"": into every lane."""
    rejected: list[Output]
    counts: Counts


Convert = Callable[[Any, Origin], FromSource]


class Ingest:
    """Judges records by themselves only: bytes, types, codes, units, ranges, times. Pure but for its decoders' caches."""

    def __init__(self, catalogue: Catalogue, bounds: Bounds | None = None) -> None:
        self._bounds = bounds = bounds or Bounds()
        self._encode = msgspec.json.Encoder().encode
        dictionary = Dictionary(catalogue)
        observations = Observation | Series
        wearable = Measurements(dictionary, "streaming", "streaming", "syncing", bounds.max_samples)
        clinical = Measurements(dictionary, "bedside", "laboratory", None, bounds.max_samples)
        self._topics: dict[str, tuple[Decoder[Any], Convert, bool]] = {
            topic: (Decoder(kind, bounds.max_bytes, bounds.max_depth), convert, broadcast)
            for topic, kind, convert, broadcast in (
                ("wearable.observations", observations, wearable.series, False),
                ("clinical.observations", observations, clinical.series, False),
                ("clinical.events", PatientBody, _happened, False),
                ("environment.observations", EnvironmentObservation, partial(environment_sample, dictionary=dictionary), True),
                ("patient.profiles", Profile, partial(_profile, catalogue=catalogue), False),
                ("device.assignments", DeviceAssignments, _devices, False),
                ("patient.outcomes", Outcome, _outcome, False),
                ("alert.commands", AlertCommand, _command, False),
                ("patient.rebuilds", RebuildAsked | Rebuilt, _rebuild, False),
                ("models", ModelParameters, _model, True),
                ("rule.configurations", RuleConfiguration, _rules, True),
            )
        }
        self._measurements = {"wearable.observations": wearable, "clinical.observations": clinical}

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that it understands, without the prefix."""
        return tuple(self._topics)

    def run(self, topic: str, partition: int, records: Iterable[SourceRecord], now: float) -> Ingested:
        """Judge records of one partition.

        Args:
            topic: one of :attr:`topics`.
            partition: of the source topic.
            records: in order of their offsets.
            now: seconds; what claims to be later than ``now`` and the tolerance is refused.
        """
        decode, convert, broadcast = self._topics[topic]
        measurements = self._measurements.get(topic)
        latest = now + self._bounds.future_tolerance_s
        inputs: list[tuple[bytes, Input]] = []
        gathering: dict[bytes, list[Sample]] = {}
        rejected: list[Output] = []
        counts: Counts = Counter()
        accepted = absent = 0
        crowded = False
        for record in records:
            key, value, offset = record.key, record.value, record.offset
            arrived_at = record.timestamp / 1000
            try:
                if measurements is None or (sample := measurements.usual(value, key, offset, arrived_at, latest)) is None:
                    body = decode(value)
                    assert value is not None
                    original = Raw(value.strip(WHITESPACE))
                    if type(body) is not Observation:
                        source = Source(topic, partition, offset)
                        made = convert(body, Origin(key, source, arrived_at, original, latest, counts))
                        inputs.append((EVERY_LANE if broadcast else key or b"", made))
                        if key is not None:
                            gathering.pop(key, None)
                        accepted += 1
                        continue
                    assert measurements is not None
                    sample = measurements.sample(body, key, offset, arrived_at, original, latest)
                    if sample.value is None and not sample.retracted:
                        absent += 1
            except Rejection as rejection:
                counts["rejected", rejection.reason] += 1
                rejected.append(self._dead_letter(topic, partition, record, rejection))
                continue
            assert key is not None
            assert value is not None
            accepted += 1
            gathered = gathering.get(key)
            if gathered is not None:
                gathered.append(sample)
            else:
                gathered = gathering[key] = [sample]
                inputs.append((key, Samples(topic=topic, partition=partition, arrived_at=arrived_at, samples=gathered)))
            if len(gathered) == TOGETHER or len(value) > LARGE_BYTES:
                crowded = crowded or len(gathered) == TOGETHER
                del gathering[key]
        most = self._bounds.samples_per_s
        if accepted > most and (crowded or max(map(len, gathering.values()), default=0) > most):
            inputs, thinned = thin(inputs, most)
            if thinned:
                counts["thinned", topic] = thinned
        if accepted:
            counts["accepted", topic] = accepted
        if absent:
            counts["absent", topic] += absent
        encode = self._encode
        return Ingested([(key, encode(made)) for key, made in inputs], rejected, counts)

    def sample(self, topic: str, offset: int, key: bytes, value: bytes | None) -> Sample | None:
        """What a single observation says, whenever it claims to be measured; None where it is none, or refused."""
        decode, measurements = self._topics[topic][0], self._measurements.get(topic)
        if measurements is None:
            return None
        try:
            body = decode(value)
            if type(body) is not Observation:
                return None
            return measurements.sample(body, key, offset, 0.0, Raw(value or b""), inf)
        except Rejection:
            return None

    def _dead_letter(self, topic: str, partition: int, record: SourceRecord, rejection: Rejection) -> Output:
        key, value, longest = record.key or b"", record.value or b"", self._bounds.dead_letter_bytes
        headers = (
            *_common_headers(rejection.reason, topic, partition),
            ("detail", rejection.detail.encode()),
            ("offset", b"%d" % record.offset),
            ("at", b"%d" % record.timestamp),
        )
        if len(key) <= longest and len(value) <= longest:
            return Output("dead.letters", key, value, headers)
        for prefix, part in (("key_", key), ("", value)):
            if len(part) > longest:
                told = (f"{prefix}length", b"%d" % len(part)), (f"{prefix}sha256", hashlib.sha256(part).hexdigest().encode())
                headers = (*headers, *told)
        return Output("dead.letters", self._cut(key), self._cut(value), headers)

    def _cut(self, part: bytes) -> bytes:
        return part if len(part) <= self._bounds.dead_letter_bytes else part[: self._bounds.dead_letter_head]


@lru_cache(4096)
def _common_headers(reason: str, topic: str, partition: int) -> tuple[tuple[str, bytes], ...]:
    return ("reason", reason.encode()), ("stage", b"ingest"), ("topic", topic.encode()), ("partition", b"%d" % partition)


def _profile(body: Profile, origin: Origin, catalogue: Catalogue) -> FromSource:
    check_key(origin.key, body.patient_id)
    profile = checked.profile(body, catalogue)
    return ProfileSet(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, profile=profile)


def _happened(body: PatientBody, origin: Origin) -> FromSource:
    check_key(origin.key, body.patient_id)
    event = checked.event(body, origin.latest)
    return Happened(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, event=event)


def _devices(body: DeviceAssignments, origin: Origin) -> FromSource:
    check_key(origin.key, body.patient_id)
    assignments = checked.assignments(body)
    return DevicesSet(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, assignments=assignments)


def _outcome(body: Outcome, origin: Origin) -> FromSource:
    check_key(origin.key, body.patient_id)
    outcome = checked.outcome(body, origin.latest)
    return OutcomeKnown(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, outcome=outcome)


def _command(body: AlertCommand, origin: Origin) -> FromSource:
    check_key(origin.key, body.patient_id)
    command = checked.command(body, origin.latest)
    return Commanded(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, command=command)


def _rebuild(body: RebuildAsked | Rebuilt, origin: Origin) -> FromSource:
    check_key(origin.key, body.patient_id)
    check_identifier(body.id, "id")
    if isinstance(body, RebuildAsked):
        seconds(body.at, "at", origin.latest)
    kind = RebuildBegun if isinstance(body, RebuildAsked) else RebuiltBase
    return kind(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, id=body.id)


def _model(body: ModelParameters, origin: Origin) -> FromSource:
    check_key(origin.key, body.cohort, "cohort")
    parameters = checked.model(body)
    return ModelPublished(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, parameters=parameters)


def _rules(body: RuleConfiguration, origin: Origin) -> FromSource:
    check_key(origin.key, body.name, "name")
    if body.version < 1:
        raise Rejection(reasons.VERSION, f"version {body.version}: versions count from 1")
    return RulesConfigured(source=origin.source, arrived_at=origin.arrived_at, original=origin.original, configuration=body)
