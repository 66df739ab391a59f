"""Makes the events of a measurement, and puts them on the broker as fast as it takes them.

Patients have 4 to 8 signals. Each signal wanders around a level of the patient's own; one value in 500 is an outlier.
"""

import random
from collections.abc import Iterable, Iterator

import msgspec
from confluent_kafka import Producer

from stream_twin import signals
from stream_twin.events import LOINC, DeviceKind, Observation, Profile, Series
from stream_twin.kafka.broker import Broker

SIGNALS = (
    "heart_rate",
    "respiratory_rate",
    "spo2",
    "body_temperature",
    "glucose",
    "systolic_blood_pressure",
    "diastolic_blood_pressure",
    "rmssd",
)
STEP_S = 60.0
"""Between two values of one signal of one patient in a backlog."""
USUAL, URGENT = 72.0, 190.0
"""A heart rate as it should be, and one that calls a clinician at once; measured by hand, so that it need not hold."""
WEARABLE = "wearable.observations"
PROFILES = "patient.profiles"
_encode = msgspec.json.Encoder().encode
Record = tuple[bytes, bytes]
"""Key and value."""


def patient(number: int) -> str:
    return f"patient-{number:06}"


def caller(number: int) -> str:
    """A patient who sends a usual value and an urgent one and nothing else, so that each urgent one raises an alert."""
    return f"caller-{number:06}"


def signals_of(number: int) -> tuple[str, ...]:
    return SIGNALS[: 4 + number % 5]


def people(names: Iterable[str], now: float) -> Iterator[Record]:
    for name in names:
        yield name.encode(), _encode(Profile(patient_id=name, valid_from=now - 86400.0, time_zone="Europe/Zurich", cohort="home"))


class Values:
    """The next value of a signal of a patient, and what goes with it on the wire."""

    def __init__(self, seed: int) -> None:
        self._draws = random.Random(seed)
        self._levels: dict[tuple[int, str], float] = {}
        catalogue = signals.load()
        self._about = {}
        for name in SIGNALS:
            signal = catalogue[name]
            edges = zip(signal.limits, signal.plausible, strict=True)
            low, high = (edge if limit is None else limit for limit, edge in edges)
            loinc = signal.codes.get(LOINC)
            code = {"code": loinc[0]} if loinc else {"code": name, "code_system": "urn:stream-twin:signal"}
            self._about[name] = ((low + high) / 2, (high - low) / 12, signal.decimals, {**code, "unit": signal.unit})

    def next(self, number: int, name: str) -> tuple[float, dict[str, str]]:
        """The value, and the fields code, code_system and unit of its observation."""
        middle, spread, decimals, coded = self._about[name]
        draws = self._draws
        level = self._levels.get((number, name)) or draws.gauss(middle, spread / 2)
        self._levels[number, name] = level = level + 0.05 * (middle - level) + draws.gauss(0, spread / 10)
        return round(level + (3 * spread if draws.random() < 0.002 else 0.0), decimals), coded

    def observation(self, number: int, name: str, at: float, mark: object) -> Record:
        """``mark`` tells this sample of the signal from the others in its id."""
        value, coded = self.next(number, name)
        who = patient(number)
        sample = Observation(
            id=f"{who}/{name}/{mark}", patient_id=who, value=value, measured_at=at, device_id=f"watch-{number:06}", **coded
        )
        return who.encode(), _encode(sample)


def observations(patients: int, count: int, end: float, seed: int) -> Iterator[Record]:
    """A backlog of ``count`` samples in order of time; the newest is of ``end``."""
    values = Values(seed)
    names = [signals_of(number) for number in range(patients)]
    steps = -(-count // sum(map(len, names)))
    for step in range(steps):
        for number, own in enumerate(names):
            at = round(end - (steps - step - (number + 1) / patients) * STEP_S, 3)
            for name in own:
                yield values.observation(number, name, at, step)
                count -= 1
                if not count:
                    return


def series(patients: int, count: int, samples: int, end: float, seed: int, kind: DeviceKind = "syncing") -> Iterator[Record]:
    """``count`` messages of ``samples`` values each, as watches send that sync now and then; for each signal in turn.

    ``kind`` sets for how long late samples are waited for.
    """
    values = Values(seed)
    span, made, turn = samples * STEP_S, 0, 0
    most = -(-count // sum(len(signals_of(number)) for number in range(patients)))
    while True:
        for number in range(patients):
            who = patient(number)
            for name in signals_of(number):
                drawn = [values.next(number, name) for _ in range(samples)]
                message = Series(
                    id=f"{who}/{name}/{turn}",
                    patient_id=who,
                    values=[value for value, _ in drawn],
                    start=round(end - (most - turn) * span, 3),
                    interval_s=STEP_S,
                    device_id=f"watch-{number:06}",
                    device_kind=kind,
                    **drawn[0][1],
                )
                yield who.encode(), _encode(message)
                made += 1
                if made == count:
                    return
        turn += 1


def by_hand(number: int, value: float, at: float) -> Record:
    """A heart rate of :func:`caller`, measured by hand."""
    who = caller(number)
    name = f"{who}/{value:.0f}"
    sample = Observation(id=name, patient_id=who, code="8867-4", unit="/min", value=value, measured_at=at, device_kind="bedside")
    return who.encode(), _encode(sample)


def producer(broker: Broker, linger_ms: int) -> Producer:
    """Chooses partitions as the service chooses lanes."""
    return Producer(
        {
            **broker.librdkafka,
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": linger_ms,
            "queue.buffering.max.messages": 500_000,
        }
    )


def load(broker: Broker, topic: str, records: Iterable[Record]) -> int:
    """Put all of ``records`` into ``topic`` (with prefix); how many they were."""
    to, count = producer(broker, linger_ms=20), 0
    for key, value in records:
        while True:
            try:
                to.produce(topic, value, key)
                break
            except BufferError:
                to.poll(0.1)
        count += 1
    to.flush()
    return count
