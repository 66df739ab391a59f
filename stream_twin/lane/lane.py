"""One lane: the twins of all patients whose records share a partition, as a function of that partition of ``twin.inputs``.

Records are taken one after another; samples are only filed, and filtered together, many tracks per call, when something
wants to look at them: an assessment, a tick, the end of the batch. What a record causes does not depend on where a batch ends.
"""

import heapq
from collections import Counter
from collections.abc import Iterable, Sequence
from math import inf, nan
from typing import Any, Protocol

import msgspec
import xxhash
from msgspec import Struct, field

from stream_twin import events
from stream_twin.alerts import Desk, Rejection, service
from stream_twin.events import AlertChange, AnyInput, FromSource, ModelParameters, Output, Sample, SampleSeries, Source
from stream_twin.lane.applied import Applied
from stream_twin.lane.assess import Assessor, Due
from stream_twin.lane.patient import EVENTS_KEPT, Device, Held, Latest, Patient
from stream_twin.lane.settings import LaneSettings
from stream_twin.learn.drift import Drift
from stream_twin.signals import Catalogue
from stream_twin.twin import scale
from stream_twin.twin.belief import Belief
from stream_twin.twin.kernel import Parameters
from stream_twin.twin.tracks import Tracks

SCHEMA = 1
_decode = msgspec.json.Decoder(AnyInput).decode
_encode = msgspec.json.Encoder().encode


class Record(Protocol):
    """A record of ``twin.inputs``; aiokafka's ``ConsumerRecord`` is one."""

    offset: int
    key: bytes | None
    value: bytes | None


class UpdateFailed(Exception):
    """A record's update raised. The lane is not usable any more: restore it and apply with ``careful=True``."""

    def __init__(self, offset: int, cause: BaseException) -> None:
        super().__init__(f"the update of the record at offset {offset} raised {type(cause).__name__}")
        self.offset = offset


class Checkpoint(Struct, kw_only=True):
    """The lane's own record in ``twin.state``: everything that is not one patient's, as of ``position``."""

    schema: int = SCHEMA
    position: int = 0
    clock: float = -inf
    complete_to: float = -inf
    settings: LaneSettings = field(default_factory=LaneSettings)
    models: dict[str, ModelParameters] = {}
    places: dict[str, dict[str, tuple[float, float]]] = {}
    """Place -> signal -> (measured at, value), the newest."""
    fates: dict[str, int] = {}
    """Inputs for the whole lane by what became of them; those of patients are counted with each patient."""
    service: service.ServiceState = field(default_factory=service.ServiceState)


class Lane:
    """See :mod:`stream_twin.lane.lane`. ``position`` is the offset of the next record that it wants."""

    def __init__(self, number: int, catalogue: Catalogue, checkpoint: Checkpoint | None = None) -> None:
        self.number = number
        self.catalogue = catalogue
        self._own = checkpoint or Checkpoint()
        self.position = self._own.position
        self.patients: dict[bytes, Patient] = {}
        signals = list(catalogue.signals.values())
        self._signals = signals
        self._index = {signal.name: number for number, signal in enumerate(signals)}
        self._tracks = Tracks(Parameters.of(signals))
        self._timers: list[tuple[float, bytes]] = []
        self._waiting: list[Due] = []
        self._careful = False
        self._changed: dict[bytes, None] = {}
        self._offset = -1
        self._configure(self._own.settings)

    @classmethod
    def restore(cls, number: int, catalogue: Catalogue, checkpoint: bytes | None, snapshots: Iterable[tuple[bytes, bytes]]) -> "Lane":
        """From what ``twin.state`` holds: the lane's checkpoint and the newest snapshot of each patient, by patient key.

        Raises:
            ValueError: written by another schema.
        """
        own = None if checkpoint is None else msgspec.msgpack.decode(checkpoint, type=Checkpoint)
        if own is not None and own.schema != SCHEMA:
            raise ValueError(f"lane {number} was written with schema {own.schema}; this version reads {SCHEMA}")
        lane = cls(number, catalogue, own)
        for key, snapshot in snapshots:
            patient = lane.patients[key] = Patient.load(key, snapshot, lane._tracks, lane._index)
            lane._schedule(patient)
        return lane

    def configuration(self, settings: LaneSettings) -> bytes | None:
        """The input that has to be written to the log for the lane to decide by ``settings``; None where it does already."""
        if settings == self._own.settings:
            return None
        return _encode(events.Configured(settings=msgspec.Raw(_encode(settings))))

    def _configure(self, settings: LaneSettings) -> None:
        self._own.settings = settings
        self._tracks.pending_limit = settings.pending_limit
        self._desk = Desk(settings.rules)
        self._assessor = Assessor(self._tracks, self._signals, self._desk)

    # ---------------------------------------------------------------------------------------------------- applying

    def apply(self, records: Sequence[Record], careful: bool = False) -> Applied:
        """Apply records in order; those before ``position`` are passed over.

        ``careful``: a record whose update raises becomes a dead letter, and its patient stays as it was before.

        Raises:
            UpdateFailed: a record's update raised, and not ``careful``.
        """
        applied = self._out = Applied()
        self._careful = careful
        for record in records:
            if record.offset < self.position:
                continue
            self._offset = record.offset
            if careful:
                self._apply_carefully(record)
            else:
                try:
                    self._apply_one(record)
                except Exception as error:
                    raise UpdateFailed(record.offset, error) from error
            self.position = record.offset + 1
        try:
            self._assess_waiting()
            self._tracks.flush(self._own.complete_to)
            self._learn()
        except Exception as error:
            raise UpdateFailed(self._offset, error) from error
        applied.surprises = self._tracks.take()
        return applied

    def _apply_carefully(self, record: Record) -> None:
        key = record.key or b""
        before = self._before(key)
        try:
            self._apply_one(record)
            self._assess_waiting()
            self._tracks.flush(self._own.complete_to)
            self._learn()
        except Exception as error:
            if not key:
                raise UpdateFailed(record.offset, error) from error  # of the lane itself: nothing to go back to
            self._out.forget(record.offset)
            patient = self._go_back(key, before)
            self._fate(patient, "failed")
            detail = f"the update raised {type(error).__name__}: {error}"
            self._dead_letter(key, _decode(record.value or b""), record.offset, "failed", detail)

    def _before(self, key: bytes) -> bytes | None:
        return self.patients[key].save(self._tracks, self.position - 1) if key in self.patients else None

    def _go_back(self, key: bytes, before: bytes | None) -> Patient:
        """Put a patient back to what it was."""
        self._waiting.clear()
        self._tracks.settled.clear()
        spoilt = self.patients.pop(key, None)
        for track in spoilt.tracks.values() if spoilt else ():
            self._tracks.free(track)
        patient = Patient(key) if before is None else Patient.load(key, before, self._tracks, self._index)
        self.patients[key] = patient
        self._schedule(patient)
        return patient

    def _apply_one(self, record: Record) -> None:
        entry = _decode(record.value or b"")
        kind = type(entry)
        if kind is events.Tick:
            self._tick(entry)
            return
        key = record.key or b""
        if not key:
            self._apply_to_lane(entry)
            return
        patient = self.patients.get(key)
        if patient is None:
            patient = self.patients[key] = Patient(key)
            patient.state.watched_since = self._own.clock
            self._changed[key] = None
        if record.offset <= patient.covered:
            return
        if patient.awaits:
            self._assess_waiting()
        self._changed[key] = None
        self._take(patient, entry, record.offset, record.value or b"")

    def _take(self, patient: Patient, entry: Any, offset: int, value: bytes) -> None:
        kind = type(entry)
        if kind is Sample:
            self._take_sample(patient, entry, offset, value)
        elif kind is SampleSeries:
            self._take_series(patient, entry, offset, value)
        else:
            _TAKERS[kind](self, patient, entry, offset)

    def _fate(self, patient: Patient | None, fate: str, count: int = 1) -> None:
        fates = self._own.fates if patient is None else patient.state.fates
        fates[fate] = fates.get(fate, 0) + count
        self._out.counts["input", fate] += count

    # ----------------------------------------------------------------------------------------------------- samples

    def _take_sample(self, patient: Patient, sample: Sample, offset: int, value: bytes) -> None:
        if not self._admitted(patient, sample, sample.at, offset, value):
            return
        if sample.value is None and not sample.retracted:
            self._out.counts["absent", sample.signal] += 1
            self._heard(patient, sample, sample.at)
            self._fate(patient, "applied")
            return
        fate = self._offer(patient, sample, xxhash.xxh3_64_digest(sample.id), sample.at, sample.value, offset)
        if fate == "conflict":
            detail = f"observation {sample.id} version {sample.version} came before with another value or time: give a correction a higher version"
            self._reject(patient, sample, offset, "conflicting_body", detail)
            return
        self._fate(patient, fate)

    def _take_series(self, patient: Patient, series: SampleSeries, offset: int, value: bytes) -> None:
        if not self._admitted(patient, series, series.at[-1], offset, value):
            return
        fates = Counter[str]()
        for number, (at, measured) in enumerate(zip(series.at, series.values, strict=True)):
            if measured is None and not series.retracted:
                self._out.counts["absent", series.signal] += 1
                fates["absent"] += 1
                continue
            identity = xxhash.xxh3_64_digest(f"{series.id}#{number}")
            fates[self._offer(patient, series, identity, at, measured, offset)] += 1
        self._heard(patient, series, series.at[-1])
        for fate, count in fates.items():
            self._out.counts["sample", fate] += count
        if fates["conflict"] and not fates["applied"]:
            detail = f"{fates['conflict']} samples of series {series.id} version {series.version} came before with other values or times"
            self._reject(patient, series, offset, "conflicting_body", detail)
            return
        self._fate(patient, next((f for f in ("applied", "late", "duplicate") if fates[f]), "applied"))

    def _offer(self, patient: Patient, sample: Sample | SampleSeries, identity: bytes, at: float, value: float | None, offset: int) -> str:
        name = sample.signal
        track = patient.tracks.get(name)
        if track is None:
            lateness = self._own.settings.lateness_s.get(sample.kind, 0.0)
            track = patient.tracks[name] = self._tracks.new(patient.key, self._index[name], lateness)
            latest = patient.latest[name] = Latest()
        else:
            latest = patient.latest[name]
        if sample.retracted or value is None:
            raw = working = nan
        else:
            raw, working = value, scale.to_working(self._signals[track.signal], value)
        fate = self._tracks.offer(track, identity, at, working, raw, sample.version)
        if fate != "applied":
            return fate
        state = patient.state
        if at > latest.at and raw == raw:
            latest.take(raw, at, sample.device, getattr(sample, "period_s", 0.0))
            self._heard(patient, sample, at)
        else:
            state.corrected = True
            self._newest(track, latest)
        clock, due_at = self._own.clock, state.assessed_at + self._own.settings.estimate_every_s
        if clock >= due_at:
            self._await(patient, offset, sample.arrived_at)
        elif latest.fence_low <= raw <= latest.fence_high or raw != raw:
            self._wake(patient, due_at)
        elif state.urgent_at < clock:
            state.urgent_at = clock
            self._await(patient, offset, sample.arrived_at)
        else:  # once between two ticks is enough
            self._wake(patient, clock)
        return fate

    def _newest(self, track: Any, latest: Latest) -> None:
        """After a late sample or a correction: the newest that counts."""
        for index in range(len(track.at) - 1, -1, -1):
            if track.raw[index] == track.raw[index]:
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
                self._hold(patient, offset, value)
            else:
                self._reject(patient, sample, offset, "not_monitored", f"the patient's state is {state.profile.state}, or consent was withdrawn")
            return False
        if sample.device is None or state.assignments is None or not state.assignments.devices:
            return True
        worn = patient.assignment(sample.device)
        if not worn:
            self._hold(patient, offset, value)
            return False
        if any(_seconds(a.start) <= at <= (inf if a.end is None else _seconds(a.end)) for a in worn):
            return True
        detail = f"device {sample.device} was not assigned to this patient at {at:.0f}: correct device.assignments and send again"
        self._reject(patient, sample, offset, "outside_assignment", detail)
        return False

    def _hold(self, patient: Patient, offset: int, value: bytes) -> None:
        state = patient.state
        state.held.append(Held(offset, value))
        self._fate(patient, "held")
        if state.hold_until == inf:
            state.hold_until = max(self._own.complete_to, 0.0) + self._own.settings.hold_unknown_s
        self._wake(patient, state.hold_until)

    def _release(self, patient: Patient, offset: int, over: bool) -> None:
        """Judge what was held again; ``over``: the time is up, so that what still is not known is rejected now."""
        state = patient.state
        held, state.held, state.hold_until = state.held, [], inf
        if not held:
            return
        if over and state.profile is None and self._own.settings.unknown_patients == "watch":
            state.profile = events.Profile(patient_id=patient.id, valid_from=max(self._own.clock, 0.0))
            self._enter(patient)
        self._fate(patient, "held", -len(held))
        for entry in held:
            sample = _decode(entry.value)
            assert isinstance(sample, Sample | SampleSeries)
            if over and state.profile is None:
                detail = "no profile of this patient came in time: send one to patient.profiles, then send the record again"
                self._reject(patient, sample, offset, "unknown_patient", detail)
            elif over and sample.device is not None and not patient.assignment(sample.device) and state.assignments is not None:
                detail = f"device {sample.device} is not assigned to this patient: send device.assignments, then the record again"
                self._reject(patient, sample, offset, "unknown_device", detail)
            else:
                if patient.awaits:
                    self._assess_waiting()
                self._take(patient, sample, offset, entry.value)

    # ------------------------------------------------------------------------------------------ events of a patient

    def _take_profile(self, patient: Patient, entry: events.ProfileSet, offset: int) -> None:
        state, new = patient.state, entry.profile
        known = state.profile
        if known is not None and (new.version, _seconds(new.valid_from)) < (known.version, _seconds(known.valid_from)) or new == known:
            self._fate(patient, "duplicate")
            return
        state.profile = new
        self._fate(patient, "applied")
        self._enter(patient)
        self._release(patient, offset, over=False)
        self._await(patient, offset)

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
            self._wake(patient, _seconds(profile.paused_until))

    def _take_devices(self, patient: Patient, entry: events.DevicesSet, offset: int) -> None:
        state = patient.state
        if state.assignments is not None and (entry.assignments.version < state.assignments.version or entry.assignments == state.assignments):
            self._fate(patient, "duplicate")
            return
        state.assignments = entry.assignments
        self._fate(patient, "applied")
        self._release(patient, offset, over=False)
        if state.profile is not None:
            self._await(patient, offset)

    def _first(self, patient: Patient, identity: str, version: int) -> bool:
        """Whether this event was not taken before; remembers it."""
        seen = patient.state.event_ids
        if seen.get(identity, 0) >= version:
            self._fate(patient, "duplicate")
            return False
        seen.pop(identity, None)
        seen[identity] = version
        if len(seen) > EVENTS_KEPT:
            del seen[next(iter(seen))]
        return True

    def _take_event(self, patient: Patient, entry: events.Happened, offset: int) -> None:
        if self._first(patient, entry.event.id, entry.event.version):
            self._fate(patient, "applied")

    def _take_outcome(self, patient: Patient, entry: events.OutcomeKnown, offset: int) -> None:
        outcome = entry.outcome
        if not self._first(patient, outcome.id, 1):
            return
        self._fate(patient, "applied")
        profile = patient.state.profile
        if profile is not None and profile.cohort is not None:
            occurred = _seconds(outcome.occurred_at)
            known = occurred if outcome.issued_at is None else _seconds(outcome.issued_at)
            label = events.Label(patient_id=patient.id, cohort=profile.cohort, kind=outcome.kind, occurred_at=occurred, known_at=known)
            self._out.put(offset, Output("learning.examples", patient.key, _encode(label)))

    def _take_command(self, patient: Patient, entry: events.Commanded, offset: int) -> None:
        command = entry.command
        if not self._first(patient, command.id, 1):
            return
        result = self._desk.command(patient.state.book, command, self._own.clock, offset)
        if isinstance(result, Rejection):
            self._reject(patient, entry, offset, result.reason, result.detail)
            return
        self._fate(patient, "applied")
        self._out.alerts(patient.key, result, offset)
        self._out.alerted.add(patient.key)
        self._wake_again(patient)

    # ------------------------------------------------------------------------------------------------ for the lane

    def _apply_to_lane(self, entry: Any) -> None:
        own = self._own
        if isinstance(entry, events.EnvironmentSample):
            signals = own.places.setdefault(entry.place, {})
            known = signals.get(entry.signal)
            if entry.value is None:
                self._fate(None, "applied")
            elif known is None or entry.at > known[0]:
                signals[entry.signal] = entry.at, entry.value
                self._fate(None, "applied")
            else:
                self._fate(None, "duplicate" if known == (entry.at, entry.value) else "late")
        elif isinstance(entry, events.ModelPublished):
            known_model = own.models.get(entry.parameters.cohort)
            if known_model is None or entry.parameters.version > known_model.version:
                own.models[entry.parameters.cohort] = entry.parameters
                self._fate(None, "applied")
            else:
                self._fate(None, "duplicate")
        elif isinstance(entry, events.Configured):
            self._assess_waiting()
            self._tracks.flush(own.complete_to)
            self._configure(msgspec.json.decode(entry.settings, type=LaneSettings))
            self._fate(None, "applied")
        else:
            raise TypeError(f"{type(entry).__name__} without a patient's key")

    def _tick(self, tick: events.Tick) -> None:
        """Time moves: wake the patients whose time has come."""
        self._assess_waiting()
        self._tracks.flush(self._own.complete_to)
        self._learn()
        own = self._own
        own.clock, own.complete_to = max(own.clock, tick.clock), max(own.complete_to, tick.complete_to)
        self._fate(None, "applied")
        self._out.alerts(b"service", service.stalled(self.number, own.clock, own.complete_to, own.service), self._offset)
        due, covered = dict[bytes, None](), []
        while self._timers and self._timers[0][0] <= own.complete_to:
            at, key = heapq.heappop(self._timers)
            patient = self.patients.get(key)
            if patient is None or at != patient.state.wake_at:
                continue
            if self._offset <= patient.covered:
                covered.append(patient)
            else:
                due[key] = None
        for patient in covered:
            self._schedule(patient)
        for key in due:
            patient = self.patients[key]
            patient.state.wake_at = inf
            self._changed[key] = None
            if patient.state.hold_until <= own.complete_to:
                self._release(patient, self._offset, over=True)
            if patient.state.profile is not None:
                self._await(patient, self._offset)
        self._assess_waiting(at_tick=True)

    def _wake(self, patient: Patient, at: float) -> None:
        """Have the patient looked at by the first tick with ``complete_to`` at or after ``at``."""
        if at < patient.state.wake_at:
            patient.state.wake_at = at
            self._schedule(patient)

    def _schedule(self, patient: Patient) -> None:
        if patient.state.wake_at < inf:
            heapq.heappush(self._timers, (patient.state.wake_at, patient.key))

    def _await(self, patient: Patient, offset: int, arrived_at: float | None = None) -> None:
        if not patient.awaits:
            patient.awaits = True
            self._waiting.append((patient, offset, arrived_at))

    def _assess_waiting(self, at_tick: bool = False) -> None:
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self._tracks.flush(self._own.complete_to)
        self._learn()
        for patient, _, _ in waiting:
            patient.awaits = False
        if at_tick and self._careful:
            self._assess_one_by_one(waiting)
        else:
            self._assessor.assess(waiting, self._own, self._out, at_tick=at_tick)
            for patient, _, _ in waiting:
                self._wake_again(patient)

    def _assess_one_by_one(self, waiting: list[Due]) -> None:
        """Who cannot be assessed stays as before, is counted, and is tried again after a minute."""
        for patient, offset, _ in waiting:
            before = self._before(patient.key)
            try:
                self._assessor.assess([(patient, offset, None)], self._own, self._out, at_tick=True)
                self._wake_again(patient)
            except Exception:
                self._out.counts["assessment", "failed"] += 1
                self._wake(self._go_back(patient.key, before), self._own.complete_to + 60.0)

    def _wake_again(self, patient: Patient) -> None:
        wake_at = patient.state.book.wake_at
        if wake_at is not None:
            self._wake(patient, wake_at)
        self._wake(patient, patient.state.example_at)

    def _learn(self) -> None:
        """Drift is looked for in what is settled only."""
        settled, self._tracks.settled = self._tracks.settled, []
        for track, surprise in settled:
            patient, name = self.patients[track.key], self._signals[track.signal].name
            drift = patient.drifts.get(name)
            if drift is None:
                drift = patient.drifts[name] = Drift()
            if drift.update(surprise):
                self._out.counts["drift", name] += 1

    # ------------------------------------------------------------------------------------------------- dead letters

    def _reject(self, patient: Patient, entry: FromSource, offset: int, reason: str, detail: str) -> None:
        self._fate(patient, "rejected")
        self._dead_letter(patient.key, entry, offset, reason, detail)

    def _dead_letter(self, key: bytes, entry: Any, offset: int, reason: str, detail: str) -> None:
        source: Source = entry.source
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
        self._out.counts["rejected", reason] += 1
        self._out.put(offset, Output("dead.letters", key, bytes(entry.original), headers))

    # ------------------------------------------------------------------------------------------------------- state

    def snapshot(self, key: bytes) -> bytes:
        """One patient's state; it covers everything before ``position``."""
        return self.patients[key].save(self._tracks, self.position - 1)

    def changed(self) -> list[bytes]:
        """Keys of the patients changed since last asked."""
        changed, self._changed = list(self._changed), {}
        return changed

    def checkpoint(self) -> bytes:
        """The lane's own record, as of ``position``."""
        self._own.position = self.position
        return msgspec.msgpack.encode(self._own)

    @property
    def clock(self) -> float:
        return self._own.clock

    @property
    def complete_to(self) -> float:
        return self._own.complete_to

    def fates(self) -> Counter[str]:
        """How many inputs ended in which way: applied, duplicate, late, rejected, failed; held: not decided yet."""
        fates = Counter(self._own.fates)
        for patient in self.patients.values():
            fates.update(patient.state.fates)
        return fates

    def belief(self, patient_id: str, at: float | None = None) -> Belief | None:
        """What is believed of one patient, at ``at`` or now; None for who is not known."""
        patient = self.patients.get(patient_id.encode())
        if patient is None or patient.state.profile is None:
            return None
        self._tracks.flush(self._own.complete_to)
        return self._assessor.beliefs([patient], self._own, at)[0]

    def forecast(self, patient_id: str, signal: str, at: Sequence[float]) -> list[tuple[float, float]]:
        """Mean and standard deviation, on the working scale, of what samples of ``signal`` at the instants ``at`` would read."""
        patient = self.patients[patient_id.encode()]
        self._tracks.flush(self._own.complete_to)
        return self._assessor.forecast(patient.tracks[signal], at)

    def open_alerts(self, patient_id: str) -> list[AlertChange]:
        """The last change of each alert that is open."""
        return [
            AlertChange(
                alert_id=alert.alert_id,
                sequence=alert.sequence,
                patient_id=patient_id,
                rule=rule,
                rule_version=alert.rule_version,
                subject=subject,
                kind=alert.kind,
                priority=alert.priority,
                state="raised" if alert.stage == "pending" else alert.stage,
                at=alert.told_at,
                reason=alert.reason,
                evidence=alert.evidence,
                next_step=alert.next_step,
                until=alert.until,
            )
            for rule, subject, alert in self.patients[patient_id.encode()].state.book.open()
        ]


def _seconds(instant: events.Instant) -> float:
    assert not isinstance(instant, str), "ingest turns instants into seconds"
    return instant


_TAKERS: dict[type, Any] = {
    events.Happened: Lane._take_event,
    events.ProfileSet: Lane._take_profile,
    events.DevicesSet: Lane._take_devices,
    events.OutcomeKnown: Lane._take_outcome,
    events.Commanded: Lane._take_command,
}
