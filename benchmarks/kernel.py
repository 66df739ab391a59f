"""``make bench-kernel``: the filter by itself against filterpy, what a twin weighs, and what a late sample costs. Needs no Kafka.

    make bench-kernel                                  all of it, about five minutes
    make bench-kernel ARGS="--repeats 2 --twins 200"   to see that all works; its numbers mean nothing

An update takes one sample of one patient into the patient's state, at a gap of its own. filterpy has a ``KalmanFilter`` for each
patient, which predicts with F and Q of that gap and updates with a scalar; F, Q, loadings and error are handed to it ready made.
Here all of that is computed inside, and outliers, tails, noise, statistics and contributions. They take turns, so that what
else the machine does hits both. Rows ``stream-twin d24 batch100``: one call of the kernel for a sample of each of 100 patients;
``with blocks``: the samples filed, checked and checkpointed as a lane does it, too.
"""

import gc
import math
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Annotated, NamedTuple

import msgspec
import numpy as np
import psutil
import typer
from filterpy.kalman import KalmanFilter

from benchmarks import machine, report
from benchmarks.report import Result
from stream_twin import events, signals
from stream_twin.ingest import Ingest
from stream_twin.kafka import heap
from stream_twin.lane import Lane
from stream_twin.twin import filter as kernel
from stream_twin.twin.blocks import SETTLED_TOGETHER, Blocks
from stream_twin.twin.model import Plan, PopulationModel, key_of, shipped
from tests.twin import made

NAME = "bench-kernel"
SIZES = (8, 16, 24, 32, 64)
"""Elements of a state."""
BATCHES = (1, 10, 100, 1000)
PATIENTS = 1000
KB = 1024
TIMES_WANTED = {1: 1.0, 100: 15.0, 1000: 15.0}
"""As fast as filterpy, by batch, up to 32 elements."""
WEIGHED = {24: (10_000, 6.0, 4.0), 64: (1_000, None, None)}
"""Elements -> twins, and KB of memory and of a snapshot that a twin may need."""
BEHIND = (0, 10, 100, 1000)
PENDING = 2000
HOUR = 60
"""Samples of each signal of an hour: one a minute."""
POPULATION = "intensive_care"
NOW = 1_760_000_000.0
WARM = 200
"""Twins that are there before those that are weighed."""
Turn = Callable[[], int]
"""Does some updates; -> how many."""


# --------------------------------------------------------------------------------------------------------------------- speed


class Feed:
    """Samples of all patients of a layout, one of each per round, at irregular times, near what the population's mean is."""

    def __init__(self, plan: Plan, seed: int = 1) -> None:
        self.plan, self.random, self.clock = plan, np.random.default_rng(seed), NOW
        layout = plan.layout
        self.usual = np.array([kernel.from_working(layout.scale[k], layout.means[k]) for k in range(len(layout.means))])

    def round(self, patients: int) -> tuple[made.Floats, made.Floats, made.Ints]:
        """Times, values and codes."""
        self.clock += 60.0
        times = self.clock + self.random.uniform(0, 60, patients)
        which = self.random.integers(0, len(self.usual), patients)
        return times, self.usual[which] * self.random.uniform(0.99, 1.01, patients), 3 * which + 1


def by_kernel(feed: Feed, batch: int) -> Turn:
    """Calls of the kernel for ``batch`` patients at a time, until all had a sample."""
    rows = made.empty(feed.plan, PATIENTS)
    layout, ages, marks = feed.plan.layout, np.zeros(batch), np.zeros(0, np.int64)
    seen, before = np.empty((batch, len(kernel.SEEN))), np.empty((0, rows.shape[1]))
    slots = np.arange(PATIENTS)

    def turn() -> int:
        times, values, codes = feed.round(PATIENTS)
        for a in range(0, PATIENTS, batch):
            b = a + batch
            kernel.follow(layout, rows, slots[a:b], times[a:b], values[a:b], ages, codes[a:b], marks, seen, before)
        return PATIENTS

    return turn


def by_blocks(feed: Feed, batch: int) -> Turn:
    """The same through :class:`Blocks`: filed, and filtered after each ``batch``; two minutes of samples stay pending."""
    blocks = Blocks(made.CATALOGUE)
    everybody = [made.block(blocks, feed.plan, 120.0) for _ in range(PATIENTS)]
    number = 0

    def turn() -> int:
        nonlocal number
        times, values, codes = (column.tolist() for column in feed.round(PATIENTS))
        for a in range(0, PATIENTS, batch):
            for block, at, value, code in zip(
                everybody[a : a + batch], times[a : a + batch], values[a : a + batch], codes[a : a + batch], strict=True
            ):
                number += 1
                blocks.offer(block, code, number.to_bytes(8, "little"), at, value, 1, feed.clock - 1, NOW)
            blocks.flush()
        blocks.take_surprises()
        blocks.take_settled()
        return PATIENTS

    return turn


def by_filterpy(feed: Feed, patients: int = 100) -> Turn:
    plan = feed.plan
    layout, prior = plan.layout, made.covariance(plan, made.empty(plan)[0])
    noise = layout.noise.tolist()
    filters = []
    for _ in range(patients):
        one = KalmanFilter(dim_x=plan.d, dim_z=1)
        one.x, one.P = np.zeros((plan.d, 1)), prior.copy()
        filters.append(one)
    loadings = np.zeros((len(plan.signals), 1, plan.d))
    for k in range(len(plan.signals)):
        for r in range(layout.reads_start[k], layout.reads_start[k + 1]):
            loadings[k, 0, layout.reads_element[r]] = layout.reads_value[r]
    steps = []
    for gap in feed.random.uniform(30, 90, patients):
        f = np.exp(-layout.rates * gap)
        steps.append((np.diag(f), prior - np.outer(f, f) * prior))

    def turn() -> int:
        _, values, codes = feed.round(patients)
        which, errors = (codes // 3).tolist(), (values - feed.usual[codes // 3]).tolist()
        for one, (F, Q), k, error in zip(filters, steps, which, errors, strict=True):
            one.predict(F=F, Q=Q)
            one.update(error, R=noise[k], H=loadings[k])
        return patients

    return turn


def rates(turns: dict[str, Turn], repeats: int, seconds: float) -> dict[str, list[float]]:
    """Updates/s of each, turn about."""
    for turn in turns.values():
        turn()  # compiles, and fills caches
    found: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(repeats):
        for name, turn in turns.items():
            done, began = 0, time.perf_counter()
            while (took := time.perf_counter() - began) < seconds:
                done += turn()
            found[name].append(done / took)
    return found


def speed(repeats: int, seconds: float) -> list[Result]:
    rows = []
    for d in SIZES:
        plan = made.wide(d)
        turns = {f"filterpy d{d}": by_filterpy(Feed(plan))}
        turns |= {f"stream-twin d{d} batch{batch}": by_kernel(Feed(plan), batch) for batch in BATCHES}
        turns[f"stream-twin d{d} batch1000 with blocks"] = by_blocks(Feed(plan), 1000)
        found = rates(turns, repeats, seconds)
        rows += [Result(name, "updates/s", values) for name, values in found.items()]
        theirs = found[f"filterpy d{d}"]
        for batch in BATCHES:
            times = [own / other for own, other in zip(found[f"stream-twin d{d} batch{batch}"], theirs, strict=True)]
            wanted = TIMES_WANTED.get(batch) if d <= 32 else None
            rows.append(Result(f"stream-twin d{d} batch{batch} to filterpy", "times", times, wanted))
    return rows


def late(repeats: int) -> list[Result]:
    """What it costs to join a sample of one patient that comes late, by how many came before it that are newer."""
    plan = made.wide(24)
    blocks, feed = Blocks(made.CATALOGUE), Feed(plan)
    block = made.block(blocks, plan, 1e9)
    rounds = [feed.round(1) for _ in range(PENDING)]
    for number, (times, values, codes) in enumerate(rounds):
        blocks.offer(block, int(codes[0]), number.to_bytes(8, "little"), float(times[0]), float(values[0]), 1, 0.0, NOW)
    blocks.flush()
    took: dict[int, list[float]] = {behind: [] for behind in BEHIND}
    number = 10**6
    for _ in range(repeats * 10):
        for behind, its in took.items():
            number += 1
            at = block.samples[-4] + 1.0 if behind == 0 else block.samples[-4 * (behind + 1)] + 1e-3
            began = time.perf_counter()
            blocks.offer(block, 1, number.to_bytes(8, "little"), at, float(feed.usual[0]), 1, 0.0, NOW)
            blocks.flush()
            its.append(1e6 * (time.perf_counter() - began))
    names = {0: "a sample in order"} | {behind: f"a sample that is late by {behind:,} samples" for behind in BEHIND if behind}
    return [Result(f"{names[behind]}, d24, {PENDING:,} pending", "us", its) for behind, its in took.items()]


# -------------------------------------------------------------------------------------------------------------------- weight


def signals_for(population: PopulationModel, elements: int) -> list[str]:
    """Signals whose states together have so many elements, those of the largest block first."""
    heads = list(population.blocks.values())
    chosen: list[str] = []
    for name in sorted(population.models, key=lambda name: -heads.count(population.blocks[name])):
        if elements_of(population, [*chosen, name]) <= elements:
            chosen.append(name)
        if elements_of(population, chosen) == elements:
            return chosen
    raise ValueError(f"no signals of {population.population.name} have {elements} elements together")


def elements_of(population: PopulationModel, names: list[str]) -> int:
    blocks: dict[str, list[str]] = {}
    for name in names:
        blocks.setdefault(population.blocks[name], []).append(name)
    return sum(population.plan(key_of([(name, 1) for name in its], population.catalogue)).d for its in blocks.values())


class Weight(NamedTuple):
    """Bytes per twin in memory and in ``twin.state``."""

    rows: float
    """In memory, of the states' rows alone."""
    settled: tuple[float, float]
    waiting: tuple[float, float]
    """With the last sample of each signal not settled, as between two samples."""
    hour: tuple[float, float]
    """With an hour's samples that are not settled."""


class Entry(NamedTuple):
    offset: int
    key: bytes
    value: bytes
    timestamp: int = round(NOW * 1000)


def weigh(elements: int, twins: int) -> Weight:
    """A real lane: people enrolled, two samples of each signal, all settled; then an hour's samples of some of them that wait."""
    catalogue = signals.load()
    population = shipped(catalogue)[POPULATION]
    names = signals_for(population, elements)
    usual = {name: kernel.from_working(made.scale_of(name), population.models[name].mean) for name in names}
    ingest, lane = Ingest(catalogue), Lane(0, catalogue)
    offset = 0

    def put(topic: str, messages: Iterator[tuple[bytes, bytes]]) -> None:
        nonlocal offset
        sources = [Entry(number, *message) for number, message in enumerate(messages)]
        done = ingest.run(topic, 0, sources, NOW)
        assert not done.rejected, done.rejected[0]
        log = [Entry(offset + number, *entry) for number, entry in enumerate(done.inputs)]
        offset += len(log)
        lane.apply(log)

    def tick(clock: float) -> None:
        nonlocal offset
        lane.apply([Entry(offset, b"", msgspec.json.encode(events.Tick(clock=clock, complete_to=clock)))])
        offset += 1

    def people(some: range) -> Iterator[tuple[bytes, bytes]]:
        for number in some:
            profile = events.Profile(
                patient_id=f"patient-{number:06d}", valid_from=NOW - 1e6, population=POPULATION, age_years=60
            )
            yield profile.patient_id.encode(), msgspec.json.encode(profile)

    def samples(some: range, steps: int, start: float) -> Iterator[tuple[bytes, bytes]]:
        random = np.random.default_rng(some.start)
        for step in range(steps):
            for number in some:
                for name in names:
                    its, value = catalogue[name], usual[name] * float(random.uniform(0.99, 1.01))
                    sample = events.Observation(
                        id=f"{name}-{number}-{start:.0f}-{step}",
                        patient_id=f"patient-{number:06d}",
                        code=name,
                        code_system=events.CATALOGUE,
                        unit=its.unit,
                        measured_at=start + 60.0 * step,
                        value=min(max(round(value, its.decimals), its.plausible[0]), its.plausible[1]),
                        device_id=f"monitor-{number}",
                    )
                    yield sample.patient_id.encode(), msgspec.json.encode(sample)

    weighed_ones = range(WARM, WARM + twins)

    def send(patients: range, *rounds: tuple[int, float]) -> None:
        for first in patients[::100]:
            some = range(first, min(first + 100, patients.stop))
            if not lane.patients.get(b"patient-%06d" % first):
                put("patient.profiles", people(some))
            for steps, start in rounds:
                put("wearable.observations", samples(some, steps, start))

    def weighed(some: int) -> tuple[float, float]:
        keys = list(lane.patients)[WARM :: max(some // 100, 1)]
        lane.changed()
        return (resident() - empty) / twins, float(np.mean([len(lane.snapshot(key) or b"") for key in keys]))

    def pending() -> int:
        return sum(len(block) for patient in lane.patients.values() for block in patient.blocks.values())

    tick(NOW - 7200)
    send(range(WARM), (2, NOW - 7150))  # what compiling and the first of a kind take is no twin's
    empty = resident()
    heads = [population.blocks[name] for name in names]
    steps = max(2, math.ceil(SETTLED_TOGETHER / min(heads.count(head) for head in heads)))  # fewer are not settled
    send(weighed_ones, (steps, NOW - 7000))
    tick(NOW - 6000)
    send(weighed_ones, (1, NOW - 7000))  # duplicates: the lane hears of these signals after the tick, and settles them
    before_all = pending()
    settled = weighed(twins)
    first = lane.patients[b"patient-%06d" % WARM]
    assert sum(block.slab.plan.d for block in first.blocks.values()) == elements
    rows = sum(block.row.nbytes for block in first.blocks.values())
    send(weighed_ones, (1, NOW - 6000))
    assert pending() - before_all == twins * len(names)
    waiting = weighed(twins)
    before, some = resident(), max(twins // 10, 1)
    for start in range(WARM, WARM + some, 20):
        put("wearable.observations", samples(range(start, min(start + 20, WARM + some)), HOUR, NOW - 5900))
    its = range(WARM, WARM + some, max(some // 50, 1))
    hour = np.mean([len(lane.snapshot(b"patient-%06d" % number) or b"") for number in its])
    return Weight(rows, settled, waiting, (waiting[0] + (resident() - before) / some, float(hour)))


def resident() -> int:
    """Bytes, once what is free went back."""
    gc.collect()
    heap.give_back()
    return int(psutil.Process().memory_info().rss)


def weights(twins: int | None) -> list[Result]:
    rows = []
    for d, (full, memory_kb, snapshot_kb) in WEIGHED.items():
        count = twins or full
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as fresh:  # a process that never held anything else
            found = fresh.submit(weigh, d, count).result()
        rows.append(Result(f"a twin d{d}: its state", "KB", [found.rows / KB]))
        for what, (memory, snapshot) in (
            ("settled", found.settled),
            ("with its last samples pending", found.waiting),
            (f"with an hour pending, {HOUR} samples of each signal", found.hour),
        ):
            limits = (memory_kb if twins is None else None, snapshot_kb) if what == "settled" else (None, None)
            rows.append(Result(f"a twin d{d} {what}, of {count:,}", "KB", [memory / KB], limits[0], at_most=True))
            rows.append(Result(f"a twin d{d} {what}: snapshot", "KB", [snapshot / KB], limits[1], at_most=True))
    return rows


def main(
    repeats: Annotated[int, typer.Option(min=1, help="Turns of each.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.01, help="Of a turn.")] = 0.3,
    twins: Annotated[int | None, typer.Option(min=1, help="To weigh, instead of thousands.")] = None,
) -> None:
    with machine.noted(NAME):
        rows = speed(repeats, seconds) + late(repeats) + weights(twins)
    if not report.report(NAME, rows):
        raise SystemExit(1)


if __name__ == "__main__":
    typer.run(main)
