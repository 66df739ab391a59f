"""One person of the simulated ward with devices: what the body does becomes messages, as radios deliver them."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from stream_twin.datasets.recording import CLINICAL, DAY, HAPPENED, HOUR, OUTCOMES, PROFILES, WEARABLE, Sent, code
from stream_twin.datasets.recording import DEVICES as ASSIGNMENTS
from stream_twin.datasets.ward_body import STEP_S, Body, Draws, Illness
from stream_twin.datasets.ward_people import BODIES, DEVICES, Person
from stream_twin.datasets.ward_stories import BAD_RADIO, FROZEN, HYPOGLYCAEMIA, SILENT
from stream_twin.events import (
    Activity,
    Encounter,
    Insulin,
    Meal,
    Measured,
    Message,
    Observation,
    Outcome,
    Oxygen,
    Period,
    Series,
)

if TYPE_CHECKING:
    from stream_twin.datasets.ward import Outbox

WARM_UP_S = 2 * HOUR
PANEL = {
    "wbc": ("10*3/uL", 6.8, 8.0),
    "lactate": ("mmol/L", 1.1, 2.4),
    "creatinine": ("mg/dL", 0.9, 0.5),
    "potassium": ("mmol/L", 4.2, 0.3),
    "hemoglobin": ("g/dL", 13.6, -0.8),
    "platelets": ("10*3/uL", 240.0, -70.0),
}
"""Signal -> unit, usual value, and what a severe illness adds."""


def rfc3339(at: float) -> str:
    return datetime.fromtimestamp(round(at, 3), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Night:
    """A night so far."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.steps = 0
        self.skin_sum = 0.0
        self.seconds = dict.fromkeys(("awake", "light", "deep", "rem"), 0.0)

    def add(self, body: Body) -> None:
        self.steps += 1
        self.skin_sum += body.skin_temperature
        self.seconds[body.stage] += STEP_S


class Resident:
    def __init__(self, person: Person, seed: int, start: float, outbox: "Outbox") -> None:
        self.person = person
        self.body = Body(person.constitution, Draws(seed, BODIES, person.number))
        self.stories: dict[str, tuple[float, float]] = {}
        """Name -> begin and end, seconds since the epoch."""
        self.ill_until = 0.0
        self._draws = Draws(seed, DEVICES, person.number)
        self._start = start
        self._outbox = outbox
        self._numbers: dict[str, int] = {}
        self._phase_s = self._draws.uniform(0.0, STEP_S)
        self._turn = self._draws.index(60)
        self._away_from = start + self._draws.exponential(3 * HOUR)
        self._away_until = self._away_from + self._draws.uniform(20.0, 90.0)
        self._night = _Night(start)
        self._frozen: float | None = None
        self._cgm_noise = 0.0
        self._plan: list[tuple[float, str]] = []
        self._planned_until = start - WARM_UP_S
        self._sugar_checked_at = 0.0
        self._minutes: list[float] = []
        self._rmssd: list[float] = []
        self._stage, self._stage_since = "awake", start
        self._draw_at = start + self._draws.uniform(0.4, 30.0) * HOUR
        self._cuff_at = start + self._draws.uniform(0.05, 2.5) * HOUR
        step = start - WARM_UP_S
        while step < start:
            self._live(step, silent=True)
            step += STEP_S
        self.body.steps = 0.0

    def move_in(self) -> None:
        """Enrolment and devices, a few seconds before the first sample."""
        at = self._start - 5.0
        self._outbox.put(at, PROFILES, self.person.id, self.person.profile(self._start - 7 * DAY))
        self._outbox.put(at + 1.0, ASSIGNMENTS, self.person.id, self.person.assignments(at))
        self._event(Encounter(id=self._id("encounter"), patient_id=self.person.id, at=self._start, kind="home"), at + 2.0)

    def fall_ill(self, illness: Illness) -> None:
        self.body.illnesses.append(illness)
        self.ill_until = illness.end
        self.treat(illness.relief)

    def treat(self, at: float) -> None:
        """Oxygen and admission at ``at``; the outcome ``deterioration`` is known an hour later."""
        who = self.person.id
        self._event(Encounter(id=self._id("encounter"), patient_id=who, at=at, kind="emergency"), at + 60)
        self._event(Oxygen(id=self._id("oxygen"), patient_id=who, at=at + 120, until=at + 6 * HOUR, flow_l_per_min=3.0), at + 180)
        self.learn(Outcome(id=self._id("outcome"), patient_id=who, kind="deterioration", occurred_at=at, issued_at=at + HOUR))
        self._draw_at = min(self._draw_at, at - 2.5 * HOUR)

    def learn(self, outcome: Outcome) -> None:
        issued_at = outcome.issued_at if isinstance(outcome.issued_at, float) else outcome.occurred_at
        self._outbox.put(float(issued_at), OUTCOMES, self.person.id, outcome)

    def all_was_well(self, now: float) -> None:
        """The label of a half day on which nothing happened."""
        ill = any(illness.onset < now and illness.end > now - 12 * HOUR for illness in self.body.illnesses)
        if not ill:
            self.learn(Outcome(id=self._id("outcome"), patient_id=self.person.id, kind="well", occurred_at=now))

    def _in(self, story: str, now: float) -> bool:
        begin, end = self.stories.get(story, (0.0, 0.0))
        return begin <= now < end

    def step(self, now: float) -> None:
        self._live(now, silent=False)
        n = round((now - self._start) / STEP_S) + self._turn
        at = now + self._phase_s
        if now >= self._away_until:
            self._away_from = now + self._draws.exponential(3 * HOUR)
            self._away_until = self._away_from + self._draws.uniform(20.0, 90.0)
        self._watch(at)
        self._patch(n, at)
        self._oximeter(n, at)
        if self.person.diabetic and n % 60 == 0:
            self._cgm(at)
        if n % 12 == 0:
            self._minutes.append(round(self.body.steps))
            self.body.steps = 0.0
        if n % 60 == 0:
            self._rmssd.append(round(self.body.rmssd_ms * (1 + self._draws.normal(0.0, 0.06)), 1))
        if self.body.in_bed:
            self._night.add(self.body)
        elif self._night.steps:
            if self._night.steps * STEP_S > 3 * HOUR:
                self._got_up(now)
            self._night = _Night(now)
        else:
            self._night.since = now
        if self.body.stage != self._stage:
            self._stage_changed(now)
        if len(self._minutes) == 60:
            self._sync(now)
        if now >= self._cuff_at:
            self._cuff(now)
        if now >= self._draw_at:
            self._laboratory(now)

    def _live(self, now: float, silent: bool) -> None:
        place = self.person.place
        hour = place.hour(now)
        if self.person.diabetic:
            self._manage(now, silent)
        self.body.step(now, hour, place.temperature_c)

    def _manage(self, now: float, silent: bool) -> None:
        """Meals, the insulin for them, and what the person does about a high or a low."""
        if now >= self._planned_until:
            midnight = now - self.person.place.hour(now) * HOUR
            for hour, meal in ((7.6, "breakfast"), (12.6, "lunch"), (18.6, "supper"), (21.6, "long")):
                at = midnight + (hour + self._draws.normal(0.0, 0.35)) * HOUR
                if at >= now:
                    self._plan.append((at, meal))
            self._planned_until = midnight + DAY
        while self._plan and now >= self._plan[0][0]:
            meal = self._plan.pop(0)[1]
            if meal == "long":
                self._insulin(now, "long", round(self._draws.normal(16.0, 1.5)), silent)
            else:
                self._eat(now, max(15.0, self._draws.normal(42.0 if meal == "breakfast" else 58.0, 12.0)), True, silent)
        in_story = self._in(HYPOGLYCAEMIA.name, now)
        if in_story and HYPOGLYCAEMIA.name in self.stories:
            self._night_low(now)
        elif now - self._sugar_checked_at > 1500.0 and not self.body.asleep:
            sugar = self.body.glucose.interstitial
            if sugar < 72:
                self._sugar_checked_at = now
                self._eat(now, 16.0, False, silent)
            elif sugar > 230:
                self._sugar_checked_at = now + HOUR
                self._insulin(now, "rapid", round((sugar - 150) / self.person.constitution.insulin_sensitivity_mgdl, 1), silent)

    def _night_low(self, now: float) -> None:
        """A correction far too large at the start of the story; sugar and a call two and a half hours later."""
        begin, _ = self.stories[HYPOGLYCAEMIA.name]
        if now - begin < STEP_S:
            fall = max(40.0, self.body.glucose.plasma - 22)
            self._insulin(now, "rapid", round(fall / self.person.constitution.insulin_sensitivity_mgdl + 1.5, 1), False)
        if 0 <= now - begin - 2.5 * HOUR < STEP_S:
            self._eat(now, 28.0, False, False)
            self.learn(
                Outcome(
                    id=self._id("outcome"),
                    patient_id=self.person.id,
                    kind="hypoglycaemia_treated",
                    occurred_at=now,
                    issued_at=now + 1200.0,
                )
            )

    def _eat(self, now: float, carbohydrates_g: float, covered: bool, silent: bool) -> None:
        carbohydrates_g = round(carbohydrates_g)
        self.body.glucose.eat(carbohydrates_g)
        if covered:
            counted = carbohydrates_g * max(0.6, self._draws.normal(1.0, 0.12))
            self._insulin(now, "rapid", round(counted / self.person.constitution.carbohydrate_ratio_g, 1), silent)
        if not silent:
            meal = Meal(id=self._id("meal"), patient_id=self.person.id, at=rfc3339(now), carbohydrates_g=carbohydrates_g)
            self._event(meal, now + self._draws.uniform(5, 90))

    def _insulin(self, now: float, kind: Literal["rapid", "long"], units: float, silent: bool) -> None:
        if kind == "rapid":
            self.body.glucose.inject(units)
        if not silent:
            dose = Insulin(id=self._id("insulin"), patient_id=self.person.id, at=rfc3339(now), kind=kind, dose_units=units)
            self._event(dose, now + self._draws.uniform(5, 60))

    def _watch(self, at: float) -> None:
        if not self._in(SILENT.name, at):
            self._sample("watch", "heart_rate", "/min", round(self.body.heart_rate + self._draws.normal(0.0, 0.8)), at=at)

    def _patch(self, n: int, at: float) -> None:
        if n % 3 == 0:
            breaths = round(self.body.respiratory_rate + self._draws.normal(0.0, 0.7), 1)
            self._sample("patch", "respiratory_rate", "/min", breaths, at=at)
        if n % 12 == 0:
            temperature = self.body.temperature + self._draws.normal(0.0, 0.03)
            if self.person.number % 4 == 3:
                self._sample("patch", "body_temperature", "[degF]", round(temperature * 1.8 + 32, 1), at=at)
            else:
                self._sample("patch", "body_temperature", "Cel", round(temperature, 2), at=at)

    def _oximeter(self, n: int, at: float) -> None:
        if n % 3 != 1:
            return
        value: float | None = min(100.0, round(self.body.spo2 + self._draws.normal(0.0, 0.5)))
        if self._in(FROZEN.name, at):
            self._frozen = value if self._frozen is None else self._frozen
            value = self._frozen
        elif self.body.moving and self._draws.uniform() < 0.3:
            value = None
        self._sample("oximeter", "spo2", "%", value, at=at)

    def _cgm(self, at: float) -> None:
        self._cgm_noise = 0.7 * self._cgm_noise + self._draws.normal(0.0, 2.4)
        value = round(self.body.glucose.interstitial + self._cgm_noise)
        body = Observation(
            id=self._id("cgm"),
            patient_id=self.person.id,
            unit="mg/dL",
            device_id=self.person.device("cgm"),
            value=min(400, max(40, value)),
            comparator="<" if value < 40 else ">" if value > 400 else None,
            measured_at=round(at, 3),
            **code("glucose"),
        )
        self._radio(WEARABLE, body, at)

    def _cuff(self, now: float) -> None:
        systolic, diastolic = self.body.blood_pressure(now, self.person.place.hour(now))
        common: dict[str, Any] = {
            "patient_id": self.person.id,
            "unit": "mm[Hg]",
            "device_id": self.person.device("cuff"),
            "measured_at": rfc3339(now),
            "method": "oscillometric",
            "body_position": "sitting",
        }
        for signal, value in (("systolic_blood_pressure", systolic), ("diastolic_blood_pressure", diastolic)):
            body = Observation(id=self._id("cuff"), value=round(value), **code(signal), **common)
            self._put(CLINICAL, body, now + self._draws.uniform(10, 40))
            if BAD_RADIO.name in self.stories and self._numbers["cuff"] <= 2:
                withdrawn = msgspec.structs.replace(body, status="entered-in-error", version=2)
                self._put(CLINICAL, withdrawn, now + 600)
        self._cuff_at = now + max(2.0, self._draws.normal(6.0, 1.5)) * HOUR

    def _laboratory(self, now: float) -> None:
        """Blood is drawn now; the results come one to two hours later, sooner for somebody who is ill."""
        severity = max((illness.severity(now - HOUR) for illness in self.body.illnesses), default=0.0)
        known_at = now + (self._draws.uniform(2400, 3600) if severity > 0.2 else self._draws.uniform(3600, 7200))
        for signal, (unit, usual, added) in PANEL.items():
            value = usual * (1 + self._draws.normal(0.0, 0.06)) + severity * added
            body = Observation(
                id=self._id("lab"),
                patient_id=self.person.id,
                unit=unit,
                value=round(max(0.1, value), 2),
                measured_at=rfc3339(now),
                issued_at=rfc3339(known_at),
                device_kind="laboratory",
                **code(signal),
            )
            corrected = BAD_RADIO.name in self.stories and signal == "potassium"
            self._put(CLINICAL, msgspec.structs.replace(body, status="preliminary") if corrected else body, known_at)
            if corrected:
                again = msgspec.structs.replace(body, status="corrected", version=2, value=round(value + 0.6, 2))
                self._put(CLINICAL, again, known_at + 1500)
        self._draw_at = now + self._draws.uniform(36, 96) * HOUR

    def _sync(self, now: float) -> None:
        """Phone and watch give their hour: steps per minute, heart-rate variability every five minutes."""
        sent_at = now + self._draws.uniform(5, 240)
        hour = (
            ("phone", "steps_per_minute", "/min", 60.0, self._minutes),
            ("watch", "rmssd", "ms", 300.0, [] if self._in(SILENT.name, now) else self._rmssd),
        )
        for device, signal, unit, interval_s, values in hour:
            if values:
                series = Series(
                    id=self._id(device),
                    patient_id=self.person.id,
                    unit=unit,
                    device_id=self.person.device(device),
                    device_kind="syncing",
                    values=[*values],
                    start=now - interval_s * (len(values) - 1),
                    interval_s=interval_s,
                    **code(signal),
                )
                self._put(WEARABLE, series, sent_at)
        self._minutes.clear()
        self._rmssd.clear()

    def _got_up(self, now: float) -> None:
        """What a night amounted to, known in the morning."""
        night = self._night
        minutes = {stage: seconds / 60 for stage, seconds in night.seconds.items()}
        told = (
            ("skin_temperature", "Cel", night.skin_sum / max(1, night.steps)),
            ("sleep_minutes", "min", sum(minutes.values()) - minutes["awake"]),
            ("deep_sleep_minutes", "min", minutes["deep"]),
            ("rem_sleep_minutes", "min", minutes["rem"]),
        )
        for signal, unit, value in told:
            body = Observation(
                id=self._id("phone"),
                patient_id=self.person.id,
                unit=unit,
                device_id=self.person.device("phone"),
                device_kind="syncing",
                value=round(value, 2),
                period=Period(start=night.since, end=now),
                **code(signal),
            )
            self._put(WEARABLE, body, now + self._draws.uniform(60, 1800))

    def _stage_changed(self, now: float) -> None:
        if self._stage != "awake" and now - self._stage_since > 60:
            stage = Activity(
                id=self._id("sleep"), patient_id=self.person.id, at=self._stage_since, until=now, kind=f"sleep_{self._stage}"
            )
            self._event(stage, now + self._draws.uniform(60, 1800))
        self._stage, self._stage_since = self.body.stage, now

    def _id(self, source: str) -> str:
        self._numbers[source] = self._numbers.get(source, 0) + 1
        return f"{self.person.device(source)}/{self._numbers[source]}"

    def _sample(self, device: str, signal: str, unit: str, value: float | None, *, at: float) -> None:
        """A value of None was lost to movement."""
        body = Observation(
            id=self._id(device),
            patient_id=self.person.id,
            unit=unit,
            device_id=self.person.device(device),
            value=value,
            absent_reason="motion" if value is None else None,
            measured_at=round(at, 3),
            **code(signal),
        )
        self._radio(WEARABLE, body, at)

    def _radio(self, topic: str, body: Measured, at: float) -> None:
        """Send by radio: within seconds, or together, in any order, once the person is back in reach."""
        sent_at = at + self._draws.uniform(0.2, 2.0)
        if self._away_from <= at < self._away_until:
            sent_at = self._away_until + self._draws.uniform(0.1, 3.0)
        if BAD_RADIO.name in self.stories:
            chance = self._draws.uniform()
            if chance < 0.02:
                self._put(topic, body, sent_at + self._draws.exponential(40.0))
            elif chance < 0.025:
                sent_at += 600.0
            elif chance < 0.3:
                sent_at += self._draws.uniform(3.0, 20.0)
        self._put(topic, body, sent_at)

    def _event(self, event: Message, at: float) -> None:
        self._put(HAPPENED, event, at)

    def _put(self, topic: str, body: Message, at: float) -> None:
        self._outbox.send(Sent(round(at, 3), topic, self.person.id.encode(), msgspec.json.encode(body)))
