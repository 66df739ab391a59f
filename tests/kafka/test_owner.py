"""What an owner does when its lane goes away under it."""

import asyncio

from stream_twin.kafka.owner import Owner


def test_a_closed_lane_waits_to_be_cancelled() -> None:
    """What is due stays due; without a wait the event loop would never come round again."""

    async def run() -> int:
        owner, commits = object.__new__(Owner), 0

        async def commit() -> None:
            nonlocal commits
            commits += 1
            assert commits < 100, "it spins"

        owner.is_open = False
        owner._running, owner._due, owner._at_once = asyncio.Event(), asyncio.Event(), asyncio.Event()
        owner._running.set()
        owner._due.set()
        owner._committed_at = float("-inf")
        owner._commit_every_s = lambda: 0.0  # type: ignore[method-assign]  # always time to commit
        owner.commit = commit  # type: ignore[assignment, method-assign]  # counts instead
        task = asyncio.create_task(owner._commits())
        await asyncio.sleep(0.05)
        assert not task.done()
        task.cancel()
        return commits

    assert asyncio.run(run()) == 1
