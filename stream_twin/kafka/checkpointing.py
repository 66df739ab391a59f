"""Checkpoints of an open lane, written in slices beside what goes on, so that no transaction grows much by them."""

import math
from collections import deque

from stream_twin.clock import elapsed
from stream_twin.kafka import state
from stream_twin.kafka.outbox import Outbox
from stream_twin.kafka.stages import Lane

SLICE_BYTES = 512 << 10
"""Snapshots of a checkpoint in one transaction."""
SLICE_TWINS = 16
"""At least; otherwise a checkpoint takes half the time until the next one."""
LAST_SLICE_BYTES = 4 << 20


class Checkpointing:
    """A checkpoint's cut is made at once; snapshots of what changed until then follow at a bounded rate.

    A snapshot says itself which offset it covers, so it may be newer than the cut.
    """

    def __init__(self, lane: Lane, number: int, every_s: float) -> None:
        self._lane, self._number, self._every_s = lane, number, every_s
        self._at = elapsed() + every_s
        self._position = lane.position
        self._checkpoint = b""
        self._left: deque[bytes] | None = None
        self._slice_twins = SLICE_TWINS

    @property
    def is_due(self) -> bool:
        return elapsed() >= self._at

    @property
    def is_under_way(self) -> bool:
        """Begun, and its last slice is not taken yet."""
        return self._left is not None

    def add_to(self, outbox: Outbox, commit_every_s: float, final: bool) -> None:
        """Put the next slice into ``outbox``; ``final``: begin one now, and take large slices."""
        lane = self._lane
        if (final or (self._left is None and self.is_due)) and lane.position > self._position:
            self._left = deque(dict.fromkeys([*(self._left or ()), *lane.changed()]))
            self._checkpoint, self._position = lane.checkpoint(), lane.position
            self._at = elapsed() + self._every_s
            self._slice_twins = max(SLICE_TWINS, math.ceil(len(self._left) * 2 * commit_every_s / self._every_s))
        if self._left is None:
            return
        budget, twins = (LAST_SLICE_BYTES, len(self._left)) if final else (SLICE_BYTES, self._slice_twins)
        while self._left and budget > 0 and twins > 0:
            twins -= 1
            key = self._left.popleft()
            snapshot = lane.snapshot(key)
            outbox.put(state.TOPIC, self._number, state.SNAPSHOT + key, snapshot)
            budget -= len(snapshot or b"")
        if not self._left:
            outbox.put(state.TOPIC, self._number, state.CHECKPOINT, self._checkpoint)
            self._left = None
