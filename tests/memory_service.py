"""The pure stages around topics that are lists: a whole service in memory, without faults and without Kafka."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

import msgspec

from stream_twin.datasets.recording import Sent
from stream_twin.events import Output, Tick
from stream_twin.ingest import Ingest
from stream_twin.lane import Lane
from stream_twin.signals import Catalogue
from stream_twin.topics import BY_NAME, SOURCES


class Record(NamedTuple):
    offset: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp: int = 0


class MemoryService:
    """``topics``: by (name, partition). Every ``tick_s`` of the stream the lanes get a tick and apply what came."""

    def __init__(self, catalogue: Catalogue, lanes: int, tick_s: float = 60.0, checkpoint_s: float = 900.0) -> None:
        self.lanes = [Lane(number, catalogue) for number in range(lanes)]
        self.topics: dict[tuple[str, int], list[Record]] = defaultdict(list)
        self._ingest = Ingest(catalogue)
        self._tick_s, self._checkpoint_s = tick_s, checkpoint_s
        self._read: dict[tuple[str, int], int] = defaultdict(int)

    def lane_of(self, key: bytes) -> int:
        return crc32(key) % len(self.lanes)

    def run(self, stream: Iterable[Sent]) -> None:
        now = checkpoint_at = 0.0
        for sent in stream:
            if not now:
                now, checkpoint_at = sent.at, sent.at + self._checkpoint_s
            while sent.at >= now + self._tick_s:
                now += self._tick_s
                self.step(now, checkpoint=now >= checkpoint_at)
                checkpoint_at = max(checkpoint_at, now + self._checkpoint_s) if now >= checkpoint_at else checkpoint_at
            self.write(sent.topic, self.lane_of(sent.key), sent.key, sent.value, timestamp=round(sent.at * 1000))
        self.step(now + self._tick_s)

    def write(
        self,
        topic: str,
        partition: int,
        key: bytes,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
        *,
        timestamp: int = 0,
    ) -> None:
        records = self.topics[topic, partition]
        records.append(Record(records[-1].offset + 1 if records else 0, key, value, headers, timestamp))

    def put(self, output: Output, partition: int) -> None:
        self.write(output.topic, partition, output.key, output.value, output.headers)

    def step(self, now: float, checkpoint: bool = False) -> None:
        for source in SOURCES:
            for lane in range(len(self.lanes)):
                records = self.topics[source.name, lane][self._read[source.name, lane] :]
                self._read[source.name, lane] += len(records)
                ingested = self._ingest.run(source.name, lane, records, now)
                for key, value in ingested.inputs:
                    for target in [self.lane_of(key)] if key else range(len(self.lanes)):
                        self.write("twin.inputs", target, key, value)
                for output in ingested.rejected:
                    self.put(output, lane)
        for lane in self.lanes:
            self.write("twin.inputs", lane.number, b"", msgspec.json.encode(Tick(clock=now, complete_to=now)))
            if (forgetting := lane.forgetting()) is not None:
                self.write("twin.inputs", lane.number, b"", forgetting)
            applied = lane.apply(self.topics["twin.inputs", lane.number][lane.position :])
            for _, output in applied.outputs:
                self.put(output, lane.number)
            changed = dict.fromkeys([*applied.alerted, *(lane.changed() if checkpoint else ())])
            for key in changed:
                self.write("twin.state", lane.number, b"p" + key, lane.snapshot(key))
            if checkpoint:
                self.write("twin.state", lane.number, b"lcheckpoint", lane.checkpoint())
            own = {name: position for (name, number), position in self._read.items() if number == lane.number}
            read = {name: position for name, position in own.items() if not BY_NAME[name].broadcast}
            everywhere = {name: position for name, position in own.items() if BY_NAME[name].broadcast}
            record = {"schema": 1, "lanes": len(self.lanes), "positions": read, "emitted": lane.position}
            self.write("twin.state", lane.number, b"lsources", msgspec.msgpack.encode(record))
            self.write("twin.state", lane.number, b"lbroadcast", msgspec.msgpack.encode({"schema": 1, "positions": everywhere}))
