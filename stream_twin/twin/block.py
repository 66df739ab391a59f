"""One block: some signals of one patient that inform each other, and its samples that late ones may still join.

The states of all blocks of one layout lie together in a :class:`Slab`, as the kernel wants them, with the samples that it is to
take next.
"""

from array import array
from bisect import bisect_right
from collections.abc import Collection
from math import inf, isnan, nan
from struct import Struct as Packed

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream_twin.signals import Catalogue
from stream_twin.twin import filter as kernel
from stream_twin.twin.model import Plan
from stream_twin.twin.state import LAST_AT, LAST_VALUE, Floats, Ints, K, Row, empty

CHECKPOINT_EVERY = 64
"""Samples between two checkpoints of a block at least, counted from its first, so that it does not matter how they came."""
ID_BYTES = 8
AT, RAW, CODE, AGE = range(4)
COLUMNS = 4
"""Numbers that a block remembers of each sample; its time is that at which it is applied, ``AGE`` later than measured."""
NEAR = 8
"""So many samples from the end a place is looked for one by one."""

packed = Packed("=4d").pack
"""A sample as ``samples`` has it: four times as fast as to append its numbers."""
Shown = NDArray[np.float32]


class Slab:
    """All states of one layout, a row each; and the samples filed for them, which :meth:`apply` takes in."""

    def __init__(self, plan: Plan, catalogue: Catalogue, wanted: frozenset[str] = frozenset()) -> None:
        self.plan = plan
        self.where = Row.of(plan.layout)
        self.empty = empty(plan.layout)
        self.every = CHECKPOINT_EVERY
        while 2 * self.every * COLUMNS < self.where.width:
            self.every *= 2  # checkpoints take about as much as the samples between them
        signals = plan.layout.channel_signal.repeat(3).tolist()
        self.rank: list[int] = [*signals, *range(-len(plan.inputs), 0)]
        """By code: where samples of one moment come, by their signals, amounts first."""
        self.rows = np.empty((0, self.where.width))
        self.slots = array("q")
        """Of the samples filed: in which row each belongs."""
        self.filed = bytearray()
        """The samples, as blocks have them."""
        self.marked: list[tuple[int, Block, int]] = []
        """Numbers of samples filed before which the state becomes a checkpoint: of which block, before which sample of it."""
        self.wanted = any(signal.name in wanted for signal in plan.signals)
        """Somebody wants samples when they are settled."""
        self._free: list[int] = []
        self._signals = np.array([catalogue.order[signal.name] for signal in plan.signals])[plan.layout.channel_signal]

    def take(self) -> int:
        if not self._free:
            old, new = len(self.rows), len(self.rows) * 9 // 8 + 1
            rows = np.empty((new, self.where.width))
            rows[:old] = self.rows
            self.rows = rows
            self._free.extend(range(new - 1, old - 1, -1))
        slot = self._free.pop()
        self.rows[slot] = self.empty
        return slot

    def free(self, slot: int) -> bool:
        """Whether nobody is left: most layouts are only passed through, as one signal after another comes."""
        self._free.append(slot)
        return len(self._free) == len(self.rows)

    def stats(self, row: Floats) -> Floats:
        """(c, K) of a state."""
        return row[self.where.stats : self.where.inputs].reshape(-1, K)

    def apply(self) -> tuple[Ints, Shown]:
        """Take in what was filed. -> Signal, as the catalogue counts them, and standardised innovation of each sample; NaN where
        it was retracted or an amount."""
        columns = np.frombuffer(self.filed).reshape(-1, COLUMNS)
        codes = columns[:, CODE].astype(np.int64)
        marks = np.array([number for number, _, _ in self.marked], np.int64)
        seen, before = np.empty((len(columns), len(kernel.SEEN))), np.empty((len(marks), self.where.width))
        at, raw, _, ages = columns.T.copy()
        slots = np.frombuffer(self.slots, np.int64)
        kernel.follow(self.plan.layout, self.rows, slots, at, raw, ages, codes, marks, seen, before)
        for (_, block, index), row in zip(self.marked, before, strict=True):
            block.checkpoints += ((index, row.tobytes()),)
        self.slots, self.filed = array("q"), bytearray()
        self.marked.clear()
        return self._signals[np.maximum(codes, 0) // 3], seen[:, 2].astype(np.float32)


class Block:
    """Some signals of one patient, see the module.

    ``samples`` holds time, raw value, code and age of each one after another, in the canonical unit, NaN where retracted;
    ``versions`` is made once one is not 1. ``checkpoints``: (index, state before that sample); the first is what is settled.
    Without samples there are none, and the row is what is settled.
    """

    __slots__ = (
        "base",
        "behind",
        "channels",
        "checkpoints",
        "filing",
        "ids",
        "key",
        "lateness_s",
        "samples",
        "seen_to",
        "settled_at",
        "siblings",
        "slab",
        "slot",
        "versions",
    )

    def __init__(self, key: bytes, slab: Slab, channels: tuple[tuple[str, str | None], ...], lateness_s: float) -> None:
        self.key = key
        self.slab = slab
        self.slot = slab.take()
        self.channels = channels
        """(signal, device) of each channel, in the layout's order; devices of a signal by name, however they came."""
        self.lateness_s = lateness_s
        self.samples = array("d")
        self.versions: array[int] | None = None
        self.ids = bytearray()
        self.behind = -1
        """The first sample that is not filed for the kernel yet; -1: all are."""
        self.filing = 0
        """In which filing samples of it were last."""
        self.checkpoints: tuple[tuple[int, bytes], ...] = ()
        self.base = 0
        """How many samples there were before the first that is remembered."""
        self.siblings = 1
        """How many blocks the patient has, this one included."""
        self.settled_at = -inf
        """No sample from this time or before can be joined any more."""
        self.seen_to = -inf
        """The lane's ``complete_to`` when it was last asked what is settled."""

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    @property
    def row(self) -> Floats:
        """The state after all applied samples; a view."""
        row: Floats = self.slab.rows[self.slot]
        return row

    def newest(self, signal: str) -> tuple[float, float]:
        """Value and time of the newest sample of ``signal`` that was not retracted; NaN and -inf where there is none."""
        samples = self.samples
        channels = {number for number, (name, _) in enumerate(self.channels) if name == signal}
        best = nan, -inf
        for start in range(len(samples) - COLUMNS, -1, -COLUMNS):
            if samples[start + CODE] // 3 in channels and not isnan(samples[start + RAW]):
                at = samples[start] - samples[start + AGE]
                if at > best[1]:
                    best = samples[start + RAW], at
        if best[1] > -inf:
            return best
        settled = np.frombuffer(self.checkpoints[0][1]) if self.checkpoints else self.row
        stats = self.slab.stats(settled)
        last = max(channels, key=lambda channel: stats[channel, LAST_AT])
        return float(stats[last, LAST_VALUE]), float(stats[last, LAST_AT])

    def since(self, at: float, channels: Collection[int]) -> list[tuple[float, float]]:
        """Time and value of what is remembered of ``channels`` and was measured at ``at`` or later, the newest first."""
        samples, found = self.samples, []
        for start in range(len(samples) - COLUMNS, -1, -COLUMNS):
            if samples[start] < at:
                break
            measured_at, value = samples[start] - samples[start + AGE], samples[start + RAW]
            if measured_at >= at and samples[start + CODE] // 3 in channels and not isnan(value):
                found.append((measured_at, value))
        return found

    def version(self, index: int) -> int:
        return 1 if self.versions is None else self.versions[index]

    def find(self, identity: bytes) -> int:
        """Index of the last remembered sample with this id, or -1."""
        start = self.ids.rfind(identity)
        while start >= 0 and start % ID_BYTES:
            start = self.ids.rfind(identity, 0, start + ID_BYTES - 1)
        return start // ID_BYTES if start >= 0 else -1

    def append(self, ids: bytes, samples: bytes, version: int) -> None:
        """Samples that are all newer, as ``samples`` has them."""
        if version != 1 or self.versions is not None:
            if self.versions is None:
                self.versions = array("I", [1]) * len(self)
            self.versions.extend([version] * (len(ids) // ID_BYTES))
        self.samples.frombytes(samples)
        self.ids += ids

    def file(self) -> None:
        """File for the kernel what is behind."""
        slab, start, count, filed = self.slab, self.behind, len(self), len(self.slab.slots)
        if not self.checkpoints:
            slab.marked.append((filed, self, 0))
        last = self.checkpoints[-1][0] if self.checkpoints else 0
        for mark in range(start + -(self.base + start) % slab.every, count, slab.every):
            if mark > last:
                slab.marked.append((filed + mark - start, self, mark))
        slab.slots.extend(array("q", [self.slot]) * (count - start))
        slab.filed += memoryview(self.samples)[start * COLUMNS :].cast("B")
        self.behind = -1

    def insert(self, index: int, identity: bytes, sample: tuple[float, float, float, float], version: int) -> None:
        if version != 1 and self.versions is None:
            self.versions = array("I", [1]) * len(self)
        if self.versions is not None:
            self.versions.insert(index, version)
        self.samples[index * COLUMNS : index * COLUMNS] = array("d", sample)
        self.ids[index * ID_BYTES : index * ID_BYTES] = identity

    def remove(self, start: int, end: int) -> None:
        del self.samples[start * COLUMNS : end * COLUMNS]
        del self.ids[start * ID_BYTES : end * ID_BYTES]
        if self.versions is not None:
            del self.versions[start:end]

    def follows(self, code: int) -> bool:
        """Whether a sample of the newest one's time comes after it: those of one moment mostly come in that order."""
        samples, rank = self.samples, self.slab.rank
        return samples[-COLUMNS + AGE] == 0.0 and rank[code] > rank[int(samples[-COLUMNS + CODE])]

    def place(self, code: int, identity: bytes, at: float, age: float) -> int:
        """Where a sample belongs: by time, signal and id, so that the order of arrival does not matter."""
        samples, index = self.samples, len(self)
        if index > NEAR and samples[-NEAR * COLUMNS] > at:
            index = bisect_right(range(index), at, key=lambda number: samples[number * COLUMNS])
        rank = self.slab.rank
        own = -age, rank[code], bytearray(identity)
        while index:
            start = (index - 1) * COLUMNS
            if samples[start] < at:
                break
            if samples[start] == at:
                identity_there = self.ids[(index - 1) * ID_BYTES : index * ID_BYTES]
                if (-samples[start + AGE], rank[int(samples[start + CODE])], identity_there) < own:
                    break
            index -= 1
        return index


class SavedBlock(Struct, kw_only=True):
    """A block in a snapshot. ``settled``: the kernel's row, float64; ``samples``: four float64 each; ``versions``: uint32; 8
    bytes per id; little-endian. The state after the samples is not saved: it follows. ``names``: of what the row has, see
    :meth:`Names.spelled`; ``base``: see :class:`Block`."""

    population: str
    names: str
    channels: tuple[tuple[str, str | None], ...]
    lateness_s: float
    settled_at: float
    seen_to: float
    settled: bytes
    base: int
    ids: bytes
    samples: bytes
    versions: bytes | None
