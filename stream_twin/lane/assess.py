"""Looking at patients: what is believed of each, what the rules say, what is put out."""

from collections.abc import Sequence
from math import hypot, inf, isnan
from typing import Protocol

import msgspec
import numpy as np

from stream_twin.alerts.desk import Desk
from stream_twin.events import AssignedDevice, Estimate, Example, ModelParameters, Output, Profile, SignalEstimate
from stream_twin.lane.applied import Applied
from stream_twin.lane.patient import Latest, Patient, seconds
from stream_twin.lane.settings import LaneSettings
from stream_twin.learn.features import features
from stream_twin.learn.risk import RiskModel
from stream_twin.signals import Signal
from stream_twin.twin import scale
from stream_twin.twin.belief import Belief, DeviceBelief, SignalBelief
from stream_twin.twin.kernel import Floats
from stream_twin.twin.tracks import Look, Track, Tracks

SD90 = 1.6448536269514722
"""Half the width of a normal distribution's central 90 %, in standard deviations."""
FENCE = 5.0
"""A sample beyond so many standard deviations of what is predicted has its patient assessed at once."""
_encode = msgspec.json.Encoder().encode
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
    def __init__(self, tracks: Tracks, signals: list[Signal], desk: Desk) -> None:
        self._tracks = tracks
        self._signals = signals
        self._desk = desk
        self._models: dict[str, RiskModel] = {}

    def assess(self, due: Sequence[Due], own: Own, out: Applied, *, at_tick: bool) -> None:
        """Assess patients whose samples are all filtered. Risk is scored at ticks only, when all of an hour's data are in."""
        for patient, _, _ in due:
            if patient.state.watched_since == -inf:  # its first input came before the lane's first tick
                patient.state.watched_since = own.clock
        beliefs = self.beliefs([patient for patient, _, _ in due], own)
        for (patient, offset, arrived_at), belief in zip(due, beliefs, strict=True):
            state = patient.state
            if at_tick and state.example_at <= own.complete_to:
                self._score(patient, belief, own, offset, out)
            changes = self._desk.judge(state.book, belief, offset, late=state.corrected, arrived_at=arrived_at)
            if changes:
                out.alerts(patient.key, changes, offset)
                out.alerted.add(patient.key)
            if changes or own.clock - state.estimated_at >= own.settings.estimate_every_s:
                state.estimated_at = own.clock
                out.put(offset, Output("twin.estimates", patient.key, _encode(self._estimate(patient, belief, arrived_at))))
            self._set_fences(patient, belief)
            state.assessed_at, state.corrected = own.clock, False

    # ------------------------------------------------------------------------------------------------------ belief

    def beliefs(self, patients: Sequence[Patient], own: Own, at: float | None = None) -> list[Belief]:
        """One belief each. The tracks of all patients are looked at in one go."""
        beliefs, tracks, moments = [], list[Track](), list[float]()
        followed: list[list[tuple[str, Track, Latest]]] = []
        for patient in patients:
            names = [(name, track, patient.latest[name]) for name, track in patient.tracks.items()]
            names = [entry for entry in names if entry[2].at > -inf]
            followed.append(names)
            moment = max([own.clock, *(latest.at for _, _, latest in names)]) if at is None else at
            beliefs.append(self._belief(patient, moment, own))
            for _, track, _ in names:
                tracks.append(track)
                moments.append(moment)
        if tracks:
            look = self._tracks.look(tracks, np.array(moments))
            rows = zip(*(column.tolist() for column in _columns(look)), strict=True)
            for belief, names in zip(beliefs, followed, strict=True):
                for (name, track, latest), row in zip(names, rows, strict=False):
                    belief.signals[name] = self._signal_belief(track, latest, row)
        return beliefs

    def _belief(self, patient: Patient, at: float, own: Own) -> Belief:
        state = patient.state
        profile = state.profile or Profile(patient_id=patient.id, valid_from=0.0)
        belief = Belief(patient.id, at, own.clock, own.complete_to, profile, risk=state.risk, watched_since=state.watched_since)
        if profile.place is not None:
            belief.place = own.places.get(profile.place, {})
        assigned = {} if state.assignments is None else {device.device_id: device for device in state.assignments.devices}
        for name in {**state.devices, **assigned}:
            belief.devices[name] = self._device_belief(patient, name, assigned.get(name))
        return belief

    def _device_belief(self, patient: Patient, name: str, assigned: AssignedDevice | None) -> DeviceBelief:
        heard = patient.state.devices.get(name)
        device = DeviceBelief(name, "streaming", 0.0)
        if heard is not None:
            device.kind, device.last_at = heard.kind, heard.last_at
        if assigned is not None:
            device.kind, device.every_s, device.start = assigned.kind, assigned.every_s, seconds(assigned.start)
            device.end = None if assigned.end is None else seconds(assigned.end)
        return device

    def _signal_belief(self, track: Track, latest: Latest, row: tuple[float, ...]) -> SignalBelief:
        signal = self._signals[track.signal]
        level, level_sd, predictive_sd, baseline, deviation, deviation_sd = row
        ends = (
            scale.from_working(signal, level - SD90 * predictive_sd),
            scale.from_working(signal, level + SD90 * predictive_sd),
        )
        surprise = track.z[track.applied - 1] if track.applied else 0.0
        return SignalBelief(
            signal=signal,
            level=scale.from_working(signal, level),
            low=max(ends[0], signal.plausible[0]),
            high=min(ends[1], signal.plausible[1]),
            baseline=scale.from_working(signal, baseline),
            deviation=deviation,
            deviation_sd=deviation_sd,
            surprise=0.0 if isnan(surprise) else surprise,
            last_value=latest.value,
            last_at=latest.at,
            working_mean=level,
            working_sd=level_sd,
            device=latest.device,
            repeats=latest.repeats,
            repeats_since=latest.repeats_since,
            period_s=latest.period_s,
            surprises=track.z,
            surprised_at=track.at,
        )

    def forecast(self, track: Track, at: Sequence[float]) -> list[tuple[float, float]]:
        look = self._tracks.look([track] * len(at), np.array(at, dtype=float))
        return list(zip(look.level.tolist(), look.predictive_sd.tolist(), strict=True))

    # --------------------------------------------------------------------------------------------------- outputs

    def _score(self, patient: Patient, belief: Belief, own: Own, offset: int, out: Applied) -> None:
        cohort = belief.profile.cohort
        if cohort is None:
            return
        patient.state.example_at = own.complete_to + own.settings.example_every_s
        known = features(belief)
        parameters = own.models.get(cohort)
        risk = None
        if parameters is not None:
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

    def _estimate(self, patient: Patient, belief: Belief, arrived_at: float | None) -> Estimate:
        return Estimate(
            patient_id=patient.id,
            at=belief.at,
            signals={
                name: SignalEstimate(
                    level=_short(s.level),
                    low=_short(s.low),
                    high=_short(s.high),
                    baseline=_short(s.baseline),
                    last_value=s.last_value,
                    last_at=s.last_at,
                    surprise=round(s.surprise, 2),
                )
                for name, s in belief.signals.items()
            },
            state=belief.profile.state,
            risk=belief.risk,
            open_alerts=sum(1 for _ in patient.state.book.open()),
            arrived_at=arrived_at,
        )

    def _set_fences(self, patient: Patient, belief: Belief) -> None:
        for name, signal_belief in belief.signals.items():
            signal = signal_belief.signal
            low, high = signal.limits
            personal = belief.profile.limits.get(name)
            if personal is not None:
                low = low if personal.low is None else personal.low
                high = high if personal.high is None else personal.high
            spread = FENCE * hypot(signal_belief.working_sd, signal.model.noise_sd)
            latest = patient.latest[name]
            near = scale.from_working(signal, signal_belief.working_mean - spread)
            far = scale.from_working(signal, signal_belief.working_mean + spread)
            latest.fence_low = near if low is None else max(low, near)
            latest.fence_high = far if high is None else min(high, far)


def _short(value: float) -> float:
    """Five significant digits: enough for people, a third of the bytes."""
    return float(f"{value:.5g}")


def _columns(look: Look) -> list[Floats]:
    return [look.level, look.level_sd, look.predictive_sd, look.baseline, look.deviation, look.deviation_sd]
