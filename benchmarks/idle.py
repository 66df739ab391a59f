"""What a quiet ward costs: 1,000 patients with one sample a second each, and whether it is still answered quickly."""

import time

from benchmarks import latency, listen, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place

PATIENTS = 1000
CALLS = 5.0
"""Urgent values a second among the others: most estimates of a quiet ward are the tick's, of which none was waited for."""


def measure(place: Place, scale: Scale) -> list[Result]:
    costs, estimated, alerted = [], [], []
    seconds = scale.warm_s + scale.measured_s + 3
    for number in range(scale.rounds):
        here = place._replace(prefix=f"{place.prefix}{number}.")
        latency.enrol(here, PATIENTS, callers=int(CALLS * seconds) + 1)
        with service.running(here) as [worker]:
            worker.wait_ready()
            with (
                listen.estimates(here) as estimates,
                listen.urgent_alerts(here) as alerts,
                latency.sending(here, PATIENTS, seconds, PATIENTS, CALLS) as sender,
            ):
                time.sleep(scale.warm_s + 2)  # the sender itself starts in about a second
                began, before = time.time(), worker.cpu_s()
                time.sleep(scale.measured_s)
                taken, cost = time.time() - began, worker.cpu_s() - before
                sender.wait()
        costs.append(100 * cost / taken)
        estimated.append(estimates.latencies_ms(began, began + taken))
        alerted.append(alerts.latencies_ms(began, began + taken))
    name = f"{PATIENTS:,} patients, 1/s each"
    return [
        Result(f"{name}: CPU", "% of a core", costs, 25.0, at_most=True),
        *latency.quantiles(f"{name}: send to estimate", "ms", estimated, {0.5: None, 0.99: 250.0}),
        *latency.quantiles(f"{name}: send to urgent alert", "ms", alerted, {0.5: None, 0.99: 250.0}),
    ]
