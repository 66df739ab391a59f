"""The worker around its lanes, as far as an owner needs it."""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from stream_twin.kafka import state
from stream_twin.kafka.failures import ExitCode
from stream_twin.kafka.stages import Observer, Stages, WorkerSettings


class Reading(Protocol):
    """The consumer, as far as a lane needs it."""

    async def read_from(self, offsets: Mapping[Any, int]) -> None: ...

    def pause(self, tp: Any) -> None: ...

    def resume(self, tp: Any) -> None: ...

    def reached(self, tp: Any) -> int: ...


class Host(Protocol):
    settings: WorkerSettings
    stages: Stages
    observer: Observer
    opening: asyncio.Semaphore
    turn: asyncio.Lock
    """Of lanes that have records to process."""

    @property
    def complete_to(self) -> float: ...

    @property
    def reading(self) -> Reading: ...

    def commit_every_s(self) -> float: ...

    async def may_reopen(self, error: BaseException) -> bool: ...

    def fail(self, code: ExitCode, message: str) -> None: ...

    def lane_opened(self, lane: int, found: state.LaneState) -> None: ...
