"""What a quiet ward costs: 1,000 patients with one sample a second each, and whether it is still answered quickly."""

import time

from benchmarks import latency, listen, service
from benchmarks.report import Result
from benchmarks.scale import Scale
from benchmarks.service import Place

PATIENTS = 1000


def measure(place: Place, scale: Scale) -> list[Result]:
    costs, waits = [], []
    for number in range(scale.rounds):
        here = place._replace(prefix=f"{place.prefix}{number}.")
        latency.enrol(here, PATIENTS)
        with service.running(here) as [worker]:
            worker.wait_ready()
            with (
                listen.estimates(here) as estimates,
                latency.sending(here, PATIENTS, scale.warm_s + scale.measured_s + 3, PATIENTS) as sender,
            ):
                time.sleep(scale.warm_s + 2)  # the sender itself starts in about a second
                began, before = time.time(), worker.cpu_s()
                time.sleep(scale.measured_s)
                taken, cost = time.time() - began, worker.cpu_s() - before
                sender.wait()
        costs.append(100 * cost / taken)
        waits.append(estimates.latencies_ms(began, began + taken))
    name = f"{PATIENTS:,} patients, 1/s each"
    return [
        Result(f"{name}: CPU", "% of a core", costs, 25.0, at_most=True),
        *latency.quantiles(f"{name}: send to estimate", "ms", waits, {0.5: None, 0.99: 250.0}),
    ]
