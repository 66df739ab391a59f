"""Samples per second where a message carries a whole series: watches that sync an hour at once."""

import time

from benchmarks import load, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place

SAMPLES = 60
WANTED = 150_000


def backlog(place: Place, patients: int, messages: int, seed: int) -> int:
    """How many samples there are to work off."""
    place.make_topics()
    now = time.time()
    load.load(place.broker, place.topic(load.PROFILES), load.people(map(load.patient, range(patients)), now))
    return SAMPLES * load.load(place.broker, place.topic(load.WEARABLE), load.series(patients, messages, SAMPLES, now, seed))


def measure(place: Place, scale: Scale) -> list[Result]:
    rates, costs = [], []
    for number in range(scale.rounds):
        here = place._replace(prefix=f"{place.prefix}{number}.")
        count = backlog(here, scale.patients, scale.messages, seed=number)
        with service.running(here) as workers:
            drained = service.drain(workers, count)
        rates.append(count / drained.seconds)
        costs.append(drained.cpu_s / count * 1e6)
    return [
        Result(f"series of {SAMPLES} samples", "samples/s", rates, WANTED),
        Result("CPU of a sample of a series", "us/sample", costs),
    ]
