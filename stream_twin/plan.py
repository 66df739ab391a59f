"""How large an installation has to be, from what was measured on one worker. Pure.

The numbers of :data:`MEASURED` are of one run on two shared cores of a virtual machine; run the commands on yours, and put
in what they print.
"""

import math
from typing import NamedTuple

from stream_twin.topics import BY_NAME, DAY_MS, DEFAULT_LANES

GB = 1e9
MOST_LANES = 1024
LANES_PER_WORKER = 4
"""At least: a worker that fails or joins moves its share of the load in pieces of a quarter."""
HEADROOM = 0.5
"""Share of a worker's top rate that is planned with: the rest works off a backlog, or a failed neighbour's lanes."""


class Measured(NamedTuple):
    value: float
    unit: str
    command: str


MEASURED = {
    "worker's top rate": Measured(116_800, "observations/s", 'make bench ARGS="--only bench"'),
    "twins of a worker": Measured(10_000, "twins", 'make bench ARGS="--only bench"'),
    "memory of a worker without twins": Measured(357e6, "bytes", "python -m benchmarks.growth"),
    "memory of a twin, for each signal": Measured(4_320, "bytes", "python -m benchmarks.growth"),
    "a snapshot on disk, for each signal": Measured(195, "bytes", "python -m benchmarks.growth"),
    "an observation in its source topic": Measured(38.9, "bytes", "python -m benchmarks.growth"),
    "an observation in twin.inputs": Measured(27.4, "bytes", "python -m benchmarks.growth"),
    "an estimate, for each signal": Measured(17.4, "bytes", "python -m benchmarks.growth"),
}
"""Bytes on disk and on the wire are compressed."""


class Row(NamedTuple):
    what: str
    amount: str
    how: str


class Demand(NamedTuple):
    """``every_s``: seconds between two samples of one signal of one patient."""

    patients: int
    signals: int
    every_s: float
    estimate_every_s: float = 5.0
    checkpoint_every_s: float = 30.0
    replication: int = 3


def plan(demand: Demand) -> list[Row]:
    """What to order, each with how it was calculated.

    Raises:
        ValueError: more lanes than the service takes.
    """
    patients, signals, every_s, estimate_every_s, checkpoint_every_s, replication = demand
    rate = patients * signals / every_s
    by_rate = math.ceil(rate / (_of("worker's top rate") * HEADROOM))
    by_twins = math.ceil(patients / _of("twins of a worker"))
    workers = max(by_rate, by_twins, 2)
    lanes = max(DEFAULT_LANES, 1 << math.ceil(math.log2(workers * LANES_PER_WORKER)))
    if lanes > MOST_LANES:
        raise ValueError(
            f"{patients:,} patients with {signals} signals every {every_s:g} s want {workers} workers and {lanes} lanes, and one"
            f" installation has {MOST_LANES} at most: split it by --prefix and --group, such as one for each region"
        )
    twin = signals * _of("memory of a twin, for each signal")
    snapshot = signals * _of("a snapshot on disk, for each signal")
    memory = _of("memory of a worker without twins") + patients / workers * twin
    estimates = patients / max(every_s, estimate_every_s)
    states = patients / max(every_s, checkpoint_every_s)
    source_s, inputs_s = rate * _of("an observation in its source topic"), rate * _of("an observation in twin.inputs")
    estimates_s, state_s = estimates * signals * _of("an estimate, for each signal"), states * snapshot
    read_s, written_s = source_s + inputs_s, inputs_s + estimates_s + state_s
    lag_s = (int(BY_NAME["twin.state"].config["max.compaction.lag.ms"]) + int(BY_NAME["twin.state"].config["segment.ms"])) / 1000
    disks = {
        "wearable.observations": source_s * _kept_s("wearable.observations"),
        "twin.inputs": inputs_s * _kept_s("twin.inputs"),
        "twin.estimates": estimates_s * _kept_s("twin.estimates"),
        "twin.state": patients * snapshot + state_s * lag_s,
    }
    top, most = _of("worker's top rate"), _of("twins of a worker")
    if workers > max(by_rate, by_twins):
        because = "at least 2, so that one may fail"
    elif by_rate >= by_twins:
        because = f"by rate, at {HEADROOM:.0%} of {top:,.0f}/s each"
    else:
        because = f"by twins, {most:,.0f} each"
    return [
        Row("samples", f"{rate:,.0f}/s", f"{patients:,} patients x {signals} signals every {every_s:g} s"),
        Row("workers, one core each", f"{workers:,}", because),
        Row("partitions", f"{lanes:,}", f"of every topic: a power of two, at least {LANES_PER_WORKER} a worker"),
        Row("memory of a worker", f"{memory / GB:,.1f} GB", f"{patients / workers:,.0f} twins of {twin / 1000:,.1f} KB"),
        Row("read by workers", f"{read_s / 1e6:,.1f} MB/s", f"sources {source_s / 1e6:,.1f}, twin.inputs {inputs_s / 1e6:,.1f}"),
        Row(
            "written by workers",
            f"{written_s / 1e6:,.1f} MB/s",
            f"twin.inputs {inputs_s / 1e6:,.1f}, estimates {estimates_s / 1e6:,.1f}, twin.state {state_s / 1e6:,.1f}"
            f" (a checkpoint every {checkpoint_every_s:g} s)",
        ),
        Row(
            "between brokers",
            f"{(source_s + written_s) * (replication - 1) / 1e6:,.1f} MB/s",
            f"{replication} copies of what sources and workers write",
        ),
        *(
            Row(f"disk: {topic}", _size(size * replication), f"{_kept(topic)}, {replication} copies")
            for topic, size in disks.items()
        ),
        Row("disk of all brokers", _size(sum(disks.values()) * replication), "of these topics"),
    ]


def _size(size: float) -> str:
    return f"{size / 1e12:,.1f} TB" if size >= 1e12 else f"{size / GB:,.1f} GB"


def _of(name: str) -> float:
    return MEASURED[name].value


def _kept_s(topic: str) -> float:
    return int(BY_NAME[topic].config["retention.ms"]) / 1000


def _kept(topic: str) -> str:
    about = BY_NAME[topic]
    if about.cleanup == "compact":
        return "compacted: one snapshot of each twin, and what compaction has not come by yet"
    return f"kept for {int(about.config['retention.ms']) / DAY_MS:g} days"
