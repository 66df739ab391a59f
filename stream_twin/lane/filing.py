"""Where the samples of a patient go: blocks and channels, made as they are needed, and the inputs that act on them."""

from math import inf, isnan, nan
from sys import intern
from typing import Any

from xxhash import xxh3_64_digest, xxh3_64_intdigest

from stream_twin import events
from stream_twin.events import DeviceKind, Sample
from stream_twin.lane.assess import Own
from stream_twin.lane.patient import EVENTS_KEPT, INPUT, Accepted, Latest, Patient, limits_of
from stream_twin.lane.rebuild import keep
from stream_twin.signals import Signal
from stream_twin.twin.block import Block
from stream_twin.twin.blocks import Blocks

_INPUTS = xxh3_64_intdigest(b"inputs")
"""Seed of the identities of amounts."""


class Filing:
    """``gathered`` takes every sample that is accepted, where a twin is being rebuilt."""

    def __init__(self, signals: list[Signal], blocks: Blocks, own: Own) -> None:
        self._signals = {signal.name: signal for signal in signals}
        self._blocks = blocks
        self._own = own
        self.gathered: list[Accepted] | None = None

    def open(self, patient: Patient, samples: list[Sample]) -> None:
        """Make room for all signals of a record at once: one after another each would extend its block."""
        news: dict[str, tuple[DeviceKind, dict[str, str | None]]] = {}
        for sample in samples:
            head = patient.population.blocks[sample.signal]
            if head not in patient.blocks:
                devices = news.setdefault(head, (sample.kind, {}))[1]
                devices.setdefault(intern(sample.signal), None if sample.device is None else intern(sample.device))
        for head, (kind, devices) in news.items():
            self._new_block(patient, head, devices, self._own.settings.lateness_s.get(kind, 0.0))
        for sample in samples:
            self.channel(patient, sample.signal, sample.device, sample.kind)

    def channel(self, patient: Patient, name: str, device: str | None, kind: DeviceKind) -> tuple[Block, int]:
        """Where samples of a signal from a device go; made where it is not there yet."""
        name, device = intern(name), None if device is None else intern(device)
        lateness_s = self._own.settings.lateness_s.get(kind, 0.0)
        head = patient.population.blocks[name]
        block = patient.blocks.get(head)
        if block is None:
            block = self._new_block(patient, head, {name: device}, lateness_s)
        channels = block.channels
        channel = self._blocks.channel(block, patient.population, name, device)
        if name not in patient.latest:
            low, high = limits_of(self._signals[name], patient.state.profile)
            low, high = -inf if low is None else low, inf if high is None else high
            patient.latest[name] = Latest(block, device, channel, fence_low=low, fence_high=high, kind=kind)
        if block.channels is not channels:
            patient.find_channels()
        self._blocks.allow(block, lateness_s, self._own.complete_to)
        return block, channel

    def _new_block(self, patient: Patient, head: str, devices: dict[str, str | None], lateness_s: float) -> Block:
        block = patient.blocks[head] = self._blocks.new(patient.key, patient.population, devices, lateness_s)
        for own in patient.blocks.values():
            own.siblings = len(patient.blocks)
        for put in patient.state.amounts:
            if put.signal in block.slab.plan.inputs:
                complete_to = self._own.complete_to
                self._blocks.put_in(block, put.signal, put.identity, put.at, put.value, put.version, complete_to)
        return block

    def surround(self, patient: Patient, signal: str, block: Block) -> None:
        """Put in what the place's air and weather are, where they act on ``signal``."""
        profile = patient.state.profile
        place = {} if profile is None or profile.place is None else self._own.places.get(profile.place, {})
        for name, source, offset in patient.population.surroundings[signal]:
            if source in place and place[source][0] > patient.state.surrounded_at.get(name, -inf):
                at, value = place[source]
                patient.state.surrounded_at[name] = at
                identity = xxh3_64_digest(f"{source} {at}".encode(), _INPUTS)
                if self.keeps(patient):
                    self.keep(patient, name, identity, at, value - offset, 1, "streaming", INPUT, 0.0)
                self._blocks.put_in(block, name, identity, at, value - offset, 1, self._own.complete_to)

    def put_in(self, patient: Patient, identity: str, at: float, amounts: dict[str, float], version: int) -> bool:
        """Amounts, by input, that act on signals from now on; NaN takes back what came before with this identity.

        -> Whether it came too late for what it corrects.
        """
        late = False
        inputs = patient.population.population.inputs
        for name, amount in amounts.items():
            digest = xxh3_64_digest(f"{name} {identity}".encode(), _INPUTS)
            if self.keeps(patient):
                self.keep(patient, name, digest, at, amount, version, "streaming", INPUT, 0.0)
            if name not in inputs:
                continue
            taken_back = {put.identity for put in patient.state.amounts if isnan(put.value)}
            stands = (p.at for p in patient.state.amounts if p.signal == name and p.identity not in taken_back)
            told = max(stands, default=-inf)
            patient.state.amounts.append(Accepted(name, digest, at, amount, version, "streaming", INPUT, 0.0))
            del patient.state.amounts[:-EVENTS_KEPT]
            for block in patient.blocks.values():
                if name in block.slab.plan.inputs:
                    newest = told if inputs[name].level else -inf
                    fate = self._blocks.put_in(block, name, digest, at, amount, version, self._own.complete_to, newest)
                    late = late or fate == "late"
        return late

    def newest(self, block: Block, signal: str, latest: Latest) -> None:
        """After a late sample or a correction: the newest that counts."""
        value, at = block.newest(signal)
        if at != latest.at or value != latest.value:
            latest.value, latest.at, latest.repeats = value, at, 0

    def keeps(self, patient: Patient) -> bool:
        """Whether somebody wants to have what is accepted: a rebuild that is under way here, or that this lane is."""
        return self.gathered is not None or patient.state.rebuild is not None

    def keep(self, patient: Patient, *sample: Any) -> None:
        accepted = Accepted(*sample)
        if self.gathered is not None:
            self.gathered.append(accepted)
        elif patient.state.rebuild is not None:
            keep(patient.state.rebuild, accepted)


def amounts_of(event: Any) -> dict[str, float]:
    """What an event puts into inputs of the twin, by their names; NaN where it was taken back."""
    amounts: dict[str, float | None] = {}
    if isinstance(event, events.Insulin) and event.kind == "rapid":
        amounts = {"insulin_absorbed": event.dose_units, "insulin_acting": event.dose_units}
    elif isinstance(event, events.Meal):
        amounts = {"meal_digested": event.carbohydrates_g, "meal_absorbed": event.carbohydrates_g}
    elif isinstance(event, events.Oxygen) and event.fraction is not None:
        amounts = {"oxygen": 100 * event.fraction - 21}
    return {name: nan if event.status == "entered-in-error" else amount for name, amount in amounts.items() if amount is not None}
