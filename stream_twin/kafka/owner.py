"""The owner of one lane: from its partitions, through ingest and the pure lane, into its transactions.

Opening is: lock out earlier owners, then read positions and state, then read on from there. Two tasks follow. *Pump* moves
records through the stages in slices, without waiting inside one: outputs and positions change together. *Commit* takes
both as they are between two slices and writes them in one transaction, while pump goes on.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
from aiokafka import TopicPartition
from aiokafka.partitioner import murmur2
from aiokafka.structs import OffsetAndMetadata

from stream_twin.clock import elapsed, wall
from stream_twin.events import Tick
from stream_twin.kafka import opening, state
from stream_twin.kafka.checkpointing import Checkpointing
from stream_twin.kafka.failures import ExitCode, Fatal
from stream_twin.kafka.group import UNREADABLE
from stream_twin.kafka.host import Host
from stream_twin.kafka.intake import TICKS, Fences, Intake
from stream_twin.kafka.outbox import Outbox, Transactions
from stream_twin.kafka.placing import INPUTS, SOURCES, full_name
from stream_twin.kafka.refusals import dead_letter, too_large
from stream_twin.kafka.stages import Lane
from stream_twin.kafka.transport import Batch

log = logging.getLogger(__name__)

OUTBOX_BYTES = 8 << 20
"""Pump waits for a commit above this."""
ALONE_BYTES = 128 << 10
"""Urgent alerts do not wait for more than this to be written with them, but go in a transaction of their own."""
LOG_AHEAD = 20_000
"""Ingest waits above so many records written and not applied yet: what is behind stays in the sources, where lag shows it."""
STEP_S = 0.02
"""For which a lane applies its log in one go, about."""
LEAST_RECORDS = 50
"""Of the log in one go."""
TO_ANSWER = 3
"""Rounds of the event loop from an answer of the broker to the next question."""
GROUP_OFFSETS_EVERY_S = 0.95
KEYS_REMEMBERED = 200_000
"""With the lane of each; strangers have keys as well."""
_encode = msgspec.json.Encoder().encode


class Owner:
    def __init__(self, number: int, host: Host) -> None:
        self.number = number
        self.is_open = False
        self.parked = False
        """Lost its broker and its place in the group: the next assignment decides."""
        self.unreadable: dict[str, str] = {}
        """Sources of which a batch stops the reading here: which batch, and the way out."""
        self.committed = 0
        """Transactions so far."""
        self.settled_at = 0.0
        """When all that was done until then was last committed, by :func:`elapsed`."""
        self._host = host
        self._settings = host.settings
        self._reads = (*SOURCES, TICKS) if host.settings.clock == "stream" else SOURCES
        self._lock = asyncio.Lock()
        self._running = asyncio.Event()
        self._running.set()
        self._task: asyncio.Task[None] | None = None
        self._lanes_of_keys: dict[bytes, int] = {}

    # --------------------------------------------------------------------------------------------- life of an owner

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name=f"lane {self.number}")

    async def close(self) -> None:
        """Give the lane up without a commit."""
        self.is_open = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def quiesce(self, deadline: float) -> None:
        """Commit all that was done, with as many snapshots as ``deadline`` (of :func:`elapsed`) allows, and stand still."""
        self._running.clear()
        try:
            async with asyncio.timeout(max(deadline - elapsed(), 0)):
                await self._commit_with_snapshots(deadline)
        except Exception as error:
            self._broke(error)

    async def hand_over(self, deadline: float) -> None:
        """The same without standing still, so that a next owner has little to read again; what is under way is not cut off."""
        if self.is_open:
            try:
                await self._commit_with_snapshots(deadline)
            except Exception as error:
                self._broke(error)

    async def _commit_with_snapshots(self, deadline: float) -> None:
        await self.commit(final=True)
        while self.is_open and self._checkpointing.is_under_way and elapsed() < deadline - 0.5:
            await self.commit(final=True)

    async def resume(self) -> None:
        """Go on after a rebalance that left the lane here."""
        self._running.set()
        if self.is_open:
            await self._read_on()

    @property
    def is_restored(self) -> bool:
        """Open, and past what its log held when it was opened."""
        return self.is_open and self._configure_at is None

    def position(self, topic: str) -> int:
        """Offset of the next record of ``topic`` to process; the lane must be open."""
        return self._intake.position(topic)

    def behind(self) -> int:
        """About how many records of its log are written and not applied yet; the lane must be open."""
        return max(self._producer.written.get((INPUTS, self.number), 0) - self._intake.position(INPUTS), 0)

    def offer(self, topic: str, batch: Batch) -> None:
        """Records of this lane; ``topic`` without prefix."""
        if not self.is_open:
            return
        if self._intake.offer(topic, batch):
            self._wake.set()
        else:
            # Records between were dropped, as a rebalance does with what is on its way.
            self._again = asyncio.create_task(self._host.reading.read_from({self._tp(topic): self._intake.ends[topic]}))

    async def _run(self) -> None:
        host, careful_until, tries = self._host, 0, 0
        while True:
            try:
                async with host.opening:
                    await self._open(careful_until)
                tries = 0
                await self._work()
            except host.stages.update_failed as error:
                failed_at = int(getattr(error, "offset", self._lane.position))
                if failed_at < careful_until:
                    host.fail(ExitCode.FAILED, f"lane {self.number}, also one by one: {error}: {error.__cause__!r}")
                    return
                log.warning("lane %d: %s; restoring it and applying one by one up to there", self.number, error)
                careful_until = failed_at + 1
            except Fatal as error:
                host.fail(error.exit_code, f"lane {self.number}: {error}")
                return
            except Exception as error:
                if not await host.may_reopen(error):
                    self.parked = True
                    return
                tries += 1
                await asyncio.sleep(min(0.1 * 2**tries, 5))
            finally:
                await self._shut()

    async def _work(self) -> None:
        tasks = [asyncio.create_task(part) for part in (self._pump(), self._commits(), self._every_second())]
        try:
            await asyncio.wait([*tasks, self._broken], return_when=asyncio.FIRST_COMPLETED)
            for ended in (self._broken, *tasks):
                if ended.done():
                    ended.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _broke(self, error: BaseException) -> None:
        self.is_open = False
        if not self._broken.done():
            self._broken.set_exception(error)

    # ------------------------------------------------------------------------------------------- opening and closing

    async def _open(self, careful_until: int) -> None:
        settings, started = self._settings, elapsed()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        name = f"{settings.group}-{self.number}"
        self._producer = Transactions(settings.broker, settings.prefix, name, settings.commit_timeout_s, settings.suffix)
        name = f"{settings.group}-broadcast-{self.number}"
        self._broadcaster = Transactions(settings.broker, settings.prefix, name, settings.commit_timeout_s, settings.suffix)
        await asyncio.gather(self._producer.open(), self._broadcaster.open())
        # Only now are positions and state final.
        there = await asyncio.to_thread(opening.find, settings, (*self._reads, INPUTS), self.number)
        found = there.state
        snapshots = found.snapshots.items()
        self._lane: Lane = await asyncio.to_thread(self._host.stages.make_lane, self.number, found.checkpoint, snapshots)
        known = found.sources
        self._stored = known.positions if known else {}
        positions = {topic: self._stored.get(topic, there.firsts[topic]) for topic in self._reads}
        positions[INPUTS] = self._lane.position
        opening.demand(there, positions, self.number)
        self._emitted = known.emitted if known else 0
        self._broadcast_to = found.broadcast.positions if found.broadcast else {}
        self._careful_until = careful_until
        self._configure_at: int | None = there.ends[INPUTS]

        reading = self._host.reading
        self._intake = Intake(
            positions,
            settings.queue_records,
            lambda topic: reading.pause(self._tp(topic)),
            lambda topic: reading.resume(self._tp(topic)),
        )
        self._fences = Fences(self._intake, SOURCES)
        self._outbox, self._results, self._broadcasts = Outbox(), Outbox(), list[bytes]()
        self._alerted: dict[bytes, None] = {}
        self._urgent = False
        self._step_records = LEAST_RECORDS
        self._checkpointing = Checkpointing(self._lane, self.number, settings.checkpoint_every_s)
        self._missing: dict[str, int] = {}
        self._committed: dict[str, int] = {}
        self._group_offsets: tuple[dict[str, int], frozenset[str]] = {}, frozenset()
        self._group_offsets_at = self._committed_at = 0.0
        self._wake, self._due, self._at_once, self._drained = asyncio.Event(), asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._wake.set()
        if settings.clock == "wall":  # before anything else: without a tick a new lane does not know the time
            self._tick()
        self.is_open, self.settled_at = True, elapsed()
        self._host.observer.restored(elapsed() - started, len(found.snapshots))
        log.info(
            "lane %d open after %.2f s: %d patients, twin.inputs from %d, emitted to %d",
            self.number, elapsed() - started, len(found.snapshots), self._lane.position, self._emitted,
        )  # fmt: skip
        self._host.lane_opened(self.number, found)
        await self._read_on()

    async def _read_on(self) -> None:
        self._intake.resumed()
        self.unreadable.clear()  # or it is said again
        await self._host.reading.read_from({self._tp(topic): end for topic, end in self._intake.ends.items()})

    async def _shut(self) -> None:
        self.is_open = False
        producers = [getattr(self, name, None) for name in ("_producer", "_broadcaster")]
        await asyncio.gather(*(producer.close() for producer in producers if producer is not None))

    def _tp(self, topic: str) -> TopicPartition:
        return TopicPartition(full_name(self._settings.prefix, topic, self._settings.suffix), self.number)

    # ------------------------------------------------------------------------------------------------------- pump

    async def _pump(self) -> None:
        while True:
            await self._running.wait()
            self._wake.clear()
            self._configure()
            moved = await self._in_turn(self._apply_slice)
            if self.behind() < LOG_AHEAD:
                moved |= await self._in_turn(self._ingest_slice if self._settings.clock == "wall" else self._ingest_behind_ticks)
            if self._outbox or self._results or self._broadcasts or (moved and self._checkpointing.is_due):
                self._due.set()
            if self._unwritten() > OUTBOX_BYTES:
                self._at_once.set()
                self._drained.clear()
                await self._drained.wait()
            elif not moved:
                await self._wake.wait()

    async def _in_turn(self, step: Callable[[], bool]) -> bool:
        """One step of one lane, then what came from the broker meanwhile. A transaction is five questions and answers: while all
        lanes of a worker take a step between two of them, it takes a second.
        """
        async with self._host.turn:
            moved = step()
            for _ in range(TO_ANSWER if moved else 0):
                await asyncio.sleep(0)
        return moved

    def _unwritten(self) -> int:
        return self._outbox.bytes + self._results.bytes

    def _configure(self) -> None:
        if self._configure_at is not None and self._intake.position(INPUTS) >= self._configure_at:
            self._configure_at = None
            if (value := self._lane.configuration(self._host.stages.lane_settings)) is not None:
                self._outbox.put(INPUTS, self.number, b"", value)

    def _apply_slice(self) -> bool:
        careful = self._intake.position(INPUTS) < self._careful_until
        records = self._intake.take(INPUTS, self._step_records, self._careful_until if careful else None)
        if not records:
            return False
        oldest_s, started = wall() - records[0].timestamp / 1000, elapsed()
        applied = self._lane.apply(records, careful=careful)
        if (took_s := elapsed() - started) > STEP_S:
            self._step_records = max(len(records) // 2, LEAST_RECORDS)
        elif took_s < STEP_S / 4:
            self._step_records = min(self._step_records * 2, self._settings.slice_records)
        for offset, output in applied.outputs:
            if offset >= self._emitted:
                self._results.put_output(output, self.number)
        self._alerted.update(dict.fromkeys(applied.alerted))
        if applied.urgent:
            self._urgent = True
            self._at_once.set()
        self._host.observer.applied(len(records), applied, oldest_s)
        return True

    def _ingest_slice(self) -> bool:
        budget = self._settings.slice_records
        for topic in SOURCES:
            if budget > 0 and (records := self._intake.take(topic, budget)):
                self._ingest(topic, records, wall())
                budget -= len(records)
        return budget < self._settings.slice_records

    def _ingest_behind_ticks(self) -> bool:
        budget, fences = self._settings.slice_records, self._fences
        while budget > 0:
            try:
                tick = fences.next()
            except ValueError as error:
                self._reject_tick(fences.drop(), str(error))
                continue
            now = tick.at if tick else fences.last_at
            for topic in SOURCES:
                if self._intake.first(topic) is not None and (records := self._intake.take(topic, budget, fences.limit(topic))):
                    self._ingest(topic, records, now)
                    budget -= len(records)
            if tick is None or not fences.reached():
                break
            self._outbox.put(INPUTS, self.number, b"", _encode(Tick(clock=tick.at, complete_to=tick.at)))
            fences.passed()
            budget -= 1
        return budget < self._settings.slice_records

    def _ingest(self, topic: str, records: list[Any], now: float) -> None:
        broadcast_to = self._broadcast_to.get(topic, 0)
        if records[0].offset < broadcast_to <= records[-1].offset:
            # A crash between a broadcast and its lane's own transaction: the first part is in every lane already.
            head = [record for record in records if record.offset < broadcast_to]
            self._ingest(topic, head, now)
            records = records[len(head) :]
        oldest_s = wall() - records[0].timestamp / 1000
        ingested = self._host.stages.ingest.run(topic, self.number, records, now)
        outbox, lanes, count = self._outbox, self._lanes_of_keys, self._settings.partition_count
        counts = Counter(ingested.counts)
        for key, value in ingested.inputs:
            if not outbox.fits(INPUTS, key, value):
                letters = too_large(topic, self.number, records, value)
                for letter in letters:
                    outbox.put_output(letter, self.number)
                counts["accepted", topic] -= len(letters)
                counts["rejected", "too_large"] += len(letters)
                continue
            if not key:
                if records[0].offset >= broadcast_to:
                    self._broadcasts.append(value)
                continue
            if (lane := lanes.get(key)) is None:
                # From the key alone: how a source's producer chose its partition is not trusted.
                if len(lanes) >= KEYS_REMEMBERED:
                    lanes.clear()
                lane = lanes[key] = (murmur2(key) & 0x7FFFFFFF) % count
            outbox.put(INPUTS, lane, key, value)
        for output in ingested.rejected:
            outbox.put_output(output, self.number)
        self._host.observer.ingested(topic, len(records), counts, oldest_s)

    def _reject_tick(self, record: Any, detail: str) -> None:
        self._outbox.put_output(dead_letter(TICKS, self.number, record, "malformed", detail, "clock"), self.number)

    async def _every_second(self) -> None:
        """A tick where the clock is the wall's, and what is left to commit, such as the group's offsets."""
        await asyncio.sleep(self.number / self._settings.partition_count)  # not all lanes at once
        while True:
            if self._running.is_set():
                if self._settings.clock == "wall":
                    self._tick()
                if self.is_restored and (value := self._lane.forgetting()) is not None:
                    self._outbox.put(INPUTS, self.number, b"", value)
                self._due.set()
                await self._read_again()
            await asyncio.sleep(1)

    def _tick(self) -> None:
        tick = Tick(clock=wall(), complete_to=self._host.complete_to)
        self._outbox.put(INPUTS, self.number, b"", _encode(tick))

    async def _read_again(self) -> None:
        """Faust drops messages without a word when a rebalance or a restart of an agent comes between."""
        ends, reading = self._intake.ends, self._host.reading
        missing = {topic: end for topic, end in ends.items() if reading.reached(self._tp(topic)) > end}
        if lost := {topic: end for topic, end in missing.items() if self._missing.get(topic) == end}:
            log.warning("lane %d: reading again %s", self.number, lost)
            await reading.read_from({self._tp(topic): end for topic, end in lost.items()})
        self._missing = missing

    # ----------------------------------------------------------------------------------------------------- commit

    async def _commits(self) -> None:
        while True:
            await self._running.wait()
            await self._due.wait()
            if (delay := self._committed_at + self._commit_every_s() - elapsed()) > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._at_once.wait()
            if self._running.is_set():
                await self.commit()
                if not self.is_open:  # what is due stays due, so this would never wait again, and nothing could end it
                    await asyncio.Future()

    def _commit_every_s(self) -> float:
        """The cycle stretches by what waits: a transaction costs about the same whatever is in it, so that fewer and larger ones
        do more in the same time, and are no later for what comes after thousands of records. Who keeps up has next to nothing
        waiting, and the shortest cycle.
        """
        slices = self._intake.waiting() / self._settings.slice_records
        return min(self._host.commit_every_s() * (1 + slices), self._settings.commit_at_most_every_s)

    async def commit(self, final: bool = False) -> None:
        """One transaction of all that pump did so far, or of what is urgent where that is much.

        Raises what the producer raises; the lane is not open any more then.
        """
        async with self._lock:
            if not self.is_open:
                return
            started = elapsed()
            try:
                outbox = self._cut_urgent() if self._urgent and not final else None
                all_of_it = not outbox
                if outbox:
                    await self._producer.write(outbox)
                else:
                    self._committed_at = started
                    if (cut := self._cut(final)) is None:
                        self.settled_at = elapsed()
                        return
                    outbox, broadcast, offsets = cut
                    if broadcast:
                        await self._broadcaster.write(broadcast)  # before the positions pass it
                    await self._producer.write(outbox, offsets, self._settings.group)
                    self.settled_at = elapsed()
            except BaseException:
                self.is_open = False
                raise
            self.committed += 1
            self._host.observer.transaction(self.number, elapsed() - started, outbox.counts(), all_of_it)

    def _cut_urgent(self) -> Outbox | None:
        """All that the lane put out of patients whose alerts changed, and their snapshots; None where the rest is no burden.

        Whoever opens the lane before the rest is written puts out the rest alone: these patients pass over what their snapshots
        cover.
        """
        if not ALONE_BYTES < self._unwritten() <= OUTBOX_BYTES:
            return None
        self._urgent = False
        self._at_once.clear()
        found = {key: self._lane.snapshot(key) for key in self._alerted}
        snapshots = {key: snapshot for key, snapshot in found.items() if snapshot is not None}
        outbox = self._results.take(snapshots)
        for key, snapshot in snapshots.items():
            outbox.put(state.TOPIC, self.number, state.SNAPSHOT + key, snapshot)
            del self._alerted[key]
        return outbox

    def _cut(self, final: bool) -> tuple[Outbox, Outbox, dict[TopicPartition, OffsetAndMetadata]] | None:
        """All that there is to write, as of now; without an await, so that it belongs together."""
        self._due.clear()
        self._at_once.clear()
        self._urgent = False
        outbox, results = self._outbox, self._results
        self._outbox, self._results = Outbox(), Outbox()
        outbox.join(results)
        self._drained.set()
        for key in self._alerted:
            outbox.put(state.TOPIC, self.number, state.SNAPSHOT + key, self._lane.snapshot(key))
        self._alerted.clear()
        self._checkpointing.add_to(outbox, self._host.commit_every_s(), final)
        if self._checkpointing.is_under_way:
            self._due.set()
        positions = self._intake.positions()
        del positions[INPUTS]
        broadcast = self._broadcast(positions)
        offsets = {**positions, INPUTS: self._intake.position(INPUTS)}
        # For lag tools and for `complete_to`: two round trips that can wait.
        told = offsets, frozenset(self.unreadable)
        if told == self._group_offsets or not (final or elapsed() >= self._group_offsets_at):
            offsets = {}
        # With a source that cannot be read on, a transaction comes all the same: it fails once the batch was skipped.
        if not outbox and not broadcast and not offsets and positions == self._committed and not self.unreadable:
            return None
        self._committed = positions
        record = state.Sources(
            lanes=self._settings.partition_count,
            positions={**self._stored, **positions},
            emitted=max(self._emitted, self._lane.position),
        )
        outbox.put(state.TOPIC, self.number, state.SOURCES, state.encode(record))
        if offsets:
            self._group_offsets, self._group_offsets_at = told, elapsed() + GROUP_OFFSETS_EVERY_S
        return outbox, broadcast, {self._tp(topic): self._group_offset(topic, offset) for topic, offset in offsets.items()}

    def _group_offset(self, topic: str, offset: int) -> OffsetAndMetadata:
        return OffsetAndMetadata(offset, UNREADABLE if topic in self.unreadable else "")

    def _broadcast(self, positions: dict[str, int]) -> Outbox:
        broadcast = Outbox()
        if self._broadcasts:
            for value in self._broadcasts:
                for lane in range(self._settings.partition_count):
                    broadcast.put(INPUTS, lane, b"", value)
            self._broadcasts = []
            broadcast.put(state.TOPIC, self.number, state.BROADCAST, state.encode(state.Broadcast(positions=positions)))
        return broadcast
