"""What applying records gives back."""

from collections import Counter

import msgspec

from stream_twin.events import AlertChange, Output
from stream_twin.twin.block import Shown
from stream_twin.twin.state import Ints

_encode = msgspec.json.Encoder().encode


class Applied:
    """``outputs``: (offset of the record that caused it, output). ``alerted``: keys of patients of whom an alert changed, or who
    are forgotten; their snapshots, or that there is none any more, belong into the same transaction. ``urgent``: commit at
    once. ``counts``: for metrics, (what, which) -> how many; ``surprises``: index of the signal in the catalogue and
    standardised innovation, of all samples filtered.
    """

    __slots__ = ("alerted", "counts", "outputs", "surprises", "urgent")

    def __init__(self) -> None:
        self.outputs: list[tuple[int, Output]] = []
        self.alerted: set[bytes] = set()
        self.urgent = False
        self.counts: Counter[tuple[str, str]] = Counter()
        self.surprises: list[tuple[Ints, Shown]] = []

    def put(self, offset: int, output: Output) -> None:
        self.outputs.append((offset, output))

    def alerts(self, key: bytes, changes: list[AlertChange], offset: int) -> None:
        for change in changes:
            self.outputs.append((offset, Output("alerts", key, _encode(change))))
            self.counts["alert", f"{change.rule}/{change.priority}/{change.state}"] += 1
            self.urgent = self.urgent or change.state in ("raised", "escalated", "repeated")

    def forget(self, offset: int) -> None:
        """Drop what this record put out."""
        self.outputs = [(o, output) for o, output in self.outputs if o != offset]
