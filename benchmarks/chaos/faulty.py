"""The real command line, with one piece of it made to fail: the product itself has no hooks for tests.

    python -m benchmarks.chaos.faulty [--outbox BYTES] [--refuse TOPIC:WHY] [--at POINT:SIGNAL] [--schema 2] -- worker ...

The update of a finding whose id begins with ``poison-`` always raises, in the worker as in the audit, after it has changed
what it changes. ``--refuse``: one of the sends of a transaction is refused by the broker, WHY is ``size`` or ``time``.
``--at``: the process sends itself the signal, POINT is one of :data:`POINTS`. ``--schema``: a version to come, which reads
what this one wrote.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer

from benchmarks.chaos.load import POISON
from stream_twin import cli
from stream_twin.clock import elapsed, wall
from stream_twin.kafka import owner
from stream_twin.kafka.outbox import Transactions
from stream_twin.kafka.placing import full_name
from stream_twin.lane import intake, lane, patient

POINTS = ("broadcast-open", "broadcast-done", "commit-open", "commit-done")
"""With everything of the transaction sent, or right after its commit; of a broadcast, or of a lane's own."""
AFTER_S = 3.0
"""A fault waits until its worker has been open for so long."""
TOO_LARGE_BYTES = 6_500_000
"""More than any topic takes."""
INJECTED = b"injected"
"""Key of records that the broker must have refused."""


def poison() -> None:
    take = intake.Intake.take

    def poisoned(self: Any, patient: Any, entry: Any, offset: int, value: bytes) -> None:
        take(self, patient, entry, offset, value)
        if POISON.encode() in value:
            patient.state.fates["spoilt"] = 1  # what an update that raises leaves behind must not be kept
            raise ArithmeticError("poisoned by the campaign")

    intake.Intake.take = poisoned  # type: ignore[method-assign]


class _Armed:
    """True once, ``AFTER_S`` after the first question."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._done = False

    def __call__(self) -> bool:
        self._since = self._since or elapsed()
        return not self._done and elapsed() - self._since > AFTER_S

    def fired(self) -> None:
        self._done = True


def refuse(topic: str, why: str) -> None:
    write, armed = Transactions.write, _Armed()

    async def refused(self: Any, outbox: Any, *rest: Any) -> None:
        topics = {name for name, _ in outbox.records}
        if armed() and topic in topics and len(topics) > 1:
            armed.fired()
            send = self._send

            async def with_a_bad_one(name: str, partition: int, rows: Any, sent: Any) -> None:
                if name == full_name(self._prefix, topic, self._suffix):
                    batch = self._producer.create_batch()
                    value = os.urandom(TOO_LARGE_BYTES) if why == "size" else b"{}"
                    ahead = int((wall() + 172_800) * 1000) if why == "time" else None
                    batch.append(key=INJECTED, value=value, timestamp=ahead, headers=[])
                    sent.append(await self._producer.send_batch(batch, name, partition=partition))
                await send(name, partition, rows, sent)

            self._send = with_a_bad_one
        await write(self, outbox, *rest)

    Transactions.write = refused  # type: ignore[method-assign]


def at(point: str, number: signal.Signals) -> None:
    what, _, when = point.partition("-")
    init, write, commit, armed = Transactions.__init__, Transactions.write, AIOKafkaProducer.commit_transaction, _Armed()

    def named(self: Any, broker: Any, prefix: str, transactional_id: str, *rest: Any) -> None:
        init(self, broker, prefix, transactional_id, *rest)
        kind = "broadcast" if "-broadcast-" in transactional_id else "learner" if "-learner-" in transactional_id else "commit"
        self._producer.of_the_kind = kind

    def hit(producer: Any) -> None:
        if producer.of_the_kind == what and armed():
            armed.fired()
            os.kill(os.getpid(), number)

    async def committing(self: Any) -> None:
        if when == "open":
            hit(self)
        await commit(self)

    async def written(self: Any, *arguments: Any) -> None:
        await write(self, *arguments)
        if when == "done":
            hit(self._producer)

    Transactions.__init__ = named  # type: ignore[method-assign]
    Transactions.write = written  # type: ignore[method-assign]
    AIOKafkaProducer.commit_transaction = committing


def schema(number: int) -> None:
    """A version whose snapshots and checkpoints say ``number``, and which migrates older ones as it reads them."""

    class Snapshot(patient.Snapshot, kw_only=True):
        schema: int = number

    class Checkpoint(lane.Checkpoint, kw_only=True):
        schema: int = number

    def migrated(kind: type[Any]) -> Callable[[bytes], bytes]:
        def migrate(value: bytes) -> bytes:
            record = msgspec.msgpack.decode(value, type=kind)
            record.schema = number
            return msgspec.msgpack.encode(record)

        return migrate

    snapshot, checkpoint = migrated(Snapshot), migrated(Checkpoint)
    patient.Snapshot, patient.SCHEMA = Snapshot, number  # type: ignore[misc]
    lane.Checkpoint, lane.SCHEMA = Checkpoint, number  # type: ignore[misc]
    restore = lane.Lane.restore.__func__  # type: ignore[attr-defined]  # the plain function of the class method

    def restored(cls: Any, lane_number: int, catalogue: Any, own: bytes | None, snapshots: Any) -> Any:
        newer = ((key, snapshot(value)) for key, value in snapshots)
        return restore(cls, lane_number, catalogue, checkpoint(own) if own is not None else None, newer)

    lane.Lane.restore = classmethod(restored)  # type: ignore[method-assign,assignment]
    from stream_twin.audit import lanes

    stored = lanes.LaneAudit.stored

    def stored_newer(self: Any, key: bytes, value: bytes | None) -> None:
        stored(self, key, value and (checkpoint if key == lanes.CHECKPOINT else snapshot)(value))

    lanes.LaneAudit.stored = stored_newer  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outbox", type=int)
    parser.add_argument("--refuse")
    parser.add_argument("--at")
    parser.add_argument("--schema", type=int)
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    poison()
    if options.outbox is not None:
        owner.OUTBOX_BYTES = options.outbox
    if options.refuse:
        refuse(*options.refuse.split(":"))
    if options.at:
        point, name = options.at.split(":")
        at(point, signal.Signals[name])
    if options.schema is not None:
        schema(options.schema)
    sys.argv = ["stream-twin", *options.command[options.command[:1] == ["--"] :]]
    cli.main()


if __name__ == "__main__":
    main()
