"""Blocks: the parts of patients' twins whose signals inform each other, and the samples that may still be joined by late ones.

A block remembers its samples since it was last settled, in order of time. In order, a sample is appended and applied once. Out of
order, the block goes back to the checkpoint before it and applies the rest again: the same operations on the same numbers as
in-order arrival, so the same state. Samples behind the watermark are settled and forgotten.

Whether something is settled is asked when the first sample after a tick comes, never in between, so that batches do not matter.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import inf, isnan
from sys import intern
from typing import Literal

import numpy as np

from stream_twin.signals import Catalogue
from stream_twin.twin import filter as kernel
from stream_twin.twin.block import (
    AGE,
    AT,
    CHECKPOINT_EVERY,
    CODE,
    COLUMNS,
    ID_BYTES,
    RAW,
    Block,
    SavedBlock,
    Shown,
    Slab,
    packed,
)
from stream_twin.twin.filter import CHUNK
from stream_twin.twin.model import Plan, PopulationModel, key_of
from stream_twin.twin.state import CHUNK_MEAN, COUNT, Floats, Ints, K, converted, input_code

APPLIED_TOGETHER = 20_000
"""Samples in one call: after a restore there may be millions."""
SETTLED_TOGETHER = 8
"""Fewer samples are not worth the trouble of settling them."""
LARGE_BLOCKS = 8
"""So many blocks of a patient may each remember as many samples as the limit says; of more, all fewer."""
MOST_CHANNELS = 4
"""Of a signal: the samples of further devices count as the last one's."""
LIMITED = 2 * CHECKPOINT_EVERY * COLUMNS
"""With fewer numbers of samples no block is over any limit."""

Fate = Literal["applied", "duplicate", "late", "conflict"]
Channels = tuple[tuple[str, str | None], ...]
Part = Callable[[bytes, Channels, "array[float]"], None]
"""Of a patient: the channels that a block has, and samples as it has them."""


def series_identity(first: int, number: int) -> bytes:
    """Of sample ``number`` of a series whose own number is ``first``."""
    return ((first + number) % (1 << 64)).to_bytes(ID_BYTES, "little")


class Blocks:
    """All blocks of a lane; their states lie together by layout, as the kernel wants them."""

    def __init__(
        self, catalogue: Catalogue, pending_limit: int = 4000, wanted: frozenset[str] = frozenset(), part: Part | None = None
    ) -> None:
        """``part`` is called with samples that are settled, the moment they are, of blocks with signals that are ``wanted``."""
        self.pending_limit = pending_limit
        self._catalogue = catalogue
        self._wanted = wanted
        self._part = part
        self._slabs: dict[int, Slab] = {}
        self._lateness: dict[float, float] = {}
        """Each that a loaded block has, so that blocks share it."""
        self._channels: dict[tuple[tuple[str, str | None], ...], tuple[tuple[str, str | None], ...]] = {}
        self._behind: dict[int, Block] = {}
        """Blocks of which not all samples are filed."""
        self._filed: list[Slab] = []
        """Those for which samples are filed."""
        self._filing = 1
        """Counts the calls of :meth:`flush` that had something to do."""
        self._surprises: list[tuple[Ints, Shown]] = []
        self._settled: list[tuple[Block, str, float]] = []

    def warm(self, population: PopulationModel) -> None:
        """Have the kernel compiled, or loaded from where that is kept, now and not with the first sample."""
        slab = Slab(population.plan(((next(iter(population.models)), 1),)), self._catalogue)
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        seen, before = np.empty((0, len(kernel.SEEN))), np.empty((0, slab.where.width))
        kernel.follow(slab.plan.layout, slab.rows, none, nothing, nothing, nothing, none, none, seen, before)
        kernel.look(slab.plan.layout, slab.rows, none, nothing)

    def slab(self, plan: Plan) -> Slab:
        slab = self._slabs.get(id(plan))
        if slab is None:
            slab = self._slabs[id(plan)] = Slab(plan, self._catalogue, self._wanted)
        return slab

    def new(self, key: bytes, population: PopulationModel, devices: Mapping[str, str | None], lateness_s: float) -> Block:
        """A block with a channel for each signal, of the device that measures it."""
        plan = population.plan(key_of(((signal, 1) for signal in devices), self._catalogue))
        return Block(key, self.slab(plan), self._shared(tuple((name, devices[name]) for name, _ in plan.key)), lateness_s)

    def _shared(self, channels: tuple[tuple[str, str | None], ...]) -> tuple[tuple[str, str | None], ...]:
        return self._channels.setdefault(channels, channels)

    def free(self, block: Block) -> None:
        self._bring(block)
        self._behind.pop(id(block), None)
        self._leave(block.slab, block.slot)

    def _leave(self, slab: Slab, slot: int) -> None:
        if slab.free(slot):
            del self._slabs[id(slab.plan)]

    def channel(self, block: Block, population: PopulationModel, signal: str, device: str | None) -> int:
        """The channel of a device's samples of ``signal``; a new one extends the state, and disturbs nothing."""
        if (signal, device) in block.channels:
            return block.channels.index((signal, device))
        mine = [number for number, (name, _) in enumerate(block.channels) if name == signal]
        if len(mine) == MOST_CHANNELS:
            return mine[-1]
        own = [*block.channels, (signal, device)]
        order = sorted(range(len(own)), key=lambda number: (self._catalogue.order[own[number][0]], own[number][1] or ""))
        counts: dict[str, int] = {}
        for name, _ in own:
            counts[name] = counts.get(name, 0) + 1
        plan = population.plan(key_of(counts.items(), self._catalogue))
        place = [order.index(old) for old in range(len(own))]
        self._move(block, self.slab(plan), place[:-1])
        for start in range(CODE, len(block.samples), COLUMNS):
            code = int(block.samples[start])
            if code >= 0:
                block.samples[start] = 3 * place[code // 3] + code % 3
        block.channels = self._shared(tuple(own[number] for number in order))
        return place[-1]

    def _move(self, block: Block, slab: Slab, place: list[int]) -> None:
        """To another layout: what both have is kept, by name; ``place``: where each channel comes."""
        self._bring(block)
        old, slot = block.slab, slab.take()

        def moved(row: Floats) -> Floats:
            new = converted(row, old.plan.names, slab.plan)
            stats = slab.stats(slab.empty).copy()
            stats[place] = old.stats(row)
            slab.stats(new)[:] = stats
            return new

        if block.checkpoints or block.settled_at > -inf:  # else nothing is known yet
            slab.rows[slot] = moved(block.row)
            block.checkpoints = tuple(
                (index, moved(np.frombuffer(state)).tobytes())
                for index, state in block.checkpoints
                if not index or (block.base + index) % slab.every == 0
            )
        left, block.slab, block.slot = block.slot, slab, slot
        self._leave(old, left)

    def allow(self, block: Block, lateness_s: float, complete_to: float) -> None:
        """Wait longer for late samples from now on; what was settled stays settled."""
        if lateness_s > block.lateness_s:
            self._ask(block, complete_to)
            block.lateness_s = lateness_s

    # ------------------------------------------------------------------------------------------------ taking samples

    def offer(
        self, block: Block, code: int, identity: bytes, at: float, raw: float, version: int, complete_to: float, latest: float
    ) -> Fate:
        """Take one sample, in the canonical unit, NaN where retracted; it is applied by the next :meth:`flush`.

        ``complete_to`` must be the same until that flush. ``latest``: when the newest sample of its signal was taken; newer ones
        are never too late, and count as that much older where their own time is settled.
        """
        if block.seen_to != complete_to:
            self._ask(block, complete_to)
        samples, ids = block.samples, block.ids
        found = -1 if ids.rfind(identity) < 0 else block.find(identity)
        newest = samples[-COLUMNS] if samples else block.settled_at
        if found < 0 and (at > newest or (at == newest and samples and block.follows(code))):
            sample = packed(at, raw, code, 0.0)
            if version == 1 and block.versions is None:
                samples.frombytes(sample)
                ids += identity
            else:
                block.append(identity, sample, version)
            if block.behind < 0:  # all before it are filed, and so is this one
                slab = block.slab
                slots, index = slab.slots, len(ids) // ID_BYTES - 1
                if not slots:
                    self._filed.append(slab)
                if not index or not (block.base + index) % slab.every:
                    slab.marked.append((len(slots), block, index))
                slots.append(block.slot)
                slab.filed += sample
                block.filing = self._filing
                if index < CHECKPOINT_EVERY:
                    return "applied"
            if len(samples) > LIMITED:
                self._limit(block)
            return "applied"
        if found >= 0:
            start = found * COLUMNS
            known_at, known_raw = samples[start] - samples[start + AGE], samples[start + RAW]
            known = block.version(found)
            if version < known:
                return "duplicate"
            if version == known:
                # Taking back needs a higher version too, or it would pass for a duplicate and nothing would be taken back.
                same = known_at == at and (known_raw == raw or (isnan(raw) and isnan(known_raw)))
                return "duplicate" if same else "conflict"
            if at <= block.settled_at and samples[start + AGE] == 0.0:
                return "late"
            self._back_to(block, found)
            block.remove(found, found + 1)
        elif at <= block.settled_at and at <= latest:
            return "late"
        when = max(at, block.settled_at)
        index = block.place(code, identity, when, when - at)
        self._back_to(block, index)
        block.insert(index, identity, (when, raw, code, when - at), version)
        if len(samples) > LIMITED:
            self._limit(block)
        return "applied"

    def extend(
        self,
        block: Block,
        code: int,
        first: int,
        numbers: list[int],
        at: list[float],
        raw: list[float],
        version: int,
        complete_to: float,
    ) -> bool:
        """Take samples of a series in one go, as :meth:`offer` would; False, and nothing is taken, where not all are newer.

        Args:
            first: the series' number, see :func:`series_identity`. numbers: which of its samples these are.
        """
        if block.seen_to != complete_to:
            self._ask(block, complete_to)
        newest = block.samples[-COLUMNS] if block.samples else block.settled_at
        if at[0] <= newest or any(later <= earlier for earlier, later in pairwise(at)):
            return False
        known = np.frombuffer(block.ids, "<u8") - np.uint64(first)  # modulo 2 ** 64
        if (known <= numbers[-1]).any():
            return False
        del known  # while it is a view of the ids, they cannot grow
        ids = (np.array(numbers, "<u8") + np.uint64(first)).tobytes()
        samples = np.zeros((len(at), COLUMNS))
        samples[:, AT], samples[:, RAW], samples[:, CODE] = at, raw, code
        if block.behind < 0:
            self._bring(block)
            block.behind = len(block)
            self._behind[id(block)] = block
        block.append(ids, samples.tobytes(), version)
        if len(block.samples) > LIMITED:
            self._limit(block)
        return True

    def put_in(
        self,
        block: Block,
        name: str,
        identity: bytes,
        at: float,
        amount: float,
        version: int,
        complete_to: float,
        newest: float = -inf,
    ) -> Fate:
        """An amount that goes into an input of the block, as :meth:`offer` takes a sample; NaN takes it back.

        What comes too late counts as what is left of it. But not a correction, since what it corrects is settled, and not a level
        with ``newest``, the time of the newest one told, behind it.
        """
        code = input_code(block.slab.plan.inputs.index(name))
        return self.offer(block, code, identity, at, amount, version, complete_to, newest if version == 1 else inf)

    def _back_to(self, block: Block, index: int) -> None:
        """Undo what was applied from sample ``index`` on, back to the checkpoint before it; what follows that is behind."""
        self._bring(block)
        applied = block.behind if block.behind >= 0 else len(block)
        if index < applied:
            while block.checkpoints[-1][0] > index:
                block.checkpoints = block.checkpoints[:-1]
            applied, state = block.checkpoints[-1]
            block.slab.rows[block.slot] = np.frombuffer(state)
        block.behind = applied
        self._behind[id(block)] = block

    def _bring(self, block: Block) -> None:
        """Have what is filed of a block applied, so that its row and checkpoints are those after it."""
        if block.filing == self._filing:
            self.flush()

    def flush(self) -> None:
        """Apply all samples offered since the last flush, each block's in order of time."""
        for block in self._behind.values():
            slab = block.slab
            if not slab.slots:
                self._filed.append(slab)
            block.file()
            if len(slab.slots) > APPLIED_TOGETHER:
                self._filed.remove(slab)
                self._surprises.append(slab.apply())
        self._behind.clear()
        self._surprises += [slab.apply() for slab in self._filed]
        self._filed.clear()
        self._filing += 1

    # ------------------------------------------------------------------------------------------------------ settling

    def _ask(self, block: Block, complete_to: float) -> None:
        """Settle what no sample within the lateness can change any more."""
        block.seen_to = complete_to
        samples, watermark = block.samples, complete_to - block.lateness_s
        if len(samples) < SETTLED_TOGETHER * COLUMNS or samples[(SETTLED_TOGETHER - 1) * COLUMNS] > watermark:
            return
        if block.behind >= 0 or block.filing == self._filing:
            self.flush()
        if samples[-COLUMNS] <= watermark:
            self._settle(block, len(block), block.row)
            return
        self._settle_before(block, watermark)

    def _settle_before(self, block: Block, watermark: float) -> None:
        for index, state in reversed(block.checkpoints):
            if index and block.samples[(index - 1) * COLUMNS] <= watermark:
                self._settle(block, index, np.frombuffer(state))
                return

    def _limit(self, block: Block) -> None:
        """No more than twice as many samples as the limit are kept, whatever the lateness."""
        most = self._most(block)
        if len(block) > 2 * most:
            self.flush()
            self._settle_before(block, block.samples[-most * COLUMNS])

    def _most(self, block: Block) -> int:
        return max(CHECKPOINT_EVERY, self.pending_limit * LARGE_BLOCKS // max(LARGE_BLOCKS, block.siblings))

    def settle(self, block: Block, lateness_s: float, complete_to: float) -> None:
        """Settle as if the lateness had been ``lateness_s`` all the time."""
        self.flush()
        block.lateness_s = lateness_s
        self._ask(block, complete_to)
        before = -1
        while len(block) > self._most(block) and len(block) != before:  # the next checkpoint may be beyond the limit
            before = len(block)
            self._settle_before(block, block.samples[-self._most(block) * COLUMNS])

    def _settle(self, block: Block, count: int, state: Floats) -> None:
        """The first ``count`` samples are settled, ``state`` is what came of them."""
        self._chunks(block, np.frombuffer(block.checkpoints[0][1]), state)
        block.settled_at = max(block.settled_at, block.samples[(count - 1) * COLUMNS])
        block.base += count
        if block.slab.wanted and self._part is not None:
            self._part(block.key, block.channels, block.samples[: count * COLUMNS])
        if count == len(block):
            block.samples, block.versions, block.checkpoints = array("d"), None, ()
            block.ids.clear()
            return
        # Copies are as large as what they hold, with none of the room that the longer ones grew.
        block.samples, block.ids = block.samples[count * COLUMNS :], block.ids[count * ID_BYTES :]
        if block.versions is not None:
            block.versions = block.versions[count:] if any(version != 1 for version in block.versions[count:]) else None
        block.checkpoints = tuple((index - count, kept) for index, kept in block.checkpoints if index >= count)

    def _chunks(self, block: Block, before: Floats, after: Floats) -> None:
        """Note whose standardised innovations have filled a chunk between two states."""
        start = block.slab.where.stats
        for channel in block.channels:
            if after[start + COUNT] // CHUNK > before[start + COUNT] // CHUNK:
                self._settled.append((block, channel[0], float(after[start + CHUNK_MEAN])))
            start += K

    def take_back(self, block: Block) -> None:
        """Forget what is not settled, as if it had not come yet."""
        self._bring(block)
        if block.checkpoints:
            block.slab.rows[block.slot] = np.frombuffer(block.checkpoints[0][1])
        block.samples, block.ids, block.versions = array("d"), bytearray(), None
        block.behind, block.checkpoints = -1, ()
        self._behind.pop(id(block), None)

    # ------------------------------------------------------------------------------------------------------- belief

    def look(self, wanted: Sequence[tuple[Block, float]]) -> list[tuple[list[list[float]], list[list[float]]]]:
        """What blocks are believed to be at some moments: rows of :data:`kernel.LOOKS`, one per signal, and per driver mean,
        standard deviation and what each signal contributed to the mean. Changes nothing."""
        groups: dict[int, list[int]] = {}
        for number, (block, _) in enumerate(wanted):
            groups.setdefault(id(block.slab), []).append(number)
        looks: list[tuple[list[list[float]], list[list[float]]]] = [([], [])] * len(wanted)
        for numbers in groups.values():
            slab = wanted[numbers[0]][0].slab
            slots = np.array([wanted[number][0].slot for number in numbers])
            at = np.array([wanted[number][1] for number in numbers])
            signals, drivers = kernel.look(slab.plan.layout, slab.rows, slots, at)
            for number, own, driving in zip(numbers, signals.tolist(), drivers.tolist(), strict=True):
                looks[number] = own, driving
        return looks

    # ----------------------------------------------------------------------------------------------------- snapshot

    def save(self, block: Block, population: PopulationModel) -> SavedBlock:
        return SavedBlock(
            population=population.population.name,
            names=block.slab.plan.spelled,
            channels=block.channels,
            lateness_s=block.lateness_s,
            settled_at=block.settled_at,
            seen_to=block.seen_to,
            settled=block.checkpoints[0][1] if block.checkpoints else block.row.tobytes(),
            base=block.base,
            ids=bytes(block.ids),
            samples=block.samples.tobytes(),
            versions=None if block.versions is None else block.versions.tobytes(),
        )

    def load(self, key: bytes, population: PopulationModel, saved: SavedBlock) -> Block:
        """What is not settled is applied again by the next flush, from the same checkpoints to the same state."""
        counts: dict[str, int] = {}
        for name, _ in saved.channels:
            counts[name] = counts.get(name, 0) + 1
        plan = population.plan(key_of(counts.items(), self._catalogue))
        lateness_s = self._lateness.setdefault(saved.lateness_s, saved.lateness_s)
        channels = tuple((intern(name), None if device is None else intern(device)) for name, device in saved.channels)
        block = Block(key, self.slab(plan), self._shared(channels), lateness_s)
        block.slab.rows[block.slot] = np.frombuffer(saved.settled)
        block.base = saved.base
        block.settled_at, block.seen_to = saved.settled_at, saved.seen_to
        block.samples.frombytes(saved.samples)
        block.ids = bytearray(saved.ids)
        if saved.versions is not None:
            block.versions = array("I", saved.versions)
        if block.ids:
            block.behind, self._behind[id(block)] = 0, block
        return block

    # -------------------------------------------------------------------------------------------------- what was found

    def take_surprises(self) -> list[tuple[Ints, Shown]]:
        """Signal indices and standardised innovations of what was applied since last taken; NaN where retracted."""
        taken, self._surprises = self._surprises, []
        return taken

    def forget_settled(self, key: bytes) -> None:
        """Drop what was settled of one patient since last taken."""
        self._settled = [entry for entry in self._settled if entry[0].key != key]

    def take_settled(self) -> list[tuple[Block, str, float]]:
        """Blocks and signals of which a chunk was settled since last taken, with its mean standardised innovation."""
        taken, self._settled = self._settled, []
        return taken
