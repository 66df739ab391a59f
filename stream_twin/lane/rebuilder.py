"""Makes the base of a rebuild from a lane's log: see :mod:`stream_twin.lane.rebuild`. Pure."""

from collections.abc import Collection, Iterable
from math import inf
from typing import Any

import msgspec

from stream_twin.events import DeviceKind, PatientBase, RebuildBegun, RebuiltBase, Tick
from stream_twin.lane.intake import decode
from stream_twin.lane.lane import Checkpoint, Lane, Record
from stream_twin.lane.patient import INPUT, Accepted, Patient, PatientState
from stream_twin.lane.rebuild import file, in_order
from stream_twin.lane.settings import LaneSettings
from stream_twin.signals import Catalogue
from stream_twin.twin.block import COLUMNS, ID_BYTES, Block

TICK = b'{"type":"tick"'
FILED_TOGETHER = 1000
"""Fewer than a block remembers, so that it settles what it has no room for, as live."""
KIND: DeviceKind = "streaming"
"""Of a sample of the start, of which that is not known any more: the block knows how long it waits."""


class Rebuilder:
    """Feed it the log from its start to the request; then ask for the base.

    It goes through the log as a lane does, to judge each input as the lane has judged it then: unknown patients and devices,
    what was held, settings. But it only gathers what is accepted, and files it afterwards, in order of time.

    Args:
        key: the patient's.
        start: the snapshot to start from: of an earlier rebuild, where the log from before it is not there any more.
        checkpoint: then, of the lane, whose settings count; those of the time of the start are gone with the log.
        failed: offsets of records whose update raised in the lane, as dead letters tell.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        key: bytes,
        start: bytes | None = None,
        checkpoint: bytes | None = None,
        failed: Collection[int] = (),
    ) -> None:
        self._key, self._failed = key, failed
        settings = LaneSettings() if checkpoint is None else msgspec.msgpack.decode(checkpoint, type=Checkpoint).settings
        self._lane = Replay(catalogue, Checkpoint(settings=settings), key, start)

    def feed(self, record: Record) -> None:
        """The next record of the lane's log; those of other patients are passed over."""
        gathered, failed = len(self._lane.gathered), record.offset in self._failed
        self._lane.feed(record, careful=failed)
        if failed:
            del self._lane.gathered[gathered:]

    @property
    def gathered(self) -> int:
        """Samples so far, before duplicates and corrections are told apart."""
        return len(self._lane.gathered)

    @property
    def late(self) -> int:
        """Inputs that came too late for the twin."""
        patient = self._lane.patients.get(self._key)
        return 0 if patient is None else patient.state.fates.get("late", 0)

    def base(self, offset: int) -> bytes:
        """The snapshot that covers the log up to ``offset``, where the request stands; ends the use of this object.

        Raises:
            LookupError: nothing is known of the patient.
        """
        self._lane.catch_up()
        if self._key not in self._lane.patients:
            raise LookupError(self._key)
        return self._lane.rebuilt(offset)


class Replay(Lane):
    """Judges the inputs of one patient as the lane did, and looks at nobody by itself: no alerts are wanted."""

    def __init__(self, catalogue: Catalogue, checkpoint: Checkpoint, key: bytes, start: bytes | None) -> None:
        super().__init__(0, catalogue, checkpoint)
        self._key, self._start = key, start
        self.gathered: list[Accepted] = []
        self._intake.filing.gathered = self.gathered
        if start is not None:
            self.position = self._load(key, start).covered + 1
        self._tick_to_come: tuple[Record, Tick] | None = None

    def introduce(self, known: PatientState) -> None:
        """Say who the patient is, whose profile the log has not any more."""
        patient = self._new(self._key)
        patient.state.assignments, patient.state.watched = known.assignments, known.watched
        if known.profile is not None:
            patient.state.profile = known.profile
            patient.population = self._populations.of(known.profile)

    def feed(self, record: Record, careful: bool = False) -> None:
        """Apply what is this patient's or everybody's. Of ticks with nothing between them the last does."""
        if record.key:
            if record.key != self._key:
                return
        elif (record.value or b"").startswith(TICK):
            tick = decode(record.value or b"")
            before = self._tick_to_come
            if before and (tick.clock < before[1].clock or tick.complete_to < before[1].complete_to or careful):
                self.catch_up()
            self._tick_to_come = record, tick
            return
        self.catch_up()
        self.apply([record], careful)

    def catch_up(self) -> None:
        if self._tick_to_come is not None:
            record, self._tick_to_come = self._tick_to_come[0], None
            self.apply([record])

    def _start_from(self, key: bytes, base: PatientBase) -> None:
        super()._start_from(key, base)
        self._start = base.snapshot
        self.gathered.clear()

    def _apply_to_patient(self, key: bytes, entry: Any, offset: int, value: bytes) -> None:
        if not isinstance(entry, RebuildBegun | RebuiltBase):  # what those bring is made of the same samples
            super()._apply_to_patient(key, entry, offset, value)

    def _assess_waiting(self, at_tick: bool = False, alone: bool = False) -> None:
        self._agenda.take_waiting()

    def rebuilt(self, offset: int) -> bytes:
        key = self._key
        judged = self.patients[key].state
        self._drop(key)
        patient = self._new(key) if self._start is None else self._load(key, self._start)
        patient.state.profile = judged.profile
        patient.move_to(self._populations.of(judged.profile), self._blocks)
        samples = [sample for block in patient.blocks.values() for sample in self._taken_back(patient, block)] + self.gathered
        self._expect(patient, samples)
        waits = {head: block.lateness_s for head, block in patient.blocks.items()}
        for number, _ in enumerate(file(patient, in_order(samples), self._blocks, self._intake.filing.channel, -inf), 1):
            if number % FILED_TOGETHER == 0:
                self._flush()
        for head, block in patient.blocks.items():
            self._blocks.settle(block, waits.get(head, block.lateness_s), self.complete_to)
        self._flush()
        patient.state = judged
        return patient.save(self._blocks, offset)

    def _taken_back(self, patient: Patient, block: Block) -> list[Accepted]:
        """What a block of the start remembers, to be filed anew among the others; what it has settled stays."""
        samples = []
        for i in range(len(block)):
            at, raw, code, age = block.samples[i * COLUMNS : (i + 1) * COLUMNS]
            if code < 0:
                name, device, side = block.slab.plan.inputs[int(-1 - code)], INPUT, 0
            else:
                (name, device), side = block.channels[int(code) // 3], int(code) % 3 - 1  # type: ignore[assignment]
            identity = bytes(block.ids[i * ID_BYTES : (i + 1) * ID_BYTES])
            samples.append(Accepted(name, identity, at - age, raw, block.version(i), KIND, device, 0.0, side))
        self._blocks.take_back(block)
        for name in {name for name, _ in block.channels}:
            latest = patient.latest[name]
            (latest.value, latest.at), latest.repeats = block.newest(name), 0
        return samples

    def _expect(self, patient: Patient, samples: Iterable[Accepted]) -> None:
        """Have the blocks wait as long as the slowest device of each needs, and have all elements, from the start."""
        complete_to, self._own.complete_to = self._own.complete_to, -inf
        for channel in sorted({(s.signal, s.device or "", s.kind) for s in samples if s.device != INPUT}):
            self._intake.filing.channel(patient, channel[0], channel[1] or None, channel[2])
        self._own.complete_to = complete_to
