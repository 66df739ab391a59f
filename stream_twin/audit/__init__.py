"""Nothing lost, nothing twice: proves the accounting from the records of the topics alone. Pure and incremental.

1. every source record ends once, as what its route names; every input ends in one way (applied, duplicate, late, ...)
2. each patient's state is, byte for byte, that of one plain process that read the same log without a fault
3. so are the alerts and the other outputs: none missing, extra or twice
4. state restored from ``twin.state`` is the live state
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from stream_twin.audit.lanes import CHECKPOINT, COMPARED, LaneAudit
from stream_twin.audit.sources import Judged, SourcePartition, fingerprint
from stream_twin.audit.thinned import Group
from stream_twin.events import Samples, Source
from stream_twin.ingest import Bounds, Ingest
from stream_twin.signals import Catalogue
from stream_twin.topics import BY_NAME, SOURCES

READING_ORDER = ("twin.state", "alerts", "learning.examples", "dead.letters", "twin.inputs", *(topic.name for topic in SOURCES))
"""With this order a service may go on while it is audited: what a topic refers to is read after it."""
GENEROUS = Bounds(max_bytes=1 << 31, max_depth=1 << 20)
"""What the service took by its own settings is not refused here."""
SHOWN = 5
"""Offenders named in a row."""
OUTCOMES = ("applied", "duplicate", "late", "rejected", "failed", "held")
"""Where an input ends; ``held`` is not an end, but it will be."""


class Record(Protocol):
    """A committed record; aiokafka's ``ConsumerRecord`` is one."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Iterable[tuple[str, bytes]]: ...


class Row(NamedTuple):
    """One check, or with ``ok`` None something counted only."""

    name: str
    counted: int
    ok: bool | None = None
    offenders: tuple[str, ...] = ()
    """The first few; ``wrong`` is how many there are."""
    wrong: int = 0
    note: str = ""


class _Sample(msgspec.Struct, array_like=True):
    """The first elements of a :class:`~stream_twin.events.Sample`."""

    offset: int
    arrived_at: float
    original: msgspec.Raw


class _Logged(msgspec.Struct):
    """What the join wants of an input: one source, or samples with one each; ticks and settings have none."""

    source: Source | None = None
    original: msgspec.Raw = msgspec.Raw(b"")
    topic: str = ""
    partition: int = 0
    samples: list[_Sample] = []
    thinned: dict[int, list[int]] = {}

    def sources(self) -> list[tuple[Source, msgspec.Raw]]:
        if self.source is not None:
            return [(self.source, self.original)]
        return [(Source(self.topic, self.partition, sample.offset), sample.original) for sample in self.samples]


class _Own(msgspec.Struct):
    """What the lane's owner says of itself in every transaction."""

    positions: dict[str, int]
    emitted: int = 0


_own = msgspec.msgpack.Decoder(_Own).decode
_logged = msgspec.json.Decoder(_Logged).decode


class Audit:
    """Feed it every record of :data:`READING_ORDER`, of each partition in the order of offsets, then ask for the report.

    Another order of topics gives the same report; then the log stays in memory until then. ``lanes``: how many;
    ``lane_of``: the lane of a patient's key.
    """

    def __init__(self, catalogue: Catalogue, lanes: int, lane_of: Callable[[bytes], int]) -> None:
        self._lane_of = lane_of
        self._lanes = [LaneAudit(number, catalogue) for number in range(lanes)]
        self._sources: dict[tuple[str, int], SourcePartition] = {}
        self._reached: dict[tuple[int, str, int, bytes], int] = {}
        self._misplaced: list[str] = []
        self._reasons: Counter[str] = Counter()
        self._begins: dict[tuple[str, int], int] = {}
        self._ingest = Ingest(catalogue, GENEROUS)

    def bounds(self, topic: str, partition: int, begin: int, end: int) -> None:
        """Offsets that the topic holds; before any of its records. What retention took away cannot be judged."""
        if begin:
            self._begins[topic, partition] = begin
        if topic == "twin.inputs":
            self._lanes[partition].log_begin = begin
        elif topic in BY_NAME and BY_NAME[topic] in SOURCES:
            self._source(topic, partition).bounds(begin, end)

    def feed(self, topic: str, partition: int, record: Record) -> None:
        """One committed record of ``topic``, whose name is without the prefix."""
        key, value = record.key or b"", record.value
        if topic == "twin.inputs":
            self._feed_log(self._lanes[partition], record.offset, key, value or b"")
        elif topic == "twin.state":
            self._feed_state(self._lanes[partition], key, value)
        elif topic == "dead.letters":
            self._feed_dead_letter(partition, record.offset, key, value, dict(record.headers))
        elif topic in COMPARED:
            self._lanes[partition].put_out(topic, record.offset, key, value or b"", {})
        else:
            source = self._source(topic, partition)
            source.sent(record.offset, fingerprint(key if source.lanes == 1 else b"", value))
            if (group := source.group(record.offset)) is not None:
                group.came(key, self._ingest.sample(topic, record.offset, key, value))

    def advance(self) -> None:
        """Apply the log as far as it came. Call it now and then once ``twin.state`` is fed; memory stays bounded by it."""
        for lane in self._lanes:
            lane.advance()

    def _source(self, topic: str, partition: int) -> SourcePartition:
        if (source := self._sources.get((topic, partition))) is None:
            about = BY_NAME[topic]
            lanes = len(self._lanes) if about.broadcast else 1
            source = self._sources[topic, partition] = SourcePartition(topic, partition, lanes, about.cleanup == "compact")
        return source

    def _feed_log(self, lane: LaneAudit, offset: int, key: bytes, value: bytes) -> None:
        logged = _logged(value)
        parts = logged.sources()
        lane.logged(offset, key, value, max(len(parts), 1))
        here = f"twin.inputs/{lane.number}/{offset}"
        for origin, original in parts:
            topic, partition, source_offset = origin.topic, origin.partition, origin.offset
            source = self._source(topic, partition)
            broadcast = source.lanes > 1
            source.ended(source_offset, fingerprint(b"" if broadcast else key, bytes(original)), lane.number, dead=False)
            if broadcast == bool(key) or (key and self._lane_of(key) != lane.number):
                self._misplaced.append(f"{here} is in the wrong lane")
            route = lane.number, topic, partition, key
            if source_offset <= self._reached.get(route, -1):
                self._misplaced.append(f"{here} comes from {topic}/{partition}/{source_offset}, after a later one")
            self._reached[route] = max(source_offset, self._reached.get(route, -1))
        if logged.thinned:
            self._feed_thinned(key, msgspec.json.decode(value, type=Samples), here)

    def _feed_thinned(self, key: bytes, logged: Samples, here: str) -> None:
        topic, partition = logged.topic, logged.partition
        samples = {sample.offset: sample for sample in logged.samples}
        for offset, others in logged.thinned.items():
            if (standing := samples.get(offset)) is None:
                self._misplaced.append(f"{here} has no sample of {topic}/{partition}/{offset}, which is to stand for others")
                continue
            self._source(topic, partition).thinned(Group(f"{topic}/{partition}/{offset}", key, standing, len(others)), others)

    def _feed_state(self, lane: LaneAudit, key: bytes, value: bytes | None) -> None:
        if key[:1] == b"p":
            lane.stored(key[1:], value)
        elif key == b"lcheckpoint":
            lane.stored(CHECKPOINT, value)
        elif key in (b"lsources", b"lbroadcast") and value is not None:
            own = _own(value)
            lane.emitted = max(lane.emitted, own.emitted)
            for topic, position in own.positions.items():
                if BY_NAME[topic].broadcast == (key == b"lbroadcast"):
                    self._source(topic, lane.number).position = position

    def _feed_dead_letter(
        self, partition: int, offset: int, key: bytes, value: bytes | None, headers: Mapping[str, bytes]
    ) -> None:
        stage, reason = headers["stage"].decode(), headers["reason"].decode()
        self._reasons[f"{stage}: {reason}"] += 1
        if stage == "twin":
            self._lanes[partition].put_out("dead.letters", offset, key, value or b"", headers)
        if stage != "ingest":
            return
        source = self._source(headers["topic"].decode(), int(headers["partition"]))
        if reason == "unreadable":
            source.passed_over(int(headers["offset"]))
            return
        print_ = fingerprint(key if source.lanes == 1 else b"", value, headers)
        source.ended(int(headers["offset"]), print_, partition, dead=True)

    # ------------------------------------------------------------------------------------------------------ report

    def report(self) -> list[Row]:
        """Rows for people and machines; what does not add up has ``ok`` False."""
        self.advance()
        judged = [lane for lane in self._lanes if not lane.log_begin]
        fates: Counter[str] = Counter()
        unjudged = ", ".join(
            f"lane {lane.number} not before twin.inputs offset {lane.log_begin}" for lane in self._lanes if lane.log_begin
        )
        note = f"cannot be judged: {unjudged}" if unjudged else ""
        miscounted, differing, twins = list[str](), list[str](), 0
        for lane in judged:
            if lane.broken:
                continue  # named among the snapshots; nothing is left to compare with
            restored, wrong = lane.restored()
            differing += wrong
            twins += len(restored.patients)
            fates.update(restored.fates())
            if (ends := restored.fates().total()) != lane.inputs:
                miscounted.append(f"twin.inputs/{lane.number} has {lane.inputs} inputs, the lane counts {ends}")
        state = [
            offender for lane in judged for offender in ([lane.broken] if lane.broken else []) + lane.differing + lane.ahead()
        ]
        logged = sum(lane.inputs for lane in self._lanes)
        sources = [self._sources[name].judge() for name in sorted(self._sources)]
        return [
            self._source_row(sources),
            _row("inputs stand in their lane, in their source's order", logged, self._misplaced),
            _row("inputs end in one way each", sum(lane.inputs for lane in judged), miscounted, note),
            _row("snapshots equal the oracle's", sum(lane.compared for lane in judged), state, note),
            *(self._output_row(topic, judged, note) for topic in COMPARED),
            _row("twins restored from twin.state equal the oracle's", twins, differing, note),
            *(Row(f"inputs {outcome}", fates[outcome]) for outcome in OUTCOMES),
            Row("source records thinned, another one's sample stands for them", sum(one.thinned for one in sources)),
            *(Row(f"dead letters, {reason}", count) for reason, count in sorted(self._reasons.items())),
        ]

    def _source_row(self, judged: list[Judged]) -> Row:
        notes = []
        if waiting := sum(one.waiting for one in judged):
            notes.append(f"{waiting} not read by the service yet")
        if compacted := sum(one.compacted for one in judged):
            notes.append(f"{compacted} more were replaced in compacted topics")
        if unproven := sum(one.unproven for one in judged):
            notes.append(f"{unproven} samples stand for others that are not all there any more")
        notes += [
            f"{topic}/{partition} cannot be judged before offset {begin}"
            for (topic, partition), begin in sorted(self._begins.items())
            if (topic, partition) in self._sources
        ]
        offenders = [offender for one in judged for offender in one.offenders]
        return _row(
            "source records end once, as what their route names", sum(one.records for one in judged), offenders, "; ".join(notes)
        )

    def _output_row(self, topic: str, judged: list[LaneAudit], note: str) -> Row:
        count, offenders = 0, list[str]()
        for lane in judged:
            if begin := self._begins.get((topic, lane.number)):
                note += f"{'; ' if note else ''}{topic}/{lane.number} cannot be judged: it begins at offset {begin}"
                continue
            found, wrong = lane.outputs(topic)
            count += found
            offenders += wrong
        return _row(f"{topic} equal the oracle's", count, offenders, note)


def _row(name: str, counted: int, offenders: list[str], note: str = "") -> Row:
    return Row(name, counted, not offenders, tuple(offenders[:SHOWN]), len(offenders), note)
