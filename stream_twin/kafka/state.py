"""The lane's own records in ``twin.state``, and reading them back.

Keys: ``p`` + patient's key for snapshots, ``l`` + name for the lane's own.
"""

from typing import TypeVar

from msgspec import Struct, field, msgpack

from stream_twin.kafka import reader
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.placing import full_name

TOPIC = "twin.state"
SNAPSHOT = b"p"
SOURCES = b"lsources"
CHECKPOINT = b"lcheckpoint"
BROADCAST = b"lbroadcast"
LEARNER = b"llearner/"
SCHEMA = 1


class Sources(Struct, kw_only=True):
    """In every transaction of a lane but those of urgent alerts alone: what it has read, and what it has put out.

    ``positions``: next offset by source topic without prefix. ``emitted``: everything that ``twin.inputs`` before this offset
    caused is written. ``lanes``: how many there were when the lane was first opened.
    """

    schema: int = SCHEMA
    lanes: int
    positions: dict[str, int]
    emitted: int


class Broadcast(Struct, kw_only=True):
    """In every transaction of a broadcast: sources before these offsets are in every lane."""

    schema: int = SCHEMA
    positions: dict[str, int]


class LearnerState(Struct, kw_only=True):
    """``positions``: next offset of ``learning.examples`` by partition. ``learner``: its own snapshot."""

    schema: int = SCHEMA
    positions: dict[int, int]
    learner: bytes


_T = TypeVar("_T", Sources, Broadcast, LearnerState)


class LaneState(Struct, kw_only=True):
    """All that partition ``lane`` of ``twin.state`` holds; ``snapshots`` by patient's key."""

    lane: int
    sources: Sources | None = None
    broadcast: Broadcast | None = None
    checkpoint: bytes | None = None
    snapshots: dict[bytes, bytes] = field(default_factory=dict)
    learners: dict[str, LearnerState] = field(default_factory=dict)


def encode(record: Sources | Broadcast | LearnerState) -> bytes:
    return msgpack.encode(record)


def read(broker: Broker, prefix: str, lane: int, suffix: str = "") -> LaneState:
    """Blocks until all that is committed has been read, which includes waiting for open transactions.

    Raises:
        Fatal: written by a newer version.
    """
    newest: dict[bytes, bytes | None] = {}
    for record in reader.read(broker, full_name(prefix, TOPIC, suffix), [lane]):
        newest[record.key or b""] = record.value
    state = LaneState(lane=lane)
    for key, value in newest.items():
        if value is None:
            continue  # erased
        if key.startswith(SNAPSHOT):
            state.snapshots[key[1:]] = value
        elif key == SOURCES:
            state.sources = _decode(lane, value, Sources)
        elif key == CHECKPOINT:
            state.checkpoint = value
        elif key == BROADCAST:
            state.broadcast = _decode(lane, value, Broadcast)
        elif key.startswith(LEARNER):
            state.learners[key[len(LEARNER) :].decode()] = _decode(lane, value, LearnerState)
    return state


def _decode(lane: int, value: bytes, kind: type[_T]) -> _T:
    record = msgpack.decode(value, type=kind)
    if record.schema != SCHEMA:
        raise Fatal(
            ExitCode.FAILED,
            f"lane {lane}: its {kind.__name__} record has schema {record.schema}, this version reads {SCHEMA};"
            " use the version that wrote it",
        )
    return record
