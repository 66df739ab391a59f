"""What becomes of a patient's inputs: applied, duplicate, late, rejected, or held until their patient or device is known."""

from collections import Counter
from collections.abc import Callable
from math import inf, isnan, nan
from sys import intern
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from xxhash import xxh3_64_digest, xxh3_64_intdigest

from stream_twin import events
from stream_twin.alerts.configuration import Desks
from stream_twin.alerts.desk import Rejection
from stream_twin.events import AnyInput, DeviceKind, Output, Sample, Samples, SampleSeries
from stream_twin.lane import dead_letters
from stream_twin.lane.agenda import Agenda
from stream_twin.lane.applied import Applied
from stream_twin.lane.assess import Own
from stream_twin.lane.condition import Condition
from stream_twin.lane.filing import Filing, amounts_of
from stream_twin.lane.patient import (
    EVENTS_KEPT,
    Device,
    Held,
    Patient,
    Rebuild,
    compact,
    seconds,
)
from stream_twin.lane.rebuild import Refused, adopt, base_in
from stream_twin.signals import Signal
from stream_twin.twin.blocks import Blocks, series_identity
from stream_twin.twin.model import Populations
from stream_twin.twin.state import code_of

decode = msgspec.json.Decoder(AnyInput).decode
_encode = msgspec.json.Encoder().encode
Reason = Literal["unknown_patient", "not_monitored", "unknown_device", "outside_assignment"]
TROUBLE_QUIET_S = 3600.0
"""Troubles further apart than that are not counted together."""
TROUBLED_DEVICES = 32
"""No more of a patient's are remembered: who makes up names would fill the snapshot. The one with the least trouble goes."""
HELD_RECORDS = 1000
HELD_BYTES = 1_000_000
"""No more is held for one patient: its snapshot must fit into a record."""


class Intake:
    """``out`` takes what is put out; ``again`` takes a record that was held as if it came now: key, input, offset and bytes."""

    def __init__(
        self,
        signals: list[Signal],
        blocks: Blocks,
        populations: Populations,
        agenda: Agenda,
        own: Own,
        again: Callable[[bytes, Any, int, bytes], None],
    ) -> None:
        self._signals = signals
        self.index = {signal.name: number for number, signal in enumerate(signals)}
        # XXH3 adds the seed to an id of up to 8 bytes bit by bit: of seeds 0, 1, 2 the ids of two signals would meet.
        self._seeds = {signal.name: xxh3_64_intdigest(signal.name.encode()) for signal in signals}
        self._blocks = blocks
        self._populations = populations
        self._agenda = agenda
        self._own = own
        self._again = again
        self.filing = Filing(signals, blocks, own)
        self.desks = Desks()
        self.out = Applied()

    def take(self, patient: Patient, entry: Any, offset: int, value: bytes) -> None:
        """``entry`` is what ``value``, the log record at ``offset``, says."""
        kind = type(entry)
        if kind is Samples:
            self._take_samples(patient, entry, offset)
        elif kind is SampleSeries:
            self._take_series(patient, entry, offset)
        else:
            _TAKERS[kind](self, patient, entry, offset)

    def fate(self, patient: Patient, fate: str, count: int = 1) -> None:
        fates = patient.state.fates
        fates[fate] = fates.get(fate, 0) + count
        self.out.counts["input", fate] += count

    # ----------------------------------------------------------------------------------------------------- samples

    def _take_samples(self, patient: Patient, entry: Samples, offset: int) -> None:
        state = patient.state
        asks = not state.watched or state.assignments is not None
        applied = 0
        urgent = False
        latests, seeds, surroundings = patient.latest, self._seeds, patient.population.surroundings
        lateness_s, complete_to, offer = self._own.settings.lateness_s, self._own.complete_to, self._blocks.offer
        keeps = self.filing.keeps(patient)
        kind, wait_s = "", 0.0
        heard: str | None = ""
        heard_at = -inf
        for sample in entry.samples:
            if asks and (reason := self._refusal(patient, sample)) is not None:
                alone = entry
                if len(entry.samples) > 1:
                    for_others = {offset: those for offset, those in entry.thinned.items() if offset == sample.offset}
                    alone = replace(entry, arrived_at=sample.arrived_at, samples=[sample], thinned=for_others)
                self._hold_or_reject(patient, alone, reason, offset)
                continue
            value = sample.value
            if value is None:
                if not sample.retracted:
                    self.out.counts["absent", sample.signal] += 1
                    self._heard(patient, sample.device, sample.kind, sample.at)
                    applied += 1
                    continue
                value = nan
            signal, at, name = sample.signal, sample.at, sample.device
            if sample.kind != kind:
                kind = sample.kind
                wait_s = lateness_s.get(kind, 0.0)
            latest = latests.get(signal)
            if latest is None:
                taken = [s for s in entry.samples if s.value is not None or s.retracted]
                self.filing.open(patient, [s for s in taken if not asks or self._refusal(patient, s) is None])
                latest = latests[signal]
            block, channel = latest.block, latest.channel
            if latest.device != name or wait_s > block.lateness_s:
                block, channel = self.filing.channel(patient, signal, name, sample.kind)
            if signal in surroundings:
                self.filing.surround(patient, signal, block)
            identity = xxh3_64_digest(sample.id.encode(), seeds[signal])
            side = 0 if sample.comparator is None else SIDES[sample.comparator]
            if keeps:
                self.filing.keep(patient, signal, identity, at, value, sample.version, sample.kind, name, sample.period_s, side)
            fate = offer(block, 3 * channel + 1 + side, identity, at, value, sample.version, complete_to, latest.at)
            if fate == "applied":
                applied += 1
                if at > heard_at or name != heard:  # mostly all of a record are of one device and moment
                    heard, heard_at = name, at
                    self._heard(patient, name, sample.kind, at)
                if at > latest.at and value == value:  # noqa: PLR0124  # not NaN
                    latest.take(value, at, name, kind, sample.period_s)
                    latest.channel = channel
                else:
                    state.corrected = True
                    if sample.version > 1 or at == latest.at:  # else it cannot be the newest
                        self.filing.newest(block, signal, latest)
                if value < latest.fence_low or value > latest.fence_high:
                    urgent = True
            elif fate == "conflict":
                self.fate(patient, "rejected")
                self._trouble(patient, name, "refused")
                came = f"observation {sample.id} version {sample.version} came before with another value or time"
                detail = f"{came}: give a correction a higher version"
                dead_letters.write_sample(self.out, patient.key, entry, sample, offset, "conflicting_body", detail)
            else:
                self.fate(patient, fate)
                if fate == "late":
                    self._trouble(patient, name, "late")
        if entry.thinned:
            for sample in entry.samples:
                if sample.offset in entry.thinned and not (asks and self._refusal(patient, sample)):  # a held one comes again
                    self._trouble(patient, sample.device, "thinned", len(entry.thinned[sample.offset]))
        if applied:
            self.fate(patient, "applied", applied)
            self._plan_look(patient, offset, entry.arrived_at, urgent=urgent)

    def _trouble(self, patient: Patient, device: str | None, what: str, count: int = 1) -> None:
        if device is None:
            return
        clock, troubles = self._own.clock, patient.state.troubles
        if device not in troubles:
            for name in [
                name for name, of in troubles.items() if all(clock - last > TROUBLE_QUIET_S for _, _, last in of.values())
            ]:
                del troubles[name]
            if len(troubles) >= TROUBLED_DEVICES:
                del troubles[min(troubles, key=lambda name: sum(times for times, _, _ in troubles[name].values()))]
            troubles[intern(device)] = {}
        before, since, last = troubles[device].get(what, (0, clock, clock))
        if clock - last > TROUBLE_QUIET_S:
            before, since = 0, clock
        troubles[device][what] = before + count, since, clock
        self._agenda.wake(patient, self._own.complete_to)  # of what is late or refused alone nobody looks

    def _take_series(self, patient: Patient, series: SampleSeries, offset: int) -> None:
        if (reason := self._refusal(patient, series)) is not None:
            self._hold_or_reject(patient, series, reason, offset)
            return
        fates = Counter[str]()
        urgent = self._follow_series(patient, series, fates)
        self._heard(patient, series.device, series.kind, max(series.at))
        for fate, count in fates.items():
            self.out.counts["sample", fate] += count
        for fate, what in (("late", "late"), ("conflict", "refused")):
            if fates[fate]:
                self._trouble(patient, series.device, what, fates[fate])
        if fates["applied"]:
            self._plan_look(patient, offset, series.arrived_at, urgent=urgent)
        if fates["conflict"] and not fates["applied"]:
            series_is = f"series {series.id} version {series.version}"
            came = f"{fates['conflict']} samples of {series_is} came before with another value or time"
            detail = f"{came}: give a correction a higher version"
            self._reject(patient, series, offset, "conflicting_body", detail)
            return
        self.fate(patient, next((f for f in ("applied", "late", "duplicate") if fates[f]), "applied"))

    def _follow_series(self, patient: Patient, series: SampleSeries, fates: Counter[str]) -> bool:
        """Offer its samples; whether one was beyond the fence."""
        if series.retracted:
            numbers, at, values = list(range(len(series.at))), series.at, [nan] * len(series.at)
        else:
            numbers = [number for number, value in enumerate(series.values) if value is not None]
            at, values = series.at, [value for value in series.values if value is not None]
            if len(numbers) < len(at):
                at = [at[number] for number in numbers]
                fates["absent"] += len(series.at) - len(numbers)
                self.out.counts["absent", series.signal] += len(series.at) - len(numbers)
        if not values:
            return False
        block, channel = self.filing.channel(patient, series.signal, series.device, series.kind)
        code, latest = code_of(channel), patient.latest[series.signal]
        if series.signal in patient.population.surroundings:
            self.filing.surround(patient, series.signal, block)
        first = xxh3_64_intdigest(series.id.encode(), self._seeds[series.signal])
        low, high = latest.fence_low, latest.fence_high
        if self.filing.keeps(patient):
            for number, moment, value in zip(numbers, at, values, strict=True):
                identity = series_identity(first, number)
                self.filing.keep(patient, series.signal, identity, moment, value, series.version, series.kind, series.device, 0.0)
        complete_to = self._own.complete_to
        if not series.retracted and self._blocks.extend(block, code, first, numbers, at, values, series.version, complete_to):
            for moment, value in zip(at, values, strict=True):
                latest.take(value, moment, series.device, series.kind, 0.0)
            latest.channel = channel
            fates["applied"] += len(values)
            return min(values) < low or max(values) > high
        urgent, corrected = False, False
        for number, moment, value in zip(numbers, at, values, strict=True):
            identity = series_identity(first, number)
            fate = self._blocks.offer(block, code, identity, moment, value, series.version, complete_to, latest.at)
            fates[fate] += 1
            if fate == "applied":
                if moment > latest.at and not isnan(value):
                    latest.take(value, moment, series.device, series.kind, 0.0)
                    latest.channel = channel
                else:
                    corrected = True
                urgent = urgent or value < low or value > high
        if corrected:
            patient.state.corrected = True
            self.filing.newest(block, series.signal, latest)
        return urgent

    def _plan_look(self, patient: Patient, offset: int, arrived_at: float, *, urgent: bool) -> None:
        """Have the patient assessed now, where it is time or a sample was beyond its fence, or else when it is time."""
        state = patient.state
        clock, due_at = self._own.clock, state.assessed_at + self._own.settings.estimate_every_s
        if clock >= due_at:
            self._look_now(patient, offset, arrived_at)
        elif not urgent:
            self._agenda.wake(patient, due_at)
        elif state.urgent_at < clock:
            state.urgent_at = clock
            self._look_now(patient, offset, arrived_at)
        else:  # once between two ticks is enough
            self._agenda.wake(patient, clock)

    def _look_now(self, patient: Patient, offset: int, arrived_at: float | None = None) -> None:
        if self._own.clock == -inf:  # nobody knows the time before the lane's first tick
            self._agenda.wake(patient, -inf)
        else:
            self._agenda.await_(patient, offset, arrived_at)

    def _heard(self, patient: Patient, name: str | None, kind: DeviceKind, at: float) -> None:
        if name is None:
            return
        device = patient.state.devices.get(name)
        if device is None:
            patient.state.devices[intern(name)] = Device(kind=kind, last_at=at)
        elif at > device.last_at:
            device.last_at = at

    def _refusal(self, patient: Patient, sample: Sample | SampleSeries) -> Reason | None:
        """Why the sample cannot be used now."""
        state = patient.state
        if not state.watched:
            return "unknown_patient" if state.profile is None else "not_monitored"
        if sample.device is None or state.assignments is None or not state.assignments.devices:
            return None
        worn = patient.assignment(sample.device)
        if not worn:
            return "unknown_device"
        first, last = (min(sample.at), max(sample.at)) if isinstance(sample, SampleSeries) else (sample.at, sample.at)
        if any(seconds(a.start) <= first and last <= (inf if a.end is None else seconds(a.end)) for a in worn):
            return None
        return "outside_assignment"

    def _hold_or_reject(self, patient: Patient, entry: Samples | SampleSeries, reason: Reason, offset: int) -> None:
        """``entry`` has one sample, or is a series."""
        state = patient.state
        about = entry.samples[0] if isinstance(entry, Samples) else entry
        if reason == "not_monitored":
            assert state.profile is not None
            detail = f"the patient's state is {state.profile.state}, or consent was withdrawn"
        elif reason == "outside_assignment":
            at = about.at[-1] if isinstance(about, SampleSeries) else about.at
            came = f"device {about.device} was not assigned to this patient at {at:.0f}"
            detail = f"{came}: correct device.assignments and send again"
        else:
            value = _encode(entry)
            if len(state.held) < HELD_RECORDS and patient.held_bytes + len(value) <= HELD_BYTES:
                self._hold(patient, offset, value)
                return
            detail = f"{len(state.held)} records wait for this {reason[8:]} already"
        self._reject(patient, entry, offset, reason, detail)

    def _hold(self, patient: Patient, offset: int, value: bytes) -> None:
        state = patient.state
        state.held.append(Held(offset, value))
        patient.held_bytes += len(value)
        self.fate(patient, "held")
        if state.hold_until == inf:
            state.hold_until = max(self._own.complete_to, 0.0) + self._own.settings.hold_unknown_s
        self._agenda.wake(patient, state.hold_until)

    def time_is_up(self, patient: Patient, offset: int) -> None:
        """Called by a tick: end what was held too long."""
        if patient.state.hold_until <= self._own.complete_to:
            self._release(patient, offset, over=True)

    def fail_held(self, patient: Patient, offset: int, detail: str) -> None:
        """Give up what is held: its update raised."""
        held, patient.state.held, patient.state.hold_until = patient.state.held, [], inf
        patient.held_bytes = 0
        self.fate(patient, "held", -len(held))
        for entry in held:
            self.fail(patient, decode(entry.value), offset, detail)

    def _release(self, patient: Patient, offset: int, over: bool) -> None:
        """Judge what was held again; ``over``: the time is up, so that what still is not known is rejected now."""
        state = patient.state
        held, state.held, state.hold_until = state.held, [], inf
        if not held:
            return
        patient.held_bytes = 0
        if over and state.profile is None and self._own.settings.unknown_patients == "watch":
            state.profile = events.Profile(patient_id=patient.id, valid_from=max(self._own.clock, 0.0))
            self._enter(patient)
        self.fate(patient, "held", -len(held))
        for entry in held:
            sample = decode(entry.value)
            assert isinstance(sample, Samples | SampleSeries)
            about = sample.samples[0] if isinstance(sample, Samples) else sample
            if over and state.profile is None:
                detail = "no profile of this patient came in time: send one to patient.profiles, then send the record again"
                self._reject(patient, sample, offset, "unknown_patient", detail)
            elif over and self._refusal(patient, about) == "unknown_device":
                detail = f"device {about.device} is not assigned to this patient: send device.assignments, then the record again"
                self._reject(patient, sample, offset, "unknown_device", detail)
            else:
                self._again(patient.key, sample, offset, entry.value)

    # ------------------------------------------------------------------------------------------ events of a patient

    def _take_profile(self, patient: Patient, entry: events.ProfileSet, offset: int) -> None:
        state, new = patient.state, entry.profile
        known = state.profile
        if (
            known is not None and (new.version, seconds(new.valid_from)) < (known.version, seconds(known.valid_from))
        ) or new == known:
            self.fate(patient, "duplicate")
            return
        state.profile = compact(new, patient.id)
        self.fate(patient, "applied")
        population = self._populations.of(state.profile)
        if population is not patient.population:
            self._blocks.flush()
            patient.move_to(population, self._blocks)
        self._enter(patient)
        self._release(patient, offset, over=False)
        self._look_now(patient, offset)

    def _enter(self, patient: Patient) -> None:
        state = patient.state
        profile = state.profile
        assert profile is not None
        state.watched = profile.consent and profile.state in ("enrolled", "paused")
        cohort = profile.cohort
        if cohort is not None and state.watched and self._populations.belongs(cohort, patient.population):
            if state.example_at == inf:
                state.example_at = -inf
        else:
            state.example_at, state.risk = inf, None
        if profile.state == "paused" and profile.paused_until is not None:
            self._agenda.wake(patient, seconds(profile.paused_until))

    def _take_devices(self, patient: Patient, entry: events.DevicesSet, offset: int) -> None:
        state = patient.state
        if state.assignments is not None and (
            entry.assignments.version < state.assignments.version or entry.assignments == state.assignments
        ):
            self.fate(patient, "duplicate")
            return
        state.assignments = entry.assignments
        self.fate(patient, "applied")
        self._release(patient, offset, over=False)
        if state.profile is not None:
            self._look_now(patient, offset)

    def _first(self, patient: Patient, identity: str, version: int) -> bool:
        """Whether this event was not taken before; remembers it."""
        seen = patient.state.event_ids
        if seen.get(identity, 0) >= version:
            self.fate(patient, "duplicate")
            return False
        seen.pop(identity, None)
        seen[identity] = version
        if len(seen) > EVENTS_KEPT:
            del seen[next(iter(seen))]
        return True

    def _take_event(self, patient: Patient, entry: events.Happened, offset: int) -> None:
        event = entry.event
        if self._first(patient, event.id, event.version):
            late = self.filing.put_in(patient, event.id, seconds(event.at), amounts_of(event), event.version)
            self.fate(patient, "late" if late else "applied")
            if isinstance(event, events.Oxygen | events.Finding):
                condition = patient.state.condition or Condition()
                if condition.take(event):
                    patient.state.condition = condition
                    if seconds(event.at) > self._own.clock:  # its clock is ahead of the lane's last tick
                        self._agenda.wake(patient, seconds(event.at))
                    elif patient.state.profile is not None:
                        self._look_now(patient, offset)

    def _take_outcome(self, patient: Patient, entry: events.OutcomeKnown, offset: int) -> None:
        outcome = entry.outcome
        if not self._first(patient, outcome.id, 1):
            return
        self.fate(patient, "applied")
        profile = patient.state.profile
        if profile is not None and profile.cohort is not None:
            occurred = seconds(outcome.occurred_at)
            known = occurred if outcome.issued_at is None else seconds(outcome.issued_at)
            label = events.Label(
                patient_id=patient.id, cohort=profile.cohort, kind=outcome.kind, occurred_at=occurred, known_at=known
            )
            self.out.put(offset, Output("learning.examples", patient.key, _encode(label)))

    def _take_command(self, patient: Patient, entry: events.Commanded, offset: int) -> None:
        command = entry.command
        if not self._first(patient, command.id, 1):
            return
        result = self.desks.of(patient.id, patient.population_name).command(patient.state.book, command, self._own.clock, offset)
        if isinstance(result, Rejection):
            del patient.state.event_ids[command.id]  # put through again it may be right
            self._reject(patient, entry, offset, result.reason, result.detail)
            if patient.is_blank:
                self._agenda.wake(patient, self._own.complete_to)
            return
        self.fate(patient, "applied")
        self.out.alerts(patient.key, result, offset)
        self.out.alerted.add(patient.key)
        self._agenda.plan(patient)

    # ----------------------------------------------------------------------------------------------------- rebuilds

    def _begin_rebuild(self, patient: Patient, entry: events.RebuildBegun, offset: int) -> None:
        if patient.state.profile is None:
            self._reject(patient, entry, offset, "unknown_patient", "nothing is known of this patient: nothing to rebuild")
            if patient.is_blank:
                self._agenda.wake(patient, self._own.complete_to)
            return
        patient.state.rebuild = Rebuild(entry.id, offset, self._own.complete_to)
        self.fate(patient, "applied")

    def _end_rebuild(self, patient: Patient, entry: events.RebuiltBase, offset: int) -> None:
        try:
            begun, base = base_in(entry, patient.state.rebuild, self.index)
        except Refused as refused:
            self._reject(patient, entry, offset, "rebuild_refused", str(refused))
            if patient.is_blank:
                self._agenda.wake(patient, self._own.complete_to)
        else:
            self._blocks.flush()
            self._blocks.forget_settled(patient.key)  # of blocks that go now
            adopt(patient, base, begun, self._blocks, self._populations, self.filing.channel)
            patient.state.rebuild, patient.state.corrected = None, True
            self.fate(patient, "applied")
            self._look_now(patient, offset)
        self.out.alerted.add(patient.key)  # so that its snapshot, which says that this is over, is there at once

    # ------------------------------------------------------------------------------------------------- dead letters

    def fail(self, patient: Patient, entry: Any, offset: int, detail: str) -> None:
        """The update of ``entry`` raised: each of its source records becomes a dead letter."""
        self.fate(patient, "failed", dead_letters.sources_of(entry))
        dead_letters.write(self.out, patient.key, entry, offset, "failed", detail)

    def _reject(self, patient: Patient, entry: Any, offset: int, reason: str, detail: str) -> None:
        self.fate(patient, "rejected", dead_letters.sources_of(entry))
        dead_letters.write(self.out, patient.key, entry, offset, reason, detail)


SIDES = {"<": -1, "<=": -1, ">": 1, ">=": 1}
"""On which side of what is written the value is."""


_TAKERS: dict[type, Any] = {
    events.Happened: Intake._take_event,
    events.ProfileSet: Intake._take_profile,
    events.DevicesSet: Intake._take_devices,
    events.OutcomeKnown: Intake._take_outcome,
    events.Commanded: Intake._take_command,
    events.RebuildBegun: Intake._begin_rebuild,
    events.RebuiltBase: Intake._end_rebuild,
}
