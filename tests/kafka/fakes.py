"""A small ingest, lane and learner that follow the contract, and a worker of them as a process.

The lane counts a patient's records and keeps a checksum over them in order, so that a loss, a doubling or a swap shows.
Every thirteenth record raises an alert. What it does for one log is computed again by the oracle in ``oracle.py``.
"""

import argparse
import json
import logging
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from stream_twin.clock import elapsed
from stream_twin.events import Output
from stream_twin.kafka import owner, process, state, worker
from stream_twin.kafka.outbox import Outbox, Transactions
from stream_twin.kafka.stages import Broker, Silent, Stages, WorkerSettings

ALERT_EVERY, ESTIMATE_EVERY, EXAMPLE_EVERY = 13, 3, 7  # no divisors of how many records a test sends to a patient
BROADCAST = ("environment.observations", "models")
encode, decode = msgspec.json.encode, msgspec.json.decode


@dataclass
class FakeIngested:
    inputs: list[tuple[bytes, bytes]] = field(default_factory=list)
    rejected: list[Output] = field(default_factory=list)
    counts: Counter[Any] = field(default_factory=Counter)


class FakeIngest:
    def run(self, topic: str, partition: int, records: Sequence[Any], now: float) -> FakeIngested:
        result = FakeIngested()
        for record in records:
            source = b"%s/%d/%d" % (topic.encode(), partition, record.offset)
            if record.value.startswith(b"bad"):
                result.rejected.append(Output("dead.letters", record.key or b"", record.value, (("source", source),)))
            else:
                key = b"" if topic in BROADCAST else record.key
                place = b'["%s",%d,%d]' % (topic.encode(), partition, record.offset)
                value = record.value + b" " * (7_000_000 if b"swells" in record.value else 0)
                result.inputs.append((key, b'{"s":"%s","source":%s,"now":%.3f,"v":%s}' % (source, place, now, value)))
        return result


class Twin(msgspec.Struct, array_like=True):
    count: int = 0
    checksum: int = 0
    covered: int = -1


class FakeUpdateFailed(Exception):
    def __init__(self, offset: int) -> None:
        super().__init__(f"record {offset}")
        self.offset = offset


@dataclass
class FakeApplied:
    outputs: list[tuple[int, Output]] = field(default_factory=list)
    alerted: dict[bytes, None] = field(default_factory=dict)
    urgent: bool = False
    counts: Counter[Any] = field(default_factory=Counter)


class FakeCheckpoint(msgspec.Struct):
    position: int = 0
    broadcasts: int = 0
    checksum: int = 0
    ticks: int = 0
    clock: float = 0.0
    complete_to: float = 0.0
    settings: str = ""


class FakeLane:
    def __init__(self, number: int, checkpoint: bytes | None, snapshots: Iterable[tuple[bytes, bytes]], padding: int = 0) -> None:
        self.own = msgspec.msgpack.decode(checkpoint, type=FakeCheckpoint) if checkpoint else FakeCheckpoint()
        self.position = self.own.position
        self.twins = {key: msgspec.msgpack.decode(value, type=Twin) for key, value in snapshots}
        self.padding = b"x" * padding
        self.dirty: dict[bytes, None] = {}

    def apply(self, records: Sequence[Any], careful: bool = False) -> FakeApplied:
        applied = FakeApplied()
        for record in records:
            if record.offset < self.position:
                continue
            if not record.key:
                self._apply_to_lane(record)
            else:
                twin = self.twins.setdefault(record.key, Twin())
                if record.offset > twin.covered:
                    self._apply_one(twin, record, careful, applied)
            self.position = record.offset + 1
        return applied

    def _apply_one(self, twin: Twin, record: Any, careful: bool, applied: FakeApplied) -> None:
        self.dirty[record.key] = None
        if b"poison" in record.value:
            if not careful:
                twin.count += 1_000_000  # what is spoilt must not be kept
                raise FakeUpdateFailed(record.offset)
            twin.covered = record.offset
            applied.outputs.append((record.offset, Output("dead.letters", record.key, record.value, (("reason", b"failed"),))))
            return
        twin.count, twin.checksum, twin.covered = twin.count + 1, zlib.crc32(record.value, twin.checksum), record.offset
        mark = b"%s:%d:%d" % (record.key, twin.count, twin.checksum)
        if b"huge" in record.value:
            applied.outputs.append((record.offset, Output("alerts", record.key, b"x" * 3_000_000)))
        if twin.count % ESTIMATE_EVERY == 0:
            applied.outputs.append((record.offset, Output("twin.estimates", record.key, mark)))
        if twin.count % EXAMPLE_EVERY == 0:
            applied.outputs.append((record.offset, Output("learning.examples", record.key, mark)))
        if twin.count % ALERT_EVERY == 0:
            applied.outputs.append((record.offset, Output("alerts", record.key, mark)))
            applied.alerted[record.key] = None
            applied.urgent = True

    def _apply_to_lane(self, record: Any) -> None:
        own, entry = self.own, decode(record.value)
        if entry.get("type") == "tick":
            own.ticks, own.clock, own.complete_to = own.ticks + 1, entry["clock"], entry["complete_to"]
        elif entry.get("type") == "configured":
            own.settings = entry["settings"]
        else:
            own.broadcasts, own.checksum = own.broadcasts + 1, zlib.crc32(entry["s"].encode(), own.checksum)

    def configuration(self, settings: Any) -> bytes | None:
        return None if settings in (None, self.own.settings) else encode({"type": "configured", "settings": settings})

    def forgetting(self) -> bytes | None:
        return None

    def snapshot(self, key: bytes) -> bytes:
        return (
            msgspec.msgpack.encode(self.twins[key])
            if not self.padding
            else msgspec.msgpack.encode([*msgspec.structs.astuple(self.twins[key]), self.padding])
        )

    def changed(self) -> list[bytes]:
        changed, self.dirty = list(self.dirty), {}
        return changed

    def checkpoint(self) -> bytes:
        self.own.position = self.position
        return msgspec.msgpack.encode(self.own)


class FakeLearner:
    """Publishes a numbered model after every fifth example."""

    def __init__(self, snapshot: bytes | None) -> None:
        self.seen = int(snapshot or b"0")

    def apply(self, records: Sequence[Any]) -> list[Output]:
        before, self.seen = self.seen, self.seen + len(records)
        return [Output("models", b"cohort", b'{"version":%d}' % n) for n in range(before // 5 + 1, self.seen // 5 + 1)]

    def snapshot(self) -> bytes:
        return b"%d" % self.seen


class Meter(Silent):
    """Logs every five seconds how long things took; for measuring by hand."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.ages: list[float] = []
        self.records, self.since = 0, elapsed()

    def applied(self, records: int, applied: Any, oldest_s: float) -> None:
        self.records += records
        self.ages.append(oldest_s)

    def transaction(self, lane: int, seconds: float, written: Mapping[str, int], all_of_it: bool) -> None:
        self.seconds.append(seconds)
        if (passed := elapsed() - self.since) > 5:
            logging.info(
                "%.0f/s; transactions %.0f/s, ms p50 %.1f p99 %.1f; log to lane ms p50 %.1f p99 %.1f",
                self.records / passed, len(self.seconds) / passed, *_percentiles(self.seconds), *_percentiles(self.ages),
            )  # fmt: skip
            self.seconds, self.ages, self.records, self.since = [], [], 0, elapsed()


def _percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values) or [0.0]
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


def stages(options: dict[str, Any]) -> Stages:
    return Stages(
        ingest=FakeIngest(),
        make_lane=lambda number, checkpoint, snapshots: FakeLane(number, checkpoint, snapshots, options.get("padding", 0)),
        lane_settings=options.get("lane_settings"),
        update_failed=FakeUpdateFailed,
        learners={"cohort": FakeLearner} if options.get("learner") else {},
    )


def dies_after_urgent() -> None:
    """The process ends when alerts are committed and what else was to be written is not."""
    owner.ALONE_BYTES = 0
    write = Transactions.write

    async def write_and_die(self: Transactions, outbox: Outbox, *offsets: Any) -> None:
        await write(self, outbox, *offsets)
        keys = {row[0] for rows in outbox.records.values() for row in rows}
        if state.SOURCES not in keys:
            logging.info("died after %d records", sum(outbox.counts().values()))
            os._exit(9)

    Transactions.write = write_and_die  # type: ignore[method-assign]  # a death at that very moment


def main() -> None:
    """``python -m tests.kafka.fakes ADDRESS PREFIX LANES [JSON]``"""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("prefix")
    parser.add_argument("lanes", type=int)
    parser.add_argument("options", nargs="?", default="{}")
    given = parser.parse_args()
    options = json.loads(given.options)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)
    if options.get("dies_after_urgent"):
        dies_after_urgent()
    settings = WorkerSettings(
        Broker(given.address),
        prefix=given.prefix,
        group=f"{given.prefix}twin",
        partition_count=given.lanes,
        **options.get("settings", {}),
    )
    sys.exit(process.run(lambda: worker.Worker(settings, stages(options), Meter() if options.get("meter") else None)))


if __name__ == "__main__":
    main()
