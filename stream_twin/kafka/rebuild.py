"""``rebuild``: a patient's twin made anew from the lane's log, and brought to its owner, who takes it over or refuses it.

Only the owner writes into the log, so the request and the twin go through a source topic, as everything does. The request's
place in the log says up to where the twin is to be made. Stopped anywhere, it is run again: the next request replaces this one.
"""

import zlib
from collections.abc import Callable, Collection, Generator
from typing import NamedTuple, Protocol
from uuid import uuid4

import msgspec

from stream_twin.clock import elapsed, wall
from stream_twin.events import AnyInput, LaneBase, RebuildAsked, RebuildBegun, Rebuilt, RebuiltBase
from stream_twin.kafka import reader, state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import INPUTS, full_name, generation_of, lane_of
from stream_twin.kafka.player import Pacing, Player
from stream_twin.kafka.reader import Record
from stream_twin.topics import MAX_RECORD_BYTES

TOPIC = "patient.rebuilds"
DEAD_LETTERS = "dead.letters"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(AnyInput).decode


class RebuildError(Exception):
    """It was not done, and the twin is as before; the message says why, and the way out."""

    exit_code = 1


class Rebuilder(Protocol):
    """The pure part; see :mod:`stream_twin.lane.rebuilder`."""

    @property
    def gathered(self) -> int: ...

    @property
    def late(self) -> int: ...

    def feed(self, record: Record) -> None: ...

    def base(self, offset: int) -> bytes: ...


class Pure(Protocol):
    """``covered``: the log offset up to which a base in the log covers it, and that base; None where it cannot be read.

    ``make``: of the base to start from and the lane's checkpoint, whose settings hold then, or neither; and of the offsets of
    records whose update failed.
    """

    def covered(self, base: RebuiltBase) -> tuple[int, bytes] | None: ...

    def make(self, start: bytes | None, checkpoint: bytes | None, failed: Collection[int]) -> Rebuilder: ...


class Done(NamedTuple):
    """``samples``: of which the twin was made; ``late``: records among them that had come too late; ``offset``: of the base."""

    samples: int
    late: int
    lane: int
    offset: int


class _Message(NamedTuple):
    at: float
    topic: str
    key: bytes
    value: bytes


class _Covers(msgspec.Struct):
    covered: int


def rebuild(
    broker: Broker, prefix: str, patient: str, pure: Pure, *, by: str, wait_s: float, tell: Callable[[str], object]
) -> Done:
    """Rebuild one patient; a worker must be running. ``tell`` hears how far it is.

    Raises:
        RebuildError: it was not done.
        KafkaException: broker away, or topics are missing.
    """
    return _Rebuild(broker, prefix, patient, pure, wait_s, tell).run(by)


class _Rebuild:
    def __init__(
        self, broker: Broker, prefix: str, patient: str, pure: Pure, wait_s: float, tell: Callable[[str], object]
    ) -> None:
        self._broker, self._prefix, self._patient, self._pure = broker, prefix, patient, pure
        self._wait_s, self._tell = wait_s, tell
        self._key, self._id = patient.encode(), f"rebuild/{uuid4().hex}"
        lanes, suffix = generation_of(broker, prefix)
        self._lane = lane_of(self._key, lanes)
        self._inputs, self._state = full_name(prefix, INPUTS, suffix), full_name(prefix, state.TOPIC, suffix)
        self._suffix = suffix

    def run(self, by: str) -> Done:
        lane, broker = self._lane, self._broker
        first, end = (bounds[self._inputs, lane] for bounds in self._bounds())
        if first == end:
            raise RebuildError(f"{self._inputs}/{lane}, the lane of {self._patient}, is empty: has a worker ever run?")
        rebuilder, begin = self._start(first)
        self._tell("asking")
        self._send(RebuildAsked(id=self._id, patient_id=self._patient, by=by, at=wall()))
        log, gathered = self._log(begin, end), 0
        try:
            for record in log:
                if self._is_ours(record, RebuildBegun):
                    break
                rebuilder.feed(record)
                if rebuilder.gathered - gathered > 100_000:
                    gathered = rebuilder.gathered
                    self._tell(f"{gathered:,} samples")
            asked_at, samples, late = record.offset, rebuilder.gathered, rebuilder.late
            self._tell(f"making the twin of {samples:,} samples")
            try:
                base = rebuilder.base(asked_at)
            except LookupError:
                raise RebuildError(f"nothing is known of {self._patient!r} in {self._inputs}/{lane}: is the id right?") from None
            ends = broker.end_offsets([(self._state, lane), (self._prefix + DEAD_LETTERS, lane)])
            self._tell("bringing it")
            self._send(Rebuilt(id=self._id, patient_id=self._patient, base=zlib.compress(base)))
            brought = next(record for record in log if self._is_ours(record, RebuiltBase))
        finally:
            log.close()
        self._await(brought.offset, ends[self._state, lane], ends[self._prefix + DEAD_LETTERS, lane])
        return Done(samples, late, lane, brought.offset)

    def _bounds(self) -> tuple[dict[tuple[str, int], int], dict[tuple[str, int], int]]:
        parts = [(self._inputs, self._lane)]
        return self._broker.first_offsets(parts), self._broker.end_offsets(parts)

    def _start(self, first: int) -> tuple[Rebuilder, int]:
        """Of a log that is not there from its start any more, the oldest base of this patient is the start."""
        lane = self._lane
        record = next(reader.read(self._broker, self._inputs, [lane]))
        base = _decode(record.value or b"")
        begin = base.positions.get(DEAD_LETTERS, 0) if isinstance(base, LaneBase) else 0
        failed = {
            int(headers["log_offset"])
            for letter in reader.read(self._broker, self._prefix + DEAD_LETTERS, [lane], start={lane: begin})
            if (headers := dict(letter.headers)).get("reason") == b"failed" and "log_offset" in headers
        }
        if first == 0 or isinstance(base, LaneBase):
            return self._pure.make(None, None, failed), first
        self._tell("looking for a base")
        for record in reader.read(self._broker, self._inputs, [lane]):
            if record.key == self._key and isinstance(entry := _decode(record.value or b""), RebuiltBase):
                found = self._pure.covered(entry)
                if found is not None and found[0] + 1 >= first:
                    known = state.read(self._broker, self._prefix, lane, self._suffix)
                    return self._pure.make(found[1], known.checkpoint, failed), found[0] + 1
        raise RebuildError(
            f"{self._inputs}/{lane} begins at offset {first} and holds no base of {self._patient}: what came before is gone, "
            "so the twin cannot be made anew"
        )

    def _log(self, begin: int, end: int) -> Generator[Record, None, None]:
        """The log from ``begin`` on, and on as it is written, while the service does something with what we sent.

        Raises:
            RebuildError: nothing that ends this came within the time of waiting after ``end``.
        """
        deadline = None
        for record in reader.tail(self._broker, self._inputs, [self._lane], start={self._lane: begin}):
            if record is not None:
                yield record
                if self._is_ours(record, RebuildBegun):
                    deadline = None
                    continue
            if deadline is None and (record is None or record.offset + 1 >= end):
                deadline = elapsed() + self._wait_s
            if deadline is not None and elapsed() > deadline:
                raise RebuildError(
                    f"no worker took up the rebuild of {self._patient} within {self._wait_s:.0f} s: is one running, and does it"
                    " keep up? stream-twin doctor looks closer"
                )

    def _is_ours(self, record: Record, kind: type[RebuildBegun | RebuiltBase]) -> bool:
        if record.key != self._key or self._id.encode() not in (record.value or b""):
            return False
        entry = _decode(record.value or b"")
        return isinstance(entry, kind) and entry.id == self._id

    def _send(self, message: RebuildAsked | Rebuilt) -> None:
        value = _encode(message)
        if len(value) > MAX_RECORD_BYTES:
            raise RebuildError(
                f"the twin of {self._patient} has {len(value):,} bytes, {MAX_RECORD_BYTES:,} fit into a record: "
                "lower lane.pending_limit, which says how many samples of a signal are remembered"
            )
        player = Player(self._broker, self._prefix, Pacing(ticks=False))
        player.play([_Message(wall(), TOPIC, self._key, value)])

    def _await(self, offset: int, state_end: int, letters_end: int) -> None:
        """Until the owner has taken over the base at ``offset`` of the log."""
        deadline = elapsed() + self._wait_s
        while elapsed() < deadline:
            over = any(
                record.value is not None and msgspec.msgpack.decode(record.value, type=_Covers).covered >= offset
                for record in reader.read(self._broker, self._state, [self._lane], start={self._lane: state_end})
                if record.key == state.SNAPSHOT + self._key
            )
            letters = reader.read(self._broker, self._prefix + DEAD_LETTERS, [self._lane], start={self._lane: letters_end})
            for letter in letters:
                headers = dict(letter.headers)
                if headers.get("topic") == TOPIC.encode() and headers.get("log_offset") == b"%d" % offset:
                    raise RebuildError(f"{self._patient}: refused: {headers['detail'].decode()}")
            if over:
                return
        raise RebuildError(
            f"the twin of {self._patient} is at offset {offset} of {self._inputs}/{self._lane}, but no worker has come to it"
            f" within {self._wait_s:.0f} s: it will when one runs"
        )
