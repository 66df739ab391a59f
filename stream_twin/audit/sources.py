"""Does every source record end once, as what its route names? Joins sources, log and dead letters on topic, partition, offset."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from stream_twin.audit.thinned import Group
from stream_twin.topics import MAX_RECORD_BYTES


def fingerprint(key: bytes, value: bytes | None, headers: Mapping[str, bytes] | None = None) -> int:
    """64 bits of key and value, never 0. ``headers``: of a dead letter, which speak for what was cut.

    White space around JSON does not count: the log's copy has none. What is too large for ingest is compared as it is.
    """
    value = value or b""
    if len(value) <= MAX_RECORD_BYTES:
        value = value.strip(b" \t\r\n")
    digests = [
        bytes.fromhex(headers[told].decode()) if headers and told in headers else hashlib.sha256(part).digest()
        for told, part in (("key_sha256", key), ("sha256", value))
    ]
    return int.from_bytes(digests[0][:8], "big") ^ int.from_bytes(digests[1][8:16], "big") or 1


class SourcePartition:
    """What became of the records of one partition of a source topic; about 20 bytes for each.

    ``lanes``: into how many logs a record goes, 1 or, of a broadcast topic, all. ``compacted``: records may have gone.
    """

    def __init__(self, topic: str, partition: int, lanes: int, compacted: bool) -> None:
        self.name, self.lanes, self.compacted = f"{topic}/{partition}", lanes, compacted
        self.begin, self.end = 0, 1 << 62
        self._base = 0
        self.position = 0
        """How far the service says it has read."""
        self._seen, self._inputs, self._dead, self._complete = bytearray(), bytearray(), bytearray(), bytearray()
        self._sent, self._kept = array("Q"), array("Q")
        self._altered: list[int] = []
        self._again: list[int] = []
        self._unreadable: list[int] = []
        self._broadcast: dict[int, bytearray] = {}
        self._groups: list[Group] = []
        self._group_of = array("I")
        """By offset, number of its group and 1; empty until the first."""

    def bounds(self, begin: int, end: int) -> None:
        """Offsets the topic holds: before ``begin`` retention took them, and ``end`` is where the audit stopped reading."""
        self.begin, self.end = begin, end
        if not self._seen:
            self._base = begin

    def sent(self, offset: int, print_: int) -> None:
        if (i := self._index(offset)) is not None:
            self._seen[i] = 1
            self._sent[i] = print_

    def ended(self, offset: int, print_: int, lane: int, dead: bool) -> None:
        """The record is in ``lane``'s log, or among the dead letters."""
        if (i := self._index(offset)) is None:
            return
        counts = self._dead if dead else self._inputs
        counts[i] = min(counts[i] + 1, 255)
        if self._kept[i] not in (0, print_):
            self._altered.append(offset)
        self._kept[i] = print_
        if self.lanes > 1 and not dead:
            self._count_broadcast(offset, i, lane)

    def passed_over(self, offset: int) -> None:
        """A dead letter tells of a record that could not be read, so nobody can compare it."""
        if (i := self._index(offset)) is not None:
            self._dead[i] = min(self._dead[i] + 1, 255)
            self._unreadable.append(offset)

    def thinned(self, group: Group, offsets: Iterable[int]) -> None:
        """Samples of the group's record stand in the log for the records at ``offsets``."""
        self._groups.append(group)
        for offset in offsets:
            if (i := self._index(offset)) is not None:
                self._inputs[i] = min(self._inputs[i] + 1, 255)
                self._group_of.frombytes(bytes(4 * (len(self._seen) - len(self._group_of))))
                self._group_of[i] = len(self._groups)
                self._kept[i] = self._kept[i] or self._sent[i]

    def group(self, offset: int) -> Group | None:
        """The group of a record that was sent just now, if another one stands for it."""
        i = offset - self._base
        if not 0 <= i < len(self._group_of) or not self._group_of[i]:
            return None
        self._kept[i] = self._kept[i] or self._sent[i]
        return self._groups[self._group_of[i] - 1]

    def _count_broadcast(self, offset: int, i: int, lane: int) -> None:
        if self._complete[i]:
            self._again.append(offset)
            return
        per_lane = self._broadcast.setdefault(offset, bytearray(self.lanes))
        per_lane[lane] = min(per_lane[lane] + 1, 255)
        if per_lane.count(1) == self.lanes:
            self._complete[i] = 1
            del self._broadcast[offset]

    def _index(self, offset: int) -> int | None:
        i = offset - self._base
        if i < 0 or offset >= self.end:
            return None
        if i >= len(self._seen):
            more = max(i + 1 - len(self._seen), len(self._seen) // 4, 64)
            for column in (self._seen, self._inputs, self._dead, self._complete):
                column.extend(bytes(more))
            for prints in (self._sent, self._kept):
                prints.frombytes(bytes(8 * more))
        return i

    def judge(self) -> "Judged":
        seen, inputs, dead = (np.frombuffer(column, np.uint8) for column in (self._seen, self._inputs, self._dead))
        sent, kept = np.frombuffer(self._sent, np.uint64), np.frombuffer(self._kept, np.uint64)
        ended = (inputs > 0) | (dead > 0)
        readable = np.ones(len(seen), bool)
        readable[[offset - self._base for offset in self._unreadable]] = False
        last = int(np.flatnonzero(ended)[-1]) + 1 if ended.any() else 0
        read = np.arange(len(seen)) < max(self.position - self._base, last)
        judged = Judged(self.name, self.begin)
        judged.records = int(seen.sum())
        judged.thinned = sum(1 for number in self._group_of if number)
        judged.offenders += [sentence for group in self._groups if (sentence := group.wrong())]
        judged.unproven = sum(not group.judged for group in self._groups)
        judged.waiting = int(((seen > 0) & ~read).sum())
        judged.add("is neither in the log nor a dead letter", self._offsets((seen > 0) & ~ended & read))
        judged.add("is both in the log and a dead letter", self._offsets((inputs > 0) & (dead > 0)))
        judged.add("is a dead letter twice", self._offsets(dead > 1))
        judged.add("is another there than was sent", self._offsets((seen > 0) & ended & (sent != kept) & readable))
        judged.add("differs from copy to copy", iter(self._altered))
        if self.lanes == 1:
            judged.add("is in the log twice", self._offsets(inputs > 1))
        judged.add("is in the log of a lane twice", iter(self._again))
        for offset, per_lane in self._broadcast.items():
            wrong = next(lane for lane, count in enumerate(per_lane) if count != 1)
            judged.add(f"is in the log of lane {wrong} {per_lane[wrong]} times, not once", iter([offset]))
        unsent = (seen == 0) & ended & readable
        if self.compacted:
            judged.compacted = int(unsent.sum())
        else:
            judged.add("is in the log or a dead letter, but was never sent", self._offsets(unsent))
        return judged

    def _offsets(self, wrong: "np.ndarray[tuple[int], np.dtype[np.bool_]]") -> Iterator[int]:
        return (int(i) + self._base for i in np.flatnonzero(wrong))


class Judged:
    """What was found in one partition: counts, and a sentence for each record that does not add up."""

    def __init__(self, name: str, begin: int) -> None:
        self.name, self.begin = name, begin
        self.records = self.waiting = self.compacted = self.thinned = self.unproven = 0
        self.offenders: list[str] = []

    def add(self, what: str, offsets: Iterator[int]) -> None:
        self.offenders += [f"{self.name}/{offset} {what}" for offset in offsets if offset >= self.begin]
