"""A twin rebuilt from its log, so that what came too late for the lateness is in it; and how the lane takes it over.

Of a request at offset R of the log a process that may read all of it makes a base: the twin as it would be if everything
before R had come in time. Meanwhile the lane goes on, and keeps what it accepts. When the base comes, the twin is the base
with what was kept since. Alerts, profile and devices stay the lane's own: a rebuild corrects what is believed, not what was said.
"""

import zlib
from collections.abc import Callable, Collection, Iterable, Iterator
from math import inf, isnan

import msgspec

from stream_twin.events import DeviceKind, Rebuilt, RebuiltBase
from stream_twin.lane.patient import INPUT, SCHEMA, Accepted, Patient, Rebuild, Snapshot
from stream_twin.twin.block import Block
from stream_twin.twin.blocks import Blocks
from stream_twin.twin.model import Populations
from stream_twin.twin.state import code_of

KEPT = 10_000
"""Samples that a lane keeps for a base to come, at most: about 800 kB in a snapshot, hours of most patients."""
LARGEST = 64 << 20
"""Bytes of a base."""
_message = msgspec.json.Decoder(Rebuilt).decode
Follow = Callable[[Patient, str, str | None, DeviceKind], tuple[Block, int]]
"""Block and channel of a signal and a device, made where there is none: as samples of a device of that kind need it."""
_snapshot = msgspec.msgpack.Decoder(Snapshot).decode


class Refused(Exception):
    """Why a base is not taken over, with the way out."""


def keep(rebuild: Rebuild, accepted: Accepted) -> None:
    """Remember a sample for the base to come; of one that was overrun nothing is remembered any more."""
    if len(rebuild.accepted) == KEPT:
        rebuild.overrun, rebuild.accepted = True, []
    if not rebuild.overrun:
        rebuild.accepted.append(accepted)


def unpacked(entry: RebuiltBase) -> tuple[Snapshot, bytes]:
    """The base that a record of the log brings, decoded and as it is.

    Raises:
        Refused: it cannot be read.
    """
    unpacking = zlib.decompressobj()
    try:
        base = unpacking.decompress(_message(entry.original).base, LARGEST)
        snapshot = _snapshot(base) if unpacking.eof else None
    except (zlib.error, msgspec.DecodeError) as error:
        raise Refused(f"rebuild {entry.id}: its base cannot be read ({error}): make it with the version that runs here") from None
    if snapshot is None:
        raise Refused(f"rebuild {entry.id}: its base is cut off, or has more than {LARGEST} bytes")
    if snapshot.schema != SCHEMA:
        raise Refused(
            f"rebuild {entry.id}: its base has schema {snapshot.schema}, this lane reads {SCHEMA}: "
            "make it with the version that runs here"
        )
    return snapshot, base


def base_in(entry: RebuiltBase, begun: Rebuild | None, signals: Collection[str]) -> tuple[Rebuild, bytes]:
    """The request that this answers, and the snapshot that it brings.

    Raises:
        Refused: nobody waits for it, or not any more, or it cannot be read.
    """
    if begun is None or begun.id != entry.id:
        other = "another one was asked for since" if begun else "nobody waits for it any more"
        raise Refused(f"rebuild {entry.id}: {other}: ask for a new one")
    if begun.overrun:
        raise Refused(
            f"rebuild {entry.id}: more than {KEPT} samples came since it was asked for, too many to keep: ask for a new one"
        )
    snapshot, base = unpacked(entry)
    if strangers := sorted(set(snapshot.signals) - set(signals)):
        raise Refused(f"rebuild {entry.id}: its base knows of {', '.join(strangers)}, the catalogue here does not")
    if snapshot.covered != begun.offset:
        raise Refused(
            f"rebuild {entry.id}: its base covers the log up to {snapshot.covered}, it was asked for at {begun.offset}: "
            "ask for a new one"
        )
    return begun, base


def adopt(patient: Patient, base: bytes, begun: Rebuild, blocks: Blocks, populations: Populations, follow: Follow) -> None:
    """Put ``base`` in the place of what ``patient`` believes, and apply to it what was kept since it was asked for."""
    rebuilt = Patient.load(patient.key, base, blocks, populations)
    if (nights := patient.state.nights) is not None:  # what is settled again is not of its night again
        nights.since = {name: max(at, nights.since.get(name, -inf)) for name, at in patient.taken_by_now().items()}
    if rebuilt.population is not patient.population:
        rebuilt.move_to(patient.population, blocks)
    for block in patient.blocks.values():
        blocks.free(block)
    before = patient.latest
    patient.blocks, patient.latest, patient.drifts = rebuilt.blocks, rebuilt.latest, rebuilt.drifts
    for name, latest in patient.latest.items():
        if name in before:
            latest.fence_low, latest.fence_high = before[name].fence_low, before[name].fence_high
    for _ in file(patient, in_order(begun.accepted), blocks, follow, begun.complete_to):
        pass


def in_order(samples: Iterable[Accepted]) -> list[Accepted]:
    """What counts of samples in the order in which they came, in order of time: of each id the highest version, once."""
    newest: dict[tuple[str, bytes], Accepted] = {}
    for sample in samples:
        known = newest.get((sample.signal, sample.identity))
        if known is None or sample.version > known.version:
            newest[sample.signal, sample.identity] = sample
    return sorted(newest.values(), key=lambda sample: (sample.at, sample.identity))


def file(patient: Patient, samples: Iterable[Accepted], blocks: Blocks, follow: Follow, complete_to: float) -> Iterator[None]:
    """Offer samples in order of time to a patient's blocks, one with each step; the next flush applies them."""
    for sample in samples:
        if sample.device == INPUT:
            for block in patient.blocks.values():
                if sample.signal in block.slab.plan.inputs:
                    blocks.put_in(block, sample.signal, sample.identity, sample.at, sample.value, sample.version, complete_to)
        else:
            _offer(patient, sample, blocks, follow, complete_to)
        yield


def _offer(patient: Patient, sample: Accepted, blocks: Blocks, follow: Follow, complete_to: float) -> None:
    block, channel = follow(patient, sample.signal, sample.device, sample.kind)
    latest = patient.latest[sample.signal]
    code = code_of(channel, sample.side)
    if blocks.offer(block, code, sample.identity, sample.at, sample.value, sample.version, complete_to, latest.at) == "applied":
        if sample.at > latest.at and not isnan(sample.value):
            latest.take(sample.value, sample.at, sample.device, sample.kind, sample.period_s)
            latest.channel = channel
        elif (newest := block.newest(sample.signal)) != (latest.value, latest.at):
            (latest.value, latest.at), latest.repeats = newest, 0
