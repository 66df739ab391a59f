"""The one place that wires: settings, catalogue, ingest, lanes, learners and metrics into a worker on Kafka."""

import logging
import re
import sys
import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import msgspec
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from stream_twin import signals
from stream_twin.alerts import configuration
from stream_twin.clock import wall
from stream_twin.events import Output
from stream_twin.ingest import Ingest
from stream_twin.kafka.broker import Broker
from stream_twin.kafka.process import run
from stream_twin.kafka.stages import Stages, WorkerSettings
from stream_twin.kafka.worker import Worker
from stream_twin.lane import Applied, Lane, LaneSettings, UpdateFailed
from stream_twin.learn import shipped
from stream_twin.learn.cohort import CohortLearner
from stream_twin.learn.recipe import recipe_of
from stream_twin.serve.metrics import Endpoint
from stream_twin.serve.observer import WorkerMetrics
from stream_twin.settings import Settings, SettingsError

log = logging.getLogger(__name__)
SECTIONS = {"populations": "rules_by_population", "patients": "rules_by_patient"}
"""What parts of a file of rule parameters are called among the settings of a lane."""


def broker(settings: Settings) -> Broker:
    """Raises OSError for a certificate that cannot be read."""
    options = settings.kafka_options
    return Broker(settings.broker, options.for_aiokafka(), options.for_confluent())


def worker_settings(settings: Settings) -> WorkerSettings:
    return WorkerSettings(
        broker=broker(settings),
        prefix=settings.prefix,
        group=settings.group,
        partition_count=settings.partition_count,
        clock=settings.clock,
        commit_every_s=settings.commit_every_s,
        checkpoint_every_s=settings.checkpoint_every_s,
        session_timeout_s=settings.session_timeout_s,
    )


def lane_settings(settings: Settings) -> LaneSettings:
    """What a lane decides by, with the file of rule parameters where there is one.

    Raises:
        SettingsError: a rule or parameter does not exist, or its value is not allowed.
    """
    lane = settings.lane
    try:
        if settings.rules_file is not None:
            given = configuration.read(settings.rules_file)
            lane = replace(lane, rules=given.rules, rules_by_population=given.populations, rules_by_patient=given.patients)
        lane = msgspec.json.decode(msgspec.json.encode(lane), type=LaneSettings)  # as lanes will read it: JSON knows no inf
        configuration.check(lane.configuration)
    except msgspec.ValidationError as error:
        raise SettingsError(f"lane: inf and nan are not allowed: {error}") from None
    except configuration.ConfigurationError as error:
        if settings.rules_file is not None:
            raise SettingsError("\n".join(f"{settings.rules_file}: {problem}" for problem in error.problems)) from None
        told = (re.sub("^(populations|patients)", lambda found: SECTIONS[found[0]], problem) for problem in error.problems)
        raise SettingsError("\n".join(f"lane.{problem}" for problem in told)) from None
    return lane


class Service:
    """Everything of one worker process. Raises SettingsError for alert rules that do not exist or values they do not allow."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.lane_settings = lane_settings(settings)
        self.catalogue = signals.load()
        self.registry = CollectorRegistry()
        self._lanes: WeakSet[Lane] = WeakSet()
        self._worker: Worker | None = None
        self._learners: WeakValueDictionary[str, CohortLearner] = WeakValueDictionary()
        self.metrics = WorkerMetrics(
            self.registry, self.catalogue, version("stream-twin"), now=wall, twins=self._twins, learning=self._learning
        )

    def worker(self) -> Worker:
        """To be called inside an event loop."""
        self._worker = Worker(worker_settings(self.settings), self.stages(), observer=self.metrics)
        return self._worker

    def stages(self) -> Stages:
        return Stages(
            ingest=Ingest(self.catalogue, self.settings.bounds),
            make_lane=self._make_lane,
            lane_settings=self.lane_settings,
            update_failed=UpdateFailed,
            learners={cohort: _Maker(self._learners, cohort) for cohort in self.settings.cohort_names},
        )

    def serve_metrics(self) -> Endpoint:
        """Raises OSError where the port is taken."""
        settings = self.settings
        return Endpoint(self.registry, settings.metrics_host, settings.metrics_port, self._unready, self._stuck)

    def _unready(self) -> str | None:
        return self._worker.unready() if self._worker else "the worker is starting"

    def _stuck(self) -> str | None:
        return self._worker.stuck() if self._worker else None

    def _make_lane(self, number: int, checkpoint: bytes | None, snapshots: Iterable[tuple[bytes, bytes]]) -> "_TimedLane":
        lane = Lane.restore(number, self.catalogue, checkpoint, snapshots)
        for problem in lane.unusable:
            log.warning("lane %d: of the rule parameters in force this is passed over: %s", number, problem)
        self._lanes.add(lane)
        return _TimedLane(number, lane, self.metrics)

    def _twins(self) -> int:
        return sum(len(lane.patients) for lane in self._lanes)

    def _learning(self) -> dict[str, dict[str, float]]:
        return {cohort: learner.metrics() for cohort, learner in self._learners.items()}


class _TimedLane:
    """A lane, and what it takes told to the metrics: only here is known that inputs say when their source was written."""

    def __init__(self, number: int, lane: Lane, metrics: WorkerMetrics) -> None:
        self._number, self._lane, self._metrics = number, lane, metrics
        self.configuration, self.forgetting, self.snapshot = lane.configuration, lane.forgetting, lane.snapshot
        self.changed, self.checkpoint = lane.changed, lane.checkpoint

    @property
    def position(self) -> int:
        return self._lane.position

    def apply(self, records: Sequence[Any], careful: bool = False) -> Applied:
        self._metrics.taken(self._number, (record.value for record in records))
        return self._lane.apply(records, careful=careful)


class _Maker:
    """Makes a cohort's learner: where it was, or else from the shipped model, which it publishes before anything else."""

    def __init__(self, known: WeakValueDictionary[str, CohortLearner], cohort: str) -> None:
        self._known, self._cohort = known, cohort

    def __call__(self, snapshot: bytes | None) -> "_Learner":
        recipe = recipe_of(self._cohort)
        first: list[Output] = []
        if snapshot is not None:
            learner = CohortLearner.restore(recipe, snapshot)
        elif (model := shipped.load(self._cohort, recipe.setting)) is not None:
            learner = model.learner()
            learner.version = 1
            first = [Output("models", self._cohort.encode(), msgspec.json.encode(learner.parameters(0.0)))]
        else:
            learner = CohortLearner(recipe)
        self._known[self._cohort] = learner
        return _Learner(learner, first)


class _Learner:
    def __init__(self, learner: CohortLearner, first: list[Output]) -> None:
        self._learner, self._first = learner, first

    def apply(self, records: Sequence[Any]) -> list[Output]:
        first, self._first = self._first, []
        return first + self._learner.apply(records)

    def snapshot(self) -> bytes:
        return self._learner.snapshot()


def run_worker(settings: Settings) -> int:
    """Run a worker in this process until SIGTERM or SIGINT; its exit code."""
    log_to_stderr(settings.log_level)
    service = Service(settings)
    endpoint = service.serve_metrics()
    log.info("metrics at %s/metrics", endpoint.address)
    try:
        return run(service.worker)
    finally:
        endpoint.close()


def log_to_stderr(level: str) -> None:
    """Times are UTC. Libraries speak from warnings on; what they say below that is about their own insides."""
    formatter = logging.Formatter("%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))
    logging.getLogger("stream_twin").setLevel(level.upper())
