"""Where a record came from and what its conversion goes by."""

from collections import Counter
from typing import NamedTuple

from msgspec import Raw

from stream_twin.events import Source

Counts = Counter[tuple[str, str]]


class Origin(NamedTuple):
    """``latest``: the latest moment that a measurement may claim, in seconds. ``counts``: of the run, for what is absent."""

    key: bytes | None
    source: Source
    arrived_at: float
    original: Raw
    latest: float
    counts: Counts
