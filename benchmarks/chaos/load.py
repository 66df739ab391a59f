"""What the sources get during a campaign: every topic, in and out of order, some of it twice, corrected, late, or rubbish."""

import random
import threading
from collections import deque
from typing import Any

import msgspec
from confluent_kafka import Producer

from stream_twin import events
from stream_twin.clock import elapsed, wall
from stream_twin.datasets import ward_rubbish
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.follower import Follower

PATIENTS, PLACES, STRANGERS = 60, 20, 40
FLOOD = 400
POISON = "poison-"
"""How the id of a finding begins whose update raises, under :mod:`benchmarks.chaos.faulty`."""
encode = msgspec.json.encode

SIGNALS = (
    ("8867-4", "/min", 72.0, 4.0),
    ("59408-5", "%", 96.5, 0.8),
    ("9279-1", "/min", 15.0, 1.5),
    ("8310-5", "Cel", 36.8, 0.2),
)
"""LOINC code, unit, mean and standard deviation."""
OUTCOMES = ("illness", "deterioration", "well", "false_alarm", "admitted")


class _Alert(msgspec.Struct):
    """Of a change of an alert, what a command about it needs."""

    patient_id: str
    alert_id: str
    state: str


class Load(threading.Thread):
    """Sends ``rate`` records a second until :meth:`stop`. The same seed gives the same records but for their times."""

    def __init__(self, broker: Broker, prefix: str, rate: float, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.sent = 0
        self._broker, self._prefix, self._rate = broker, prefix, rate
        self._draws = random.Random(seed)
        # Records of an hour without a broker wait here rather than being given up.
        self._producer = Producer(
            {**broker.librdkafka, "partitioner": "murmur2_random", "linger.ms": 5, "message.timeout.ms": 3_600_000}
        )
        self._ended = threading.Event()
        self._recent: deque[tuple[str, str, bytes]] = deque(maxlen=300)
        self._corrigible: deque[events.Observation] = deque(maxlen=300)
        self._alerts: deque[tuple[str, str]] = deque(maxlen=100)

    @property
    def stopped(self) -> bool:
        return self._ended.is_set()

    def stop(self) -> None:
        self._ended.set()
        self.join()
        assert self._producer.flush(30) == 0, "the broker did not take what was sent"

    def poison(self) -> None:
        """A record whose update raises."""
        patient = self._patient()
        finding = events.Finding(id=f"{POISON}{self.sent}", patient_id=patient, at=wall(), code="x", code_system="urn:x")
        self._send("clinical.events", patient, finding)

    def run(self) -> None:
        for number in range(PATIENTS):
            self._enrol(f"patient-{number:02}")
        began, alerts = elapsed(), None
        while not self._ended.wait(0.02):
            while self.sent < (elapsed() - began) * self._rate:
                self._one()
            self._producer.poll(0)
            if alerts is None:
                alerts = Follower(self._broker, ["alerts"], self._prefix)
            for _, record in alerts.poll(0):
                change = msgspec.json.decode(record.value or b"", type=_Alert)
                if change.state in ("raised", "escalated"):
                    self._alerts.append((change.patient_id, change.alert_id))
        if alerts is not None:
            alerts.close()

    def _one(self) -> None:
        [send] = self._draws.choices(list(_OF_A_HUNDRED), list(_OF_A_HUNDRED.values()))
        send(self, self._patient())
        self.sent += 1

    def _patient(self) -> str:
        return f"patient-{self._draws.randrange(PATIENTS):02}"

    def _send(self, topic: str, key: str, message: Any) -> None:
        value = message if isinstance(message, bytes) else encode(message)
        self._recent.append((topic, key, value))
        self._producer.produce(self._prefix + topic, value, key)

    # ------------------------------------------------------------------------------------------------ what is sent

    def _enrol(self, patient: str) -> None:
        self._profile(patient)
        devices = [events.AssignedDevice(device_id=f"watch-{patient[-2:]}", kind="streaming", start=wall() - 86_400, every_s=20)]
        self._send("device.assignments", patient, events.DeviceAssignments(patient_id=patient, devices=devices))

    def _profile(self, patient: str) -> None:
        profile = events.Profile(
            patient_id=patient,
            valid_from=wall() - 86_400,
            age_years=self._draws.randrange(20, 90),
            place=f"place-{self._draws.randrange(PLACES)}",
            time_zone="UTC",
            cohort="home",
        )
        self._send("patient.profiles", patient, profile)

    def _observation(self, patient: str, late_s: float = 0.0) -> events.Observation:
        code, unit, mean, deviation = self._draws.choice(SIGNALS)
        # One in fifty far out, so that alerts are raised and resolved.
        value = self._draws.gauss(mean, deviation) * (1.0 if self._draws.random() > 0.02 else 0.85)
        return events.Observation(
            id=f"o-{self.sent}",
            patient_id=patient,
            code=code,
            unit=unit,
            value=round(value, 1),
            measured_at=round(wall() - self._draws.expovariate(0.5) - late_s, 3),
        )

    def _wearable(self, patient: str) -> None:
        observation = msgspec.structs.replace(self._observation(patient), device_id=f"watch-{patient[-2:]}")
        self._corrigible.append(observation)
        self._send("wearable.observations", patient, observation)

    def _clinical(self, patient: str) -> None:
        self._send("clinical.observations", patient, self._observation(patient))

    def _late(self, patient: str) -> None:
        """Within the lateness of a streaming device and far beyond it."""
        late_s = self._draws.choice([30.0, 90.0, 600.0])
        self._send("wearable.observations", patient, self._observation(patient, late_s))

    def _again(self, patient: str) -> None:
        if self._recent:
            topic, key, value = self._draws.choice(self._recent)
            self._producer.produce(self._prefix + topic, value, key)

    def _correction(self, patient: str) -> None:
        if self._corrigible:
            old = self._draws.choice(self._corrigible)
            if self._draws.random() < 0.5:
                new = msgspec.structs.replace(old, version=old.version + 1, status="corrected", value=(old.value or 0.0) + 1.0)
            else:
                new = msgspec.structs.replace(old, version=old.version + 1, status="entered-in-error")
            self._send("wearable.observations", old.patient_id, new)

    def _series(self, patient: str) -> None:
        values: list[float | None] = [round(self._draws.gauss(72, 4), 1) for _ in range(20)]
        values[3] = None
        series = events.Series(
            id=f"s-{self.sent}", patient_id=patient, code="8867-4", unit="/min", values=values, start=wall() - 60, interval_s=2.5
        )
        self._send("wearable.observations", patient, series)

    def _event(self, patient: str) -> None:
        which, now = self._draws.randrange(4), round(wall(), 3)
        if which == 0:
            event: Any = events.Meal(id=f"e-{self.sent}", patient_id=patient, at=now, carbohydrates_g=40)
        elif which == 1:
            event = events.Insulin(id=f"e-{self.sent}", patient_id=patient, at=now, kind="rapid", dose_units=4)
        elif which == 2:
            event = events.Oxygen(id=f"e-{self.sent}", patient_id=patient, at=now, flow_l_per_min=2)
        else:
            event = events.Encounter(id=f"e-{self.sent}", patient_id=patient, at=now, kind="ward")
        self._send("clinical.events", patient, event)

    def _air(self, patient: str) -> None:
        place = f"place-{self._draws.randrange(PLACES)}"
        value = round(self._draws.gauss(21, 2), 1)
        air = events.EnvironmentObservation(
            id=f"a-{self.sent}", place=place, code="ambient_temperature", unit="Cel", measured_at=round(wall(), 3), value=value
        )
        self._send("environment.observations", place, air)

    def _outcome(self, patient: str) -> None:
        kind = self._draws.choice(OUTCOMES)
        self._send(
            "patient.outcomes", patient, events.Outcome(id=f"u-{self.sent}", patient_id=patient, kind=kind, occurred_at=wall())
        )

    def _command(self, patient: str) -> None:
        patient, alert = self._draws.choice(self._alerts) if self._alerts else (patient, "no-such-alert")
        action = self._draws.choice(["acknowledge", "snooze", "resolve", "comment"])
        until = wall() + 5 if action == "snooze" else None
        command = events.AlertCommand(
            id=f"c-{self.sent}",
            patient_id=patient,
            alert_id=alert,
            action=action,
            by="nurse",
            at=wall(),
            until=until,
            comment="seen" if action == "comment" else None,
        )
        self._send("alert.commands", patient, command)

    def _stranger(self, patient: str) -> None:
        """Samples of somebody unknown, who is refused, forgotten, comes back, and may be enrolled after all."""
        stranger = f"stranger-{self._draws.randrange(STRANGERS):02}"
        if self._draws.random() < 0.02:
            self._enrol(stranger)
        self._send("wearable.observations", stranger, self._observation(stranger))

    def _flood(self, patient: str) -> None:
        """More samples of one signal in a second than anybody needs."""
        at = float(int(wall()))
        for number in range(FLOOD):
            code, unit, mean, spread = SIGNALS[0]
            value = round(self._draws.gauss(mean, spread), 1)
            name = f"flood-{self.sent}-{number}"
            sample = events.Observation(
                id=name, patient_id=patient, code=code, unit=unit, value=value, measured_at=at + number / FLOOD
            )
            self._send("wearable.observations", patient, sample)

    def _rubbish(self, patient: str) -> None:
        kind = self._draws.choice(ward_rubbish.KINDS)
        stranger = f"patient-{self._draws.randrange(PATIENTS):02}"
        device = f"watch-{patient[-2:]}"
        for topic, key, value in ward_rubbish.rubbish(
            kind, number=self.sent, patient=patient, device=device, stranger=stranger, at=wall()
        ):
            self._producer.produce(self._prefix + topic, value, key)


_OF_A_HUNDRED = {
    Load._wearable: 58,
    Load._clinical: 12,
    Load._late: 4,
    Load._again: 5,
    Load._correction: 3,
    Load._series: 2,
    Load._event: 4,
    Load._air: 2,
    Load._profile: 1,
    Load._outcome: 1,
    Load._command: 2,
    Load._rubbish: 4,
    Load._stranger: 1.9,
    Load._flood: 0.1,
}
"""How many records of each kind."""
