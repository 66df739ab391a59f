"""``topics grow``: more lanes, without losing what the twins know.

A new generation of ``twin.inputs`` and ``twin.state`` is written beside the one in force, whose logs were applied to their
ends before: each new log begins with a base of its lane and of its patients. Then one record in every lane of the old state
names the new number of lanes, so that no worker can open it any more, and at last all other topics get their partitions.
Whoever reads goes by these, so that until then the old generation is in force. Stopped anywhere, it is run again.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import msgspec
from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import NewPartitions, NewTopic

from stream_twin import topics
from stream_twin.events import LaneBase, PatientBase
from stream_twin.kafka import admin, checkup, reader, state
from stream_twin.kafka.broker import TIMEOUT_S
from stream_twin.kafka.failures import FENCED, ExitCode, Fatal
from stream_twin.kafka.outbox import Outbox, Transactions
from stream_twin.kafka.placing import ANEW, INPUTS, full_name, generation_of, lane_of
from stream_twin.kafka.stages import Stages, WorkerSettings

SLICE_BYTES = 4 << 20
SLICE_RECORDS = 1000
MADE_WITHIN_S = 30.0
OTHERS = tuple(topic for topic in topics.TOPICS if topic.name not in ANEW)
BaseOf = Callable[[int, Mapping[int, bytes]], bytes]
"""Number of a new lane, last checkpoints of all lanes before -> the checkpoint that it starts from."""
_encode = msgspec.json.Encoder().encode


async def grow(settings: WorkerSettings, stages: Stages, base_of: BaseOf, tell: Callable[[str], object]) -> int | None:
    """Grow to ``settings.partition_count`` lanes; how many twins went over, or None where there are that many lanes already.

    ``tell`` hears how far it is. Workers must have stopped.

    Raises:
        Fatal: it cannot be done, and nothing has changed; the message names what to do.
        KafkaException, KafkaError, TimeoutError: the broker failed; run it again.
    """
    growth = _Growth(settings, stages, base_of, tell)
    try:
        return await growth.run()
    except FENCED as error:
        raise Fatal(
            ExitCode.FENCED, "a worker or another topics grow has started meanwhile: stop it and run this again"
        ) from error
    finally:
        await growth.close()


class _Growth:
    def __init__(self, settings: WorkerSettings, stages: Stages, base_of: BaseOf, tell: Callable[[str], object]) -> None:
        self._settings, self._stages, self._base_of, self._tell = settings, stages, base_of, tell
        self._broker, self._prefix, self._lanes = settings.broker, settings.prefix, settings.partition_count
        self._old = generation_of(self._broker, self._prefix)
        self._suffix = f".{self._lanes}"
        self._fences: dict[int, Transactions] = {}

    async def run(self) -> int | None:
        self._demand()
        old, lanes = self._old.lanes, self._lanes
        if old == lanes:
            return None
        switched, twins = [], 0
        for lane in range(old):
            found = await self._read(lane)
            switched.append(found.sources.lanes if found.sources else old)
            twins += len(found.snapshots)
        if other := [number for number in switched if number not in (old, lanes)]:
            raise _refused(f"its lanes were being grown to {other[0]}", f"run it with --partition-count {other[0]} first")
        if switched.count(lanes) < old:
            twins = await self._write()
            for lane in range(old):
                self._tell(f"closing lane {lane} of {old}")
                await self._switch(lane)
        self._tell(f"raising {len(OTHERS)} topics to {lanes} partitions")
        await asyncio.to_thread(self._raise)
        return twins

    def _demand(self) -> None:
        old, lanes = self._old.lanes, self._lanes
        if self._broker.is_embedded:
            raise _refused("the embedded broker forgets its topics with its process", "start another demo")
        if lanes < old:
            raise _refused(f"there are {old} lanes, and Kafka takes no partitions away", f"give --partition-count above {old}")
        found = self._broker.admin.list_topics(timeout=TIMEOUT_S).topics
        if missing := [self._prefix + topic.name for topic in OTHERS if self._prefix + topic.name not in found]:
            raise _refused(f"{', '.join(missing)} are missing", f"stream-twin topics create --partition-count {old} makes them")
        if hosts := checkup.members(self._broker, self._settings.group):
            raise _refused(
                f"{len(hosts)} workers of group {self._settings.group} are running, on {', '.join(sorted(set(hosts)))}",
                f"stop them (SIGTERM; one that was killed counts for {self._settings.session_timeout_s:.0f} s more),"
                f" run this, then start them with --partition-count {lanes}",
            )

    # ------------------------------------------------------------------------------------------- the old generation

    async def _read(self, lane: int) -> state.LaneState:
        return await asyncio.to_thread(state.read, self._broker, self._prefix, lane, self._old.suffix)

    async def _fence(self, name: str) -> None:
        """Lock out whoever has this transactional id: a worker that was only frozen would write on."""
        transactions = self._transactions(name, "")
        await transactions.open()
        await transactions.close()

    def _transactions(self, name: str, suffix: str) -> Transactions:
        settings = self._settings
        return Transactions(self._broker, self._prefix, f"{settings.group}-{name}", settings.commit_timeout_s, suffix)

    async def _finish(self, lane: int) -> state.LaneState:
        """Apply the log to its end and write what that puts out; then ``twin.state`` alone is the lane, as returned."""
        careful_until = 0
        while True:
            try:
                await self._apply_rest(lane, await self._read(lane), careful_until)
                return await self._read(lane)
            except self._stages.update_failed as error:
                failed_at = int(getattr(error, "offset", 0))
                if failed_at < careful_until:
                    raise Fatal(ExitCode.FAILED, f"lane {lane}, also one by one: {error}: {error.__cause__!r}") from error
                careful_until = failed_at + 1

    async def _apply_rest(self, number: int, found: state.LaneState, careful_until: int) -> None:
        stages, fence = self._stages, self._fences[number]
        lane = await asyncio.to_thread(stages.make_lane, number, found.checkpoint, found.snapshots.items())
        name = full_name(self._prefix, INPUTS, self._old.suffix)
        first = self._broker.first_offsets([(name, number)])[name, number]
        if first > lane.position:
            raise _refused(
                f"{name}/{number} begins at offset {first}, but the lane is at {lane.position}: records it needs are gone",
                "its twins cannot be brought up to date",
            )
        known = found.sources or state.Sources(lanes=self._old.lanes, positions={}, emitted=0)
        outbox, alerted = Outbox(), dict[bytes, None]()

        async def write() -> None:
            nonlocal outbox
            for key in alerted:
                outbox.put(state.TOPIC, number, state.SNAPSHOT + key, lane.snapshot(key))
            known.emitted = max(known.emitted, lane.position)
            outbox.put(state.TOPIC, number, state.SOURCES, state.encode(known))
            await fence.write(outbox)
            outbox = Outbox()
            alerted.clear()

        records = iter(reader.read(self._broker, name, [number], start={number: lane.position}))
        while batch := await asyncio.to_thread(_take, records, SLICE_RECORDS):
            applied = await asyncio.to_thread(lane.apply, batch, batch[0].offset < careful_until)
            for offset, output in applied.outputs:
                if offset >= known.emitted:
                    outbox.put_output(output, number)
            alerted.update(dict.fromkeys(applied.alerted))
            if outbox.bytes > SLICE_BYTES:
                await write()
        await write()
        for key in lane.changed():
            outbox.put(state.TOPIC, number, state.SNAPSHOT + key, lane.snapshot(key))
            if outbox.bytes > SLICE_BYTES:
                await write()
        outbox.put(state.TOPIC, number, state.CHECKPOINT, lane.checkpoint())
        await write()

    async def _switch(self, lane: int) -> None:
        """From here on no worker opens this lane of the old generation: it finds that there are more lanes."""
        known = (await self._read(lane)).sources
        assert known is not None, "written by _finish"
        known.lanes = self._lanes
        outbox = Outbox()
        outbox.put(state.TOPIC, lane, state.SOURCES, state.encode(known))
        await self._fences[lane].write(outbox)

    # ------------------------------------------------------------------------------------------- the new generation

    async def _write(self) -> int:
        old = self._old.lanes
        for lane in range(old):
            await self._fence(f"broadcast-{lane}")
            self._fences[lane] = self._transactions(str(lane), self._old.suffix)
            await self._fences[lane].open()
        for cohort in self._stages.learners:
            await self._fence(f"learner-{cohort}")
        checkpoints: dict[int, bytes] = {}
        owns: dict[int, state.LaneState] = {}
        for lane in range(old):
            self._tell(f"finishing lane {lane} of {old}")
            ended = await self._finish(lane)
            assert ended.checkpoint is not None, "written by _finish"
            checkpoints[lane] = ended.checkpoint
            owns[lane] = state.LaneState(lane=lane, sources=ended.sources, broadcast=ended.broadcast, learners=ended.learners)
        self._tell(f"making {', '.join(full_name(self._prefix, topic, self._suffix) for topic in ANEW)}")
        await asyncio.to_thread(self._make)
        new = self._transactions("grow", self._suffix)
        await new.open()
        try:
            await self._write_lanes(new, checkpoints, owns)
            return await self._write_twins(new)
        finally:
            await new.close()

    async def _write_lanes(
        self, new: Transactions, checkpoints: Mapping[int, bytes], owns: Mapping[int, state.LaneState]
    ) -> None:
        parts = [(self._prefix + topic.name, lane) for topic in OTHERS for lane in range(self._old.lanes)]
        firsts, ends = self._broker.first_offsets(parts), self._broker.end_offsets(parts)
        outbox = Outbox()
        for lane in range(self._lanes):
            own = owns.get(lane, state.LaneState(lane=lane))
            read = own.sources.positions if own.sources else {}
            everywhere = own.broadcast.positions if own.broadcast else {}
            positions = {}
            for topic in OTHERS if lane in owns else ():
                part = self._prefix + topic.name, lane
                position = read.get(topic.name, firsts[part]) if topic.role == "source" else ends[part]
                positions[topic.name] = max(position, everywhere.get(topic.name, 0))
            base = LaneBase(lanes_before=self._old.lanes, checkpoint=self._base_of(lane, checkpoints), positions=positions)
            outbox.put(INPUTS, lane, b"", _encode(base))
            record = state.Sources(lanes=self._lanes, positions=read, emitted=0)
            outbox.put(state.TOPIC, lane, state.SOURCES, state.encode(record))
            if own.broadcast:
                outbox.put(state.TOPIC, lane, state.BROADCAST, state.encode(own.broadcast))
            for cohort, learner in own.learners.items():
                outbox.put(state.TOPIC, lane, state.LEARNER + cohort.encode(), state.encode(learner))
        await new.write(outbox)

    async def _write_twins(self, new: Transactions) -> int:
        count, outbox = 0, Outbox()
        for lane in range(self._old.lanes):
            self._tell(f"writing the twins of lane {lane} of {self._old.lanes}, {count:,} so far")
            for key, snapshot in (await self._read(lane)).snapshots.items():
                outbox.put(INPUTS, lane_of(key, self._lanes), key, _encode(PatientBase(snapshot=snapshot)))
                count += 1
                if outbox.bytes > SLICE_BYTES:
                    await new.write(outbox)
                    outbox = Outbox()
        if outbox:
            await new.write(outbox)
        return count

    def _make(self) -> None:
        """Topics of the new generation, empty: what is there of one that was not finished goes."""
        client = self._broker.admin
        found = client.list_topics(timeout=TIMEOUT_S).topics
        names = {full_name(self._prefix, topic, self._suffix): topic for topic in ANEW}
        if half := [name for name in names if name in found]:
            for future in client.delete_topics(half, operation_timeout=TIMEOUT_S).values():
                future.result()
        before = found[full_name(self._prefix, INPUTS, self._old.suffix)]
        copies = len(before.partitions[0].replicas)
        wanted = [NewTopic(n, self._lanes, copies, config=topics.BY_NAME[topic].kafka_config) for n, topic in names.items()]
        for topic in wanted:
            for tries in range(int(MADE_WITHIN_S / 0.2)):
                try:
                    client.create_topics([topic], operation_timeout=TIMEOUT_S)[topic.topic].result()
                    break
                except KafkaException as error:  # a topic takes a moment to go
                    if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS or tries == int(MADE_WITHIN_S / 0.2) - 1:
                        raise
                    time.sleep(0.2)
        admin.wait_until_usable(self._broker, [(name, lane) for name in names for lane in range(self._lanes)])

    def _raise(self) -> None:
        client = self._broker.admin
        found = client.list_topics(timeout=TIMEOUT_S).topics
        names = [self._prefix + topic.name for topic in OTHERS]
        wanted = [NewPartitions(name, self._lanes) for name in names if len(found[name].partitions) < self._lanes]
        for future in client.create_partitions(wanted).values() if wanted else ():
            future.result()
        admin.wait_until_usable(self._broker, [(name, lane) for name in names for lane in range(self._lanes)])

    async def close(self) -> None:
        await asyncio.gather(*(fence.close() for fence in self._fences.values()))


def _take(records: Iterator[reader.Record], count: int) -> Sequence[Any]:
    return list(islice(records, count))


def _refused(why: str, todo: str) -> Fatal:
    return Fatal(ExitCode.TOPICS, f"topics grow: {why}: {todo}")
