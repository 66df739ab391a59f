"""Looking at patients: what is believed of each, what the rules say, what is put out."""

from collections.abc import Sequence
from functools import partial
from math import inf, isnan
from typing import Protocol

import msgspec
from xxhash import xxh3_64_intdigest

from stream_twin.alerts.configuration import Desks
from stream_twin.events import AssignedDevice, DriverEstimate, Estimate, Example, ModelParameters, Output, Profile, SignalEstimate
from stream_twin.lane.applied import Applied
from stream_twin.lane.days import NAMES, SPREAD_S, Days
from stream_twin.lane.nights import Nights
from stream_twin.lane.patient import DAY_S, Latest, Patient, limits_of, seconds
from stream_twin.lane.settings import LaneSettings
from stream_twin.learn.features import features
from stream_twin.learn.risk import RiskModel
from stream_twin.signals import Signal, SignalModel
from stream_twin.twin.belief import Belief, DeviceBelief, DriverBelief, Expected, SignalBelief
from stream_twin.twin.block import Block
from stream_twin.twin.blocks import Blocks
from stream_twin.twin.filter import LOOKS
from stream_twin.twin.model import unfit

MEAN, PREDICTIVE_SD, FENCES, SURPRISE, SHOWN = (
    LOOKS.index(name) for name in ("working_mean", "predictive_sd", "fence_low", "surprise", "shown_level")
)
TOGETHER = 500
"""Patients looked at in one go: enough that it costs no more, and what is made for it, 3 KB for a signal, stays small."""
_encode = msgspec.json.Encoder().encode
Rows = dict[str, list[float]]
"""The kernel's row of each signal, :data:`LOOKS`."""
Due = tuple[Patient, int, float | None]
"""Whom to assess, the log offset that is the cause, and the arrival time of that record where it is a sample."""


class Own(Protocol):
    """What an assessment reads of its lane."""

    clock: float
    complete_to: float
    settings: LaneSettings
    models: dict[str, ModelParameters]
    places: dict[str, dict[str, tuple[float, float]]]


class Assessor:
    def __init__(self, blocks: Blocks, desks: Desks) -> None:
        self._blocks = blocks
        self._desks = desks
        self._models: dict[str, RiskModel] = {}

    def assess(self, due: Sequence[Due], own: Own, out: Applied, *, at_tick: bool) -> None:
        """Assess patients whose samples are all filtered. Risk is scored at ticks only, when all of an hour's data are in."""
        for patient, _, _ in due:
            if patient.state.watched_since == -inf:  # since before the lane's first tick
                patient.state.watched_since = own.clock
            _watch_nights(patient, own)
            _watch_days(patient, own)
        for start in range(0, len(due), TOGETHER):
            self._assess(due[start : start + TOGETHER], own, out, at_tick)

    def _assess(self, due: Sequence[Due], own: Own, out: Applied, at_tick: bool) -> None:
        looks = self._look([patient for patient, _, _ in due], own, None)
        for (patient, offset, arrived_at), (belief, rows) in zip(due, looks, strict=True):
            state = patient.state
            if at_tick and state.example_at <= own.complete_to:
                self._score(patient, belief, own, offset, out)
            desk = self._desks.of(patient.id, patient.population_name)
            changes = desk.judge(state.book, belief, offset, late=state.corrected, arrived_at=arrived_at)
            if changes:
                out.alerts(patient.key, changes, offset)
                out.alerted.add(patient.key)
            if changes or own.clock - state.estimated_at >= own.settings.estimate_every_s:
                state.estimated_at = own.clock
                state.wake_at = inf  # or the tick after would look again, at all who were looked at together
                estimate = _encode(self._estimate(patient, belief, rows, arrived_at))
                out.put(offset, Output("twin.estimates", patient.key, estimate))
            self._set_fences(patient, belief, rows)
            state.assessed_at, state.corrected = own.clock, False

    # ------------------------------------------------------------------------------------------------------ belief

    def beliefs(self, patients: Sequence[Patient], own: Own, at: float | None = None) -> list[Belief]:
        """One belief each, at ``at`` or now."""
        return [belief for belief, _ in self._look(patients, own, at)]

    def _look(self, patients: Sequence[Patient], own: Own, at: float | None) -> list[tuple[Belief, Rows]]:
        """A belief each, and the kernel's row of each of its signals. The blocks of all patients are looked at in one go."""
        beliefs, wanted = list[Belief](), list[tuple[Block, float]]()
        for patient in patients:
            moment = max([own.clock, *(latest.at for latest in patient.latest.values())]) if at is None else at
            beliefs.append(self._belief(patient, moment, own))
            wanted += [(block, moment) for block in patient.blocks.values()]
        looked = iter(self._blocks.look(wanted))
        looks = []
        for patient, belief in zip(patients, beliefs, strict=True):
            rows: Rows = {}
            for block in patient.blocks.values():
                own_rows, driving = next(looked)
                plan = block.slab.plan
                for signal, model, row in zip(plan.signals, plan.models, own_rows, strict=True):
                    known = patient.latest[signal.name]
                    if known.at > -inf:
                        belief.signals[signal.name] = _signal_belief(signal, model, row, known)
                        rows[signal.name] = row
                names = [signal.name for signal in plan.signals]
                for name, numbers in zip(plan.drivers, driving, strict=True):
                    belief.drivers[name] = DriverBelief(
                        plan.driver_models[name], numbers[0], numbers[1], dict(zip(names, numbers[2:], strict=True))
                    )
            looks.append((belief, rows))
        return looks

    def _belief(self, patient: Patient, at: float, own: Own) -> Belief:
        state = patient.state
        profile = state.profile or Profile(patient_id=patient.id, valid_from=0.0)
        belief = Belief(patient.id, at, own.clock, own.complete_to, profile, risk=state.risk, watched_since=state.watched_since)
        belief.unfit = unfit(patient.population.population, state.profile)
        belief.expects = partial(self._expected, patient)
        if profile.place is not None:
            belief.place = own.places.get(profile.place, {})
        if state.condition is not None:
            belief.oxygen, belief.consciousness = state.condition.oxygen_at(at), state.condition.consciousness_at(at)
        if state.nights is not None:
            belief.night = state.nights.told
        if state.days is not None:
            belief.onset = state.days.told
        belief.samples_since = patient.samples_since
        assigned = {} if state.assignments is None else {device.device_id: device for device in state.assignments.devices}
        for name in {**state.troubles, **state.devices, **assigned}:
            belief.devices[name] = self._device_belief(patient, name, assigned.get(name))
        return belief

    def _device_belief(self, patient: Patient, name: str, assigned: AssignedDevice | None) -> DeviceBelief:
        heard = patient.state.devices.get(name)
        device = DeviceBelief(name, "streaming", 0.0, troubles=patient.state.troubles.get(name))
        if heard is not None:
            device.kind, device.last_at = heard.kind, heard.last_at
        if assigned is not None:
            device.kind, device.every_s, device.start = assigned.kind, assigned.every_s, seconds(assigned.start)
            device.end = None if assigned.end is None else seconds(assigned.end)
        return device

    def forecast(self, patient: Patient, signal: str, at: Sequence[float]) -> list[tuple[float, float]]:
        """Mean and standard deviation of a sample at each of ``at``, on the working scale."""
        block = patient.block(signal)
        number = next(k for k, own in enumerate(block.slab.plan.signals) if own.name == signal)
        rows = [rows[number] for rows, _ in self._blocks.look([(block, moment) for moment in at])]
        return [(row[MEAN], row[PREDICTIVE_SD]) for row in rows]

    def _expected(self, patient: Patient, signal: str, at: Sequence[float]) -> list[Expected]:
        plan = patient.block(signal).slab.plan
        known = next(own for own in plan.signals if own.name == signal)
        return [Expected(known, mean, sd) for mean, sd in self.forecast(patient, signal, at)]

    # --------------------------------------------------------------------------------------------------- outputs

    def _score(self, patient: Patient, belief: Belief, own: Own, offset: int, out: Applied) -> None:
        cohort = belief.profile.cohort
        if cohort is None:
            return
        patient.state.example_at = own.complete_to + own.settings.example_every_s
        known = features(belief)
        parameters = own.models.get(cohort)
        risk = None
        if parameters is not None and belief.unfit is None:
            model = self._models.get(cohort)
            if model is None or model.parameters is not parameters:
                model = self._models[cohort] = RiskModel(parameters)
            risk = model.predict(known, own.complete_to)
        patient.state.risk = belief.risk = risk
        example = Example(
            patient_id=patient.id,
            cohort=cohort,
            at=own.complete_to,
            features=known,
            probability=None if risk is None else risk.probability,
            model_version=0 if parameters is None else parameters.version,
        )
        out.put(offset, Output("learning.examples", patient.key, _encode(example)))

    def _estimate(self, patient: Patient, belief: Belief, rows: Rows, arrived_at: float | None) -> Estimate:
        return Estimate(
            patient_id=patient.id,
            at=belief.at,
            signals={
                name: SignalEstimate(
                    level=row[SHOWN],
                    low=row[SHOWN + 1],
                    high=row[SHOWN + 2],
                    baseline=row[SHOWN + 3],
                    last_value=s.last_value,
                    last_at=s.last_at,
                    surprise=round(s.surprise, 2),
                    doubt=s.distrust,
                )
                for (name, s), row in zip(belief.signals.items(), rows.values(), strict=True)
            },
            drivers={
                name: DriverEstimate(mean=round(driver.mean, 2), sd=round(driver.sd, 2))
                for name, driver in belief.drivers.items()
            },
            unfit=belief.unfit,
            state=belief.profile.state,
            risk=belief.risk,
            open_alerts=sum(1 for _ in patient.state.book.open()),
            arrived_at=arrived_at,
        )

    def _set_fences(self, patient: Patient, belief: Belief, rows: Rows) -> None:
        for (name, signal_belief), row in zip(belief.signals.items(), rows.values(), strict=True):
            low, high = limits_of(signal_belief.signal, belief.profile)
            latest, near, far = patient.latest[name], row[FENCES], row[FENCES + 1]
            latest.fence_low = near if low is None or low < near else low
            latest.fence_high = far if high is None or high > far else high


def _begins(own: Own) -> float:
    """From when on nights and days are watched; not before a day ago, where the lane lags behind or knows of no time yet."""
    return max(own.complete_to, own.clock - DAY_S)


def _watch_nights(patient: Patient, own: Own) -> None:
    state = patient.state
    nights, zone = state.nights, None if state.profile is None else state.profile.time_zone
    if nights is None:
        if zone is None:
            return
        nights = state.nights = Nights()
    if nights.zone != zone:
        nights.watch(zone, _begins(own))
    if nights.due <= own.complete_to:
        patient.close_nights(own.complete_to)


def _watch_days(patient: Patient, own: Own) -> None:
    state = patient.state
    days, zone = state.days, None if state.profile is None else state.profile.time_zone
    if days is None:
        if zone is None or NAMES.keys().isdisjoint(patient.latest):
            return
        days = state.days = Days(delay_s=float(xxh3_64_intdigest(patient.key) % SPREAD_S))
    if days.zone != zone:
        days.watch(zone, _begins(own))
    if days.due <= own.complete_to:
        patient.close_days(own.complete_to)


def _signal_belief(signal: Signal, model: SignalModel, row: list[float], known: Latest) -> SignalBelief:
    level, low, high, baseline, deviation, deviation_sd, mean, sd = row[:8]
    surprise, noise, unrest, sparse, bias, frozen, aside = row[SURPRISE : SURPRISE + 7]
    return SignalBelief(
        signal,
        model,
        level,
        low,
        high,
        baseline,
        deviation,
        deviation_sd,
        0.0 if isnan(surprise) else surprise,
        known.value,
        known.at,
        mean,
        sd,
        known.device,
        known.repeats,
        known.repeats_since,
        known.period_s,
        unrest,
        noise,
        bias,
        aside != 0.0,
        frozen != 0.0,
        sparse,
        known.kind,
    )
