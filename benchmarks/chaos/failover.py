"""How long nobody is watched: when a worker dies, when one freezes in the middle of a broadcast, and when one joins.

    python -m benchmarks.chaos.failover [--patients 10000] [--rate 1500] [--times 3]

Three workers, a sample of every patient in turn. Reported is the longest time between two committed estimates of a lane, as a
reader of committed records saw them: for the patients of the worker that failed, and for everybody else.
"""

import argparse
import re
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Producer

from benchmarks.chaos.faults import EXTRA, FROZEN_S
from benchmarks.chaos.scene import LANES, stage
from benchmarks.chaos.workers import Workers
from benchmarks.report import Result, report
from stream_twin import events
from stream_twin.clock import elapsed, wall
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.follower import Follower

SESSION_S = 6.0
PREFIX = "failover."
encode = msgspec.json.encode


class Watch(threading.Thread):
    """When estimates of each lane were seen, by :func:`elapsed`."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(name="watch", daemon=True)
        self.seen: dict[int, list[float]] = defaultdict(list)
        self._follower = Follower(broker, ["twin.estimates"], PREFIX)

    def run(self) -> None:
        while True:
            records, now = self._follower.poll(0.05), elapsed()
            for lane in {record.partition for _, record in records}:
                self.seen[lane].append(now)

    def gap(self, lane: int, since: float) -> float:
        """The longest time without an estimate from ``since`` until now, what began before included."""
        times = list(self.seen[lane])
        before = max((at for at in times if at <= since), default=since)
        after = [at for at in times if at > since]
        return max(b - a for a, b in zip([before, *after], [*after, elapsed()], strict=True))


class Samples(threading.Thread):
    """A profile of every patient, then samples at ``rate`` a second, with air for every lane now and then."""

    def __init__(self, broker: Broker, patients: int, rate: float) -> None:
        super().__init__(name="samples", daemon=True)
        self._patients, self._rate = patients, rate
        self._producer = Producer({**broker.librdkafka, "partitioner": "murmur2_random", "linger.ms": 5})

    def enrol(self) -> None:
        for number in range(self._patients):
            profile = events.Profile(patient_id=f"p-{number}", valid_from=wall() - 86_400, age_years=60, place="home")
            self._send("patient.profiles", profile.patient_id, profile)
        self._producer.flush(60)

    def run(self) -> None:
        began, sent = elapsed(), 0
        while True:
            while sent < (elapsed() - began) * self._rate:
                patient = f"p-{sent % self._patients}"
                sample = events.Observation(
                    id=f"o-{sent}", patient_id=patient, code="8867-4", unit="/min", value=70.0 + sent % 7, measured_at=wall()
                )
                self._send("wearable.observations", patient, sample)
                if sent % 500 == 0:
                    place = f"place-{sent % 7919}"
                    air: Any = events.EnvironmentObservation(
                        id=f"a-{sent}", place=place, code="humidity", unit="%", measured_at=wall(), value=50.0
                    )
                    self._send("environment.observations", place, air)
                sent += 1
            self._producer.poll(0.01)

    def _send(self, topic: str, key: str, message: msgspec.Struct) -> None:
        while True:
            try:
                self._producer.produce(PREFIX + topic, encode(message), key)
                return
            except BufferError:
                self._producer.poll(0.1)


class Trial:
    def __init__(self, workers: Workers, watch: Watch) -> None:
        self._workers, self._watch = workers, watch
        self.results: dict[str, list[float]] = defaultdict(list)

    def lanes(self, slot: int) -> set[int]:
        told = re.findall(r"lanes \[([\d, ]*)\], of these", self._workers.running[slot].log)
        return {int(lane) for lane in told[-1].split(", ") if lane} if told else set()

    def steady(self) -> None:
        """Until the lanes are shared by three workers, and every lane has given estimates for ten seconds."""
        deadline = elapsed() + 120
        while elapsed() < deadline:
            time.sleep(1)
            self._workers.revive()
            now = elapsed()
            shares = [self.lanes(slot) for slot in self._workers.running]
            if sum(map(len, shares)) == LANES and all(shares) and self._calm(now - 10):
                return
        raise SystemExit(f"the workers did not become steady: {self._workers.wrong}")

    def _calm(self, since: float) -> bool:
        return all(self._watch.gap(lane, since) < 1.5 for lane in range(LANES))

    def fails(self, name: str, slot: int, began: float, mine: set[int]) -> None:
        time.sleep(20)
        for lane in range(LANES):
            whose = "patients of the worker" if lane in mine else "everybody else"
            self.results[f"{name}: {whose}"].append(self._watch.gap(lane, began))
        self._workers.revive()

    def killed(self, slot: int) -> None:
        mine, began = self.lanes(slot), elapsed()
        self._workers.running[slot].send(signal.SIGKILL)
        self.fails("SIGKILL", slot, began, mine)

    def frozen(self, slot: int) -> None:
        self._workers.end(slot, signal.SIGTERM)
        worker = self._workers.start(slot, "--at", "broadcast-open:SIGSTOP")
        while not worker.is_frozen and worker.process.poll() is None:
            time.sleep(0.01)
        if not worker.is_frozen:
            raise SystemExit(f"the worker ended instead of freezing:\n{worker.log[-2000:]}")
        began = elapsed()
        mine = self.lanes(slot)
        threading.Timer(FROZEN_S, worker.send, [signal.SIGCONT]).start()
        self.fails("SIGSTOP in a broadcast", slot, began, mine)

    def joined(self) -> None:
        owners = {slot: self.lanes(slot) for slot in self._workers.running}
        began = elapsed()
        self._workers.start(EXTRA)
        time.sleep(15)
        stay = {lane for slot, lanes in owners.items() for lane in lanes & self.lanes(slot)}
        for lane in range(LANES):
            self.results[f"join: lanes that {'stay' if lane in stay else 'move'}"].append(self._watch.gap(lane, began))
        self._workers.end(EXTRA, signal.SIGTERM)


WANTED = {
    "SIGKILL: patients of the worker": 10.0,
    "SIGKILL: everybody else": SESSION_S + 1,
    "SIGSTOP in a broadcast: patients of the worker": 10.0,
    "SIGSTOP in a broadcast: everybody else": SESSION_S + 1,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1500, help="samples a second, of all patients")
    parser.add_argument("--times", type=int, default=3, help="how often each is done")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="failover-") as place, stage(Path(place)) as (kafka, _):
        broker = Broker(kafka.address)
        admin.create(broker, PREFIX, LANES)
        samples, watch = Samples(broker, options.patients, options.rate), Watch(broker)
        samples.enrol()
        workers = Workers([kafka.address] * 3, PREFIX, LANES, Path(place) / "workers")
        try:
            samples.start()
            watch.start()
            trial = Trial(workers, watch)
            for number in range(options.times):
                for part in (trial.killed, trial.frozen):
                    trial.steady()
                    part(number % 3)
                trial.steady()
                trial.joined()
        finally:
            workers.kill()
    results = [Result(name, "s without an estimate", seconds) for name, seconds in sorted(trial.results.items()) if seconds] + [
        Result(f"{name}, longest", "s", [max(trial.results[name])], wanted, at_most=True)
        for name, wanted in WANTED.items()
        if trial.results[name]
    ]
    for finding in workers.wrong:
        print(finding, file=sys.stderr)
    met = report("chaos-failover", [Result("twins", "patients", [options.patients]), *results])
    sys.exit(not met or bool(workers.wrong))


if __name__ == "__main__":
    main()
