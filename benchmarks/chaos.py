"""Workers under random faults, then the audit: nothing lost, nothing twice, every state as one undisturbed process has it.

    python -m benchmarks.chaos [--rounds 10] [--rate 300] [--broker HOST:PORT] [--seed N] [--check COMMAND]

Two workers of the service on a real Kafka, with a device for each of a hundred patients sending to them. Each round kills
one (SIGKILL), stops it (SIGTERM) or freezes it for longer than the group waits (SIGSTOP); what ended is started again.
``COMMAND`` is run at the end, with ``{broker}`` and ``{prefix}`` filled in; its exit code says whether all is right.
"""

import argparse
import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import msgspec
from confluent_kafka import Producer

from benchmarks.report import Result, report
from stream_twin import events
from stream_twin.clock import elapsed, wall
from stream_twin.kafka import admin
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.failures import ExitCode

LANES, PATIENTS = 8, 100
FROZEN_S = 9.0
"""Longer than the group's session time-out of 6 s: another worker has the lanes when the frozen one goes on."""
AUDIT = f"{shlex.quote(sys.executable)} -m stream_twin.cli audit --broker {{broker}} --prefix {{prefix}}"
WELL = {ExitCode.STOPPED, ExitCode.FENCED, -signal.SIGKILL, -signal.SIGTERM}
"""How a worker may end here; everything else is a finding. By SIGTERM itself where Python was not even loaded yet."""
encode = msgspec.json.encode


class Load(threading.Thread):
    """Observations of every patient in turn, with air for all, rubbish, and commands among them, until :meth:`stop`."""

    def __init__(self, broker: Broker, prefix: str, rate: float, seed: int) -> None:
        super().__init__(name="load", daemon=True)
        self.sent = 0
        self._rate, self._prefix, self._draws = rate, prefix, random.Random(seed)
        self._producer = Producer({**broker.librdkafka, "partitioner": "murmur2_random", "linger.ms": 5})
        self._ended = threading.Event()

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._producer.flush(30)

    def run(self) -> None:
        for number in range(PATIENTS):
            patient = f"patient-{number:03}"
            profile = events.Profile(patient_id=patient, valid_from=wall() - 86_400, age_years=60, place="home", time_zone="UTC")
            self._send("patient.profiles", patient, profile)
        began = elapsed()
        while not self._ended.wait(0.02):
            while self.sent < (elapsed() - began) * self._rate:
                self._one(self.sent)
                self.sent += 1
            self._producer.poll(0)

    def _one(self, number: int) -> None:
        draws, patient = self._draws, f"patient-{number % PATIENTS:03}"
        if number % 97 == 0:
            air = events.EnvironmentObservation(
                id=f"air-{number}", place="home", code="ambient_temperature", unit="Cel", measured_at=wall(), value=21.5
            )
            self._send("environment.observations", "home", air)
        elif number % 89 == 0:
            self._producer.produce(self._prefix + "clinical.observations", b"{rubbish", patient)
        else:
            # One in fifty far out, so that alerts are raised and resolved.
            pulse = draws.gauss(72, 4) if draws.random() > 0.02 else 180.0
            observation = events.Observation(
                id=f"pulse-{number}",
                patient_id=patient,
                code="8867-4",
                unit="/min",
                value=round(pulse, 1),
                measured_at=round(wall() - draws.expovariate(0.5), 3),
            )
            self._send("wearable.observations", patient, observation)

    def _send(self, topic: str, key: str, message: msgspec.Struct) -> None:
        self._producer.produce(self._prefix + topic, encode(message), key)


class Workers:
    """Two processes of the service; ``ended`` counts how they ended."""

    def __init__(self, broker: Broker, prefix: str, directory: Path) -> None:
        self.ended: Counter[str] = Counter()
        self.wrong: list[str] = []
        options = f"--broker {broker.address} --prefix {prefix} --group {prefix}twin --partition-count {LANES} --metrics-port 0"
        self._command = [sys.executable, "-m", "stream_twin.cli", "worker", *options.split(), "--checkpoint-every-s", "3"]
        self._directory, self._started = directory, 0
        self.running = [self._start(), self._start()]

    def _start(self) -> tuple["subprocess.Popen[bytes]", Path]:
        self._started += 1
        log = self._directory / f"worker-{self._started}.log"
        with log.open("wb") as output:
            return subprocess.Popen(self._command, stdout=output, stderr=output), log

    def revive(self) -> None:
        for index, (process, log) in enumerate(self.running):
            if (code := process.poll()) is not None:
                self._judge(code, log)
                self.running[index] = self._start()

    def _judge(self, code: int, log: Path) -> None:
        self.ended[f"exit {code}"] += 1
        if code not in WELL:
            self.wrong.append(f"a worker ended with {code}:\n{log.read_text(errors='replace')[-1500:]}")

    def stop(self) -> None:
        for process, _ in self.running:
            if process.poll() is None:
                process.terminate()
        for process, log in self.running:
            began = elapsed()
            try:
                self._judge(process.wait(10), log)
            except subprocess.TimeoutExpired:
                process.kill()
                self.wrong.append(f"a worker did not stop within {elapsed() - began:.0f} s:\n{log.read_text()[-1500:]}")


def campaign(
    broker: Broker, prefix: str, rounds: int, rate: float, seed: int, directory: Path
) -> tuple[Counter[str], int, list[str]]:
    """What was done and how workers ended; records sent; what is wrong."""
    draws, done = random.Random(seed), Counter[str]()
    admin.create(broker, prefix, LANES)
    workers, load = Workers(broker, prefix, directory), Load(broker, prefix, rate, seed)
    load.start()
    time.sleep(6)
    for number in range(rounds):
        how = draws.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGSTOP"])
        process, _ = draws.choice(workers.running)
        print(f"round {number + 1} of {rounds}: {how}", flush=True)
        if process.poll() is None:
            done[how] += 1
            os.kill(process.pid, getattr(signal, how))
            if how == "SIGSTOP":
                time.sleep(FROZEN_S)
                os.kill(process.pid, signal.SIGCONT)
        time.sleep(draws.uniform(0.5, 4))
        workers.revive()
        time.sleep(draws.uniform(1, 4))
    load.stop()
    # A killed worker's lanes are free again after the group's session time-out; then what was sent is worked off.
    for _ in range(6):
        time.sleep(2)
        workers.revive()
    workers.stop()
    return done + workers.ended, load.sent, workers.wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--rate", type=float, default=300, help="records a second")
    parser.add_argument("--broker", help="an address; default: a broker of its own")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--check", default=AUDIT, metavar="COMMAND")
    options = parser.parse_args()
    prefix, began = f"chaos-{wall():.0f}.", elapsed()
    print(f"seed {options.seed}, topics {prefix}*")
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-")))
        address = options.broker
        if address is None:
            from tests import kafka_broker

            address = stack.enter_context(kafka_broker.broker()).address
        done, sent, wrong = campaign(Broker(address), prefix, options.rounds, options.rate, options.seed, directory)
        print(", ".join(f"{what} {count}" for what, count in sorted(done.items())))
        audit = subprocess.run(shlex.split(options.check.format(broker=address, prefix=prefix)), check=False)
    for finding in wrong:
        print(finding, file=sys.stderr)
    met = report(
        "chaos",
        [
            Result("what does not add up after the faults", "audits", [audit.returncode], 0, at_most=True),
            Result("workers that ended otherwise than they may", "workers", [len(wrong)], 0, at_most=True),
            Result("workers locked out by another and stopped", "workers", [done[f"exit {int(ExitCode.FENCED)}"]]),
            Result("faults", "faults", [sum(done[how] for how in ("SIGKILL", "SIGTERM", "SIGSTOP"))]),
            Result("records sent", "records", [sent]),
            Result("campaign", "s", [elapsed() - began]),
        ],
    )
    sys.exit(not met)


if __name__ == "__main__":
    main()
