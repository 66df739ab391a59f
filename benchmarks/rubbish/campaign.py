"""A real worker on a real Kafka under bad input: how fast good events go through beside it, how late they are, what it costs."""

import contextlib
import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import psutil

from benchmarks import listen, load, service
from benchmarks.report import Result
from benchmarks.rubbish import floods, good
from benchmarks.rubbish.floods import GOOD, Flood
from benchmarks.rubbish.good import Case, Record, keyed
from benchmarks.rubbish.kinds import Kind
from benchmarks.rubbish.sender import ANY_ORDER, HEAVY, LIGHT, BadRecord, Sender, bad, enrol, judge
from benchmarks.service import Drained, Place, Service

HELD_S = 1.0
OPTIONS = ("--set", f"lane.hold_unknown_s={HELD_S}", "--checkpoint-every-s", "5")
DELAY_MS = 1000.0
PATIENCE_S = 90.0
OTHERS_EVERY = 50
"""Of the good records so many are one of another topic."""


class Scale(NamedTuple):
    """``rate``: good records a second, and as many bad ones; ``unknown``: patients that nobody knows, at once."""

    rounds: int = 3
    events: int = 100_000
    patients: int = 1000
    rate: float = 1000.0
    phase_s: float = 15.0
    unknown: int = 100_000
    estimate_every_s: float = 5.0
    judged: bool = True
    """Whether times count: not in the tests, where the machine does other things as well."""


SHORT = Scale(rounds=1, events=8_000, patients=200, rate=300.0, phase_s=1.5, unknown=3_000, estimate_every_s=0.5, judged=False)


def others(case: Case) -> Iterator[Record]:
    """Good records of the topics that carry no observations of a person, in turn."""
    for number in itertools.count(1):
        one = case._replace(number=number, now=time.time())
        yield keyed(good.EVENTS, good.meal(one))
        yield keyed(good.PLACES, good.air(one, value=10.0 + number % 7))
        yield keyed(good.PROFILES, good.profile(one))
        yield keyed(good.DEVICES, good.devices(one))
        yield keyed(good.OUTCOMES, good.outcome(one))
        if number % 20 == 1:
            yield keyed(good.MODELS, good.model(one))


# ------------------------------------------------------------------------------------------------------- throughput


def throughput(place: Place, scale: Scale, found: Counter[str]) -> list[Result]:
    """Pairs of runs over a backlog of the same good events, with as many bad ones between them and without."""
    rates: dict[bool, list[float]] = {False: [], True: []}
    costs: dict[bool, list[float]] = {False: [], True: []}
    for number in range(scale.rounds):
        for mixed in (False, True) if number % 2 == 0 else (True, False):
            here = place._replace(prefix=f"{place.prefix}{number}{'mixed' if mixed else 'good'}.")
            drained = _drained(here, scale, mixed, number, found)
            rates[mixed].append(scale.events / drained.seconds)
            costs[mixed].append(drained.cpu_s / scale.events * 1e6)
        pair = ", ".join(f"{'mixed' if mixed else 'good only'} {values[-1]:,.0f}/s" for mixed, values in rates.items())
        print(f"pair {number + 1} of {scale.rounds}: {pair}", flush=True)
    shares = [with_bad / alone for with_bad, alone in zip(rates[True], rates[False], strict=True)]
    return [
        Result("good events alone", "events/s", rates[False]),
        Result("good events, 1:1 with bad ones", "events/s", rates[True]),
        Result("records of both kinds, 1:1", "events/s", [2 * rate for rate in rates[True]]),
        Result("share of the rate that is left to good ones", "times", shares, 0.8 if scale.judged else None),
        Result("share of the rate, records of both kinds", "times", [2 * share for share in shares]),
        Result("CPU of a good event", "us", costs[False]),
        Result("CPU of a good and a bad one", "us", costs[True]),
    ]


def _drained(place: Place, scale: Scale, mixed: bool, seed: int, found: Counter[str]) -> Drained:
    place.make_topics()
    sender, case = Sender(place), Case(0, time.time())
    enrol(sender, case, map(load.patient, range(scale.patients)))
    more, rubbish = others(case), bad(ANY_ORDER, 1, scale.events, case.now, case.run)
    for number, (key, value) in enumerate(load.observations(scale.patients, scale.events, case.now, seed)):
        sender.good(Record(good.WEARABLE, key, value))
        if number % OTHERS_EVERY == 0:
            sender.good(next(more))
        if mixed:
            sender.bad(*next(rubbish))
    sender.flush()
    with service.running(place, options=OPTIONS) as workers:
        drained = service.drain(workers, scale.events)
        found.update(judge(place, sender.expected, patience_s=20))
    found.update(_audited(place))
    return drained


def _audited(place: Place) -> Counter[str]:
    command = [sys.executable, "-m", "stream_twin.cli", "audit", "--broker", place.broker.address, "--prefix", place.prefix]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Counter([f"audit of {place.prefix}: {line}" for line in done.stderr.splitlines() if line] if done.returncode else [])


# ------------------------------------------------------------------------------------------------------------ delay


class Phase(NamedTuple):
    """``mixed``: with bad records of the catalogue; ``burst``: of the flood so many at once, instead of its rate."""

    name: str
    mixed: bool = True
    flood: Flood | None = None
    burst: int = 0
    heavy: bool = False


def phases(scale: Scale) -> tuple[Phase, ...]:
    return (
        Phase("good only", mixed=False),
        Phase("1:1 with bad ones"),
        Phase("and bad ones of a megabyte", heavy=True),
        Phase("and 10,000/s of one patient", flood=Flood("device", 10_000 * (1.0 if scale.judged else 0.1), floods.one_device)),
        Phase(f"and {scale.unknown:,} unknown patients", flood=Flood("strangers", 0, floods.strangers), burst=scale.unknown),
        Phase("and a patient with 200 signals", flood=Flood("signals", 400, floods.many_signals)),
        Phase("and series of 100,000 samples", flood=Flood("series", 0.5, floods.long_series)),
        Phase("and clocks that jump", flood=Flood("clocks", 500, floods.jumping_clocks)),
        Phase("good only again", mixed=False),
    )


class _Memory(threading.Thread):
    """Samples a worker's memory."""

    def __init__(self, worker: Service) -> None:
        super().__init__(daemon=True)
        self.most, self.now = 0, 0
        self._worker, self._over = worker, threading.Event()

    def run(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):  # after an error the worker goes first
            while not self._over.wait(0.2):
                self.now = self._worker.rss()
                self.most = max(self.most, self.now)

    def reset(self) -> int:
        most, self.most = self.most, self.now
        return most

    def stop(self) -> None:
        self._over.set()
        self.join()


def delay(place: Place, scale: Scale, found: Counter[str]) -> list[Result]:
    """Good events at a steady rate through phases of ever other rubbish: from the send to the committed estimate."""
    place.make_topics()
    sender, case = Sender(place), Case(0, time.time(), run="d")
    rows: list[Result] = []
    with service.running(place, options=(*OPTIONS, "--set", f"lane.estimate_every_s={scale.estimate_every_s}")) as [worker]:
        worker.wait_ready()
        enrol(sender, case, map(load.patient, range(scale.patients)))
        _wait_until_done(worker)  # or the lane would not know yet whose devices are whose
        memory = _Memory(worker)
        memory.start()
        with listen.Listener(place, "twin.estimates", _of_the_good) as estimates:
            feed = _Feed(sender, scale, case)
            feed.run(Phase("warm", mixed=False), max(scale.phase_s / 3, 2))
            for phase in phases(scale):
                began, cost, thin = time.time(), worker.cpu_s(), _thinned(worker)
                feed.run(phase, scale.phase_s)
                until = time.time()
                _wait_until_done(worker)
                cost, thin = worker.cpu_s() - cost, _thinned(worker) - thin
                late = np.sort(estimates.latencies_ms(began, until))
                if not len(late):
                    raise RuntimeError(f"{phase.name}: no estimate of the patients who send good samples was heard")
                p50, p99, longest = float(np.quantile(late, 0.5)), float(np.quantile(late, 0.99)), float(late[-1])
                told = f"{len(late)} estimates, p50 {p50:.0f}, p99 {p99:.0f}, longest {longest:.0f} ms"
                print(f"{phase.name}: {told}, {cost:.1f} s of CPU, memory {memory.most / 2**20:.0f} MB", flush=True)
                rows += [
                    Result(f"{phase.name}: delay, p50", "ms", [p50]),
                    Result(f"{phase.name}: delay, p99", "ms", [p99]),
                    Result(f"{phase.name}: delay, longest", "ms", [longest], DELAY_MS if scale.judged else None, at_most=True),
                    Result(f"{phase.name}: CPU of the worker", "s", [cost]),
                    Result(f"{phase.name}: memory", "MB", [memory.reset() / 2**20]),
                ]
                if thin:
                    rows.append(Result(f"{phase.name}: thinned", "records", [thin]))
        found.update(judge(place, sender.expected, patience_s=30))
        memory.stop()
    found.update(_audited(place))
    return rows


def _wait_until_done(worker: Service) -> None:
    """So that a phase has no part in the next one's numbers."""
    deadline = time.monotonic() + PATIENCE_S
    time.sleep(2 * HELD_S)  # lag is told once a second, and what is held is refused after that
    while service.lag(worker.numbers()) > 100:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the worker is still behind {PATIENCE_S:.0f} s after the phase")
        time.sleep(0.5)
    time.sleep(0.5)


def _thinned(worker: Service) -> float:
    return sum(value for name, value in worker.numbers().items() if name.startswith("stream_twin_thinned_total"))


def _of_the_good(value: bytes) -> float | None:
    return listen.cause_of_estimate(value) if b'"patient_id":"patient-' in value[:200] else None


class _Feed:
    """Sends by the clock: good ones, bad ones and a flood, each at its rate."""

    def __init__(self, sender: Sender, scale: Scale, case: Case) -> None:
        self._sender, self._scale, self._case = sender, scale, case
        self._values, self._others = load.Values(seed=1), others(case)
        self._good, self._turn, self._number = 0, 0, itertools.count(1)

    def run(self, phase: Phase, seconds: float) -> None:
        case = self._case._replace(now=time.time())
        streams: list[tuple[float, Iterator[BadRecord]]] = [(self._scale.rate, self._good_ones())]
        if phase.mixed:
            streams.append((self._scale.rate, self._bad_ones()))
        if phase.flood is not None and not phase.burst:
            streams.append((phase.flood.rate, phase.flood.records(case)))
        if phase.heavy:
            streams.append((len(HEAVY) / seconds, self._heavy_ones()))
        sent = [0] * len(streams)
        began = time.monotonic()
        if phase.flood is not None:
            for records, reason in itertools.islice(phase.flood.records(case), phase.burst):
                self._put(records, reason)
        while (elapsed := time.monotonic() - began) < seconds:
            for number, (rate, records_of) in enumerate(streams):
                while sent[number] < elapsed * rate:
                    self._put(*next(records_of))
                    sent[number] += 1
            self._sender.poll(0.002)
        self._sender.flush()

    def _put(self, records: list[Record], reason: str) -> None:
        if reason == GOOD:
            self._sender.good(records[0])
        else:
            self._sender.bad(records, reason)

    def _good_ones(self) -> Iterator[BadRecord]:
        while True:
            self._good += 1
            if self._good % OTHERS_EVERY == 0:
                yield [next(self._others)], GOOD
            key, value = self._values.observation(self._good % self._scale.patients, "heart_rate", time.time(), self._good)
            yield [Record(good.WEARABLE, key, value)], GOOD

    def _kinds(self) -> tuple[Kind, ...]:
        """All of the light ones, from another one on each time."""
        self._turn = (self._turn + 1000) % len(LIGHT)
        return LIGHT[self._turn :] + LIGHT[: self._turn]

    def _bad_ones(self) -> Iterator[BadRecord]:
        while True:
            yield from bad(self._kinds(), next(self._number) * 1000, 1000, time.time(), self._case.run)

    def _heavy_ones(self) -> Iterator[BadRecord]:
        for kind in itertools.cycle(HEAVY):
            yield kind.make(Case(next(self._number) * 1000, time.time(), self._case.run)), kind.reason
