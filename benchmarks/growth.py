"""What an observation and a twin cost on disk and in memory, and how long it takes to go from 4 lanes to 8.

python -m benchmarks.growth [PATIENTS] [SAMPLES OF EACH SIGNAL]

``stream-twin plan`` calculates with these numbers: they are in stream_twin/plan.py. The audit follows.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import load, report, service
from benchmarks.report import Result
from benchmarks.service import Place, Service
from stream_twin.kafka import reader, state
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.placing import full_name
from tests import kafka_broker

BEFORE, AFTER = 4, 8
PREFIX = "growth."
WRITTEN = ("wearable.observations", "twin.inputs", "twin.estimates")


def stored(data: Path, topic: str) -> int:
    """Bytes of a topic's segments on the broker's disk."""
    return sum(file.stat().st_size for part in data.glob(f"{topic}-*") for file in part.glob("*.log"))


def command(place: Place, *words: str) -> float:
    """Seconds that a command of stream-twin took; it must end well."""
    began = time.monotonic()
    where = ["--broker", place.broker.address, "--prefix", place.prefix]
    subprocess.run([sys.executable, "-m", "stream_twin.cli", *words, *where], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def main() -> None:
    patients, steps = (int(word) for word in (sys.argv[1:] + ["10000", "10"][len(sys.argv) - 1 :]))
    count = sum(len(load.signals_of(number)) for number in range(patients)) * steps
    with tempfile.TemporaryDirectory(prefix="growth-") as directory, kafka_broker.broker(Path(directory) / "broker") as broker:
        place = Place(Broker(broker.address), PREFIX, BEFORE, Path(directory)).make_topics()
        data = Path(directory) / "broker" / "data"
        now = time.time()
        load.load(place.broker, place.topic(load.PROFILES), load.people(map(load.patient, range(patients)), now))
        worker = Service(place).wait_ready()
        empty = worker.rss()
        load.load(place.broker, place.topic(load.WEARABLE), load.observations(patients, count, now, seed=1))
        service.drain([worker], count)
        time.sleep(60)  # the last estimates; and memory that is free goes back to the system
        full = worker.rss()
        worker.stop()
        sizes = {topic: stored(data, place.topic(topic)) for topic in WRITTEN}
        parts = [(place.topic("twin.estimates"), lane) for lane in range(BEFORE)]
        estimates = sum(place.broker.end_offsets(parts).values())
        snapshots = [
            len(snapshot)
            for lane in range(BEFORE)
            for snapshot in state.read(place.broker, PREFIX, lane).snapshots.values()
        ]  # fmt: skip
        saved = sum(
            (record.key or b"").startswith(state.SNAPSHOT) for record in reader.read(place.broker, place.topic(state.TOPIC))
        )
        saved_size = stored(data, place.topic(state.TOPIC)) / saved
        grown_s = command(place, "topics", "grow", "--group", f"{PREFIX}bench", "--partition-count", str(AFTER))
        base = stored(data, full_name(PREFIX, "twin.inputs", f".{AFTER}"))
        began = time.monotonic()
        worker = Service(place._replace(lanes=AFTER)).wait_ready()
        ready_s = time.monotonic() - began
        worker.stop()
        command(place, "audit")
    signals = count / steps / patients
    rows = [
        Result("twins", "twins", [len(snapshots)]),
        Result("an observation in its source topic", "bytes", [sizes["wearable.observations"] / count]),
        Result("an observation in twin.inputs", "bytes", [sizes["twin.inputs"] / count]),
        Result("an estimate, for each signal", "bytes", [sizes["twin.estimates"] / estimates / signals]),
        Result("a snapshot, for each signal", "bytes", [sum(snapshots) / len(snapshots) / signals]),
        Result("a snapshot on disk, for each signal", "bytes", [saved_size / signals]),
        Result("a twin's base in the new log", "bytes", [base / len(snapshots)]),
        Result("memory of a twin, for each signal", "bytes", [(full - empty) / len(snapshots) / signals]),
        Result("memory of a worker without twins", "bytes", [empty]),
        Result(f"topics grow from {BEFORE} lanes to {AFTER}", "s", [grown_s]),
        Result(f"a worker of the {AFTER} lanes, from its start until it is ready", "s", [ready_s]),
    ]
    report.report("growth", rows)


if __name__ == "__main__":
    main()
