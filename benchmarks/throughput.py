"""Observations per second: of one worker with everything on, of the same job in other frameworks, and of bare decoding.

One topic with the same events for all, one program at a time, in turn, several rounds. All are timed once their filters or
twins are made, the worker until all samples are applied. That they are committed, and nothing was lost, is checked with
``stream-twin audit`` after the last round.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from confluent_kafka.admin import NewTopic

from benchmarks import load, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / "build" / "peers" / "bin" / "python"
"""Made by ``make bench``; Quix Streams and bytewax cannot live beside the service."""
PEERS = {
    "limit": ("limit", sys.executable),
    "faust": ("on_faust", sys.executable),
    "quix": ("on_quix", str(PEERS_PYTHON)),
    "bytewax": ("on_bytewax", str(PEERS_PYTHON)),
}
OURS = "stream-twin"
WANTED = 60_000
RATIOS = {"faust": 15.0, "quix": 5.5, "bytewax": 5.5, "limit": 0.13}
PEER_TIMEOUT_S = 180.0


def peer(name: str, place: Place, events: int, warm: int) -> tuple[float, float]:
    """Events per second of a program of :mod:`benchmarks.peers`, and microseconds of its CPU per event."""
    module, python = PEERS[name]
    if name == "limit":
        warm = min(warm, events // 10)
    arguments = [place.broker.address, place.topic(load.WEARABLE), warm, events - warm]
    command = [python, "-m", f"benchmarks.peers.{module}", *map(str, arguments)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PEER_TIMEOUT_S,
        check=False,
        env={**os.environ, "PYTHONPATH": "."},
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return found["events"] / found["seconds"], found["cpu_s"] / found["events"] * 1e6


def backlog(place: Place, patients: int, events: int, seed: int) -> int:
    """Topics, profiles and observations for a worker to work off; how many observations."""
    place.make_topics()
    now = time.time()
    load.load(place.broker, place.topic(load.PROFILES), load.people(map(load.patient, range(patients)), now))
    return load.load(place.broker, place.topic(load.WEARABLE), load.observations(patients, events, now, seed))


def measure(place: Place, scale: Scale, peers: tuple[str, ...] = tuple(PEERS)) -> list[Result]:
    rates: dict[str, list[float]] = {name: [] for name in (*peers, OURS)}
    costs: dict[str, list[float]] = {name: [] for name in rates}
    for number in range(scale.rounds):
        here = place._replace(prefix=f"{place.prefix}{number}.")
        count = backlog(here, scale.patients, scale.events, seed=number)
        alerts = here.topic(load.WEARABLE) + ".peer-alerts"
        place.broker.admin.create_topics([NewTopic(alerts, scale.lanes, 1)])[alerts].result()
        for name in peers:
            rate, cost = peer(name, here, count, scale.warm)
            rates[name].append(rate)
            costs[name].append(cost)
        with service.running(here) as workers:
            drained = service.drain(workers, count, scale.warm)
        rates[OURS].append(drained.samples / drained.seconds)
        costs[OURS].append(drained.cpu_s / drained.samples * 1e6)
        print(f"round {number + 1}: " + ", ".join(f"{name} {values[-1]:,.0f}/s" for name, values in rates.items()), flush=True)
    audit(here)
    rows = [Result(name, "events/s", values, WANTED if name == OURS else None) for name, values in rates.items()]
    for name, wanted in RATIOS.items():
        if name in rates:
            ratios = [ours / theirs for ours, theirs in zip(rates[OURS], rates[name], strict=True)]
            rows.append(Result(f"{OURS} to {name}", "times", ratios, wanted))
    return rows + [Result(f"CPU of {name}", "us/event", values) for name, values in costs.items()]


def audit(place: Place) -> None:
    """Raises CalledProcessError where something does not add up."""
    command = [sys.executable, "-m", "stream_twin.cli", "audit", "--broker", place.broker.address, "--prefix", place.prefix]
    subprocess.run(command, check=True)


def top_rate(rows: list[dict[str, object]]) -> float | None:
    """The worker's own median in the rows of a report, if it is there."""
    found = [row["median"] for row in rows if row["name"] == OURS]
    return float(median(found)) if found else None  # type: ignore[type-var]
