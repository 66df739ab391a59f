"""Tracks: what the filter follows, one per patient and signal, and the samples that may still be joined by late ones.

A track remembers its samples since its oldest checkpoint, in order of time. In order, a sample is appended and applied once.
Out of order, the track goes back to the checkpoint before it and applies the rest again: the same operations on the same
numbers as in-order arrival, so the same state. Samples behind the watermark are settled and forgotten.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from math import inf, isnan, nan
from typing import Literal

import numpy as np
from msgspec import Struct

from stream_twin.twin import kernel
from stream_twin.twin.kernel import D, Floats, Ints, Parameters

CHECKPOINT_EVERY = 32
"""Samples between two checkpoints of a track: what a late sample costs at most beyond those after it."""
ID_BYTES = 8

Fate = Literal["applied", "duplicate", "late", "conflict"]


class Checkpoint(Struct, array_like=True):
    """State of a track before its sample number ``index``; ``at`` is the time of the state, -inf before the first sample."""

    index: int
    at: float
    outlier: int
    mean: list[float]
    covariance: list[float]
    """The upper triangle, row by row."""


class Track:
    """One signal of one patient. Values are on the working scale; NaN is a sample that was retracted."""

    __slots__ = (
        "applied",
        "at",
        "checkpoints",
        "floor",
        "ids",
        "key",
        "lateness_s",
        "raw",
        "signal",
        "slot",
        "value",
        "version",
        "z",
    )

    def __init__(self, key: bytes, signal: int, slot: int, lateness_s: float) -> None:
        self.key = key
        self.signal = signal
        self.slot = slot
        self.lateness_s = lateness_s
        self.at = array("d")
        self.value = array("d")
        self.raw = array("d")
        self.z = array("f")
        self.version = array("I")
        self.ids = bytearray()
        self.applied = 0
        self.checkpoints: list[Checkpoint] = []
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

    def insert(self, index: int, identity: bytes, at: float, value: float, raw: float, version: int) -> None:
        self.at.insert(index, at)
        self.value.insert(index, value)
        self.raw.insert(index, raw)
        self.z.insert(index, nan)
        self.version.insert(index, version)
        self.ids[index * ID_BYTES : index * ID_BYTES] = identity

    def remove(self, start: int, end: int) -> None:
        for column in (self.at, self.value, self.raw, self.z, self.version):
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


class Tracks:
    """All tracks of a lane: their states as arrays, one row (slot) each.

    ``mean`` (N, D), ``covariance`` (N, D, D), ``at`` (N,) time of the state, -inf before the first sample.
    """

    def __init__(self, parameters: Parameters, pending_limit: int = 4000) -> None:
        self.parameters = parameters
        self.pending_limit = pending_limit
        self._capacity = 0
        self._free: list[int] = []
        self._dirty: dict[int, Track] = {}
        self._surprises: list[tuple[Ints, Floats]] = []
        self._settled: list[tuple[Track, float]] = []
        self.mean = np.zeros((0, D))
        self.covariance = np.zeros((0, D, D))
        self.at = np.zeros(0)
        self.outlier = np.zeros(0, np.int8)
        self.signal = np.zeros(0, np.int64)

    def new(self, key: bytes, signal: int, lateness_s: float) -> Track:
        if not self._free:
            self._grow()
        slot = self._free.pop()
        self.mean[slot], self.covariance[slot] = 0.0, self.parameters.stationary[signal]
        self.at[slot], self.outlier[slot], self.signal[slot] = -inf, 0, signal
        return Track(key, signal, slot, lateness_s)

    def free(self, track: Track) -> None:
        self._dirty.pop(track.slot, None)
        self._free.append(track.slot)

    def _grow(self) -> None:
        old, new = self._capacity, max(256, self._capacity * 2)
        for name in ("mean", "covariance", "at", "outlier", "signal"):
            array_ = getattr(self, name)
            grown = np.zeros((new, *array_.shape[1:]), array_.dtype)
            grown[:old] = array_
            setattr(self, name, grown)
        self._free.extend(range(new - 1, old - 1, -1))
        self._capacity = new

    # ------------------------------------------------------------------------------------------------ taking samples

    def offer(self, track: Track, identity: bytes, at: float, value: float, raw: float, version: int, complete_to: float) -> Fate:
        """Take one sample; it is applied by the next :meth:`flush`. ``value`` NaN: retracted. ``raw``: in the canonical unit.

        ``complete_to`` must be the same until that flush.
        """
        times = track.at
        found = track.find(identity) if times else -1
        if 0 <= found < len(times) - 1 and times[found] <= track.watermark(complete_to):
            found = -1  # settled, or will be by the next flush
        if found < 0 and (not times or at > times[-1]):
            times.append(at)
            track.value.append(value)
            track.raw.append(raw)
            track.z.append(nan)
            track.version.append(version)
            track.ids += identity
            self._dirty[track.slot] = track
            self._raise_floor(track, complete_to)
            return "applied"
        if found >= 0:
            known = track.version[found]
            if version < known:
                return "duplicate"
            if version == known:
                # What is retracted stays so, whatever the same version says of its value.
                same = track.at[found] == at and (track.raw[found] == raw or isnan(value))
                return "duplicate" if same else "conflict"
            if min(at, track.at[found]) <= track.watermark(complete_to):
                return "late"
            self._back_to(track, found)
            track.remove(found, found + 1)
        elif at <= track.watermark(complete_to):
            return "late"
        index = track.place(identity, at)
        self._back_to(track, index)
        track.insert(index, identity, at, value, raw, version)
        self._dirty[track.slot] = track
        self._raise_floor(track, complete_to)
        return "applied"

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
        self._restore(track, checkpoint)
        track.applied = checkpoint.index

    def flush(self, complete_to: float) -> None:
        """Apply all samples offered since the last flush. Each round takes one sample of every track that has one left."""
        waiting = list(self._dirty.values())
        self._dirty.clear()
        while waiting:
            batch = []
            for track in waiting:
                while track.applied < len(track.at):
                    if not track.checkpoints or track.applied - track.checkpoints[-1].index >= CHECKPOINT_EVERY:
                        self._checkpoint(track, complete_to)
                    if not isnan(track.value[track.applied]):
                        batch.append(track)
                        break
                    track.applied += 1
            if batch:
                self._round(batch)
            waiting = batch

    def _round(self, tracks: list[Track]) -> None:
        slots = np.array([track.slot for track in tracks])
        at = np.array([track.at[track.applied] for track in tracks])
        values = np.array([track.value[track.applied] for track in tracks])
        signals = self.signal[slots]
        parameters = self.parameters
        mean, covariance = self._predicted(slots, at)
        mean, covariance, z, outlier = kernel.update(
            mean,
            covariance,
            kernel.loading(at),
            parameters.noise[signals],
            values - parameters.means[signals],
            self.outlier[slots],
        )
        self.mean[slots], self.covariance[slots], self.at[slots], self.outlier[slots] = mean, covariance, at, outlier
        self._surprises.append((signals, z))
        for track, surprise in zip(tracks, z.tolist(), strict=True):
            track.z[track.applied] = surprise
            track.applied += 1

    def _predicted(self, slots: Ints, at: Floats) -> tuple[Floats, Floats]:
        gap = np.minimum(np.maximum(at - self.at[slots], 0.0), 1e12)  # 1e12: from before the first sample
        signals = self.signal[slots]
        rate, stationary = self.parameters.rates[signals], self.parameters.stationary[signals]
        return kernel.predict(self.mean[slots], self.covariance[slots], gap, rate, stationary)

    # -------------------------------------------------------------------------------------------------- checkpoints

    def _checkpoint(self, track: Track, complete_to: float) -> None:
        slot = track.slot
        track.checkpoints.append(
            Checkpoint(
                track.applied,
                float(self.at[slot]),
                int(self.outlier[slot]),
                self.mean[slot].tolist(),
                pack(self.covariance[slot]),
            )
        )
        beyond = track.applied - self.pending_limit
        self._settle(track, max(complete_to - track.lateness_s, track.at[beyond - 1] if beyond > 0 else -inf))

    def _restore(self, track: Track, checkpoint: Checkpoint) -> None:
        slot = track.slot
        self.mean[slot], self.covariance[slot] = checkpoint.mean, unpack(checkpoint.covariance)
        self.at[slot], self.outlier[slot] = checkpoint.at, checkpoint.outlier

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
        track.remove(0, gone)
        track.applied -= gone
        del track.checkpoints[:last]
        for checkpoint in track.checkpoints:
            checkpoint.index -= gone

    # ------------------------------------------------------------------------------------------------------- belief

    def look(self, tracks: Iterable[Track], at: Floats) -> "Look":
        """What the tracks are believed to be at ``at`` (N,); changes nothing."""
        tracks = list(tracks)
        slots = np.array([track.slot for track in tracks], dtype=np.int64)
        signals = self.signal[slots]
        at = np.maximum(at, self.at[slots])
        mean, covariance = self._predicted(slots, at)
        parameters, h = self.parameters, kernel.loading(at)
        level, predictive, _ = kernel.innovation(mean, covariance, h, parameters.noise[signals], -parameters.means[signals])
        usual, around = h.copy(), h.copy()
        usual[:, 1:4] = 0.0
        around[:, [0, 4, 5]] = 0.0
        spread, nothing = parameters.stationary[signals], np.zeros(len(slots))
        _, usual_spread, _ = kernel.innovation(mean, spread, around, nothing, nothing)
        _, deviation_variance, _ = kernel.innovation(mean, covariance, around, nothing, nothing)
        scale = np.sqrt(np.maximum(usual_spread, 1e-12))
        return Look(
            level=-level,
            level_sd=np.sqrt(np.maximum(predictive - parameters.noise[signals], 0.0)),
            predictive_sd=np.sqrt(predictive),
            baseline=parameters.means[signals] + kernel.dot(usual, mean),
            deviation=kernel.dot(around, mean) / scale,
            deviation_sd=np.sqrt(np.maximum(deviation_variance, 0.0)) / scale,
        )

    # ----------------------------------------------------------------------------------------------------- snapshot

    def save(self, track: Track) -> "SavedTrack":
        slot = track.slot
        return SavedTrack(
            lateness_s=track.lateness_s,
            floor=track.floor,
            state_at=float(self.at[slot]),
            outlier=int(self.outlier[slot]),
            mean=self.mean[slot].tolist(),
            covariance=pack(self.covariance[slot]),
            applied=track.applied,
            checkpoints=track.checkpoints,
            ids=bytes(track.ids),
            **{name: np.asarray(getattr(track, name), kind).tobytes() for name, kind in COLUMNS.items()},
        )

    def load(self, key: bytes, signal: int, saved: "SavedTrack") -> Track:
        track = self.new(key, signal, saved.lateness_s)
        slot = track.slot
        self.at[slot], self.outlier[slot] = saved.state_at, saved.outlier
        self.mean[slot], self.covariance[slot] = saved.mean, unpack(saved.covariance)
        track.floor, track.applied, track.checkpoints = saved.floor, saved.applied, saved.checkpoints
        track.ids = bytearray(saved.ids)
        for name, kind in COLUMNS.items():
            getattr(track, name).extend(np.frombuffer(getattr(saved, name), kind).tolist())
        if track.applied < len(track.at):
            self._dirty[slot] = track
        return track

    def take_surprises(self) -> list[tuple[Ints, Floats]]:
        """Signal indices and standardised innovations of what was applied since last taken."""
        taken, self._surprises = self._surprises, []
        return taken

    def take_settled(self) -> list[tuple[Track, float]]:
        """Tracks of which samples were settled since last taken, with the mean standardised innovation of those."""
        taken, self._settled = self._settled, []
        return taken


COLUMNS = {"at": "<f8", "value": "<f8", "raw": "<f8", "z": "<f4", "version": "<u4"}


class SavedTrack(Struct, kw_only=True):
    """A track in a snapshot. ``covariance``: upper triangle, row by row. The remembered samples are columns as in
    :data:`COLUMNS`, with 8 bytes per id."""

    lateness_s: float
    floor: float
    state_at: float
    outlier: int
    mean: list[float]
    covariance: list[float]
    applied: int
    checkpoints: list[Checkpoint]
    ids: bytes
    at: bytes
    value: bytes
    raw: bytes
    z: bytes
    version: bytes


class Look(Struct):
    """Belief about N tracks on their working scales, each (N,): see :class:`stream_twin.twin.belief.SignalBelief`."""

    level: Floats
    level_sd: Floats
    predictive_sd: Floats
    baseline: Floats
    deviation: Floats
    deviation_sd: Floats


_UPPER = np.triu_indices(D)


def pack(covariance: Floats) -> list[float]:
    packed: list[float] = covariance[_UPPER].tolist()
    return packed


def unpack(upper: list[float]) -> Floats:
    covariance = np.zeros((D, D))
    covariance[_UPPER] = upper
    covariance.T[_UPPER] = upper
    return covariance
