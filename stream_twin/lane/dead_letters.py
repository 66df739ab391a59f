"""Dead letters of a lane: what became of a record that the twin could not use, with its original bytes."""

from math import isfinite
from typing import Any

from msgspec import Raw

from stream_twin.events import FromSource, Output, Sample, Samples, Source
from stream_twin.lane.applied import Applied


def sources_of(entry: Any) -> int:
    """How many source records a record of the log stands for; 1 also for a tick, which has none."""
    return len(entry.samples) if isinstance(entry, Samples) else 1


def write(out: Applied, key: bytes, entry: Any, offset: int, reason: str, detail: str) -> None:
    """One for each source record that ``entry``, at ``offset`` of the log, stands for."""
    if isinstance(entry, Samples):
        for sample in entry.samples:
            write_sample(out, key, entry, sample, offset, reason, detail)
    elif isinstance(entry, FromSource):
        _write(out, key, entry.source, entry.arrived_at, entry.original, offset, reason, detail)


def write_sample(out: Applied, key: bytes, entry: Samples, sample: Sample, offset: int, reason: str, detail: str) -> None:
    """Of one sample of ``entry``."""
    source = Source(entry.topic, entry.partition, sample.offset)
    _write(out, key, source, sample.arrived_at, sample.original, offset, reason, detail)


def write_own(out: Applied, key: bytes, lane: int, clock: float, offset: int, reason: str, detail: str) -> None:
    """Of no source record: a tick or settings in the lane's log were the cause."""
    at = clock if isfinite(clock) else 0.0  # before the first tick
    _write(out, key, Source("twin.inputs", lane, offset), at, Raw(b""), offset, reason, detail)


def _write(
    out: Applied, key: bytes, source: Source, arrived_at: float, original: Raw, offset: int, reason: str, detail: str
) -> None:
    headers = (
        ("reason", reason.encode()),
        ("detail", detail.encode()),
        ("stage", b"twin"),
        ("topic", source.topic.encode()),
        ("partition", b"%d" % source.partition),
        ("offset", b"%d" % source.offset),
        ("at", b"%d" % round(arrived_at * 1000)),
        ("log_offset", b"%d" % offset),
    )
    out.counts["rejected", reason] += 1
    out.put(offset, Output("dead.letters", key, bytes(original), headers))
