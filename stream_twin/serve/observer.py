"""What a worker does, put into numbers."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import msgspec
import numpy as np
from prometheus_client import CollectorRegistry

from stream_twin.serve.metrics import Numbers
from stream_twin.signals import Catalogue


class _Timed(msgspec.Struct):
    """Of an input: when its source record was written; ticks have none."""

    arrived_at: float | None = None


_timed = msgspec.json.Decoder(_Timed).decode


class Applied(Protocol):
    """What a lane gives back for a batch."""

    @property
    def counts(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def surprises(self) -> Iterable[tuple[Any, Any]]: ...


class WorkerMetrics:
    """Implements the observer of :mod:`stream_twin.kafka.stages`.

    ``now``: seconds since 1970; ``twins``: how many are held; ``learning``: measures of the learners that run here, by cohort.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        catalogue: Catalogue,
        version: str,
        *,
        now: Callable[[], float],
        twins: Callable[[], int],
        learning: Callable[[], Mapping[str, Mapping[str, float]]],
    ) -> None:
        self.numbers = Numbers(registry)
        self._now, self._twins, self._learning = now, twins, learning
        self._signals = list(catalogue.signals)
        self._uncommitted: defaultdict[int, list[float]] = defaultdict(list)
        self.numbers.set("build", 1, version)

    def ingested(self, topic: str, records: int, counts: Mapping[tuple[str, str], int], oldest_s: float) -> None:
        self.numbers.add("events_in", records, topic)
        self.numbers.observe("source_wait_seconds", oldest_s)
        for (what, which), count in counts.items():
            if what == "rejected":
                self.numbers.add("rejected", count, "ingest", which)
            elif what in ("absent", "thinned"):
                self.numbers.add(what, count, which)

    def applied(self, records: int, applied: Applied, oldest_s: float) -> None:
        self.numbers.add("events_in", records, "twin.inputs")
        self.numbers.observe("log_wait_seconds", oldest_s)
        for (what, which), count in applied.counts.items():
            if what == "input":
                self.numbers.add("inputs", count, which)
            elif what == "sample":
                self.numbers.add("series_samples", count, which)
            elif what == "rejected":
                self.numbers.add("rejected", count, "twin", which)
            elif what == "alert":
                self.numbers.add("alerts", count, *which.split("/"))
            elif what == "drift":
                self.numbers.add("drifts", count, which)
            elif what == "assessment":
                self.numbers.add("assessments_failed", count)
        self._observe_innovations(applied.surprises)

    def taken(self, lane: int, values: Iterable[bytes | None]) -> None:
        """``lane`` took these records of ``twin.inputs``; the first that has a source stands for all of them."""
        arrived_at = next((at for value in values if value and (at := _timed(value).arrived_at) is not None), None)
        if arrived_at is not None:
            self._uncommitted[lane].append(arrived_at)

    def _observe_innovations(self, surprises: Iterable[tuple[Any, Any]]) -> None:
        parts = list(surprises)
        if not parts:
            return
        indices, sizes = np.concatenate([index for index, _ in parts]), np.abs(np.concatenate([size for _, size in parts]))
        self.numbers.observe_each("innovation_sigmas", sizes, indices, self._signals)

    def transaction(self, lane: int, seconds: float, written: Mapping[str, int], all_of_it: bool) -> None:
        self.numbers.observe("transaction_seconds", seconds)
        self.numbers.observe("transaction_records", Counter(written).total())
        for topic, count in written.items():
            self.numbers.add("events_out", count, topic)
        if all_of_it and (taken := self._uncommitted.pop(lane, None)):
            self.numbers.observe("end_to_end_seconds", self._now() - np.array(taken))

    def restored(self, seconds: float, patients: int) -> None:
        self.numbers.add("restores", 1)
        self.numbers.observe("restore_seconds", seconds)

    def lanes(self, owned: int, open_: int) -> None:
        self.numbers.set("lanes", open_, "open")
        self.numbers.set("lanes", owned - open_, "opening")

    def lag(self, topic: str, records: int) -> None:
        self.numbers.set("lag_records", records, topic)

    def complete_to(self, at: float) -> None:
        self.numbers.set("complete_to_timestamp_seconds", at)
        self.numbers.set("twins", self._twins())
        for cohort, measures in self._learning().items():
            for measure, value in measures.items():
                self.numbers.set("learner", value, cohort, measure)
