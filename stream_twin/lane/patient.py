"""Everything that a lane remembers of one patient, and its snapshot."""

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from math import inf, nan, nextafter
from sys import intern
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct, field
from msgspec.structs import replace

from stream_twin.alerts.desk import AlertBook
from stream_twin.events import AssignedDevice, DeviceAssignments, DeviceKind, Instant, Profile, Risk
from stream_twin.lane.condition import Condition
from stream_twin.lane.days import NAMES, Days
from stream_twin.lane.nights import HEART, SIGNALS, WAITS_AGAIN_S, Nights
from stream_twin.learn.drift import Drift, DriftState
from stream_twin.signals import Signal
from stream_twin.twin.block import AGE, AT, CODE, COLUMNS, RAW, Block, SavedBlock
from stream_twin.twin.blocks import Blocks, Channels
from stream_twin.twin.migration import migrated
from stream_twin.twin.model import WIDENED, PopulationModel, Populations

SCHEMA = 2
EVENTS_KEPT = 64
DAY_S = 86400.0


def seconds(instant: Instant) -> float:
    """An instant of an input: ingest has turned it into seconds."""
    assert not isinstance(instant, str)
    return instant


@dataclass(slots=True, kw_only=True)  # which is set eight times as fast as a Struct, and it is with every sample
class Device:
    """A device as its samples show it; instants in seconds."""

    kind: DeviceKind
    last_at: float


def limits_of(signal: Signal, profile: Profile | None) -> tuple[float | None, float | None]:
    """Low and high: the clinician's for this patient, else the catalogue's."""
    low, high = signal.limits
    if profile is not None and (personal := profile.limits.get(signal.name)) is not None:
        low = low if personal.low is None else personal.low
        high = high if personal.high is None else personal.high
    return low, high


NOTHING: dict[str, Any] = {}
"""One object for all profiles that say nothing; profiles do not change."""


def compact(profile: Profile, patient_id: str) -> Profile:
    """The same, of shared parts: decoded, each profile has its own copy of every name."""
    return replace(
        profile,
        patient_id=patient_id if profile.patient_id == patient_id else profile.patient_id,
        time_zone=None if profile.time_zone is None else intern(profile.time_zone),
        place=None if profile.place is None else intern(profile.place),
        cohort=None if profile.cohort is None else intern(profile.cohort),
        limits=profile.limits or NOTHING,
        subgroups=profile.subgroups or NOTHING,
    )


class Held(Struct, array_like=True):
    """An input that waits for its patient or device to become known."""

    offset: int
    value: bytes


INPUT = "\0input"
"""No device's name: it does not print."""


class Accepted(Struct, array_like=True, gc=False):
    """A sample as the twin took it, in the canonical unit; ``value`` is NaN where it was retracted.

    Or an amount that went into an input: then ``device`` is :data:`INPUT`, and ``signal`` the input.
    """

    signal: str
    identity: bytes
    at: float
    value: float
    version: int
    kind: DeviceKind
    device: str | None
    period_s: float
    side: int = 0
    """-1 and 1: the value is only known to be below or above this one."""


class Rebuild(Struct):
    """A rebuild that was asked for and has not come back; see :mod:`stream_twin.lane.rebuild`."""

    id: str
    offset: int
    """Of the request: what is before it in the log is in the base that will come."""
    complete_to: float
    """The lane's, there."""
    accepted: list[Accepted] = []
    overrun: bool = False
    """More came than is kept: the base will be refused."""


class PatientState(Struct, kw_only=True, omit_defaults=True):
    """What a snapshot says besides the signals. Instants are seconds by the lane's clock."""

    profile: Profile | None = None
    assignments: DeviceAssignments | None = None
    book: AlertBook = field(default_factory=AlertBook)
    devices: dict[str, Device] = {}
    held: list[Held] = []
    hold_until: float = inf
    event_ids: dict[str, int] = {}
    """Clinical events, outcomes and commands already taken, with their versions: the last :data:`EVENTS_KEPT`."""
    risk: Risk | None = None
    amounts: list[Accepted] = []
    """What went into inputs, the last :data:`EVENTS_KEPT`: a signal on which they act may come later."""
    troubles: dict[str, dict[str, tuple[int, float, float]]] = {}
    """What is wrong with what devices send, by device and kind: how often, since when and when last, by the lane's clock."""
    surrounded_at: dict[str, float] = {}
    """When what was last put into inputs from the patient's place was measured there, by input."""
    watched: bool = False
    """Known, or unknown and watched by the settings."""
    watched_since: float = 0.0
    assessed_at: float = -inf
    estimated_at: float = -inf
    urgent_at: float = -inf
    corrected: bool = False
    """Since the last assessment something came out of order."""
    fragile: bool = False
    """The last assessment raised: until one succeeds, each is made by itself."""
    fates: dict[str, int] = {}
    """Inputs by what became of them: applied, duplicate, late, rejected, failed; held: not decided yet."""
    example_at: float = inf
    """When the next example is due."""
    wake_at: float = inf
    rebuild: Rebuild | None = None
    condition: Condition | None = None
    """What events say; None: nothing yet."""
    nights: Nights | None = None
    """Where the profile has a time zone."""
    days: Days | None = None
    """There, and once something was measured that is summed up once a day."""


NO_PERIOD = 0.0
"""One object for all signals."""


@dataclass(slots=True)
class Latest:
    """The newest sample of a signal, in the canonical unit, and where its like goes: block, and channel of ``device`` in it."""

    block: Block
    device: str | None
    channel: int
    value: float = nan
    at: float = -inf
    period_s: float = NO_PERIOD
    repeats: int = 0
    repeats_since: float = 0.0
    fence_low: float = -inf
    fence_high: float = inf
    """Outside of the fence a sample has its patient assessed at once."""
    kind: DeviceKind = "bedside"

    def take(self, value: float, at: float, device: str | None, kind: DeviceKind, period_s: float) -> None:
        if value == self.value:
            if not self.repeats:
                self.repeats_since = self.at
            self.repeats += 1
        else:
            self.repeats = 0
        self.value, self.at = value, at
        if device != self.device:
            self.device = None if device is None else intern(device)  # one name for all signals of the device
        if kind != self.kind:
            self.kind = kind
        if period_s != self.period_s:
            self.period_s = period_s  # else the object that is there


class SavedSignal(Struct, array_like=True):
    """As :class:`Latest` has it, and what the test for drift remembers."""

    value: float
    at: float
    device: str | None
    period_s: float
    repeats: int
    repeats_since: float
    fence_low: float
    fence_high: float
    drift: DriftState | None = None
    kind: DeviceKind = "bedside"


def _saved(latest: Latest, drift: Drift | None) -> SavedSignal:
    return SavedSignal(
        latest.value,
        latest.at,
        latest.device,
        latest.period_s,
        latest.repeats,
        latest.repeats_since,
        latest.fence_low,
        latest.fence_high,
        None if drift is None else drift.state,
        latest.kind,
    )


class Snapshot(Struct, kw_only=True):
    """One patient in ``twin.state``; ``covered``: the last offset of the log that is in it."""

    schema: int = SCHEMA
    covered: int
    state: PatientState
    signals: dict[str, SavedSignal]
    blocks: list[SavedBlock]


class Patient:
    """``covered``: its inputs up to this offset are in its state, also when the lane reads them again."""

    __slots__ = (
        "alarm_at",
        "awaits",
        "blocks",
        "covered",
        "drifts",
        "held_bytes",
        "id",
        "key",
        "latest",
        "population",
        "state",
        "timer_at",
    )

    def __init__(self, key: bytes, population: PopulationModel) -> None:
        self.key = key
        self.id = key.decode()
        self.state = PatientState()
        self.population = population
        self.blocks: dict[str, Block] = {}
        """By :attr:`PopulationModel.blocks`."""
        self.latest: dict[str, Latest] = {}
        self.drifts: dict[str, Drift] = {}
        self.covered = -1
        self.awaits = False
        self.held_bytes = 0
        self.alarm_at: float | None = None
        """The ``clock_at`` of the book that the agenda knows of."""
        self.timer_at = inf
        """The agenda's entry of this patient; ``wake_at`` of the state may have become later than that."""

    @property
    def population_name(self) -> str:
        return self.population.population.name.removesuffix(WIDENED)

    def assignment(self, device: str) -> list[AssignedDevice]:
        assignments = self.state.assignments
        return [] if assignments is None else [a for a in assignments.devices if a.device_id == device]

    @property
    def is_blank(self) -> bool:
        """Never known, and nothing is left but the count of what was refused."""
        state = self.state
        return (
            state.profile is None
            and not state.held
            and state.assignments is None
            and not state.event_ids
            and not self.blocks
            and not state.book.alerts
        )

    def next_look(self) -> float:
        """When rules, the model, what is held, an event told ahead or the end of a night or day want a look though nothing
        arrives; inf: never."""
        state = self.state
        wake_at, nights, days = state.book.wake_at, state.nights, state.days
        over = min(inf if nights is None else nights.due, inf if days is None else days.due)
        if state.condition is not None:
            over = min(over, state.condition.next_change(state.assessed_at))
        return min(state.example_at, state.hold_until, inf if wake_at is None else wake_at, over)

    def samples_since(self, signal: str, at: float) -> list[float]:
        """What the device of the newest sample of ``signal`` measured at ``at`` or later, as far as it is remembered."""
        latest = self.latest[signal]
        return [value for _, value in latest.block.since(at, (latest.channel,))]

    def gather(self, channels: Channels, samples: "array[float]") -> None:
        """Samples that are settled now, as a block of these channels has them, for the nights and days that they may be of."""
        nights, days, last = self.state.nights, self.state.days, samples[-COLUMNS]
        if nights is not None and last >= nights.start:
            for name, _, own in _of(SIGNALS, channels, samples):
                nights.settle(name, self._new(name, own), self._period(name))
        if days is not None and last > days.start:
            for name, device, own in _of(NAMES.keys(), channels, samples):
                days.keep(name, device, own)

    def _new(self, name: str, samples: list[tuple[float, float]]) -> list[tuple[float, float]]:
        """Without those that a night has taken already, before the twin was rebuilt."""
        assert self.state.nights is not None
        since = self.state.nights.since.get(name, -inf)
        return [sample for sample in samples if sample[0] >= since]

    def _period(self, name: str) -> float:
        latest = self.latest.get(name)
        return NO_PERIOD if latest is None else latest.period_s

    def close_nights(self, complete_to: float) -> None:
        """End the nights that are over and due; wait for a device that has not sent all of one, until the next begins."""
        nights = self.state.nights
        while nights is not None and nights.due <= complete_to:
            heart = self.latest.get(HEART)
            if heart is not None and heart.at < nights.end:
                waits = min(nights.end + heart.block.lateness_s, nights.start + DAY_S)
                if complete_to < waits:
                    nights.due = min(waits, complete_to + WAITS_AGAIN_S)
                    return
            for name, _, own in self._not_settled(SIGNALS):
                nights.take(name, self._new(name, own), self._period(name))
            nights.close()

    def close_days(self, complete_to: float) -> None:
        """Judge the days that are over."""
        days = self.state.days
        while days is not None and days.due <= complete_to:
            latest = [(name, self.latest[name]) for name in NAMES if name in self.latest]
            newest = [(name, known.device, [(known.at, known.value)]) for name, known in latest]
            days.close(days.found([*newest, *self._not_settled(NAMES.keys())]), complete_to)

    def _not_settled(self, names: Collection[str]) -> "Iterator[Own]":
        for block in self.blocks.values():
            if block.slab.wanted and block.samples:
                yield from _of(names, block.channels, block.samples)

    def taken_by_now(self) -> dict[str, float]:
        """Of signals that nights want: from when on its samples, and those that may still come, are not settled."""
        known = {name: self.latest[name] for name in sorted(SIGNALS & self.latest.keys())}
        since = {name: nextafter(min(latest.at, latest.block.settled_at), inf) for name, latest in known.items()}
        for name, _, own in self._not_settled(SIGNALS):
            since[name] = min(since[name], min((at for at, _ in own), default=inf))
        return since

    def block(self, signal: str) -> Block:
        """That of a signal which was measured."""
        return self.blocks[self.population.blocks[signal]]

    def save(self, blocks: Blocks, covered: int) -> bytes:
        """The patient as a snapshot that covers the log up to and with offset ``covered``."""
        saved = {name: _saved(latest, self.drifts.get(name)) for name, latest in self.latest.items()}
        own = [blocks.save(block, self.population) for block in self.blocks.values()]
        return msgspec.msgpack.encode(Snapshot(covered=covered, state=self.state, signals=saved, blocks=own))

    @classmethod
    def load(cls, key: bytes, snapshot: bytes, blocks: Blocks, populations: Populations) -> "Patient":
        """Raises:
        ValueError: a snapshot of another schema.
        """
        saved = msgspec.msgpack.decode(snapshot, type=Snapshot)
        if saved.schema != SCHEMA:
            raise ValueError(f"snapshot of schema {saved.schema}; this version reads {SCHEMA}")
        state = saved.state
        patient = cls(key, populations.of(state.profile))
        patient.covered, patient.state = saved.covered, state
        patient.held_bytes = sum(len(held.value) for held in state.held)
        if state.profile is not None:
            state.profile = compact(state.profile, patient.id)
        state.devices = {intern(name): device for name, device in state.devices.items()}
        patient.take_blocks(saved.blocks, blocks)
        for name, signal in saved.signals.items():
            name = intern(name)  # noqa: PLW2901  # one for all patients
            device = None if signal.device is None else intern(signal.device)
            patient.latest[name] = Latest(
                *patient.place(name, device),
                signal.value,
                signal.at,
                signal.period_s or NO_PERIOD,
                signal.repeats,
                signal.repeats_since,
                signal.fence_low,
                signal.fence_high,
                signal.kind,
            )
            if signal.drift is not None:
                patient.drifts[name] = Drift(signal.drift)
        return patient

    def take_blocks(self, saved: list[SavedBlock], blocks: Blocks) -> None:
        """Take over the blocks of a snapshot, carried over to this patient's population where that is another."""
        for block in migrated(saved, self.population):
            loaded = blocks.load(self.key, self.population, block)
            self.blocks[self.population.blocks[loaded.channels[0][0]]] = loaded
        for own in self.blocks.values():
            own.siblings = len(self.blocks)
        self.find_channels()

    def find_channels(self) -> None:
        """After a change of blocks or layouts."""
        for name, latest in self.latest.items():
            latest.block, latest.device, latest.channel = self.place(name, latest.device)

    def place(self, name: str, device: str | None) -> tuple[Block, str | None, int]:
        """Block, device and channel of the samples of a signal that was measured."""
        block = self.block(name)
        if (name, device) in block.channels:
            return block, device, block.channels.index((name, device))
        return (
            block,
            device,
            max(number for number, (signal, _) in enumerate(block.channels) if signal == name),
        )

    def move_to(self, population: PopulationModel, blocks: Blocks) -> None:
        """Carry the twin over to another population's model."""
        saved = [blocks.save(block, self.population) for block in self.blocks.values()]
        for block in self.blocks.values():
            blocks.free(block)
        self.population, self.blocks = population, {}
        self.take_blocks(saved, blocks)


Own = tuple[str, str | None, list[tuple[float, float]]]
"""Signal and device, and samples of theirs: measured at, value."""


def _of(names: Collection[str], channels: Channels, samples: "array[float]") -> list[Own]:
    """What channels of some signals measured, of samples as a block of these channels has them."""
    wanted = [(number, name, device) for number, (name, device) in enumerate(channels) if name in names]
    if not wanted:
        return []
    table = np.frombuffer(samples).reshape(-1, COLUMNS)
    numbers, at = table[:, CODE] // 3, table[:, AT] - table[:, AGE]
    return [
        (name, device, list(zip(at[numbers == number].tolist(), table[numbers == number, RAW].tolist(), strict=True)))
        for number, name, device in wanted
    ]
