"""Is a lane what its log says? The oracle is one plain lane that reads the log from its start without a fault."""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from stream_twin.audit.sources import fingerprint
from stream_twin.events import Output
from stream_twin.lane import Lane, UpdateFailed
from stream_twin.signals import Catalogue

COMPARED = ("alerts", "dead.letters", "learning.examples")
"""What a lane puts out and Kafka keeps long enough to be compared, record by record."""
CHECKPOINT = b""
"""Stands for the lane's own record among the patients' keys."""
BATCH = 5000


class Logged(NamedTuple):
    """A record of ``twin.inputs``, as a lane wants it."""

    offset: int
    key: bytes
    value: bytes


class _Snapshot(msgspec.Struct):
    covered: int


class _Checkpoint(msgspec.Struct):
    position: int


_snapshot = msgspec.msgpack.Decoder(_Snapshot).decode
_checkpoint = msgspec.msgpack.Decoder(_Checkpoint).decode


def _position(key: bytes, value: bytes) -> int:
    """Everything in the log before it is in this record of ``twin.state``."""
    return _checkpoint(value).position if key == CHECKPOINT else _snapshot(value).covered + 1


class LaneAudit:
    """Log, state and outputs of one lane, against an oracle.

    Where ``twin.state`` is fed first, :meth:`advance` applies the log as it comes and forgets it; memory then holds the
    twins twice and 16 bytes for each output. A snapshot that comes when the oracle is past it is not compared by itself.
    """

    def __init__(self, number: int, catalogue: Catalogue) -> None:
        self.number, self._catalogue = number, catalogue
        self.oracle = Lane(number, catalogue)
        self.inputs = 0
        """What the log carries: a record of samples counts for each."""
        self.state: dict[bytes, bytes] = {}
        """By the patient's key; :data:`CHECKPOINT` is the lane's own."""
        self.emitted = 0
        """Log offset before which the service says that it has put out everything."""
        self.log_begin = 0
        self.compared = 0
        self.differing: list[str] = []
        self.broken: str | None = None
        """Why the oracle cannot go on."""
        self._log: list[Logged] = []
        self._applied = 0
        self._stops: dict[int, set[bytes]] = defaultdict(set)
        self._failed: set[int] = set()
        self._expected = {topic: _Emitted() for topic in COMPARED}
        self._found = {topic: _Emitted() for topic in COMPARED}

    # ------------------------------------------------------------------------------------------------- what came

    def stored(self, key: bytes, value: bytes | None) -> None:
        """A record of ``twin.state``: a patient's, or with :data:`CHECKPOINT` the lane's. None removes it."""
        if (old := self.state.pop(key, None)) is not None:
            self._stops[_position(key, old)].discard(key)
        if value is not None:
            self.state[key] = value
            self._stops[_position(key, value)].add(key)

    def logged(self, offset: int, key: bytes, value: bytes, inputs: int) -> None:
        """A record of the log, which carries so many inputs."""
        self.inputs += inputs
        self._log.append(Logged(offset, key, value))

    def put_out(self, topic: str, offset: int, key: bytes, value: bytes, headers: Mapping[str, bytes]) -> None:
        """A committed record of one of :data:`COMPARED`; of the dead letters those of stage ``twin``."""
        if headers.get("reason") == b"failed":
            self._failed.add(int(headers["log_offset"]))
        self._found[topic].add(key, _print(key, value, headers), offset)

    # ------------------------------------------------------------------------------------------------- the oracle

    def advance(self) -> None:
        """Apply the log as far as it came, stopping where something in ``twin.state`` can be compared."""
        if self.log_begin or self.broken:
            return
        try:
            new = self._log[self._applied :]
            for chunk, careful in self._chunks(new, sorted(stop for stop, keys in self._stops.items() if keys)):
                self._compare_before(chunk[0].offset)
                applied = self.oracle.apply(chunk, careful=careful)
                for offset, output in applied.outputs:
                    if output.topic in COMPARED:
                        self._expected[output.topic].add(output.key, _output_print(output), offset)
                self._applied += len(chunk)
        except UpdateFailed as error:
            self.broken = f"twin.inputs/{self.number}/{error.offset}: the oracle's update fails, and no dead letter says so"
            return
        self._compare_before(self.oracle.position)
        self._forget()

    def _chunks(self, records: list[Logged], stops: list[int]) -> Iterator[tuple[list[Logged], bool]]:
        """Records between the stops; one that failed live is alone, and taken carefully."""
        cuts = sorted({*stops, *self._failed, *(offset + 1 for offset in self._failed)})
        offsets = [record.offset for record in records]
        start = 0
        while start < len(records):
            cut = bisect_right(cuts, offsets[start])
            end = bisect_left(offsets, cuts[cut]) if cut < len(cuts) else len(records)
            end = min(end, start + BATCH)
            yield records[start:end], offsets[start] in self._failed
            start = end

    def _compare_before(self, offset: int) -> None:
        """Compare what covers the records applied, and none from ``offset`` on."""
        for stop in sorted(stop for stop in self._stops if stop <= offset):
            keys = self._stops.pop(stop)
            if stop < self.oracle.position:
                continue  # the oracle was past it before it came
            for key in sorted(keys):
                self.compared += 1
                if self._of(self.oracle, key) != self.state[key]:
                    self.differing.append(
                        f"twin.state/{self.number} at twin.inputs offset {stop}: {_who(key)} differs from the oracle's"
                    )

    def _forget(self) -> None:
        """What was applied and a restore would not read again."""
        if CHECKPOINT in self.state:
            wanted = _checkpoint(self.state[CHECKPOINT]).position
            gone = min(bisect_left(self._log, wanted, key=lambda record: record.offset), self._applied)
            del self._log[:gone]
            self._applied -= gone

    @staticmethod
    def _of(lane: Lane, key: bytes) -> bytes | None:
        if key == CHECKPOINT:
            return lane.checkpoint()
        return lane.snapshot(key) if key in lane.patients else None

    # ------------------------------------------------------------------------------------------------- judgement

    def ahead(self) -> list[str]:
        """State that covers more than the log holds."""
        return [
            f"twin.state/{self.number}: {_who(key)} covers twin.inputs up to {stop - 1}, which ends before {self.oracle.position}"
            for stop, keys in sorted(self._stops.items())
            for key in sorted(keys)
            if stop > self.oracle.position
        ]

    def restored(self) -> tuple[Lane, list[str]]:
        """The lane as ``twin.state`` and the rest of the log give it, and where it is not what the oracle is."""
        snapshots = ((key, value) for key, value in self.state.items() if key != CHECKPOINT)
        lane = Lane.restore(self.number, self._catalogue, self.state.get(CHECKPOINT), snapshots)
        rest = [record for record in self._log if record.offset >= lane.position]
        for chunk, careful in self._chunks(rest, []):
            lane.apply(chunk, careful=careful)
        differing = [
            f"twin.state/{self.number}: {_who(key)}, restored and brought to offset {self.oracle.position}, is not the oracle's"
            for key in sorted({*self.oracle.patients, *lane.patients, CHECKPOINT})
            if self._of(self.oracle, key) != self._of(lane, key)
        ]
        return lane, differing

    def outputs(self, topic: str) -> tuple[int, list[str]]:
        """How many records of ``topic`` there are, and which are missing, extra, twice or out of order."""
        found = self._found[topic]
        here, log = f"{topic}/{self.number}", f"twin.inputs/{self.number}"
        offenders = found.against(self._expected[topic], self.emitted, here, log)
        return found.count, offenders


class _Emitted:
    """Fingerprints of records and a number each (their offset, or that of their cause), in order, by key."""

    def __init__(self) -> None:
        self.count = 0
        self._by_key: dict[bytes, tuple[array[int], array[int]]] = {}

    def add(self, key: bytes, print_: int, number: int) -> None:
        self.count += 1
        prints, numbers = self._by_key.setdefault(key, (array("Q"), array("q")))
        prints.append(print_)
        numbers.append(number)

    def against(self, expected: "_Emitted", emitted: int, here: str, log: str) -> list[str]:
        """What is wrong; what causes from ``emitted`` on put out may or may not be there."""
        wrong = []
        for key in sorted({*self._by_key, *expected._by_key}):
            found, offsets = self._by_key.get(key, NOTHING)
            wanted, causes = expected._by_key.get(key, NOTHING)
            must = bisect_left(causes, emitted)
            if len(found) >= must and found == wanted[: len(found)]:
                continue
            differing = [f"{here}/{offset} {what}" for offset, what in _surplus(found, offsets, wanted)]
            differing += [f"{here}: what {log}/{cause} caused is missing" for cause in _lacking(found, wanted[:must], causes)]
            wrong += differing or [f"{here}/{offsets[0]} and those after it of the same key are out of order"]
        return wrong


NOTHING = (array("Q"), array("q"))


def _surplus(found: "array[int]", offsets: "array[int]", wanted: "array[int]") -> Iterator[tuple[int, str]]:
    left = Counter(wanted)
    for print_, offset in zip(found, offsets, strict=True):
        if left[print_] > 0:
            left[print_] -= 1
        else:
            yield offset, "is there twice" if print_ in wanted else "is not what the oracle put out"


def _lacking(found: "array[int]", wanted: "array[int]", causes: "array[int]") -> Iterator[int]:
    left = Counter(found)
    for print_, cause in zip(wanted, causes, strict=False):
        if left[print_] > 0:
            left[print_] -= 1
        else:
            yield cause


def _who(key: bytes) -> str:
    return "the lane's own record" if key == CHECKPOINT else f"patient {key.decode(errors='replace')}"


def _print(key: bytes, value: bytes, headers: Mapping[str, bytes]) -> int:
    """Of dead letters the reason and the cause count as well."""
    told = b"|".join(headers.get(name, b"") for name in ("reason", "topic", "partition", "offset", "log_offset"))
    return fingerprint(key, value, headers) ^ fingerprint(told, b"")


def _output_print(output: Output) -> int:
    return _print(output.key, output.value, dict(output.headers))
