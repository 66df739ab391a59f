"""Up to which time everything sent to the sources is in the lanes' logs."""

import asyncio
from collections import deque

from stream_twin.clock import wall
from stream_twin.kafka.broker import Broker, Part
from stream_twin.kafka.group import Group

PROBES = 120
"""Under way at once; behind by more seconds than that, one is given up where they are closest."""


class Completeness:
    """Note the sources' ends at time T; once the group's committed positions have reached them all, T is complete.

    A worker sees all lanes' progress in the group's offsets, since a source's record may go into any lane. Several probes
    are under way at once, so that a steady load does not hold the answer up.
    """

    def __init__(self, broker: Broker, group: Group, sources: list[Part]) -> None:
        self._broker, self._group, self._sources = broker, group, sources
        self._probes: deque[tuple[float, dict[Part, int]]] = deque()
        self.complete_to = 0.0
        self.ends: dict[Part, int] = {}

    async def probe(self) -> None:
        """Raises KafkaException, KafkaError or TimeoutError with the broker away: nothing is known then."""
        at = wall()  # before the ends: what is sent while asking may be in or out
        self.ends = await asyncio.to_thread(self._broker.end_offsets, self._sources)
        if len(self._probes) == PROBES:
            # The oldest is what everybody waits for, and without any between, the answer would then stand still.
            times = [at for at, _ in self._probes]
            del self._probes[min(range(1, PROBES - 1), key=lambda n: times[n + 1] - times[n - 1])]
        self._probes.append((at, self.ends))
        committed = await self._group.committed(self._sources)
        while self._probes and all(committed[part] >= end for part, end in self._probes[0][1].items() if end > 0):
            self.complete_to, _ = self._probes.popleft()
