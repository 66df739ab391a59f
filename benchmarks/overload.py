"""More than a worker can do: lag grows and says so, urgent alerts do not wait longer than estimates, and nothing is lost."""

import time

import numpy as np

from benchmarks import latency, listen, load, report, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place
from benchmarks.throughput import audit, top_rate
from stream_twin.kafka.broker import Broker

TIMES = 1.5
"""What is sent, in times of what one worker can do."""


def ends(broker: Broker, place: Place) -> int:
    parts = [(place.topic(load.WEARABLE), lane) for lane in range(place.lanes)]
    return sum(broker.end_offsets(parts).values())


def measure(place: Place, scale: Scale) -> list[Result]:
    rate = TIMES * (top_rate(report.read("bench")) or latency.TOP_IF_UNKNOWN)
    latency.enrol(place, scale.patients, callers=int(latency.CALLS * scale.overload_s) + 1)
    points: list[tuple[float, float, float]] = []
    with service.running(place) as [worker]:
        worker.wait_ready()
        with (
            listen.estimates(place) as estimates,
            listen.urgent_alerts(place) as alerts,
            latency.sending(place, rate, scale.overload_s, scale.patients, latency.CALLS) as sender,
        ):
            began, total = time.time(), None
            while True:
                seen = worker.numbers()
                waiting = ends(place.broker, place) - service.read(seen)
                points.append((time.time() - began, float(waiting), service.lag(seen, load.WEARABLE)))
                if total is None and time.time() - began > scale.overload_s + 2:
                    sent = sender.wait()
                    total, ended = sent["sent"] + 2 * sent["called"], time.time()
                if total is not None and service.samples(seen) >= total and service.lag(seen) == 0:
                    break
                if time.time() - began > scale.overload_s + 4 * service.PATIENCE_S:
                    raise TimeoutError(
                        f"{service.samples(seen):,.0f} of {total} samples are applied: the backlog is not worked off"
                    )
                time.sleep(0.5)
            drained_s, deadline = time.time() - ended, time.monotonic() + latency.ON_ITS_WAY_S
            while len(alerts.heard) < sent["called"] and time.monotonic() < deadline:
                time.sleep(0.1)
    audit(place)
    report.curve("overload", ("s", "waiting", "lag_metric"), points)
    waited = np.array(points)
    urgent, others = alerts.latencies_ms(0.0), estimates.latencies_ms(0.0)
    return [
        Result("sent", "events/s", [total / (ended - began)]),
        Result("observations waiting at most, by the broker", "records", [float(waited[:, 1].max())]),
        Result("observations waiting at most, by the lag metric", "records", [float(waited[:, 2].max())]),
        Result(
            "lag metric to what the broker counts, at their highest",
            "times",
            [float(waited[:, 2].max() / waited[:, 1].max())],
            0.8,
        ),
        Result("time to catch up after the load", "s", [drained_s]),
        Result("urgent values without an alert", "alerts", [float(sent["called"] - len(urgent))], 0, at_most=True),
        Result("send to estimate, p99", "ms", [float(np.quantile(others, 0.99))]),
        Result("send to urgent alert, p99", "ms", [float(np.quantile(urgent, 0.99))]),
        Result(
            "urgent alerts to estimates, p99",
            "times",
            [float(np.quantile(urgent, 0.99) / np.quantile(others, 0.99))],
            1.0,
            at_most=True,
        ),
    ]
