"""What the Kafka edge runs, and by which settings: protocols for the pure stages, plain values for the rest."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from stream_twin.events import Output
from stream_twin.kafka.broker import Broker


class Record(Protocol):
    """A record as a consumer delivers it; ``timestamp`` is Kafka's, in ms."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


class Ingested(Protocol):
    @property
    def inputs(self) -> Sequence[tuple[bytes, bytes]]: ...

    @property
    def rejected(self) -> Sequence[Output]: ...

    @property
    def counts(self) -> Mapping[Any, int]: ...


class Ingest(Protocol):
    """Bytes of source records -> inputs and dead letters, one for each. ``topic`` is without the prefix."""

    def run(self, topic: str, partition: int, records: Sequence[Any], now: float) -> Ingested: ...


class Applied(Protocol):
    @property
    def outputs(self) -> Sequence[tuple[int, Output]]: ...

    @property
    def alerted(self) -> Iterable[bytes]: ...

    @property
    def urgent(self) -> bool: ...

    @property
    def counts(self) -> Mapping[Any, int]: ...


class Lane(Protocol):
    """The pure lane. ``position`` is the offset in ``twin.inputs`` of the next record that it wants."""

    @property
    def position(self) -> int: ...

    def apply(self, records: Sequence[Any], careful: bool = False) -> Applied: ...

    def configuration(self, settings: Any) -> bytes | None: ...

    def forgetting(self) -> bytes | None: ...

    def snapshot(self, key: bytes) -> bytes | None: ...

    def changed(self) -> list[bytes]: ...

    def checkpoint(self) -> bytes: ...


class Learner(Protocol):
    """The pure learner of one cohort: what came on ``learning.examples``, in any order of its partitions, -> models."""

    def apply(self, records: Sequence[Any]) -> Sequence[Output]: ...

    def snapshot(self) -> bytes: ...


class Observer(Protocol):
    """Where a worker says what it did; the metrics implement it. No argument names a patient."""

    def ingested(self, topic: str, records: int, counts: Mapping[Any, int], oldest_s: float) -> None:
        """A batch of a source went through ingest; its oldest record was ``oldest_s`` seconds old."""

    def applied(self, records: int, applied: Any, oldest_s: float) -> None:
        """A batch of ``twin.inputs`` went through a lane: ``applied`` is what :meth:`Lane.apply` returned."""

    def transaction(self, lane: int, seconds: float, written: Mapping[str, int], all_of_it: bool) -> None:
        """A transaction of a lane was committed: records by topic without the prefix; all that it had, or urgent ones alone."""

    def restored(self, seconds: float, patients: int) -> None:
        """A lane was opened from Kafka."""

    def lanes(self, owned: int, open_: int) -> None:
        """How many lanes this worker has been given, and how many of these are open."""

    def lag(self, topic: str, records: int) -> None:
        """Records of a topic that are in Kafka, but not processed yet, over this worker's lanes."""

    def complete_to(self, at: float) -> None:
        """Everything that was sent to the sources before ``at`` is in the lanes' logs."""


class Silent:
    """An observer that looks away."""

    def ingested(self, topic: str, records: int, counts: Mapping[Any, int], oldest_s: float) -> None: ...

    def applied(self, records: int, applied: Any, oldest_s: float) -> None: ...

    def transaction(self, lane: int, seconds: float, written: Mapping[str, int], all_of_it: bool) -> None: ...

    def restored(self, seconds: float, patients: int) -> None: ...

    def lanes(self, owned: int, open_: int) -> None: ...

    def lag(self, topic: str, records: int) -> None: ...

    def complete_to(self, at: float) -> None: ...


class UpdateFailed(Exception):
    """Stands in for the lane's own exception of this name, which has the failing record's ``offset``."""

    offset = 0


@dataclass(frozen=True)
class Stages:
    """What a worker runs.

    ``make_lane(number, checkpoint, snapshots)`` restores a lane: checkpoint None for an empty one, snapshots as (patient's
    key, snapshot). It runs in a thread. ``make_learner(snapshot)`` does the same for each learner, by cohort.
    ``update_failed`` is what :meth:`Lane.apply` raises where a record's update did.
    """

    ingest: Ingest
    make_lane: Callable[[int, bytes | None, Iterable[tuple[bytes, bytes]]], Lane]
    lane_settings: Any = None
    update_failed: type[Exception] = UpdateFailed
    learners: Mapping[str, Callable[[bytes | None], Learner]] = field(default_factory=dict)


@dataclass(frozen=True)
class WorkerSettings:
    """``prefix`` is put before every topic's name, ``group`` before every transactional id; ``suffix`` after the names of the
    lanes' log and state, where ``topics grow`` has made these anew: a worker finds it out itself.
    """

    broker: Broker
    prefix: str = ""
    suffix: str = ""
    group: str = "stream-twin"
    partition_count: int = 16
    clock: Literal["wall", "stream"] = "wall"
    commit_every_s: float = 0.02
    """Shortest time between two transactions of a lane."""
    commit_at_most_every_s: float = 0.25
    """Longest, to which the cycle stretches as the lanes grow and while a lane is behind."""
    transactions_per_s: float = 120.0
    """Of a worker, all its lanes together."""
    checkpoint_every_s: float = 30.0
    session_timeout_s: float = 6.0
    hand_over_s: float = 2.0
    """Time for the last commits of a worker that stops or hands lanes over."""
    commit_timeout_s: float = 15.0
    """A transaction that makes no progress for so long is given up, and its lane opened again."""
    queue_records: int = 20_000
    """Records of one partition that wait in memory before reading it pauses."""
    slice_records: int = 1_000
    """Records that go through a stage in one call."""
