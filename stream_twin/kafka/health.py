"""Whether a worker is alive and ready, for the probes of whoever runs it. Its loop writes, the server's thread reads."""

import asyncio
import math
from collections.abc import Collection
from typing import Protocol

from stream_twin.clock import elapsed

STUCK_S = 30.0
"""A loop that did not come round for so long will not: the longest step of a lane, a checkpoint of it, takes a second."""
SILENT_S = 10.0
"""Without an answer of the broker, or without a commit of a lane, for so long a worker does not watch its patients."""
BEAT_S = 1.0


class Watched(Protocol):
    """A lane, as far as readiness goes by it."""

    number: int
    settled_at: float
    """When all that was done until then was last committed, by :func:`elapsed`."""

    @property
    def is_restored(self) -> bool: ...


class Health:
    def __init__(self, stuck_s: float = STUCK_S, silent_s: float = SILENT_S) -> None:
        self._stuck_s, self._silent_s = stuck_s, silent_s
        self._beat_at, self._heard_at = elapsed(), -math.inf
        self.is_assigned = False
        """Whether the group has told this worker its lanes."""

    async def beat(self) -> None:
        """For ever: note that the loop comes round."""
        while True:
            self._beat_at = elapsed()
            await asyncio.sleep(BEAT_S)

    def heard(self) -> None:
        """The broker answered."""
        self._heard_at = elapsed()

    def stuck(self) -> str | None:
        """Why the process should be killed, or None. Its heartbeats to Kafka would go on, so that nobody else takes its lanes."""
        still_s = elapsed() - self._beat_at
        return f"the worker's loop has stood still for {still_s:.0f} s" if still_s > self._stuck_s else None

    def unready(self, lanes: Collection[Watched]) -> str | None:
        """Why patients of ``lanes`` are not watched, or None. Who was given no lane, since others have them, is ready."""
        if stuck := self.stuck():
            return stuck
        now = elapsed()
        if self._heard_at == -math.inf:
            return "the broker has not answered yet, or its topics are not as they must be"
        if (silent_s := now - self._heard_at) > self._silent_s:
            return f"the broker has not answered for {silent_s:.0f} s"
        if not self.is_assigned:
            return "the group has not given this worker its lanes yet"
        if restoring := [lane.number for lane in lanes if not lane.is_restored]:
            return f"{len(restoring)} of {len(lanes)} lanes are being restored, such as lane {min(restoring)}"
        if late := [lane for lane in lanes if now - lane.settled_at > self._silent_s]:
            worst = min(late, key=lambda lane: lane.settled_at)
            return f"lane {worst.number} has not committed for {now - worst.settled_at:.0f} s"
        return None
