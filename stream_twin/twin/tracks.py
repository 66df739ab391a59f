"""Tracks: what the filter follows, one per patient and signal, and the samples that may still be joined by late ones.

A track remembers its samples since its oldest checkpoint, in order of time. In order, a sample is appended and applied once.
Out of order, the track goes back to the checkpoint before it and applies the rest again: the same operations on the same
numbers as in-order arrival, so the same state. Samples behind the watermark are settled and forgotten.
"""

from array import array
from bisect import bisect_left
from itertools import pairwise
from math import inf, isnan, nan
from typing import Literal

import numpy as np
from msgspec import Struct

from stream_twin.twin import kernel
from stream_twin.twin.kernel import Floats, Ints, Parameters, Shown

CHECKPOINT_EVERY = 16
"""Samples between two checkpoints of a track: what a late sample costs at most beyond those after it."""
ID_BYTES = 8

Fate = Literal["applied", "duplicate", "late", "conflict"]


class Checkpoint(Struct, array_like=True):
    """State of a track before its sample number ``index``: a row of the kernel, as bytes."""

    index: int
    state: bytes

    @property
    def at(self) -> float:
        """Time of the state, -inf before the first sample."""
        return float(np.frombuffer(self.state)[kernel.AT])


class Track:
    """One signal of one patient. Its remembered samples are columns, ``raw`` in the canonical unit, NaN where retracted."""

    __slots__ = (
        "applied",
        "at",
        "checkpoints",
        "floor",
        "ids",
        "key",
        "lateness_s",
        "raw",
        "settled_raw",
        "signal",
        "slot",
        "version",
        "z",
    )

    def __init__(self, key: bytes, signal: int, slot: int, lateness_s: float) -> None:
        self.key = key
        self.signal = signal
        self.slot = slot
        self.lateness_s = lateness_s
        self.at = array("d")
        self.raw = array("d")
        self.z = array("f")
        self.version = array("I")
        self.ids = bytearray()
        self.applied = 0
        self.checkpoints: list[Checkpoint] = []
        self.settled_raw: float | None = None
        """The newest value that was settled."""
        self.floor = -inf
        """No older sample is joined, whatever the lateness: more than the limit came after it, or the lateness grew since."""

    def watermark(self, complete_to: float) -> float:
        """A sample from this time or before comes too late, unless it is the newest."""
        return max(self.floor, complete_to - self.lateness_s)

    @property
    def settled_at(self) -> float:
        return self.checkpoints[0].at if self.checkpoints else -inf

    def allow(self, lateness_s: float, complete_to: float) -> None:
        """Wait longer for late samples from now on; what was settled stays settled."""
        if lateness_s > self.lateness_s:
            self.floor = self.watermark(complete_to)
            self.lateness_s = lateness_s

    def find(self, identity: bytes) -> int:
        """Index of the last remembered sample with this id, or -1."""
        start = self.ids.rfind(identity)
        while start >= 0 and start % ID_BYTES:
            start = self.ids.rfind(identity, 0, start + ID_BYTES - 1)
        return start // ID_BYTES if start >= 0 else -1

    def insert(self, index: int, identity: bytes, at: float, raw: float, version: int) -> None:
        self.at.insert(index, at)
        self.raw.insert(index, raw)
        self.z.insert(index, nan)
        self.version.insert(index, version)
        self.ids[index * ID_BYTES : index * ID_BYTES] = identity

    def remove(self, start: int, end: int) -> None:
        for column in (self.at, self.raw, self.z, self.version):
            del column[start:end]
        del self.ids[start * ID_BYTES : end * ID_BYTES]

    def place(self, identity: bytes, at: float) -> int:
        """Where a sample belongs: by time, then by id, so that the order of arrival does not matter."""
        index = bisect_left(self.at, at)
        while (
            index < len(self.at)
            and self.at[index] == at
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
        self._empty_bytes = [row.tobytes() for row in self._empty]
        self._free: list[int] = []
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
        times = track.at
        found = -1 if track.ids.rfind(identity) < 0 else track.find(identity)
        if 0 <= found < len(times) - 1 and times[found] <= track.watermark(complete_to):
            found = -1  # settled, or will be by the next flush
        if found < 0 and (not times or at > times[-1]):
            times.append(at)
            track.raw.append(raw)
            track.z.append(nan)
            track.version.append(version)
            track.ids += identity
            self._dirty[track.slot] = track
            if len(times) > self.pending_limit:
                self._raise_floor(track, complete_to)
            return "applied"
        if found >= 0:
            known = track.version[found]
            if version < known:
                return "duplicate"
            if version == known:
                # Taking back needs a higher version too, or it would pass for a duplicate and nothing would be taken back.
                same = track.at[found] == at and (track.raw[found] == raw or (isnan(raw) and isnan(track.raw[found])))
                return "duplicate" if same else "conflict"
            if min(at, track.at[found]) <= track.watermark(complete_to):
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
        if (track.at and at[0] <= track.at[-1]) or any(later <= earlier for earlier, later in pairwise(at)):
            return False
        known = np.frombuffer(track.ids, "<u8") - np.uint64(first)  # modulo 2 ** 64
        if (known <= numbers[-1]).any():
            return False
        track.at.extend(at)
        track.raw.extend(raw)
        track.z.extend([nan] * len(at))
        track.version.extend([version] * len(at))
        track.ids += (np.array(numbers, "<u8") + np.uint64(first)).tobytes()
        self._dirty[track.slot] = track
        self._raise_floor(track, complete_to)
        return True

    def _raise_floor(self, track: Track, complete_to: float) -> None:
        beyond = len(track.at) - self.pending_limit
        if beyond > 0 and track.at[beyond - 1] > track.watermark(complete_to):
            track.floor = track.at[beyond - 1]

    def _back_to(self, track: Track, index: int) -> None:
        """Undo what was applied from sample ``index`` on: back to the checkpoint before it."""
        if index >= track.applied:
            return
        while track.checkpoints[-1].index > index:
            track.checkpoints.pop()
        checkpoint = track.checkpoints[-1]
        self.state[track.slot] = np.frombuffer(checkpoint.state)
        track.applied = checkpoint.index

    def flush(self, complete_to: float) -> None:
        """Apply all samples offered since the last flush, each track's in order of time."""
        if not self._dirty:
            return
        tracks = list(self._dirty.values())
        self._dirty.clear()
        times, values, lengths, marks = array("d"), array("d"), [], array("q")
        for track in tracks:
            start, length = track.applied, len(track.at) - track.applied
            mark = track.checkpoints[-1].index + CHECKPOINT_EVERY if track.checkpoints else start
            marks.extend(range(len(times) + max(mark - start, 0), len(times) + length, CHECKPOINT_EVERY))
            times += track.at[start:]
            values += track.raw[start:]
            lengths.append(length)
        slots = np.array([track.slot for track in tracks]).repeat(lengths)
        surprises, before = np.empty(len(times), np.float32), np.empty((len(marks), kernel.WIDTH))
        kernel.follow(
            self.parameters,
            self.state,
            self._signal,
            slots,
            np.frombuffer(times),
            np.frombuffer(values),
            np.frombuffer(marks, np.int64),
            surprises,
            before,
        )
        self._surprises.append((self._signal[slots], surprises))
        self._remember(tracks, lengths, array("f", surprises.tobytes()), marks, before, complete_to)

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
            track.z[start:] = surprises[first:end]
            track.applied = start + length
            while mark < len(marks) and marks[mark] < end:
                index = track.applied - (end - marks[mark])
                row = before[mark]
                state = row.tobytes() if row[kernel.AT] > -inf else self._empty_bytes[track.signal]  # most are equal at first
                track.checkpoints.append(Checkpoint(index, state))
                beyond = index - self.pending_limit
                self._settle(track, max(complete_to - track.lateness_s, track.at[beyond - 1] if beyond > 0 else -inf))
                mark += 1
            first = end

    def _settle(self, track: Track, watermark: float) -> None:
        """Forget what no sample within the lateness can change any more: all before the last checkpoint behind the watermark."""
        last = 0
        for number, checkpoint in enumerate(track.checkpoints):
            if checkpoint.index and track.at[checkpoint.index - 1] <= watermark:
                last = number
        if not last:
            return
        gone = track.checkpoints[last].index
        known = [z for z in track.z[:gone] if not isnan(z)]
        if known:
            self._settled.append((track, sum(known) / len(known)))
        track.settled_raw = next((raw for raw in reversed(track.raw[:gone]) if not isnan(raw)), track.settled_raw)
        track.remove(0, gone)
        track.applied -= gone
        del track.checkpoints[:last]
        for checkpoint in track.checkpoints:
            checkpoint.index -= gone

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
            z=track.z.tobytes(),
            version=track.version.tobytes(),
        )

    def load(self, key: bytes, signal: int, saved: "SavedTrack") -> Track:
        track = self.new(key, signal, saved.lateness_s)
        self.state[track.slot] = np.frombuffer(saved.state)
        track.floor, track.applied, track.checkpoints = saved.floor, saved.applied, saved.checkpoints
        track.settled_raw = saved.settled_raw
        track.ids = bytearray(saved.ids)
        track.at.frombytes(saved.at)
        track.raw.frombytes(saved.raw)
        track.z.frombytes(saved.z)
        track.version.frombytes(saved.version)
        if track.applied < len(track.at):
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
    checkpoints: list[Checkpoint]
    ids: bytes
    at: bytes
    raw: bytes
    z: bytes
    version: bytes
