"""How complete the logs are, far behind: a broker cannot be made to lag for an hour in a test, so here its answers are made."""

import asyncio

import pytest

from stream_twin.kafka import completeness
from stream_twin.kafka.completeness import Completeness

PART = ("wearable.observations", 0)


class Broker:
    """A record is sent each second; half of them are read."""

    second = 0

    def end_offsets(self, parts: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(parts, self.second)

    async def committed(self, parts: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        return dict.fromkeys(parts, self.second // 2)


def test_it_follows_smoothly_when_an_hour_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker()
    monkeypatch.setattr(completeness, "wall", lambda: float(broker.second))
    asked = Completeness(broker, broker, [PART])  # type: ignore[arg-type]  # a broker far behind, in no time

    async def probe() -> None:
        moved_at = 1
        for broker.second in range(1, 7200):
            before = asked.complete_to
            await asked.probe()
            moved_at = broker.second if asked.complete_to > before else moved_at
            assert asked.complete_to <= broker.second // 2  # never too much
            assert broker.second - moved_at <= 120  # or a lane that moves would be said to stand still

    asyncio.run(probe())
    assert asked.complete_to > 3400
