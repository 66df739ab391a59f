"""What was read of a lane's partitions and is not processed yet, and where the clock's ticks stand among it."""

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import msgspec

from stream_twin.events import ClockTick
from stream_twin.kafka.transport import Batch

TICKS = "clock.ticks"
_decode_tick = msgspec.json.Decoder(ClockTick).decode


class Intake:
    """One queue per topic. ``pause`` and ``resume`` are called with a topic as its queue fills up and empties.

    ``ends``: offset up to which a topic was taken in. It also moves over what is no record, such as transaction markers.
    """

    def __init__(
        self, positions: Mapping[str, int], limit: int, pause: Callable[[str], None], resume: Callable[[str], None]
    ) -> None:
        self.ends = dict(positions)
        self._queues: dict[str, deque[Any]] = {topic: deque() for topic in positions}
        self._limit, self._pause, self._resume = limit, pause, resume
        self._paused: set[str] = set()

    def offer(self, topic: str, batch: Batch) -> bool:
        """Take in what is new. False where records between what is there and ``batch`` are missing: read again from ``ends``."""
        end = self.ends[topic]
        if batch.start > end:
            return False
        if batch.end > end:
            queue = self._queues[topic]
            queue.extend(batch.records if batch.start == end else [record for record in batch.records if record.offset >= end])
            self.ends[topic] = batch.end
            if len(queue) > self._limit:
                self._paused.add(topic)
                self._pause(topic)
        return True

    def waiting(self) -> int:
        """Records of all topics that were read and are not processed."""
        return sum(map(len, self._queues.values()))

    def position(self, topic: str) -> int:
        """Offset of the next record to process."""
        queue = self._queues[topic]
        return int(queue[0].offset) if queue else self.ends[topic]

    def positions(self) -> dict[str, int]:
        return {topic: int(queue[0].offset) if queue else self.ends[topic] for topic, queue in self._queues.items()}

    def first(self, topic: str) -> Any | None:
        queue = self._queues[topic]
        return queue[0] if queue else None

    def take(self, topic: str, limit: int, below: int | None = None) -> list[Any]:
        """Up to ``limit`` records, of offsets below ``below``."""
        queue = self._queues[topic]
        if below is None:
            taken = [queue.popleft() for _ in range(min(limit, len(queue)))]
        else:
            taken = []
            while queue and queue[0].offset < below and len(taken) < limit:
                taken.append(queue.popleft())
        if topic in self._paused and len(queue) < self._limit // 2:
            self._paused.discard(topic)
            self._resume(topic)
        return taken

    def resumed(self) -> None:
        """Reading was set anew, so nothing is paused; a queue that is full pauses at its next batch."""
        self._paused.clear()


class Fences:
    """Ticks of ``clock.ticks``: source records beyond those that the next tick names wait until it has passed."""

    def __init__(self, intake: Intake, topics: Collection[str]) -> None:
        self._intake = intake
        self._topics = frozenset(topics)
        self._next: ClockTick | None = None
        self._last: ClockTick | None = None

    def next(self) -> ClockTick | None:
        """The oldest tick that has not passed.

        Raises:
            ValueError: the record is not a tick that can ever pass; :meth:`drop` it.
        """
        if self._next is None and (record := self._intake.first(TICKS)) is not None:
            try:
                tick = _decode_tick(record.value or b"")
            except (msgspec.ValidationError, msgspec.DecodeError) as error:
                raise ValueError(f"not a ClockTick: {error}") from None
            if strangers := set(tick.behind) - self._topics:
                raise ValueError(f"a tick behind topics that no lane reads: {', '.join(sorted(strangers))}")
            self._next = tick
        return self._next

    def limit(self, topic: str) -> int | None:
        """Offset below which records of ``topic`` may be taken; None: all. A topic that ticks do not name does not wait."""
        tick = self._next or self._last
        return 0 if tick is None else tick.behind.get(topic)

    @property
    def last_at(self) -> float:
        """Time of the tick that passed last."""
        return self._last.at if self._last else 0.0

    def reached(self) -> bool:
        return self._next is not None and all(
            self._intake.position(topic) >= offset for topic, offset in self._next.behind.items()
        )

    def passed(self) -> None:
        self._last, self._next = self._next, None
        self._intake.take(TICKS, 1)

    def drop(self) -> Any:
        """Take the next record out although it is no tick."""
        return self._intake.take(TICKS, 1)[0]
