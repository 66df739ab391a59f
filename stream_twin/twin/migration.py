"""States under another model than the one they were made with: another version, or another population."""

from array import array
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from stream_twin.twin import filter as kernel
from stream_twin.twin.block import COLUMNS, ID_BYTES, SavedBlock
from stream_twin.twin.model import Names, Plan, PopulationModel, key_of
from stream_twin.twin.state import Floats, K, Row, code_of, converted, empty, input_code

Channel = tuple[str, str | None]


def migrated(saved: Sequence[SavedBlock], population: PopulationModel) -> list[SavedBlock]:
    """Blocks as ``population`` has them; the same where nothing changes.

    What elements of the same name knew is kept; new ones start from the population. Where blocks join, all are predicted to the
    latest of their settled states, and samples from before it count as that much older.
    """
    if all(is_current(block, population) for block in saved):
        return list(saved)
    targets: dict[str, list[Channel]] = {}
    order = population.catalogue.order
    for block in saved:
        for channel in block.channels:
            targets.setdefault(population.blocks[channel[0]], []).append(channel)
    return [_merged(saved, sorted(channels, key=lambda c: order[c[0]]), population) for channels in targets.values()]


def is_current(block: SavedBlock, population: PopulationModel) -> bool:
    return block.population == population.population.name and block.names == plan_of(block.channels, population).spelled


def plan_of(channels: Sequence[Channel], population: PopulationModel) -> Plan:
    counts: dict[str, int] = {}
    for name, _ in channels:
        counts[name] = counts.get(name, 0) + 1
    return population.plan(key_of(counts.items(), population.catalogue))


def _merged(saved: Sequence[SavedBlock], channels: list[Channel], population: PopulationModel) -> SavedBlock:
    sources = [block for block in saved if any(channel in block.channels for channel in channels)]
    plan = plan_of(channels, population)
    where = Row.of(plan.layout)
    rows = [_own(block, plan) for block in sources]
    latest = max(float(row[where.at]) for row in rows)
    total = empty(plan.layout)
    stats = total[where.stats : where.inputs].reshape(-1, K)
    unknown = total[: where.at].copy()
    settled_at = max(block.settled_at for block in sources)
    samples = list[_Sample]()
    inputs = set(plan.inputs)
    for block, row in zip(sources, rows, strict=True):
        if latest > -np.inf:
            kernel.advance(plan.layout, row, latest)
        # What a source does not know is as in the empty state, and what one knows no other does: no two have a driver.
        total[: where.at] = np.where(row[: where.at] == unknown, total[: where.at], row[: where.at])
        total[where.contributions :] += row[where.contributions :]
        mine = [number for number, channel in enumerate(channels) if channel in block.channels]
        stats[mine] = row[where.stats : where.inputs].reshape(-1, K)[mine]
        # Amounts went into every source that has the input: they count once, what is settled of them and what is not.
        own = inputs & set(Names.parsed(block.names).inputs)
        inputs -= own
        places = [where.inputs + plan.inputs.index(name) for name in own]
        total[places] = row[places]
        samples += _samples(block, channels, plan, own, settled_at)
    total[where.at] = latest
    samples.sort()
    return SavedBlock(
        population=population.population.name,
        names=plan.spelled,
        channels=tuple(channels),
        lateness_s=max(block.lateness_s for block in sources),
        settled_at=settled_at,
        seen_to=max(block.seen_to for block in sources),
        settled=total.tobytes(),
        base=0,
        ids=b"".join(sample.identity for sample in samples),
        samples=array("d", [x for s in samples for x in (s.at, s.raw, s.code, -s.younger)]).tobytes(),
        versions=array("I", [s.version for s in samples]).tobytes() if any(s.version != 1 for s in samples) else None,
    )


class _Sample(NamedTuple):
    """In the order in which samples are applied."""

    at: float
    younger: float
    rank: int
    identity: bytes
    raw: float
    code: int
    version: int


def _own(block: SavedBlock, plan: Plan) -> Floats:
    """The settled state of one source, in the new layout."""
    return converted(np.frombuffer(block.settled), Names.parsed(block.names), plan)


def _samples(
    block: SavedBlock, channels: list[Channel], plan: Plan, own: Collection[str], settled_at: float
) -> Iterator[_Sample]:
    """Those of ``channels`` and the amounts that went into the inputs ``own``."""
    inputs = Names.parsed(block.names).inputs
    columns = np.frombuffer(block.samples).reshape(-1, COLUMNS).tolist()
    versions = [1] * len(columns) if block.versions is None else array("I", block.versions)
    for number, (at, raw, code, age) in enumerate(columns):
        if code >= 0:
            channel = block.channels[int(code) // 3]
            if channel not in channels:
                continue
            new = code_of(channels.index(channel), int(code) % 3 - 1)
        else:
            name = inputs[int(-1 - code)]
            if name not in own:
                continue
            new = input_code(plan.inputs.index(name))
        when = max(at, settled_at)
        identity = block.ids[number * ID_BYTES : (number + 1) * ID_BYTES]
        rank = new if new < 0 else int(plan.layout.channel_signal[new // 3])
        yield _Sample(when, -(age + when - at), rank, identity, raw, new, versions[number])
