"""The pipeline without Kafka: recorded people through ingest, lane and learner, as in live operation. Pure but for the reader.

Time goes as it does live: what was sent before a moment is applied, then a tick says so; a row of the result is made at its
tick and not touched again. So it uses what was known then, and nothing else.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from stream_twin import events
from stream_twin.alerts import budget
from stream_twin.alerts.budget import Budget
from stream_twin.datasets import sepsis2019, t1d
from stream_twin.datasets.recording import DEVICES, HAPPENED, HOUR, WEARABLE, Sent, in_order
from stream_twin.events import Example, Label, ModelParameters, Output
from stream_twin.ingest import Ingest
from stream_twin.lane.lane import Lane
from stream_twin.lane.settings import LaneSettings
from stream_twin.learn.cohort import CohortLearner
from stream_twin.learn.crossing import AHEAD_MIN, LIMIT_MGDL, QUIET_S, Crossing, Learnt, News
from stream_twin.learn.logistic import Posterior
from stream_twin.learn.residual import HOLE_S, SD90, Forecast, Residual
from stream_twin.learn.risk import RiskModel
from stream_twin.signals import Catalogue
from stream_twin.twin.filter import from_working
from stream_twin.twin.model import scale as scale_of

CALM = LaneSettings(estimate_every_s=HOUR)
"""Nobody reads estimates here, so they are made seldom; beliefs, examples and risk do not depend on it."""
TOGETHER = 200
"""Stays in one lane: many patients per call of the filter. A patient gets the same bits in any company."""
MGDL = 18.0182
"""mg/dL of glucose in 1 mmol/L."""
_WRITTEN = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d):(\d\d)")
_event = msgspec.json.Decoder(events.PatientBody).decode
_encode = msgspec.json.Encoder().encode
_message = msgspec.json.Decoder(Example | Label).decode


class _Record(NamedTuple):
    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int = 0
    partition: int = 0


class Player:
    """One lane and its ingest, fed by hand."""

    def __init__(self, catalogue: Catalogue, settings: LaneSettings = CALM) -> None:
        self.lane = Lane(0, catalogue)
        self._ingest = Ingest(catalogue)
        self._log = 0
        self._sources = 0
        configuration = self.lane.configuration(settings)
        if configuration is not None:
            self._append([(b"", configuration)])

    def send(self, batch: Sequence[Sent]) -> list[Output]:
        """Apply what was sent, in order."""
        inputs: list[tuple[bytes, bytes]] = []
        for sent in batch:
            record = _Record(self._sources, sent.key, sent.value, int(sent.at * 1000))
            self._sources += 1
            inputs += self._ingest.run(sent.topic, 0, [record], sent.at).inputs
        return self._append(inputs)

    def tick(self, at: float) -> list[Output]:
        """Everything that was sent until ``at`` is applied: say so."""
        return self._append([(b"", _encode(events.Tick(clock=at, complete_to=at)))])

    def _append(self, inputs: Iterable[tuple[bytes, bytes]]) -> list[Output]:
        records = []
        for key, value in inputs:
            records.append(_Record(self._log, key, value))
            self._log += 1
        return [output for _, output in self.lane.apply(records).outputs]


# ------------------------------------------------------------------------------------------------------- sepsis2019


class Stay(NamedTuple):
    """What the lane put out for the learner, in order, and the hours (ICULOS) for which a score is wanted."""

    person: str
    hours: list[float]
    examples: list[bytes]


class Score(NamedTuple):
    person: str
    hour: float
    probability: float


def stays(catalogue: Catalogue, path: Path, people: Sequence[str], told: Collection[str] | None = None) -> list[Stay]:
    """Twins of some stays, side by side on one clock: one example per patient and hour, as the lane makes them.

    ``told``: the twins get the samples of these signals only.
    The lane has no model: features do not depend on it, and whoever scores them has to do so stay after stay.
    """
    player = Player(catalogue)
    found: dict[bytes, Stay] = {person.encode(): Stay(person, sepsis2019.hours(path, person), []) for person in people}
    merged = in_order(*(sepsis2019.events(path, person, signals=told) for person in people))
    for at, batch in hourly(merged, sepsis2019.HOUR_0):
        for output in [*player.send(batch), *player.tick(at)]:
            if output.topic == "learning.examples":
                found[output.key].examples.append(output.value)
    return list(found.values())


def hourly(sent: Iterator[Sent], start: float) -> Iterator[tuple[float, list[Sent]]]:
    """(moment, what was sent after the moment before and until this one), every hour from ``start``."""
    at, batch = start, list[Sent]()
    for one in sent:
        while one.at > at:
            yield at, batch
            at, batch = at + HOUR, []
        batch.append(one)
    yield at, batch


class Ward:
    """Scores stays one after another; a stay's labels are known at its end and teach what scores the next."""

    def __init__(self, learner: CohortLearner, *, cold: bool) -> None:
        self._learner = learner
        self._model: RiskModel | None = None if cold else RiskModel(learner.parameters(0.0))
        self._offset = 0

    def play(self, stay: Stay) -> list[Score]:
        """One stay from first to last. Until a cold learner has published, the score is 0."""
        wanted, scores = set(stay.hours), dict[float, float]()
        for value in stay.examples:
            message: Any = _message(value)
            if isinstance(message, Example) and self._model is not None:
                risk = self._model.predict(message.features, message.at)
                message = msgspec.structs.replace(message, probability=risk.probability, model_version=risk.model_version)
            if isinstance(message, Example):
                hour = (message.at - sepsis2019.HOUR_0) / HOUR
                if hour in wanted:
                    scores[hour] = message.probability or 0.0
            self._learn(message)
        return [Score(stay.person, hour, scores.get(hour, 0.0)) for hour in stay.hours]

    def _learn(self, message: Example | Label) -> None:
        record = _Record(self._offset, message.patient_id.encode(), _encode(message))
        self._offset += 1
        for output in self._learner.apply([record]):
            self._model = RiskModel(msgspec.json.decode(output.value, type=ModelParameters))


BEDS = 20
"""Stays come one after another here; in the ward for which the budget is held so many lie side by side."""
REARM_H = 6.0
"""Alarms within this time are one, as the judge of these data has it, and right from a day before the onset to 3 h after."""
BEFORE_S, AFTER_S = 24 * HOUR, 3 * HOUR


class Alarms:
    """Which hours of stays are alarms, by a budget of false ones; what came of a stay's alarms is known at its end."""

    def __init__(self, allowed: Budget) -> None:
        self._allowed, self._population = allowed, budget.Population.of(allowed, people=BEDS)
        self._clock = 0.0

    def play(self, stay: Stay, scores: Sequence[Score]) -> list[bool]:
        own = self._allowed, self._population, budget.Account()
        check = budget.Check()
        alarms: list[bool] = []
        last = -inf
        for n, score in enumerate(scores):
            at = self._clock + (score.hour - scores[0].hour) * HOUR
            if n:
                budget.watched(*own, at, (score.hour - scores[n - 1].hour) / 24)
            alarms.append(score.probability >= budget.threshold(*own, at))
            if alarms[-1]:
                if score.hour - last > REARM_H:
                    budget.raised(own[2], check, at)
                last = score.hour
        onset = _onset(stay)
        if onset is not None:
            onset += self._clock - scores[0].hour * HOUR
        found = False
        for raised_at in list(own[2].open_at):
            right = onset is not None and onset - BEFORE_S <= raised_at <= onset + AFTER_S
            budget.judged(*own, raised_at, "true" if right else "false")
            found = found or right
        if onset is not None and not found:
            budget.missed(*own[1:], onset)
        self._clock += (scores[-1].hour - scores[0].hour + 1) * HOUR / BEDS
        return alarms


def _onset(stay: Stay) -> float | None:
    """Seconds since hour 0."""
    for value in reversed(stay.examples):
        message: Any = _message(value)
        if isinstance(message, Label):
            return message.occurred_at - sepsis2019.HOUR_0 if message.kind == "sepsis" else None
    return None


# -------------------------------------------------------------------------------------------------------------- t1d

GLUCOSE = "glucose"
HORIZONS_MIN = (30, 60)
FALSE_HORIZON_S = HOUR
"""An alert was false where no reading within this time is below the limit, as the judge of these data has it."""
LEAST_MMOL = 1.1
"""What reads less is a sensor's fault, as the judge of these data has it; the pipeline gets it all the same."""
LEAST_GAP_S = 240.0
"""Readings closer together are one, as the judge of these data has it: what came of an alert is counted from the others."""


class Forecasts(NamedTuple):
    """Made at one reading. ``time``: of the reading as the file writes it, on the wall clock. Forecasts are in mg/dL, by
    :data:`HORIZONS_MIN`. ``low``: probability of a reading below 70 mg/dL within 45 min; ``news``: that where it is higher than
    in the last half hour, else 0; ``threshold``: the budget's, by what was known then; ``told``: whether the news reaches it.
    """

    person: str
    time: str
    horizons: list[Forecast]
    low: float
    news: float
    threshold: float
    told: bool


def glucose(
    catalogue: Catalogue,
    path: Path,
    person: str,
    start: Posterior,
    allowed: Budget,
    *,
    alone: bool = False,
    kept: list[Learnt] | None = None,
) -> list[Forecasts]:
    """Forecasts at every reading of glucose, by the twin and the person's own residual learner on top; ``alone``: without it.

    The probability of a low is learnt from there on, beginning with ``start``; ``kept`` takes what it is learnt from.
    """
    player = Player(catalogue)
    signal = catalogue[GLUCOSE]
    scale = scale_of(signal)
    ahead_s = [60.0 * minutes for minutes in AHEAD_MIN]
    found: list[Forecasts] = []
    waiting: list[Sent] = []
    known = _Known()
    residual: Residual | None = None
    teller: _Teller | None = None
    times = set[str]()
    for sent in t1d.events(path, person):
        waiting.append(sent)
        known.take(sent)
        reading = known.reading(sent)
        if reading is None:
            continue
        player.send(waiting)
        waiting = []
        latest = player.lane.patients[sent.key].latest.get(GLUCOSE)
        if latest is None or latest.at != sent.at or reading.time in times:
            continue  # refused, or the same reading again
        times.add(reading.time)
        player.tick(sent.at)
        if residual is None or teller is None:
            residual = Residual(known.every_s, ahead_s, signal.plausible)
            teller = _Teller(Crossing(start, known.every_s, kept), allowed)
        for taken, amounts in ((residual.insulin, known.insulin), (residual.carbohydrates, known.carbohydrates)):
            for at, amount in amounts:
                taken.take(at, amount)
            amounts.clear()
        filtered = [
            (
                from_working(scale, mean),
                (from_working(scale, mean + sd) - from_working(scale, mean - sd)) / 2,
            )
            for mean, sd in player.lane.forecast(person, GLUCOSE, [sent.at + after for after in ahead_s])
        ]
        belief = player.lane.belief(person)
        surprise = 0.0 if belief is None else belief.signals[GLUCOSE].surprise
        forecasts = residual.take(sent.at, reading.value, reading.hour, surprise, filtered)
        if alone:
            forecasts = [Forecast(mean, mean - SD90 * sd, mean + SD90 * sd, sd) for mean, sd in filtered]
        ahead = dict(zip(AHEAD_MIN, forecasts, strict=True))
        horizons = [ahead[minutes] for minutes in HORIZONS_MIN]
        found.append(Forecasts(person, reading.time, horizons, *teller.take(sent.at, reading.value, ahead)))
    return found


class _Teller:
    """Whether people are told, with every reading."""

    def __init__(self, crossing: Crossing, allowed: Budget) -> None:
        self._crossing, self._allowed, self._news = crossing, allowed, News()
        self._population = budget.Population.of(allowed, people=1000)
        self._account, self._check = budget.Account(), budget.Check()

    def take(self, at: float, value: float, ahead: dict[int, Forecast]) -> tuple[float, float, float, bool]:
        """Probability of a low, what of it is new, the threshold, and whether people are told; never while it is low already."""
        own = self._allowed, self._population, self._account
        if at - self._check.last_at >= LEAST_GAP_S:
            budget.reading(*own, self._check, at, value < LIMIT_MGDL, horizon_s=FALSE_HORIZON_S, hole_s=HOLE_S)
        low = self._crossing.take(at, value, ahead)
        news = self._news.take(at, low)
        threshold = budget.threshold(*own, at)
        told = value >= LIMIT_MGDL and news >= threshold
        if told and at - self._check.raised_at >= QUIET_S:
            budget.raised(self._account, self._check, at)
        return low, news, threshold, told


class _Reading(NamedTuple):
    time: str
    hour: float
    value: float


class _Known:
    """What messages say that the residual learner wants and no belief has."""

    def __init__(self) -> None:
        self.every_s = 300.0
        self.insulin: list[tuple[float, float]] = []
        self.carbohydrates: list[tuple[float, float]] = []

    def take(self, sent: Sent) -> None:
        if sent.topic == DEVICES:
            devices = msgspec.json.decode(sent.value, type=events.DeviceAssignments).devices
            self.every_s = next((d.every_s for d in devices if d.every_s is not None), self.every_s)
        elif sent.topic == HAPPENED:
            event = _event(sent.value)
            if isinstance(event, events.Insulin) and event.kind == "rapid":
                self.insulin.append((sent.at, event.dose_units or 0.0))
            elif isinstance(event, events.Meal):
                self.carbohydrates.append((sent.at, event.carbohydrates_g or 0.0))

    def reading(self, sent: Sent) -> _Reading | None:
        """A reading of the glucose sensor, its time as the id has it: ``cgm-PERSON-YYYY-MM-DDTHH:MM``."""
        if sent.topic != WEARABLE or b'"cgm-' not in sent.value:
            return None
        message = msgspec.json.decode(sent.value)
        value = message.get("value")
        if not isinstance(value, float | int) or value < LEAST_MMOL:
            return None
        written = _WRITTEN.search(message["id"])
        if written is None:
            return None
        return _Reading(f"{written[1]} {written[2]}:{written[3]}", int(written[2]) + int(written[3]) / 60, MGDL * value)
