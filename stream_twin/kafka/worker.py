"""A worker: Faust agents that feed the owners of this worker's lanes.

The pure stages are handed in as :class:`~stream_twin.kafka.stages.Stages`, settings as plain values, and what the worker
does is told to an observer. Exit codes: :class:`~stream_twin.kafka.failures.ExitCode`.
"""

import asyncio
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import faust
from aiokafka.errors import OffsetOutOfRangeError
from confluent_kafka import KafkaException

from stream_twin.clock import elapsed
from stream_twin.kafka import admin, state, unpacking
from stream_twin.kafka.completeness import Completeness
from stream_twin.kafka.failures import FENCED, ExitCode, Fatal, is_away
from stream_twin.kafka.group import Group
from stream_twin.kafka.health import Health
from stream_twin.kafka.heap import GIVE_BACK_EVERY_S, give_back
from stream_twin.kafka.intake import TICKS
from stream_twin.kafka.learner import STATE_LANE, LearnerRunner
from stream_twin.kafka.owner import Owner
from stream_twin.kafka.placing import INPUTS, SOURCES, full_name
from stream_twin.kafka.stages import Observer, Silent, Stages, WorkerSettings
from stream_twin.kafka.transport import SCHEME, Consumer

log = logging.getLogger(__name__)
OPENING_AT_ONCE = 4


class App(faust.App):  # type: ignore[misc]  # Faust is untyped here
    """What the transport finds at its app besides Faust's own."""

    kafka: WorkerSettings
    inputs_topic: str
    reading_failed: Callable[[BaseException], None]

    async def on_first_start(self) -> None:
        """Faust would make directories for tables, of which there are none."""


class Worker:
    """One process of the service. ``exit`` is called with an exit code at once when something is wrong; it must not return."""

    def __init__(
        self,
        settings: WorkerSettings,
        stages: Stages,
        observer: Observer | None = None,
        exit: Callable[[int], Any] = os._exit,
    ) -> None:
        self.settings, self.stages = settings, stages
        self.observer: Observer = observer or Silent()
        self.opening = asyncio.Semaphore(OPENING_AT_ONCE)
        self.turn = asyncio.Lock()
        self.owners: dict[int, Owner] = {}
        self.health = Health()
        self._exit = exit
        self._stop = asyncio.Event()
        self._learners: list[asyncio.Task[None]] = []
        self._member = ""
        self._is_rebalancing = False
        parts = [(settings.prefix + topic, lane) for topic in SOURCES for lane in range(settings.partition_count)]
        self._completeness = Completeness(settings.broker, Group(settings.broker, settings.group), parts)

    # ------------------------------------------------------------------------------------------------- for probes

    def stuck(self) -> str | None:
        """Why this process should be killed, or None; may be called from another thread."""
        return self.health.stuck()

    def unready(self) -> str | None:
        """Why patients of this worker's lanes are not watched, or None; may be called from another thread."""
        owners = list(self.owners.values())
        return self.health.unready(owners) or next((why for owner in owners for why in owner.unreadable.values()), None)

    # ------------------------------------------------------------------------------------------------ for its lanes

    @property
    def reading(self) -> Consumer:
        consumer: Consumer = self.app.consumer
        return consumer

    @property
    def complete_to(self) -> float:
        return self._completeness.complete_to

    def commit_every_s(self) -> float:
        """The cycle of a lane stretches as the lanes grow, within the worker's budget of transactions."""
        settings = self.settings
        return min(max(settings.commit_every_s, len(self.owners) / settings.transactions_per_s), settings.commit_at_most_every_s)

    def fail(self, code: ExitCode, message: str) -> None:
        """Stop at once: nothing of an open transaction exists, and a supervisor starts the worker again."""
        log.critical("stopped (%s): %s", code.name, message)
        self._leave(code)

    def _leave(self, code: ExitCode) -> None:
        for handler in logging.getLogger().handlers:
            handler.flush()
        sys.stderr.flush()
        self._exit(int(code))

    async def may_reopen(self, error: BaseException) -> bool:
        """Wait until the broker is back and it is sure that this worker still owns its lanes. False: wait for the assignment."""
        if self._stop.is_set():
            return False
        fenced = isinstance(error, FENCED)
        if fenced and self._is_rebalancing:
            return False  # the lane's next owner was quicker than the word of it
        if not fenced and not is_away(error):
            log.exception("a lane failed", exc_info=error)
            self.fail(ExitCode.FAILED, f"{type(error).__name__}: {error}")
        log.warning("a lane's transactions stopped: %s: %s; waiting for the broker", type(error).__name__, error)
        group, wait_s = Group(self.settings.broker, self.settings.group), 0.2
        while True:
            try:
                known = await group.members()
                break
            except Exception as away:
                if not is_away(away):
                    self.fail(ExitCode.FAILED, f"cannot ask for the group's members: {type(away).__name__}: {away}")
                    return False
                log.warning("no answer from %s: %s", self.settings.broker.address, away)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5)
            finally:
                await group.close()
        if self._member in known:
            return True
        if fenced:
            self.fail(ExitCode.FENCED, f"another worker has this one's lanes: {type(error).__name__}: {error}")
        return False

    def lane_opened(self, lane: int, found: state.LaneState) -> None:
        self._tell_lanes()
        if lane == STATE_LANE and not self._learners:
            self._learners = [
                asyncio.create_task(self._run_learner(LearnerRunner(cohort, self.settings, make)))
                for cohort, make in self.stages.learners.items()
            ]

    # ------------------------------------------------------------------------------------------------- Faust's side

    def _make_app(self) -> App:
        settings = self.settings
        app = App(
            settings.group,
            broker=";".join(f"{SCHEME}://{address}" for address in settings.broker.address.split(",")),
            store="memory://",
            web_enabled=False,
            topic_partitions=settings.partition_count,
            topic_allow_declare=False,
            topic_disable_leader=True,
            stream_wait_empty=False,
            broker_max_poll_records=5000,
            broker_session_timeout=settings.session_timeout_s,
            broker_rebalance_timeout=settings.session_timeout_s,
        )
        app.kafka, app.inputs_topic, app.reading_failed = (
            settings,
            full_name(settings.prefix, INPUTS, settings.suffix),
            self._reading_failed,
        )

        def raw(*names: str) -> Any:
            full = [full_name(settings.prefix, name, settings.suffix) for name in names]
            return app.topic(*full, key_type=None, value_type=None, key_serializer="raw", value_serializer="raw")

        @app.agent(raw(*SOURCES, *([TICKS] if settings.clock == "stream" else [])))  # type: ignore[untyped-decorator]
        async def ingest(stream: Any) -> None:
            await self._take(stream)

        @app.agent(raw(INPUTS))  # type: ignore[untyped-decorator]
        async def twin(stream: Any) -> None:
            await self._take(stream)

        app.on_partitions_revoked.connect(self._hand_over)
        app.on_partitions_assigned.connect(self._take_over)
        return app

    async def _take(self, stream: Any) -> None:
        """Body of an agent. An exception that escaped would lose the rest of the message, so it ends the process."""
        prefix = len(self.settings.prefix)
        try:
            async for event in stream.noack().events():
                for (topic, lane), batch in event.value.items():
                    if (owner := self.owners.get(lane)) is not None:  # else left over from before a rebalance
                        owner.offer(INPUTS if topic == self.app.inputs_topic else topic[prefix:], batch)
                event.ack()
        except Exception as error:
            log.exception("an agent failed")
            self.fail(ExitCode.FAILED, f"an agent failed: {error!r}")

    def _reading_failed(self, error: BaseException) -> None:
        if isinstance(error, OffsetOutOfRangeError):
            self.fail(ExitCode.GAP, f"records that a lane still needs are gone: {error}: the next start names the way out")
        elif isinstance(error, unpacking.Unreadable):
            self._cannot_read(error)
        elif is_away(error):
            log.warning("reading stopped: %s", error)
        else:
            self.fail(ExitCode.FAILED, f"reading failed: {type(error).__name__}: {error}")

    def _cannot_read(self, error: unpacking.Unreadable) -> None:
        """The other topics of that lane go on, and so do the other lanes: they have patients too."""
        lane = error.tp.partition
        if error.tp.topic == self.app.inputs_topic:
            self.fail(ExitCode.GAP, f"{error}: lane {lane} cannot go on; put the log right from a copy of that partition")
        topic = error.tp.topic.removeprefix(self.settings.prefix)
        mend = f"stream-twin topics skip --lane {lane} --topic {topic} --offset {error.offset}"
        log.critical("%s; nothing after it is read until %s passes over it", error, mend)
        if (owner := self.owners.get(lane)) is not None:
            owner.unreadable[topic] = f"{error}; {mend} passes over it"

    async def _hand_over(self, app: Any, revoked: Any, **_: Any) -> None:
        """Before a rebalance: who gets a lane next will have little of its log to read again.

        Lanes go on meanwhile with what they have, and for most of them nothing changes. What a lane that must go does until
        it knows is either committed before its next owner opens it, or done again there.
        """
        # Who was thrown out, for instance while it was frozen, has no member id any more, and its lanes are others'.
        self._is_rebalancing = self.reading.member_id == self._member
        self.reading.wanted.clear()
        deadline = elapsed() + self.settings.hand_over_s / 2
        await asyncio.gather(*(owner.hand_over(deadline) for owner in self.owners.values()))

    async def _quiesce(self) -> None:
        deadline = elapsed() + self.settings.hand_over_s
        await asyncio.gather(*(owner.quiesce(deadline) for owner in self.owners.values()))

    async def _take_over(self, app: Any, assigned: Any, **_: Any) -> None:
        """Returns at once, since heartbeats start after it: lanes open beside them."""
        self._member, self._is_rebalancing = self.reading.member_id, False
        mine = {tp.partition for tp in assigned if tp.topic == app.inputs_topic}
        for lane in [lane for lane, owner in self.owners.items() if lane not in mine or owner.parked]:
            owner = self.owners.pop(lane)
            task = asyncio.create_task(owner.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)
        if STATE_LANE not in mine:
            self._stop_learners()
        kept = list(self.owners.values())
        for lane in sorted(mine - set(self.owners)):
            self.owners[lane] = Owner(lane, self)
            self.owners[lane].start()
        await asyncio.gather(*(owner.resume() for owner in kept))
        self.health.is_assigned = True
        log.info("lanes %s, of these kept %s", sorted(mine), sorted(owner.number for owner in kept))
        self._tell_lanes()

    def _tell_lanes(self) -> None:
        self.observer.lanes(len(self.owners), sum(owner.is_open for owner in self.owners.values()))

    # --------------------------------------------------------------------------------------------------- beside it

    async def _run_learner(self, runner: LearnerRunner) -> None:
        while True:
            try:
                await runner.run()
            except Exception as error:
                if not is_away(error):
                    log.exception("learner of cohort %s", runner.cohort)
                    code = ExitCode.FENCED if isinstance(error, FENCED) else ExitCode.FAILED
                    self.fail(code, f"learner of cohort {runner.cohort}: {type(error).__name__}: {error}")
                log.warning("learner of cohort %s: %s; starting it again", runner.cohort, error)
                await asyncio.sleep(2)

    def _stop_learners(self) -> None:
        for task in self._learners:
            task.cancel()
        self._learners = []

    async def _watch(self) -> None:
        """Once a second: how complete the logs are, and how far behind the lanes; now and then, what memory is not needed."""
        prefix, given_back = len(self.settings.prefix), elapsed()
        while True:
            await asyncio.sleep(1)
            if elapsed() >= given_back + GIVE_BACK_EVERY_S:
                await asyncio.to_thread(give_back)
                given_back = elapsed()
            self._tell_lanes()
            try:
                await self._completeness.probe()
                self.health.heard()
            except Exception as error:
                if not is_away(error):
                    raise
                log.warning("cannot ask for offsets: %s", error)
                continue
            lag = dict.fromkeys(SOURCES, 0)
            for (topic, lane), end in self._completeness.ends.items():
                owner = self.owners.get(lane)
                if owner is not None and owner.is_open:
                    lag[topic[prefix:]] += max(end - owner.position(topic[prefix:]), 0)
            lag[INPUTS] = sum(owner.behind() for owner in self.owners.values() if owner.is_open)
            for name, records in lag.items():
                self.observer.lag(name, records)
            self.observer.complete_to(self.complete_to)

    # ---------------------------------------------------------------------------------------------------- start, stop

    def stop(self) -> None:
        """Ask for a clean end; :meth:`serve` returns soon after."""
        self._stop.set()

    async def serve(self) -> ExitCode:
        """Until :meth:`stop`, SIGTERM or SIGINT.

        Raises:
            Fatal: topics are missing or wrong.
        """
        stopped = asyncio.create_task(self._stop.wait())
        waiting = asyncio.create_task(self._prepare())
        await asyncio.wait([waiting, stopped], return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            self._leave(ExitCode.STOPPED)
        waiting.result()
        self._closing: set[asyncio.Task[None]] = set()
        self.app = self._make_app()
        watch, beat = asyncio.create_task(self._watch()), asyncio.create_task(self.health.beat())
        crashed = asyncio.create_task(self._run_app())
        try:
            await asyncio.wait([stopped, crashed, watch], return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                reason = (watch if watch.done() else crashed).exception() or self.app.crash_reason
                self.fail(ExitCode.FAILED, f"Faust or the watch over it stopped: {reason!r}")
            await self._drain()
        finally:
            for task in (watch, beat, stopped, crashed):
                task.cancel()
        return ExitCode.STOPPED

    async def _prepare(self) -> None:
        await self._wait_for_topics()
        # The first lane of a process takes long where kernels are not compiled yet: not while patients wait for it.
        await asyncio.to_thread(self.stages.make_lane, 0, None, ())

    async def _run_app(self) -> None:
        await self.app.start()
        await self.app.wait_until_stopped()

    async def _wait_for_topics(self) -> None:
        settings, wait_s = self.settings, 0.5
        while not self._stop.is_set():
            try:
                suffix = await asyncio.to_thread(admin.demand, settings.broker, settings.prefix, settings.partition_count)
                self.settings = replace(settings, suffix=suffix)
                self.health.heard()
                return
            except KafkaException as error:
                if not is_away(error):
                    raise Fatal(ExitCode.FAILED, f"{settings.broker.address}: {error}") from error
                log.warning("no answer from %s: %s", settings.broker.address, error)
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, 5)

    async def _drain(self) -> None:
        log.info("stopping: committing what was done")
        self._stop_learners()
        self.reading.wanted.clear()
        await self._quiesce()
        if not await self._answers():
            # Nothing more can be committed, and threads that wait for the broker cannot be interrupted.
            log.warning("stopped while the broker is away: what was not committed yet will be done again")
            self._leave(ExitCode.STOPPED)
        await asyncio.gather(*(owner.close() for owner in self.owners.values()))
        try:
            async with asyncio.timeout(2):
                await self.app.stop()  # leaves the group
        except TimeoutError:
            log.warning("Faust took its time to stop; everything is committed")
            self._leave(ExitCode.STOPPED)

    async def _answers(self) -> bool:
        if self.settings.broker.is_embedded:
            return True  # it knows no such question, and lives as long as whoever embeds it
        group = Group(self.settings.broker, self.settings.group)
        try:
            async with asyncio.timeout(1):
                await group.members()
        except Exception as error:
            if not is_away(error):
                raise
            return False
        await group.close()
        return True
