"""Tracks: what the filter follows, one per patient and signal, and the samples that may still be joined by late ones.

A track remembers its samples since its oldest checkpoint, in order of time. In order, a sample is appended and applied once.
Out of order, the track goes back to the checkpoint before it and applies the rest again: the same operations on the same
numbers as in-order arrival, so the same state. Samples behind the watermark are settled and forgotten.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from itertools import chain, pairwise, repeat
from math import inf, isnan, nan
from typing import Literal

import numpy as np
from msgspec import Struct

from stream_twin.twin import kernel
from stream_twin.twin.kernel import Floats, Ints, Parameters, Shown

CHECKPOINT_EVERY = 16
"""Samples between two checkpoints of a track: what a late sample costs at most beyond those after it."""
ID_BYTES = 8
AT, RAW, Z = range(3)
COLUMNS = 3
"""Numbers that a track remembers of each sample."""
NO_FLOOR = -inf
"""One object for all tracks."""

Fate = Literal["applied", "duplicate", "late", "conflict"]


class Checkpoint(Struct, array_like=True, frozen=True, gc=False):
    """State of a track before its sample number ``index``: a row of the kernel, as bytes."""

    index: int
    state: bytes

    @property
    def at(self) -> float:
        """Time of the state, -inf before the first sample."""
        return float(np.frombuffer(self.state)[kernel.AT])


class Track:
    """One signal of one patient.

    There are hundreds of thousands, most with a few samples, so objects count more than numbers do: ``samples`` holds time, raw
    value and standardised innovation of each one after another, in the canonical unit, NaN where retracted and where not applied
    yet; ``versions`` is made once one is not 1; the checkpoint before the first sample is one object for all.
    """

    __slots__ = (
        "applied",
        "checkpoints",
        "floor",
        "ids",
        "key",
        "lateness_s",
        "samples",
        "settled_raw",
        "signal",
        "slot",
        "versions",
    )

    def __init__(self, key: bytes, signal: int, slot: int, lateness_s: float) -> None:
        self.key = key
        self.signal = signal
        self.slot = slot
        self.lateness_s = lateness_s
        self.samples = array("d")
        self.versions: array[int] | None = None
        self.ids = bytearray()
        self.applied = 0
        self.checkpoints: tuple[Checkpoint, ...] = ()
        self.settled_raw: float | None = None
        """The newest value that was settled."""
        self.floor = NO_FLOOR
        """No older sample is joined, whatever the lateness: more than the limit came after it, or the lateness grew since."""

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    @property
    def at(self) -> "array[float]":
        """Times of the remembered samples, oldest first; a copy, as ``raw`` and ``z`` are."""
        return self.samples[AT::COLUMNS]

    @property
    def raw(self) -> "array[float]":
        return self.samples[RAW::COLUMNS]

    @property
    def z(self) -> "array[float]":
        return self.samples[Z::COLUMNS]

    def newest(self) -> tuple[float, float]:
        """Value and time of the newest sample that was not retracted; NaN and -inf where there is none."""
        samples = self.samples
        for start in range(len(samples) - COLUMNS, -1, -COLUMNS):
            if not isnan(samples[start + RAW]):
                return samples[start + RAW], samples[start]
        return nan if self.settled_raw is None else self.settled_raw, self.settled_at

    def surprises(self, most: int) -> tuple["array[float]", "array[float]"]:
        """Standardised innovations of the newest ``most`` samples at most, oldest first, and when these were taken."""
        newest = self.samples[-COLUMNS * most :]
        return newest[Z::COLUMNS], newest[AT::COLUMNS]

    def watermark(self, complete_to: float) -> float:
        """A sample from this time or before comes too late, unless it is the newest."""
        return max(self.floor, complete_to - self.lateness_s)

    @property
    def settled_at(self) -> float:
        return self.checkpoints[0].at if self.checkpoints else NO_FLOOR

    def allow(self, lateness_s: float, complete_to: float) -> None:
        """Wait longer for late samples from now on; what was settled stays settled."""
        if lateness_s > self.lateness_s:
            self.floor = self.watermark(complete_to)
            self.lateness_s = lateness_s

    def version(self, index: int) -> int:
        return 1 if self.versions is None else self.versions[index]

    def find(self, identity: bytes) -> int:
        """Index of the last remembered sample with this id, or -1."""
        start = self.ids.rfind(identity)
        while start >= 0 and start % ID_BYTES:
            start = self.ids.rfind(identity, 0, start + ID_BYTES - 1)
        return start // ID_BYTES if start >= 0 else -1

    def append(self, ids: bytes, samples: Iterable[float], version: int) -> None:
        """Samples that are all newer, as ``samples`` has them."""
        if version != 1 or self.versions is not None:
            if self.versions is None:
                self.versions = array("I", [1]) * len(self)
            self.versions.extend([version] * (len(ids) // ID_BYTES))
        self.samples.extend(samples)
        self.ids += ids

    def insert(self, index: int, identity: bytes, at: float, raw: float, version: int) -> None:
        if version != 1 and self.versions is None:
            self.versions = array("I", [1]) * len(self)
        if self.versions is not None:
            self.versions.insert(index, version)
        self.samples[index * COLUMNS : index * COLUMNS] = array("d", (at, raw, nan))
        self.ids[index * ID_BYTES : index * ID_BYTES] = identity

    def remove(self, start: int, end: int) -> None:
        del self.samples[start * COLUMNS : end * COLUMNS]
        del self.ids[start * ID_BYTES : end * ID_BYTES]
        if self.versions is not None:
            del self.versions[start:end]

    def place(self, identity: bytes, at: float) -> int:
        """Where a sample belongs: by time, then by id, so that the order of arrival does not matter."""
        samples = self.samples
        index = bisect_left(range(len(self)), at, key=lambda index: samples[index * COLUMNS])
        while (
            index < len(self)
            and samples[index * COLUMNS] == at
            and bytes(self.ids[index * ID_BYTES : (index + 1) * ID_BYTES]) < identity
        ):
            index += 1
        return index


def series_identity(first: int, number: int) -> bytes:
    """Of sample ``number`` of a series whose own number is ``first``."""
    return ((first + number) % (1 << 64)).to_bytes(ID_BYTES, "little")


class Tracks:
    """All tracks of a lane: their states in one array, one row (slot) each, as the kernel has them."""

    def __init__(self, parameters: Parameters, pending_limit: int = 4000) -> None:
        self.parameters = parameters
        self.pending_limit = pending_limit
        self.state = np.zeros((0, kernel.WIDTH))
        self._signal = np.zeros(0, np.int64)
        self._empty = np.array([kernel.empty(parameters, signal) for signal in range(len(parameters.means))])
        self._first = [(Checkpoint(0, row.tobytes()),) for row in self._empty]
        """What each track has before its first sample."""
        self._free: list[int] = []
        self._lateness: dict[float, float] = {}
        """Each that a loaded track has, so that tracks share it."""
        self._dirty: dict[int, Track] = {}
        self._surprises: list[tuple[Ints, Shown]] = []
        self._settled: list[tuple[Track, float]] = []
        self._warm()

    def _warm(self) -> None:
        """Have the kernel compiled, or loaded from where that is kept, now and not with the first sample."""
        nothing = np.zeros(0), np.zeros(0), np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros((0, kernel.WIDTH))
        kernel.follow(self.parameters, self.state, self._signal, np.zeros(0, np.int64), *nothing)
        self.look([], [])

    def new(self, key: bytes, signal: int, lateness_s: float) -> Track:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self.state[slot] = self._empty[signal]
        self._signal[slot] = signal
        return Track(key, signal, slot, lateness_s)

    def free(self, track: Track) -> None:
        self._dirty.pop(track.slot, None)
        self._free.append(track.slot)

    def _grow(self) -> None:
        old, new = len(self.state), max(256, len(self.state) * 5 // 4)
        for name in ("state", "_signal"):
            array_ = getattr(self, name)
            grown = np.zeros((new, *array_.shape[1:]), array_.dtype)
            grown[:old] = array_
            setattr(self, name, grown)
        self._free.extend(range(new - 1, old - 1, -1))

    # ------------------------------------------------------------------------------------------------ taking samples

    def offer(self, track: Track, identity: bytes, at: float, raw: float, version: int, complete_to: float) -> Fate:
        """Take one sample, in the canonical unit, NaN where retracted; it is applied by the next :meth:`flush`.

        ``complete_to`` must be the same until that flush.
        """
        samples = track.samples
        found = -1 if track.ids.rfind(identity) < 0 else track.find(identity)
        if 0 <= found * COLUMNS < len(samples) - COLUMNS and samples[found * COLUMNS] <= track.watermark(complete_to):
            found = -1  # settled, or will be by the next flush
        if found < 0 and (not samples or at > samples[-COLUMNS]):
            if version == 1 and track.versions is None:
                samples.extend((at, raw, nan))
                track.ids += identity
            else:
                track.append(identity, (at, raw, nan), version)
            self._dirty[track.slot] = track
            if len(samples) > self.pending_limit * COLUMNS:
                self._raise_floor(track, complete_to)
            return "applied"
        if found >= 0:
            known_at, known_raw = samples[found * COLUMNS], samples[found * COLUMNS + RAW]
            known = track.version(found)
            if version < known:
                return "duplicate"
            if version == known:
                # Taking back needs a higher version too, or it would pass for a duplicate and nothing would be taken back.
                same = known_at == at and (known_raw == raw or (isnan(raw) and isnan(known_raw)))
                return "duplicate" if same else "conflict"
            if min(at, known_at) <= track.watermark(complete_to):
                return "late"
            self._back_to(track, found)
            track.remove(found, found + 1)
        elif at <= track.watermark(complete_to):
            return "late"
        index = track.place(identity, at)
        self._back_to(track, index)
        track.insert(index, identity, at, raw, version)
        self._dirty[track.slot] = track
        self._raise_floor(track, complete_to)
        return "applied"

    def extend(
        self, track: Track, first: int, numbers: list[int], at: list[float], raw: list[float], version: int, complete_to: float
    ) -> bool:
        """Take samples of a series in one go, as :meth:`offer` would; False, and nothing is taken, where not all are newer.

        Args:
            first: the series' number, see :func:`series_identity`. numbers: which of its samples these are.
        """
        if (track.samples and at[0] <= track.samples[-COLUMNS]) or any(later <= earlier for earlier, later in pairwise(at)):
            return False
        known = np.frombuffer(track.ids, "<u8") - np.uint64(first)  # modulo 2 ** 64
        if (known <= numbers[-1]).any():
            return False
        del known  # while it is a view of the ids, they cannot grow
        ids = (np.array(numbers, "<u8") + np.uint64(first)).tobytes()
        track.append(ids, chain.from_iterable(zip(at, raw, repeat(nan))), version)
        self._dirty[track.slot] = track
        self._raise_floor(track, complete_to)
        return True

    def _raise_floor(self, track: Track, complete_to: float) -> None:
        beyond = len(track) - self.pending_limit
        if beyond > 0 and (at := track.samples[(beyond - 1) * COLUMNS]) > track.watermark(complete_to):
            track.floor = at

    def _back_to(self, track: Track, index: int) -> None:
        """Undo what was applied from sample ``index`` on: back to the checkpoint before it."""
        if index >= track.applied:
            return
        while track.checkpoints[-1].index > index:
            track.checkpoints = track.checkpoints[:-1]
        checkpoint = track.checkpoints[-1]
        self.state[track.slot] = np.frombuffer(checkpoint.state)
        track.applied = checkpoint.index

    def take_back(self, track: Track) -> None:
        """Forget what is remembered, as if it had never come; what was settled stays, and nothing older is taken any more."""
        self._dirty.pop(track.slot, None)
        if track.checkpoints:
            self._back_to(track, 0)
            track.checkpoints = track.checkpoints[:1]
            track.floor = float(np.nextafter(track.settled_at, -inf))
        track.remove(0, len(track))
        track.applied = 0

    def flush(self, complete_to: float) -> None:
        """Apply all samples offered since the last flush, each track's in order of time."""
        if not self._dirty:
            return
        tracks = list(self._dirty.values())
        self._dirty.clear()
        taken, lengths, marks = array("d"), [], array("q")
        count = 0
        for track in tracks:
            start, length = track.applied, len(track) - track.applied
            mark = track.checkpoints[-1].index + CHECKPOINT_EVERY if track.checkpoints else start
            marks.extend(range(count + max(mark - start, 0), count + length, CHECKPOINT_EVERY))
            taken += track.samples[start * COLUMNS :]
            lengths.append(length)
            count += length
        columns = np.frombuffer(taken).reshape(-1, COLUMNS)
        slots = np.array([track.slot for track in tracks]).repeat(lengths)
        surprises, before = np.empty(count, np.float32), np.empty((len(marks), kernel.WIDTH))
        kernel.follow(
            self.parameters,
            self.state,
            self._signal,
            slots,
            columns[:, AT].copy(),
            columns[:, RAW].copy(),
            np.frombuffer(marks, np.int64),
            surprises,
            before,
        )
        self._surprises.append((self._signal[slots], surprises))
        self._remember(tracks, lengths, array("d", surprises.astype(float).tobytes()), marks, before, complete_to)

    def _remember(
        self,
        tracks: list[Track],
        lengths: list[int],
        surprises: "array[float]",
        marks: "array[int]",
        before: Floats,
        complete_to: float,
    ) -> None:
        first = mark = 0
        for track, length in zip(tracks, lengths, strict=True):
            start, end = track.applied, first + length
            track.samples[start * COLUMNS + Z :: COLUMNS] = surprises[first:end]
            track.applied = start + length
            gone = 0
            while mark < len(marks) and marks[mark] < end:
                index = track.applied - (end - marks[mark])
                row = before[mark]
                if index == 0 and row[kernel.AT] == NO_FLOOR:
                    track.checkpoints = self._first[track.signal]
                else:
                    track.checkpoints += (Checkpoint(index, row.tobytes()),)
                beyond = index - self.pending_limit
                limit = track.samples[(beyond - 1) * COLUMNS] if beyond > gone else NO_FLOOR
                gone = self._settle(track, max(complete_to - track.lateness_s, limit), gone)
                mark += 1
            if gone:
                self._forget(track, gone)
            first = end

    def _settle(self, track: Track, watermark: float, gone: int) -> int:
        """Settle what no sample within the lateness can change any more: all before the last checkpoint behind the watermark.

        ``gone``: so many of the samples are settled already, and are to be forgotten. -> How many now.
        """
        samples, last = track.samples, 0
        for number, checkpoint in enumerate(track.checkpoints):
            if checkpoint.index > gone:
                if samples[(checkpoint.index - 1) * COLUMNS] > watermark:
                    break
                last = number
        if not last:
            return gone
        settled = samples[gone * COLUMNS : track.checkpoints[last].index * COLUMNS]
        known = [z for z in settled[Z::COLUMNS] if not isnan(z)]
        if known:
            self._settled.append((track, sum(known) / len(known)))
        track.settled_raw = next((raw for raw in reversed(settled[RAW::COLUMNS]) if not isnan(raw)), track.settled_raw)
        track.checkpoints = track.checkpoints[last:]
        return track.checkpoints[0].index

    @staticmethod
    def _forget(track: Track, gone: int) -> None:
        """Once for all that is settled, since the rest is copied: a series may bring many times what is kept."""
        # Copies are as large as what they hold, with none of the room that the longer ones grew.
        track.samples, track.ids = track.samples[gone * COLUMNS :], track.ids[gone * ID_BYTES :]
        if track.versions is not None:
            track.versions = track.versions[gone:] if any(version != 1 for version in track.versions[gone:]) else None
        track.applied -= gone
        track.checkpoints = tuple(Checkpoint(kept.index - gone, kept.state) for kept in track.checkpoints)

    # ------------------------------------------------------------------------------------------------------- belief

    def look(self, slots: list[int], at: list[float]) -> Floats:
        """What tracks are believed to be at ``at``, by their slots: (N, :data:`kernel.LOOKS`). Changes nothing."""
        looked: Floats = kernel.look(self.parameters, self.state, self._signal, np.array(slots, np.int64), np.array(at, float))
        return looked

    # ----------------------------------------------------------------------------------------------------- snapshot

    def save(self, track: Track) -> "SavedTrack":
        return SavedTrack(
            lateness_s=track.lateness_s,
            floor=track.floor,
            settled_raw=track.settled_raw,
            state=self.state[track.slot].tobytes(),
            applied=track.applied,
            checkpoints=track.checkpoints,
            ids=bytes(track.ids),
            at=track.at.tobytes(),
            raw=track.raw.tobytes(),
            z=array("f", track.z).tobytes(),
            version=(array("I", [1]) * len(track) if track.versions is None else track.versions).tobytes(),
        )

    def load(self, key: bytes, signal: int, saved: "SavedTrack") -> Track:
        track = self.new(key, signal, self._lateness.setdefault(saved.lateness_s, saved.lateness_s))
        self.state[track.slot] = np.frombuffer(saved.state)
        if saved.floor > NO_FLOOR:
            track.floor = saved.floor
        track.applied, track.settled_raw = saved.applied, saved.settled_raw
        track.checkpoints = self._first[signal] if saved.checkpoints == self._first[signal] else saved.checkpoints
        columns = np.empty((len(saved.ids) // ID_BYTES, COLUMNS))
        for column, values in ((AT, np.frombuffer(saved.at)), (RAW, np.frombuffer(saved.raw)), (Z, np.frombuffer(saved.z, "f4"))):
            columns[:, column] = values
        track.samples.frombytes(columns.tobytes())
        track.ids = bytearray(saved.ids)
        versions = array("I", saved.version)
        if any(version != 1 for version in versions):
            track.versions = versions
        if track.applied < len(track):
            self._dirty[track.slot] = track
        return track

    def take_surprises(self) -> list[tuple[Ints, Shown]]:
        """Signal indices and standardised innovations of what was applied since last taken; NaN where retracted."""
        taken, self._surprises = self._surprises, []
        return taken

    def forget_settled(self, key: bytes) -> None:
        """Drop what was settled of one patient since last taken."""
        self._settled = [entry for entry in self._settled if entry[0].key != key]

    def take_settled(self) -> list[tuple[Track, float]]:
        """Tracks of which samples were settled since last taken, with the mean standardised innovation of those."""
        taken, self._settled = self._settled, []
        return taken


class SavedTrack(Struct, kw_only=True):
    """A track in a snapshot. ``state``: the kernel's row, float64. The remembered samples are columns: ``at`` and ``raw``
    float64, ``z`` float32, ``version`` uint32, 8 bytes per id; little-endian."""

    lateness_s: float
    floor: float
    settled_raw: float | None
    state: bytes
    applied: int
    checkpoints: tuple[Checkpoint, ...]
    ids: bytes
    at: bytes
    raw: bytes
    z: bytes
    version: bytes
