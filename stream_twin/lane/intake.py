"""What becomes of a patient's inputs: applied, duplicate, late, rejected, or held until their patient or device is known."""

from collections import Counter
from collections.abc import Callable
from math import inf, isnan, nan
from typing import Any

import msgspec
import xxhash

from stream_twin import events
from stream_twin.alerts.desk import Desk, Rejection
from stream_twin.events import AnyInput, FromSource, Output, Sample, SampleSeries
from stream_twin.lane.agenda import Agenda
from stream_twin.lane.applied import Applied
from stream_twin.lane.assess import Own
from stream_twin.lane.patient import EVENTS_KEPT, Device, Held, Latest, Patient, seconds
from stream_twin.signals import Signal
from stream_twin.twin.tracks import Track, Tracks

decode = msgspec.json.Decoder(AnyInput).decode
_encode = msgspec.json.Encoder().encode
HELD_RECORDS = 1000
HELD_BYTES = 1_000_000
"""No more is held for one patient: its snapshot must fit into a record."""


class Intake:
    """``out`` takes what is put out; ``again`` takes a record that was held as if it came now: key, input, offset and bytes."""

    def __init__(
        self, signals: list[Signal], tracks: Tracks, agenda: Agenda, own: Own, again: Callable[[bytes, Any, int, bytes], None]
    ) -> None:
        self._signals = signals
        self.index = {signal.name: number for number, signal in enumerate(signals)}
        self._tracks = tracks
        self._agenda = agenda
        self._own = own
        self._again = again
        self.desk = Desk()
        self.out = Applied()

    def take(self, patient: Patient, entry: Any, offset: int, value: bytes) -> None:
        """``entry`` is what ``value``, the log record at ``offset``, says."""
        kind = type(entry)
        if kind is Sample:
            self._take_sample(patient, entry, offset, value)
        elif kind is SampleSeries:
            self._take_series(patient, entry, offset, value)
        else:
            _TAKERS[kind](self, patient, entry, offset)

    def fate(self, patient: Patient, fate: str, count: int = 1) -> None:
        fates = patient.state.fates
        fates[fate] = fates.get(fate, 0) + count
        self.out.counts["input", fate] += count

    # ----------------------------------------------------------------------------------------------------- samples

    def _take_sample(self, patient: Patient, sample: Sample, offset: int, value: bytes) -> None:
        if not self._admitted(patient, sample, sample.at, offset, value):
            return
        if sample.value is None and not sample.retracted:
            self.out.counts["absent", sample.signal] += 1
            self._heard(patient, sample, sample.at)
            self.fate(patient, "applied")
            return
        fate = self._offer(patient, sample, xxhash.xxh3_64_digest(sample.id.encode()), sample.at, sample.value, offset)
        if fate == "conflict":
            came = f"observation {sample.id} version {sample.version} came before with another value or time"
            detail = f"{came}: give a correction a higher version"
            self._reject(patient, sample, offset, "conflicting_body", detail)
            return
        self.fate(patient, fate)

    def _take_series(self, patient: Patient, series: SampleSeries, offset: int, value: bytes) -> None:
        if not self._admitted(patient, series, series.at[-1], offset, value):
            return
        fates = Counter[str]()
        for number, (at, measured) in enumerate(zip(series.at, series.values, strict=True)):
            if measured is None and not series.retracted:
                self.out.counts["absent", series.signal] += 1
                fates["absent"] += 1
                continue
            identity = xxhash.xxh3_64_digest(f"{series.id}#{number}".encode())
            fates[self._offer(patient, series, identity, at, measured, offset)] += 1
        self._heard(patient, series, series.at[-1])
        for fate, count in fates.items():
            self.out.counts["sample", fate] += count
        if fates["conflict"] and not fates["applied"]:
            series_is = f"series {series.id} version {series.version}"
            came = f"{fates['conflict']} samples of {series_is} came before with another value or time"
            detail = f"{came}: give a correction a higher version"
            self._reject(patient, series, offset, "conflicting_body", detail)
            return
        self.fate(patient, next((f for f in ("applied", "late", "duplicate") if fates[f]), "applied"))

    def _offer(
        self, patient: Patient, sample: Sample | SampleSeries, identity: bytes, at: float, value: float | None, offset: int
    ) -> str:
        name = sample.signal
        track = patient.tracks.get(name)
        lateness_s = self._own.settings.lateness_s.get(sample.kind, 0.0)
        if track is None:
            track = patient.tracks[name] = self._tracks.new(patient.key, self.index[name], lateness_s)
            latest = patient.latest[name] = Latest()
        else:
            if lateness_s > track.lateness_s:
                self._tracks.flush(self._own.complete_to)  # so that what was settled by then does not depend on the batch
                track.allow(lateness_s, self._own.complete_to)
            latest = patient.latest[name]
        raw = nan if sample.retracted or value is None else value
        fate = self._tracks.offer(track, identity, at, raw, sample.version, self._own.complete_to)
        if fate != "applied":
            return fate
        state = patient.state
        if at > latest.at and not isnan(raw):
            latest.take(raw, at, sample.device, getattr(sample, "period_s", 0.0))
            self._heard(patient, sample, at)
        else:
            state.corrected = True
            self._newest(track, latest)
        clock, due_at = self._own.clock, state.assessed_at + self._own.settings.estimate_every_s
        if clock >= due_at:
            self._agenda.await_(patient, offset, sample.arrived_at)
        elif latest.fence_low <= raw <= latest.fence_high or isnan(raw):
            self._agenda.wake(patient, due_at)
        elif state.urgent_at < clock:
            state.urgent_at = clock
            self._agenda.await_(patient, offset, sample.arrived_at)
        else:  # once between two ticks is enough
            self._agenda.wake(patient, clock)
        return fate

    def _newest(self, track: Track, latest: Latest) -> None:
        """After a late sample or a correction: the newest that counts."""
        for index in range(len(track.at) - 1, -1, -1):
            if not isnan(track.raw[index]):
                latest.value, latest.at = track.raw[index], track.at[index]
                return
        latest.at = track.settled_at
        latest.value = nan if latest.previous is None else latest.previous

    def _heard(self, patient: Patient, sample: Sample | SampleSeries, at: float) -> None:
        if sample.device is None:
            return
        device = patient.state.devices.get(sample.device)
        if device is None:
            patient.state.devices[sample.device] = Device(kind=sample.kind, last_at=at)
        elif at > device.last_at:
            device.last_at = at

    def _admitted(self, patient: Patient, sample: Sample | SampleSeries, at: float, offset: int, value: bytes) -> bool:
        """Whether the sample may be used now; otherwise it is held or rejected here."""
        state = patient.state
        if not state.watched:
            if state.profile is None:
                self._hold(patient, sample, offset, value)
            else:
                self._reject(
                    patient,
                    sample,
                    offset,
                    "not_monitored",
                    f"the patient's state is {state.profile.state}, or consent was withdrawn",
                )
            return False
        if sample.device is None or state.assignments is None or not state.assignments.devices:
            return True
        worn = patient.assignment(sample.device)
        if not worn:
            self._hold(patient, sample, offset, value)
            return False
        if any(seconds(a.start) <= at <= (inf if a.end is None else seconds(a.end)) for a in worn):
            return True
        detail = f"device {sample.device} was not assigned to this patient at {at:.0f}: correct device.assignments and send again"
        self._reject(patient, sample, offset, "outside_assignment", detail)
        return False

    def _hold(self, patient: Patient, sample: Sample | SampleSeries, offset: int, value: bytes) -> None:
        state = patient.state
        if len(state.held) >= HELD_RECORDS or sum(len(held.value) for held in state.held) + len(value) > HELD_BYTES:
            reason = "unknown_patient" if state.profile is None else "unknown_device"
            self._reject(patient, sample, offset, reason, f"{len(state.held)} records wait for this {reason[8:]} already")
            return
        state.held.append(Held(offset, value))
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
        self.fate(patient, "held", -len(held))
        for entry in held:
            self.fate(patient, "failed")
            self.dead_letter(patient.key, decode(entry.value), offset, "failed", detail)

    def _release(self, patient: Patient, offset: int, over: bool) -> None:
        """Judge what was held again; ``over``: the time is up, so that what still is not known is rejected now."""
        state = patient.state
        held, state.held, state.hold_until = state.held, [], inf
        if not held:
            return
        if over and state.profile is None and self._own.settings.unknown_patients == "watch":
            state.profile = events.Profile(patient_id=patient.id, valid_from=max(self._own.clock, 0.0))
            self._enter(patient)
        self.fate(patient, "held", -len(held))
        for entry in held:
            sample = decode(entry.value)
            assert isinstance(sample, Sample | SampleSeries)
            if over and state.profile is None:
                detail = "no profile of this patient came in time: send one to patient.profiles, then send the record again"
                self._reject(patient, sample, offset, "unknown_patient", detail)
            elif over and sample.device is not None and not patient.assignment(sample.device) and state.assignments is not None:
                detail = f"device {sample.device} is not assigned to this patient: send device.assignments, then the record again"
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
        state.profile = new
        self.fate(patient, "applied")
        self._enter(patient)
        self._release(patient, offset, over=False)
        self._agenda.await_(patient, offset)

    def _enter(self, patient: Patient) -> None:
        state = patient.state
        profile = state.profile
        assert profile is not None
        state.watched = profile.consent and profile.state in ("enrolled", "paused")
        if profile.cohort is not None and state.watched:
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
            self._agenda.await_(patient, offset)

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
        if self._first(patient, entry.event.id, entry.event.version):
            self.fate(patient, "applied")

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
        result = self.desk.command(patient.state.book, command, self._own.clock, offset)
        if isinstance(result, Rejection):
            self._reject(patient, entry, offset, result.reason, result.detail)
            return
        self.fate(patient, "applied")
        self.out.alerts(patient.key, result, offset)
        self.out.alerted.add(patient.key)
        self._agenda.plan(patient)

    # ------------------------------------------------------------------------------------------------- dead letters

    def _reject(self, patient: Patient, entry: FromSource, offset: int, reason: str, detail: str) -> None:
        self.fate(patient, "rejected")
        self.dead_letter(patient.key, entry, offset, reason, detail)

    def dead_letter(self, key: bytes, entry: Any, offset: int, reason: str, detail: str) -> None:
        source = entry.source
        headers = (
            ("reason", reason.encode()),
            ("detail", detail.encode()),
            ("stage", b"twin"),
            ("topic", source.topic.encode()),
            ("partition", b"%d" % source.partition),
            ("offset", b"%d" % source.offset),
            ("at", b"%d" % round(entry.arrived_at * 1000)),
            ("log_offset", b"%d" % offset),
        )
        self.out.counts["rejected", reason] += 1
        self.out.put(offset, Output("dead.letters", key, bytes(entry.original), headers))


_TAKERS: dict[type, Any] = {
    events.Happened: Intake._take_event,
    events.ProfileSet: Intake._take_profile,
    events.DevicesSet: Intake._take_devices,
    events.OutcomeKnown: Intake._take_outcome,
    events.Commanded: Intake._take_command,
}
