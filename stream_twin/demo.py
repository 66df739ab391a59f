"""A run of the demo: broker, worker, simulated ward, and an audit that reads along, in one place.

The worker is a process of its own, started by the same command as any other.
"""

import subprocess
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from typing import Any, Self

import msgspec

from stream_twin import signals, topics
from stream_twin.audit import READING_ORDER, Audit, Row
from stream_twin.clock import elapsed, wall
from stream_twin.datasets.recording import Sent
from stream_twin.datasets.ward import Ward
from stream_twin.events import AlertChange, Estimate
from stream_twin.kafka import admin, state
from stream_twin.kafka.broker import Broker, Part
from stream_twin.kafka.embedded import GUARANTEE, EmbeddedBroker
from stream_twin.kafka.follower import Follower
from stream_twin.kafka.placing import lane_of
from stream_twin.kafka.player import PLAYED, Pacing, Player, Progress
from stream_twin.kafka.reader import Record
from stream_twin.serve.ward_view import Figures, WardView
from stream_twin.settings import load

LANES = 4
ESTIMATES = "twin.estimates"
ESTIMATES_PER_S = 2.0
"""Of each patient, in wall time: more than that no eye can follow."""
TICKS_PER_S = 4.0
"""Of the ward's clock, in wall time: what is between two ticks is seen at once."""
AHEAD_BYTES = 1_000_000
AUDIT_EVERY_S = 3.0
RATE_OVER_S = 3.0
DRAIN_S = 30.0
STOP_S = 10.0
QUIET_S = 1.0


class DemoError(RuntimeError):
    """The demo cannot go on; the message says what ended and why."""

    exit_code = 1


@dataclass(frozen=True)
class Plan:
    patients: int = 24
    seed: int = 1
    speed: float = 120.0
    duration_s: float | None = None
    broker: str | None = None
    """None: the embedded one."""


@dataclass
class Summary:
    """``first_alert_s``: wall time from the start of the demo until an alert was raised; None: there was none."""

    events_in: int
    events_per_s: float
    alerts_raised: int
    first_alert_s: float | None
    audit_ok: bool
    guarantee: str
    patients: int
    seed: int
    speed: float
    seconds: float
    ward_hours: float
    estimates: int
    inputs: dict[str, int]
    dead_letters: dict[str, int]
    audit: list[Row] = field(default_factory=list)

    def headline(self) -> str:
        when = "no alert" if self.first_alert_s is None else f"the first after {self.first_alert_s:.0f} s"
        return (
            f"{self.events_in:,} events of {self.ward_hours:.1f} hours in {self.seconds:.0f} s ({self.events_per_s:,.0f}/s), "
            f"{self.estimates:,} estimates, {self.alerts_raised} alerts raised ({when})"
        )

    def verdict(self) -> str:
        proven = "nothing lost, nothing twice" if self.audit_ok else "the accounting does not add up"
        return f"{proven}; guarantee of this broker: {self.guarantee}"

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "audit": [row._asdict() for row in self.audit]}


class Demo:
    """Use it as a context; call :meth:`step` until it returns False, then :meth:`finish`.

    Raises:
        DemoError: the worker or the player ended.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.catalogue = signals.load()
        self.view = WardView(self.catalogue)
        self.figures = Figures(speed=plan.speed, note="embedded broker: no guarantee" if plan.broker is None else plan.broker)
        self.stopping = False
        self.told = ""
        self._ward = Ward(plan.patients, plan.seed)
        self._audit = Audit(self.catalogue, LANES, lambda key: lane_of(key, LANES))
        self._audited = self._began = elapsed()
        self._first_alert_s: float | None = None
        self._progress = Progress(0, 0, self._ward.start, 0.0)
        self._positions: dict[Part, int] = {}
        """How far the worker has read the sources; committed group offsets are nothing that the embedded broker keeps."""
        self._followed: dict[Part, int] = {}
        """How far this process has."""
        self._rates: deque[tuple[float, int]] = deque()
        self._new_alerts: list[AlertChange] = []
        self._failure: BaseException | None = None
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            broker, prefix = self._open_broker(stack)
            self._log = stack.enter_context(tempfile.TemporaryFile("w+", encoding="utf-8"))
            self._worker = self._start_worker(broker, prefix)
            stack.callback(self._end_worker)
            self._follower = Follower(broker, (*READING_ORDER, ESTIMATES), prefix)
            stack.callback(self._follower.close)
            ahead = AHEAD_BYTES if self.plan.broker is None else None
            pacing = Pacing(speed=self.plan.speed, tick_s=self.plan.speed / TICKS_PER_S, settle_s=0.0, max_ahead_bytes=ahead)
            self._prefix = prefix
            player = Player(broker, prefix, pacing, self._progressed, self._read_to)
            self._player = threading.Thread(target=self._play, args=(player,), name="player", daemon=True)
            self._player.start()
            stack.callback(self.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def stop(self) -> None:
        """Nothing more is sent; :meth:`step` returns False."""
        self.stopping = True

    # ----------------------------------------------------------------------------------------------------- running

    def _open_broker(self, stack: ExitStack) -> tuple[Broker, str]:
        if self.plan.broker is None:
            broker = stack.enter_context(EmbeddedBroker(LANES))
            self.told = f"embedded broker at {broker.address}: one worker, no isolation, no guarantee"
            return broker, ""
        settings = load(broker=self.plan.broker)
        options = settings.kafka_options
        broker = Broker(settings.broker, options.for_aiokafka(), options.for_confluent())
        prefix = f"demo-{wall():.0f}."
        admin.create(broker, prefix, LANES)
        look = f"stream-twin show home-01 --broker {settings.broker} --prefix {prefix}"
        self.told = f"topics {prefix}* on {settings.broker}, which stay there afterwards: {look}"
        return broker, prefix

    def _start_worker(self, broker: Broker, prefix: str) -> subprocess.Popen[str]:
        estimate_every_s = max(5.0, self.plan.speed / ESTIMATES_PER_S)
        command = [sys.executable, "-m", "stream_twin.cli", "worker", "--broker", broker.address, "--prefix", prefix]
        command += ["--partition-count", str(LANES), "--clock", "stream", "--metrics-port", "0"]
        command += ["--group", f"{prefix}stream-twin", "--cohorts", "home", "--set", f"lane.estimate_every_s={estimate_every_s}"]
        # A session of its own: Ctrl-C is for the demo, which lets the worker finish what was sent.
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log, text=True, start_new_session=True
        )

    def _play(self, player: Player) -> None:
        try:
            player.play(self._until_stopped())
        except BaseException as error:  # told in the main thread
            self._failure = error

    def _until_stopped(self) -> Iterator[Sent]:
        for sent in self._ward:
            if self.stopping:
                return
            yield sent

    def _read_to(self, parts: Collection[Part]) -> dict[Part, int]:
        """What need not be kept any longer: the worker has read it, and so has the audit. Called in the player's thread."""
        plain = [(topic.removeprefix(self._prefix), number) for topic, number in parts]
        read = [min(self._positions.get(part, 0), self._followed.get(part, 0)) for part in plain]
        return dict(zip(parts, read, strict=True))

    def _progressed(self, progress: Progress) -> None:
        self._progress = progress

    def step(self, timeout_s: float) -> bool:
        """Take what came, for about ``timeout_s``; False once the run is to end."""
        until = elapsed() + timeout_s
        while (left := until - elapsed()) > 0:
            self._take(left)
        if self._failure is not None:
            raise DemoError(f"the ward cannot be played: {self._failure}") from self._failure
        if (code := self._worker.poll()) is not None:
            raise DemoError(f"the worker ended with exit code {code}:\n{self._last_words()}")
        if self.plan.duration_s is not None and self._progress.seconds >= self.plan.duration_s:
            self.stop()
        return not self.stopping

    def _take(self, timeout_s: float) -> None:
        for topic, record in self._follower.poll(timeout_s):
            if topic == ESTIMATES:
                self._estimated(record)
            else:
                self._audit.feed(topic, record.partition, record)
                self._followed[topic, record.partition] = record.offset + 1
            if topic == "alerts":
                self._alerted(msgspec.json.decode(record.value or b"", type=AlertChange))
            elif topic == "dead.letters":
                self.view.see_dead_letter(dict(record.headers)["reason"].decode())
            elif topic == "twin.state" and record.key in (state.SOURCES, state.BROADCAST) and record.value:
                self._moved(record)
        now = elapsed()
        if now - self._audited > AUDIT_EVERY_S:
            self._audit.advance()
            self._audited = elapsed()
        self._count(now)

    def _estimated(self, record: Record) -> None:
        estimate = msgspec.json.decode(record.value or b"", type=Estimate)
        self.view.see_estimate(estimate)
        self.figures.estimates += 1
        self.figures.clock = max(self.figures.clock or 0.0, estimate.at)

    def _alerted(self, change: AlertChange) -> None:
        self.view.see_alert(change)
        self._new_alerts.append(change)
        if self._first_alert_s is None and change.state == "raised":
            self._first_alert_s = elapsed() - self._began

    def _moved(self, record: Record) -> None:
        broadcast = record.key == state.BROADCAST
        kind: type[state.Sources | state.Broadcast] = state.Broadcast if broadcast else state.Sources
        positions = msgspec.msgpack.decode(record.value or b"", type=kind).positions
        for topic, position in positions.items():
            if topic in PLAYED and topics.BY_NAME[topic].broadcast == broadcast:
                self._positions[topic, record.partition] = position

    def _count(self, now: float) -> None:
        figures, read = self.figures, sum(self._positions.values())
        self._rates.append((now, read))
        while now - self._rates[0][0] > RATE_OVER_S:
            self._rates.popleft()
        then, before = self._rates[0]
        figures.elapsed_s = now - self._began
        figures.events_in = self._progress.sent
        figures.events_per_s = (read - before) / (now - then) if now > then else 0.0
        figures.lag = max(0, self._progress.sent - read)

    def new_alerts(self) -> list[AlertChange]:
        """Alert changes since last asked."""
        changes, self._new_alerts = self._new_alerts, []
        return changes

    # ---------------------------------------------------------------------------------------------------- the end

    def finish(self) -> Summary:
        """Let what was sent come to its end, stop the worker, and do the accounting."""
        self.stop()
        seconds, until = self._progress.seconds, elapsed() + DRAIN_S
        while elapsed() < until and (self._player.is_alive() or self.figures.lag):
            self.step(0.1)
        self.step(QUIET_S)
        self._worker.terminate()
        until = elapsed() + STOP_S
        while (code := self._worker.poll()) is None and elapsed() < until:
            self._take(0.1)
        if code != 0:
            what = "did not end" if code is None else f"ended with exit code {code}"
            raise DemoError(f"asked to stop, the worker {what}:\n{self._last_words()}")
        while heard := self._follower.poll(QUIET_S):
            for topic, record in heard:
                if topic != ESTIMATES:
                    self._audit.feed(topic, record.partition, record)
        return self._summary(seconds)

    def _summary(self, seconds: float) -> Summary:
        rows = self._audit.report()
        counted = [row for row in rows if row.ok is None and row.name.startswith("inputs ")]
        return Summary(
            events_in=self._progress.sent,
            events_per_s=round(self._progress.sent / seconds, 1) if seconds else 0.0,
            alerts_raised=self.view.alerts_raised,
            first_alert_s=None if self._first_alert_s is None else round(self._first_alert_s, 1),
            audit_ok=all(row.ok is not False for row in rows),
            guarantee=GUARANTEE if self.plan.broker is None else "exactly-once",
            patients=self.plan.patients,
            seed=self.plan.seed,
            speed=self.plan.speed,
            seconds=round(seconds, 1),
            ward_hours=round((self._progress.at - self._ward.start) / 3600, 2),
            estimates=self.figures.estimates,
            inputs={row.name.removeprefix("inputs "): row.counted for row in counted},
            dead_letters=dict(Counter(self.view.dead_letters).most_common()),
            audit=rows,
        )

    def _last_words(self) -> str:
        self._log.seek(0)
        return "".join(self._log.readlines()[-15:]).strip() or "(it said nothing)"

    def _end_worker(self) -> None:
        if self._worker.poll() is None:
            self._worker.kill()
        self._worker.wait()
