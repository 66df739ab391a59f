"""``make bench``: events/s of one worker with everything on, of plain Faust doing the same per event, and of bare decoding.

A real broker on this machine, one topic of observations of 10,000 patients with 4 to 8 signals, one program at a time, in turn,
several rounds. The worker's rate is from the first record of the backlog until all are applied; that they are committed, and
that nothing was lost, is checked with ``stream-twin audit`` in the last round.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import typer
from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.report import Result, report
from stream_twin import signals
from stream_twin.events import LOINC, Observation, Profile
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from tests.kafka_broker import broker as kafka_broker
from tests.kafka_broker import free_port

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
LANES = 4
STEP_S = 60.0
SETTLING_S = 120.0
"""Longest time that the last records of a backlog may take."""
_encode = msgspec.json.Encoder().encode


def people(patients: int, now: float) -> Iterator[tuple[bytes, bytes]]:
    for number in range(patients):
        name = f"patient-{number:05}"
        yield name.encode(), _encode(Profile(patient_id=name, valid_from=now - 86400.0, time_zone="Europe/Zurich", cohort="home"))


def observations(patients: int, count: int, now: float, seed: int) -> Iterator[tuple[bytes, bytes]]:
    """In order of time; each patient's values wander around their own level, one in 500 is an outlier."""
    catalogue, draws = signals.load(), random.Random(seed)
    models = [(name, catalogue[name]) for name in SIGNALS]
    levels = {}
    people_ = [(f"patient-{number:05}", models[: 4 + number % 5]) for number in range(patients)]
    per_step = sum(len(own) for _, own in people_)
    steps = -(-count // per_step)
    made = 0
    for step in range(steps):
        for number, (patient, own) in enumerate(people_):
            at = now - (steps - step) * STEP_S + number / patients * STEP_S
            for name, signal in own:
                low, high = (
                    bound if bound is not None else edge for bound, edge in zip(signal.limits, signal.plausible, strict=True)
                )
                middle, spread = (low + high) / 2, (high - low) / 12
                level = levels.get((number, name)) or draws.gauss(middle, spread / 2)
                levels[number, name] = level = level + 0.05 * (middle - level) + draws.gauss(0, spread / 10)
                value = level + (3 * spread if draws.random() < 0.002 else 0.0)
                loinc = signal.codes.get(LOINC)
                code = {"code": loinc[0]} if loinc else {"code": name, "code_system": "urn:stream-twin:signal"}
                observation = Observation(
                    id=f"{patient}/{name}/{step}",
                    patient_id=patient,
                    unit=signal.unit,
                    value=round(value, signal.decimals),
                    measured_at=round(at, 3),
                    device_id=f"watch-{number:05}",
                    **code,
                )
                yield patient.encode(), _encode(observation)
                made += 1
                if made == count:
                    return


def load(broker: Broker, topic: str, records: Iterator[tuple[bytes, bytes]]) -> int:
    settings = {
        "partitioner": "murmur2_random",
        "compression.type": "lz4",
        "linger.ms": 20,
        "queue.buffering.max.messages": 500_000,
    }
    producer, count = Producer({**broker.librdkafka, **settings}), 0
    for key, value in records:
        while True:
            try:
                producer.produce(topic, value, key)
                break
            except BufferError:
                producer.poll(0.1)
        count += 1
    producer.flush()
    return count


def peer(module: str, *arguments: object) -> float:
    """Events per second of a program of :mod:`benchmarks.peers`."""
    command = [sys.executable, "-m", f"benchmarks.peers.{module}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return float(found["events"] / found["seconds"])


def worker(address: str, prefix: str, wanted: int, log: Path) -> float:
    """Observations per second of one worker, from the first of a backlog until all are applied."""
    port = free_port()
    options = f"--broker {address} --prefix {prefix} --group {prefix}bench --partition-count {LANES} --metrics-port {port}"
    with log.open("w") as output:
        process = subprocess.Popen([sys.executable, "-m", "stream_twin.cli", "worker", *options.split()], stderr=output)
        try:
            rate = _watch(port, wanted, process)
        finally:
            process.terminate()
            if process.wait(20) != 0:
                raise RuntimeError(f"the worker ended with {process.returncode}:\n{log.read_text()[-2000:]}")
    return rate


def _watch(port: int, wanted: int, process: subprocess.Popen[bytes]) -> float:
    first = None
    deadline = time.monotonic() + SETTLING_S + wanted / 1000
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
        read, applied = _progress(port)
        now = time.monotonic()
        if first is None and read > 0:
            first = now
        if first is not None and applied >= wanted:
            return wanted / (now - first)
    raise RuntimeError(f"the worker did not apply {wanted} records in time")


def _progress(port: int) -> tuple[float, float]:
    """Observations read, and records of twin.inputs with an end, ticks included."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            families = {family.name: family.samples for family in text_string_to_metric_families(answer.read().decode())}
    except OSError:
        return 0.0, 0.0
    read = sum(s.value for s in families["stream_twin_events_in"] if s.labels["topic"] == "wearable.observations")
    samples = sum(s.value for s in families["stream_twin_innovation_sigmas"] if s.name.endswith("_count"))
    return read, samples


def main(events: int = 400_000, patients: int = 10_000, rounds: int = 3) -> None:
    rates: dict[str, list[float]] = {"limit": [], "faust": [], "stream-twin": []}
    with kafka_broker() as running, tempfile.TemporaryDirectory(prefix="bench-") as directory:
        broker = Broker(running.address)
        for number in range(rounds):
            prefix, now = f"bench{number}.", time.time()
            topic = f"{prefix}wearable.observations"
            admin.create(broker, prefix, LANES)
            broker.admin.create_topics([NewTopic(f"{topic}.plain-alerts", LANES, 1)])[f"{topic}.plain-alerts"].result()
            load(broker, f"{prefix}patient.profiles", people(patients, now))
            count = load(broker, topic, observations(patients, events, now, seed=number))
            rates["limit"].append(peer("limit", running.address, topic, count))
            rates["faust"].append(peer("plain_faust", running.address, topic, LANES, count))
            rates["stream-twin"].append(worker(running.address, prefix, count, Path(directory) / f"worker-{number}.log"))
            print(
                f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items()), flush=True
            )
        audit = [sys.executable, "-m", "stream_twin.cli", "audit", "--broker", running.address, "--prefix", prefix]
        subprocess.run(audit, check=True)
    times = [ours / theirs for ours, theirs in zip(rates["stream-twin"], rates["faust"], strict=True)]
    met = report(
        "bench",
        [
            Result("limit", "events/s", rates["limit"]),
            Result("faust", "events/s", rates["faust"]),
            Result("stream-twin", "events/s", rates["stream-twin"], wanted=30_000),
            Result("stream-twin to faust", "times", times, wanted=10),
        ],
    )
    if not met:
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
