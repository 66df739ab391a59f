"""Floods: where a device measures more often than anybody can use, one sample stands for those of a second."""

from collections.abc import Iterable
from math import floor

from msgspec.structs import replace

from stream_twin.events import Input, Sample, Samples

Inputs = list[tuple[bytes, Input]]


def may_be_thinned(sample: Sample) -> bool:
    """Corrections, retractions and values known only by a bound say something that no other sample says."""
    return sample.value is not None and sample.version == 1 and not sample.retracted and sample.comparator is None


def group_of(sample: Sample) -> tuple[str | None, str, int]:
    """Device, signal and the second of measurement.

    Not of arrival: then a replay faster than life, or a device that sends an hour at once, would lose what it has; and
    what a second comes to would depend on when somebody read it.
    """
    return sample.device, sample.signal, floor(sample.at)


def stand_in(samples: Iterable[Sample]) -> Sample:
    """The median, of two the lower: a sample that was really measured, and that a few wild ones do not move."""
    ranked = sorted(samples, key=rank)
    return ranked[(len(ranked) - 1) // 2]


def rank(sample: Sample) -> tuple[float, int]:
    assert sample.value is not None
    return sample.value, sample.offset


def thin(inputs: Inputs, most: int) -> tuple[Inputs, int]:
    """Inputs of one partition without those samples for which another of their group stands, and how many these are.

    Groups of up to ``most`` samples of a patient stay as they are. What stays, stays in its place, so that each patient's inputs
    keep their order.
    """
    by_key: dict[bytes, list[Sample]] = {}
    for key, made in inputs:
        if isinstance(made, Samples):
            by_key.setdefault(key, []).extend(made.samples)
    gone, standing = set[int](), dict[int, list[int]]()
    for samples in by_key.values():
        if len(samples) <= most:
            continue
        groups: dict[tuple[str | None, str, int], list[Sample]] = {}
        for sample in samples:
            if may_be_thinned(sample):
                groups.setdefault(group_of(sample), []).append(sample)
        for group in groups.values():
            if len(group) > most:
                stays = stand_in(group).offset
                standing[stays] = [sample.offset for sample in group if sample.offset != stays]
                gone.update(standing[stays])
    if not gone:
        return inputs, 0
    left: Inputs = []
    for key, made in inputs:
        if isinstance(made, Samples) and len(by_key[key]) > most:
            kept = [sample for sample in made.samples if sample.offset not in gone]
            if not kept:
                continue
            for_others = {sample.offset: standing[sample.offset] for sample in kept if sample.offset in standing}
            made = replace(made, arrived_at=kept[0].arrived_at, samples=kept, thinned=for_others)  # noqa: PLW2901
        left.append((key, made))
    return left, len(gone)
