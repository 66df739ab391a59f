"""One lane: the twins of all patients whose records share a partition, as a function of that partition of ``twin.inputs``.

Samples are only filed, and filtered together, many patients per call, when something wants to look at them. Between two ticks
patients have nothing to do with each other: who is to be assessed waits for the others, and so do that patient's further records.
So assessments go together too, each patient still sees its records one after another, and where a batch ends does not matter.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf
from typing import Any, Protocol

import msgspec
from msgspec import Struct, field

from stream_twin import events
from stream_twin.alerts.configuration import ConfigurationError, Desks, check, usable
from stream_twin.alerts.service import ServiceState, watch
from stream_twin.events import SERVICE, AlertChange, ModelParameters, RuleConfiguration
from stream_twin.ingest.reasons import LONGEST_DETAIL, printable
from stream_twin.lane import dead_letters
from stream_twin.lane.agenda import Agenda
from stream_twin.lane.applied import Applied
from stream_twin.lane.assess import Assessor, Due
from stream_twin.lane.days import NAMES
from stream_twin.lane.intake import Intake, decode
from stream_twin.lane.nights import SIGNALS
from stream_twin.lane.patient import Patient
from stream_twin.lane.settings import LaneSettings
from stream_twin.learn.drift import Drift
from stream_twin.signals import Catalogue
from stream_twin.twin.belief import Belief
from stream_twin.twin.blocks import Blocks, Channels
from stream_twin.twin.model import Populations, shipped

SCHEMA = 2
RETRY_S = 60.0
FORGOTTEN_TOGETHER = 2000
"""Patients in one record: about 100 KB."""
_encode = msgspec.json.Encoder().encode


class Record(Protocol):
    """A record of ``twin.inputs``; aiokafka's ``ConsumerRecord`` is one."""

    @property
    def offset(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


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
    forgot_at: int = -1
    """Offset of the last :class:`~stream_twin.events.Forgotten`."""
    service: ServiceState = field(default_factory=ServiceState)
    rules: RuleConfiguration | None = None
    """The newest that came through its topic."""


class Lane:
    """See the module. ``position`` is the offset of the next record that it wants."""

    def __init__(self, number: int, catalogue: Catalogue, checkpoint: Checkpoint | None = None) -> None:
        self.number = number
        self.catalogue = catalogue
        self.patients: dict[bytes, Patient] = {}
        self._own = checkpoint or Checkpoint()
        self.position = self._own.position
        self._signals = list(catalogue.signals.values())
        self._blocks = Blocks(catalogue, wanted=SIGNALS | NAMES.keys(), part=self._part)
        self._populations = Populations(shipped(catalogue))
        self._blocks.warm(self._populations.of(None))
        self._agenda = Agenda()
        self._intake = Intake(self._signals, self._blocks, self._populations, self._agenda, self._own, self._apply_to_patient)
        self._out = Applied()
        self._careful = False
        self._changed: dict[bytes, None] = {}
        self._deferred: list[tuple[bytes, Any, int, bytes]] = []
        self._offset = -1
        self._strangers: dict[bytes, None] = {}
        """Patients refused as unknown, of whom perhaps nothing is left but counts."""
        self._forgetting = False
        self._configure(self._own.settings)

    @classmethod
    def restore(
        cls, number: int, catalogue: Catalogue, checkpoint: bytes | None, snapshots: Iterable[tuple[bytes, bytes]]
    ) -> "Lane":
        """From what ``twin.state`` holds: the lane's checkpoint and the newest snapshot of each patient, by patient key.

        Raises:
            ValueError: written by another schema.
        """
        own = None if checkpoint is None else msgspec.msgpack.decode(checkpoint, type=Checkpoint)
        if own is not None and own.schema != SCHEMA:
            raise ValueError(f"lane {number} was written with schema {own.schema}; this version reads {SCHEMA}")
        lane = cls(number, catalogue, own)
        for key, snapshot in snapshots:
            lane._load(key, snapshot)
        return lane

    def configuration(self, settings: LaneSettings) -> bytes | None:
        """The input that has to be written to the log for the lane to decide by ``settings``; None where it does already."""
        if settings == self._own.settings:
            return None
        return _encode(events.Configured(settings=msgspec.Raw(_encode(settings))))

    def forgetting(self) -> bytes | None:
        """The input that has to be written to the log for strangers to be forgotten; None: nobody, or one is under way.

        Without it whoever was refused would stay for ever, here and in ``twin.state``. Ask only once the lane is past what its
        log held when it was restored.
        """
        if not self._strangers or self._forgetting:
            return None
        patients = dict[str, dict[str, int]]()
        for key in list(islice(self._strangers, FORGOTTEN_TOGETHER)):
            del self._strangers[key]
            patient = self.patients.get(key)
            if patient is not None and patient.is_blank:
                patients[patient.id] = {fate: count for fate, count in patient.state.fates.items() if count}
        if not patients:
            return None
        self._forgetting = True
        return _encode(events.Forgotten(position=self.position, patients=patients))

    def _configure(self, settings: LaneSettings) -> None:
        self._own.settings = settings
        self._blocks.pending_limit = settings.pending_limit
        self._rule()

    def _rule(self) -> None:
        """Have patients judged by what was configured last: through the topic, or else by the settings.

        Another version may have found it right: what this one does not know or allow is passed over.
        """
        configuration, self.unusable = usable(self._own.rules or self._own.settings.configuration)
        self._intake.desks = desks = Desks(configuration)
        self._assessor = Assessor(self._blocks, desks)

    # ---------------------------------------------------------------------------------------------------- applying

    def apply(self, records: Sequence[Record], careful: bool = False) -> Applied:
        """Apply records in order; those before ``position`` are passed over.

        ``careful``: a record whose update raises becomes a dead letter, and its patient stays as it was before.

        Raises:
            UpdateFailed: a record's update raised, and not ``careful``.
        """
        self._out = self._intake.out = applied = Applied()
        self._careful = careful
        try:
            for record in records:
                if record.offset >= self.position:
                    self._offset = record.offset
                    if careful:
                        self._apply_carefully(record)
                    else:
                        self._apply_one(record)
                    self.position = record.offset + 1
            self._settle()
        except Exception as error:
            raise UpdateFailed(self._offset, error) from error
        applied.surprises = self._blocks.take_surprises()
        return applied

    def _apply_carefully(self, record: Record) -> None:
        key = record.key or b""
        before = self._before(key)
        try:
            self._apply_one(record)
            self._settle()
        except Exception as error:
            if not key:
                raise  # of the lane itself: there is nothing to go back to
            self._out.forget(record.offset)
            self._deferred = [entry for entry in self._deferred if entry[0] != key]
            patient = self._go_back(key, before)
            detail = f"the update raised {type(error).__name__}: {error}"
            self._intake.fail(patient, decode(record.value or b""), record.offset, detail)

    def _apply_one(self, record: Record) -> None:
        value = record.value or b""
        entry = decode(value)
        if not record.key:
            if type(entry) is events.Tick:
                self._tick(entry)
            else:
                self._apply_to_lane(entry)
            return
        if type(entry) is events.PatientBase:
            self._start_from(record.key, entry)
            return
        self._apply_to_patient(record.key, entry, record.offset, value)

    def _apply_to_patient(self, key: bytes, entry: Any, offset: int, value: bytes) -> None:
        patient = self.patients.get(key)
        if patient is None:
            patient = self._new(key)
        if offset <= patient.covered:
            return
        if patient.awaits:
            self._deferred.append((key, entry, offset, value))
            return
        self._changed[key] = None
        self._intake.take(patient, entry, offset, value)

    def _apply_to_lane(self, entry: Any) -> None:
        own = self._own
        fate = "applied"
        if isinstance(entry, events.EnvironmentSample):
            signals = own.places.setdefault(entry.place, {})
            known = signals.get(entry.signal)
            if known is not None and entry.value is not None and entry.at <= known[0]:
                fate = "duplicate" if known == (entry.at, entry.value) else "late"
            elif entry.value is not None:
                self._settle()
                signals[entry.signal] = entry.at, entry.value
        elif isinstance(entry, events.ModelPublished):
            model = own.models.get(entry.parameters.cohort)
            if model is None or entry.parameters.version > model.version:
                own.models[entry.parameters.cohort] = entry.parameters
            else:
                fate = "duplicate"
        elif isinstance(entry, events.RulesConfigured):
            fate = self._take_rules(entry)
        elif isinstance(entry, events.Configured):
            self._settle()
            fate = self._take_settings(entry)
        elif isinstance(entry, events.Forgotten):
            self._settle()
            fate = self._forget(entry)
        elif isinstance(entry, events.LaneBase):
            start = msgspec.msgpack.decode(entry.checkpoint, type=Checkpoint)
            for name in ("clock", "complete_to", "models", "places", "service", "rules"):
                setattr(own, name, getattr(start, name))
            self._configure(start.settings)
            self._tell_unusable()
        else:
            raise TypeError(f"{type(entry).__name__} without a patient's key")
        self._fate(fate)

    def _take_settings(self, entry: events.Configured) -> str:
        try:
            settings = msgspec.json.decode(entry.settings, type=LaneSettings)
            msgspec.msgpack.encode(settings)
        except (msgspec.DecodeError, OverflowError) as error:  # raising would be for ever: it is in the log
            self._tell_settings(f"the settings stay as they were: {error}")
            return "rejected"
        self._configure(settings)
        self._tell_unusable()
        return "applied"

    def _tell_unusable(self) -> None:
        if self.unusable:
            self._tell_settings(f"passed over: {'; '.join(self.unusable)}")

    def _tell_settings(self, detail: str) -> None:
        detail = printable(detail[:LONGEST_DETAIL])
        dead_letters.write_own(self._out, b"rules", self.number, self._own.clock, self._offset, "invalid_settings", detail)

    def _take_rules(self, entry: events.RulesConfigured) -> str:
        known, new = self._own.rules, entry.configuration
        if known is not None and new.version <= known.version:
            return "duplicate" if new == known else "late"
        try:
            check(new)
        except ConfigurationError as error:
            detail = printable("; ".join(error.problems)[:LONGEST_DETAIL])
            dead_letters.write(self._out, b"rules", entry, self._offset, "invalid_rules", detail)
            return "rejected"
        self._settle()
        self._own.rules = new
        self._rule()
        return "applied"

    def _start_from(self, key: bytes, base: events.PatientBase) -> None:
        """Take a patient over as the log before left it; what became of that log's inputs was counted there."""
        self._settle()
        known = self.patients.get(key)
        if known is None or known.covered < self._offset:  # else restored from a later snapshot
            patient = self._go_back(key, base.snapshot)
            patient.covered, patient.state.fates = self._offset, {}
            self._changed[key] = None
        self._fate("applied")

    def _forget(self, entry: events.Forgotten) -> str:
        """Take over the counts of strangers; who has no others is gone.

        A restored lane may lack such a patient, or the beginning of its inputs, because ``twin.state`` has lost it already: then
        there are fewer inputs than the record says. Or it has a later snapshot of the patient, who came back: that stays.
        """
        self._forgetting = False
        if entry.position <= self._own.forgot_at:
            return "duplicate"  # asked for before the last one was applied, so some may be in both
        self._own.forgot_at = self._offset
        counts = Counter(self._own.fates)
        for name, fates in entry.patients.items():
            counts.update(fates)
            key = name.encode()
            patient = self.patients.get(key)
            if patient is None or patient.covered >= self._offset:
                continue
            left = Counter(patient.state.fates)
            left.subtract(fates)
            if left.total() > 0:  # it sent more since: for another time
                patient.state.fates = dict(left)
                self._changed[key] = self._strangers[key] = None
            else:
                self._drop(key)
                self._changed.pop(key, None)
                self._out.alerted.add(key)
        self._own.fates = dict(counts)
        return "applied"

    def _fate(self, fate: str) -> None:
        self._own.fates[fate] = self._own.fates.get(fate, 0) + 1
        self._out.counts["input", fate] += 1

    # -------------------------------------------------------------------------------------------------------- time

    def _tick(self, tick: events.Tick) -> None:
        """Time moves: wake the patients whose time has come."""
        self._settle()
        own = self._own
        own.clock, own.complete_to = max(own.clock, tick.clock), max(own.complete_to, tick.complete_to)
        self._fate("applied")
        changes = watch(own.clock, own.complete_to, own.service, lane=self.number, offset=self._offset)
        self._out.alerts(SERVICE.encode(), changes, self._offset)
        for patient in self._agenda.due(own.clock, own.complete_to, self.patients, self._offset):
            self._changed[patient.key] = None
            if self._careful:
                patient = self._release_carefully(patient)  # noqa: PLW2901  # put back, it is another object
            else:
                self._intake.time_is_up(patient, self._offset)
            if patient.state.profile is not None:
                self._agenda.await_(patient, self._offset)
            elif patient.is_blank:
                self._strangers[patient.key] = None
        self._assess_waiting(at_tick=True, alone=True)
        self._settle(alone=True)

    def _settle(self, alone: bool = False) -> None:
        """Bring every patient to its last record: assess who waits, take what was deferred for that, until nothing is left.

        ``alone``: a tick is the cause, which no dead letter can stand for, so in careful mode each patient is assessed by itself.
        """
        while self._agenda.waiting or self._deferred:
            self._assess_waiting(alone=alone)
            deferred, self._deferred = self._deferred, []
            for entry in deferred:
                if self._careful:
                    self._apply_deferred_carefully(*entry)
                else:
                    self._apply_to_patient(*entry)
        self._flush()

    def _apply_deferred_carefully(self, key: bytes, entry: Any, offset: int, value: bytes) -> None:
        before = self._before(key)
        try:
            self._apply_to_patient(key, entry, offset, value)
            self._flush()
        except Exception as error:
            self._intake.fail(self._go_back(key, before), entry, offset, f"the update raised {type(error).__name__}: {error}")

    def _assess_waiting(self, at_tick: bool = False, alone: bool = False) -> None:
        waiting = self._agenda.take_waiting()
        if not waiting:
            return
        self._flush()
        if self._careful and alone:
            fragile, waiting = waiting, []
        else:
            fragile = [due for due in waiting if due[0].state.fragile]
            waiting = [due for due in waiting if not due[0].state.fragile] if fragile else waiting
        self._assess_one_by_one(fragile, at_tick)
        self._assessor.assess(waiting, self._own, self._out, at_tick=at_tick)
        for patient, _, _ in waiting:
            self._agenda.plan(patient)

    def _release_carefully(self, patient: Patient) -> Patient:
        before = self._before(patient.key)
        put_out = len(self._out.outputs)
        try:
            self._intake.time_is_up(patient, self._offset)
        except Exception as error:
            del self._out.outputs[put_out:]
            patient = self._go_back(patient.key, before)
            self._intake.fail_held(patient, self._offset, f"the update raised {type(error).__name__}: {error}")
        return patient

    def _assess_one_by_one(self, waiting: list[Due], at_tick: bool) -> None:
        """Who cannot be assessed stays as before, and is tried again after a minute. Of the first time a dead letter tells."""
        for patient, offset, arrived_at in waiting:
            before = self._before(patient.key)
            put_out = len(self._out.outputs)
            try:
                self._assessor.assess([(patient, offset, arrived_at)], self._own, self._out, at_tick=at_tick)
                patient.state.fragile = False
                self._agenda.plan(patient)
            except Exception as error:
                del self._out.outputs[put_out:]
                self._out.counts["assessment", "failed"] += 1
                spoilt = self._go_back(patient.key, before)
                if not spoilt.state.fragile:
                    spoilt.state.fragile = True
                    detail = f"the assessment raised {type(error).__name__}: {error}"
                    dead_letters.write_own(self._out, spoilt.key, self.number, self._own.clock, self._offset, "failed", detail)
                book = spoilt.state.book
                if book.clock_at is not None:  # what is due is done when it can be, not tried at every tick
                    book.clock_at = max(book.clock_at, self._own.clock + RETRY_S)
                spoilt.state.wake_at = min(spoilt.state.wake_at, self._own.complete_to + RETRY_S)
                self._agenda.schedule(spoilt)

    def _flush(self) -> None:
        """Filter all samples taken so far, and look for drift in what is settled."""
        self._blocks.flush()
        for block, name, surprise in self._blocks.take_settled():
            patient = self.patients[block.key]
            drift = patient.drifts.get(name)
            if drift is None:
                drift = patient.drifts[name] = Drift()
            if drift.update(surprise):
                self._out.counts["drift", name] += 1

    def _part(self, key: bytes, channels: Channels, samples: "array[float]") -> None:
        self.patients[key].gather(channels, samples)

    # ------------------------------------------------------------------------------------------------------- state

    def _before(self, key: bytes) -> bytes | None:
        patient = self.patients.get(key)
        return None if patient is None else patient.save(self._blocks, patient.covered)

    def _go_back(self, key: bytes, before: bytes | None) -> Patient:
        """Put a patient back to what it was."""
        self._drop(key)
        return self._new(key) if before is None else self._load(key, before)

    def _drop(self, key: bytes) -> None:
        self._blocks.forget_settled(key)
        self._strangers.pop(key, None)
        patient = self.patients.pop(key, None)
        if patient is not None:
            self._agenda.forget(patient)
            for block in patient.blocks.values():
                self._blocks.free(block)

    def _new(self, key: bytes) -> Patient:
        patient = self.patients[key] = Patient(key, self._populations.of(None))
        patient.state.watched_since = self._own.clock
        return patient

    def _load(self, key: bytes, snapshot: bytes) -> Patient:
        patient = self.patients[key] = Patient.load(key, snapshot, self._blocks, self._populations)
        self._agenda.schedule(patient)
        if patient.is_blank:
            self._strangers[key] = None
        return patient

    def snapshot(self, key: bytes) -> bytes | None:
        """One patient's state; it covers everything before ``position``. None: forgotten, to be removed from ``twin.state``."""
        patient = self.patients.get(key)
        return None if patient is None else patient.save(self._blocks, self.position - 1)

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

    # ----------------------------------------------------------------------------------------------------- looking

    def belief(self, patient_id: str, at: float | None = None) -> Belief | None:
        """What is believed of one patient, at ``at`` or now; None for who is not known."""
        patient = self.patients.get(patient_id.encode())
        if patient is None or patient.state.profile is None:
            return None
        self._blocks.flush()  # a block that was loaded applies what is not settled only now
        return self._assessor.beliefs([patient], self._own, at)[0]

    def forecast(self, patient_id: str, signal: str, at: Sequence[float]) -> list[tuple[float, float]]:
        """Mean and standard deviation, on the working scale, of what samples of ``signal`` at the instants ``at`` would read."""
        self._blocks.flush()
        return self._assessor.forecast(self.patients[patient_id.encode()], signal, at)

    def open_alerts(self, patient_id: str) -> list[AlertChange]:
        """Each alert that is open, as last told."""
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
