"""What Prometheus can know of a worker: the catalogue of metrics, their numbers, and the port they are read at.

No label names a patient or a device, so the number of series does not grow with the ward. ``python -m
stream_twin.serve.metrics`` writes ``docs/metrics.md``, ``--check`` compares it.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

Kind = Literal["counter", "gauge", "histogram"]
PREFIX = "stream_twin_"
SECONDS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0)
"""From a transaction's cycle to a backlog after an outage."""


class Entry(NamedTuple):
    """One metric. ``name`` without prefix and, of a counter, without ``_total``."""

    name: str
    kind: Kind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


CATALOGUE: tuple[Entry, ...] = (
    Entry("events_in", "counter", "Records read, by topic without prefix.", ("topic",)),
    Entry("events_out", "counter", "Records committed, by topic without prefix.", ("topic",)),
    Entry(
        "rejected", "counter", "Records refused, by stage (ingest, twin) and reason; each is a dead letter.", ("stage", "reason")
    ),
    Entry("absent", "counter", "Samples that say why they have no value.", ("topic",)),
    Entry("thinned", "counter", "Records for which another one's sample stands: a flood.", ("topic",)),
    Entry("inputs", "counter", "Records of twin.inputs: applied, duplicate, late, rejected, failed.", ("outcome",)),
    Entry("series_samples", "counter", "Samples of series: applied, duplicate, late, conflict, absent.", ("outcome",)),
    Entry(
        "innovation_sigmas",
        "histogram",
        "Innovations in standard deviations, without sign: 90 % are below 1.64 if the filter is calibrated.",
        ("signal",),
        (0.25, 0.5, 0.75, 1.0, 1.28, 1.64, 2.0, 2.5, 3.0, 4.0, 6.0, 10.0),
    ),
    Entry("drifts", "counter", "Drifts found in the innovations of a patient's signal.", ("signal",)),
    Entry("assessments_failed", "counter", "Patients that could not be assessed at a tick; tried again a minute later."),
    Entry("alerts", "counter", "Changes of alerts, by new state.", ("rule", "priority", "state")),
    Entry(
        "learner", "gauge", "What a cohort's learner measures of itself, drifts included, where it runs.", ("cohort", "measure")
    ),
    Entry(
        "end_to_end_seconds",
        "histogram",
        "From the oldest source record's Kafka timestamp in a batch until what the twins made of it was committed.",
        (),
        SECONDS,
    ),
    Entry("source_wait_seconds", "histogram", "Age of the oldest record of a batch when ingest takes it.", (), SECONDS),
    Entry(
        "log_wait_seconds", "histogram", "Age of the oldest record of twin.inputs in a batch when a lane takes it.", (), SECONDS
    ),
    Entry("transaction_seconds", "histogram", "Duration of a transaction.", (), SECONDS[:12]),
    Entry("transaction_records", "histogram", "Records in a transaction.", (), (1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4)),
    Entry("lag_records", "gauge", "Records in Kafka that are not processed yet, over the lanes of this worker.", ("topic",)),
    Entry(
        "complete_to_timestamp_seconds", "gauge", "What was sent before this moment is in the lanes' logs: silence goes by it."
    ),
    Entry("lanes", "gauge", "Lanes of this worker: opening, open.", ("state",)),
    Entry("twins", "gauge", "Twins held in memory."),
    Entry("restores", "counter", "Lanes restored from twin.state."),
    Entry("restore_seconds", "histogram", "Duration of a restore.", (), SECONDS[3:]),
    Entry("build", "gauge", "Always 1; the label is the version.", ("version",)),
)
BY_NAME = {entry.name: entry for entry in CATALOGUE}


class Numbers:
    """The numbers behind the catalogue, as a collector of ``registry``.

    Updates are plain additions, many at a time: a batch of thousands of records costs a few of them. One thread writes;
    the scrape's thread reads copies.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._values: dict[str, dict[tuple[str, ...], float]] = {e.name: {} for e in CATALOGUE if e.kind != "histogram"}
        self._counts: dict[str, dict[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.float64]]]] = {
            entry.name: {} for entry in CATALOGUE if entry.kind == "histogram"
        }
        self._bounds = {entry.name: np.array(entry.buckets, dtype=np.float64) for entry in CATALOGUE}
        for entry in CATALOGUE:  # a series that appears only with its first event hides that event from rate()
            if not entry.labels and entry.kind == "counter":
                self._values[entry.name][()] = 0.0
            elif not entry.labels and entry.kind == "histogram":
                self._counts[entry.name][()] = np.zeros(len(entry.buckets) + 2)
        self._values["rejected"]["twin", "failed"] = 0.0  # one is enough to call somebody
        registry.register(self)

    def add(self, name: str, amount: float, *labels: str) -> None:
        """Raises KeyError for a name outside the catalogue."""
        series = self._values[name]
        series[labels] = series.get(labels, 0.0) + amount

    def set(self, name: str, value: float, *labels: str) -> None:
        self._values[name][labels] = value

    def observe(self, name: str, values: ArrayLike, *labels: str) -> None:
        """Add all of ``values`` to a histogram."""
        entry, many = BY_NAME[name], np.asarray(values, dtype=np.float64).ravel()
        if not many.size:
            return
        counts = self._counts[name].setdefault(labels, np.zeros(len(entry.buckets) + 2))
        counts[:-1] += np.bincount(np.searchsorted(self._bounds[name], many), minlength=len(entry.buckets) + 1)
        counts[-1] += many.sum()

    def observe_each(self, name: str, values: NDArray[np.floating], which: NDArray[np.int64], labels: Sequence[str]) -> None:
        """Add each of ``values`` (N,) to the histogram of label number ``which`` (N,); NaN is passed over."""
        known = np.isfinite(values)
        values, which = values[known], which[known]
        size, bounds = len(labels), self._bounds[name]
        width = len(bounds) + 1
        counts = np.bincount(which * width + np.searchsorted(bounds, values), minlength=size * width).reshape(size, width)
        sums = np.bincount(which, values, minlength=size)
        for number in np.unique(which).tolist():
            series = self._counts[name].setdefault((labels[number],), np.zeros(width + 1))
            series[:-1] += counts[number]
            series[-1] += sums[number]

    def value(self, name: str, *labels: str) -> float:
        """Of a counter or gauge; of a histogram how many were observed."""
        if name in self._counts:
            counts = self._counts[name].get(labels)
            return 0.0 if counts is None else float(counts[:-1].sum())
        return self._values[name].get(labels, 0.0)

    def collect(self) -> Iterator[Metric]:
        for entry in CATALOGUE:
            name = PREFIX + entry.name
            if entry.kind == "histogram":
                histogram = HistogramMetricFamily(name, entry.meaning, labels=entry.labels)
                for labels, counts in list(self._counts[entry.name].items()):
                    cumulated, bounds = np.cumsum(counts[:-1]), (*map(str, map(float, entry.buckets)), "+Inf")
                    histogram.add_metric(labels, list(zip(bounds, cumulated.tolist(), strict=True)), float(counts[-1]))
                yield histogram
            else:
                family = (CounterMetricFamily if entry.kind == "counter" else GaugeMetricFamily)(
                    name, entry.meaning, labels=entry.labels
                )
                for labels, value in list(self._values[entry.name].items()):
                    family.add_metric(labels, value)
                yield family


class Endpoint:
    """``/metrics``, ``/livez`` and ``/readyz`` on one port, in a thread of its own.

    unready, stuck: why this worker is not ready, or has to be killed, or None; called in the server's thread, so that it
    answers also where the worker's loop does not. Raises OSError where the port is taken.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        host: str,
        port: int,
        unready: Callable[[], str | None],
        stuck: Callable[[], str | None],
    ) -> None:
        checks = {"/readyz": unready, "/livez": stuck}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                if path == "/metrics":
                    encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                    self._answer(200, content_type, encode(registry))
                elif path in checks:
                    trouble = checks[path]()
                    self._answer(503 if trouble else 200, "text/plain; charset=utf-8", f"{trouble or 'ok'}\n".encode())
                else:
                    self._answer(404, "text/plain; charset=utf-8", b"there are /metrics, /livez and /readyz\n")

            def _answer(self, status: int, content_type: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """A scrape every few seconds is not worth a line of the log."""

        try:
            self._server = ThreadingHTTPServer((host, port), Handler)
        except OSError as error:
            raise OSError(f"metrics_host {host}, metrics_port {port}: {error.strerror or error}; choose another or 0") from None
        self._server.daemon_threads = True
        self.address = f"http://{host}:{self._server.server_address[1]}"
        Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def document() -> str:
    """The page ``docs/metrics.md``."""
    lines = [
        "# Metrics",
        "",
        "A worker serves them at `http://METRICS_HOST:METRICS_PORT/metrics`, beside `/livez` and `/readyz`.",
        "No label names a patient.",
        "",
        "Written by `python -m stream_twin.serve.metrics`.",
        "",
        "| metric | type | labels | meaning | buckets |",
        "|---|---|---|---|---|",
    ]
    for entry in CATALOGUE:
        name = PREFIX + entry.name + ("_total" if entry.kind == "counter" else "")
        buckets = ", ".join(f"{bucket:g}" for bucket in entry.buckets)
        lines.append(f"| `{name}` | {entry.kind} | {', '.join(entry.labels)} | {entry.meaning} | {buckets} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    page = Path(__file__).parents[2] / "docs" / "metrics.md"
    if "--check" in sys.argv[1:]:
        if not page.exists() or page.read_text(encoding="utf-8") != document():
            sys.exit(f"{page} is out of date: run python -m stream_twin.serve.metrics")
    else:
        page.write_text(document(), encoding="utf-8")


if __name__ == "__main__":
    main()
