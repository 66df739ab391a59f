"""The same work per event in plain Faust: one filterpy filter and one River detector per patient and signal, alerts, metrics.

``python -m benchmarks.peers.plain_faust BROKER TOPIC PARTITIONS EVENTS``, written as the manuals of its libraries write it. It
does less than the service: no validation of units and ranges, no late data, no rules, nothing exactly once.
"""

import sys
import tempfile
import uuid
from math import sqrt

import faust
import numpy as np
from filterpy.common import Q_discrete_white_noise
from filterpy.kalman import KalmanFilter
from prometheus_client import Counter, Histogram
from river.drift import PageHinkley

from benchmarks.peers.meter import Meter

BROKER, TOPIC, PARTITIONS, EVENTS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
SURPRISE = 4.0
NOISE_VARIANCE = 4.0

events_total = Counter("events", "Observations filtered", ["code"])
alerts_total = Counter("alerts", "Alerts raised", ["code"])
drifts_total = Counter("drifts", "Drifts detected", ["code"])
innovation_sigmas = Histogram("innovation_sigmas", "Innovations", ["code"], buckets=(0.5, 1, 2, 3, 4, 6, 10))


class Observation(faust.Record, serializer="json"):
    id: str
    patient_id: str
    code: str
    value: float
    unit: str
    measured_at: float
    device_id: str


class Alert(faust.Record, serializer="json"):
    patient_id: str
    code: str
    value: float
    sigmas: float
    measured_at: float


class Follower:
    """One signal of one patient."""

    def __init__(self, value: float, at: float) -> None:
        self.at = at
        self.filter = KalmanFilter(dim_x=2, dim_z=1)
        self.filter.x = np.array([value, 0.0])
        self.filter.P = np.diag([NOISE_VARIANCE, 1e-4])
        self.filter.H = np.array([[1.0, 0.0]])
        self.filter.R *= NOISE_VARIANCE
        self.detector = PageHinkley()

    def follow(self, value: float, at: float) -> float:
        """Innovation of the value in standard deviations."""
        gap_s, self.at = max(at - self.at, 1e-3), at
        self.filter.F = np.array([[1.0, gap_s], [0.0, 1.0]])
        self.filter.Q = Q_discrete_white_noise(dim=2, dt=gap_s, var=1e-7)
        self.filter.predict()
        self.filter.update(value)
        sigmas = float(self.filter.y[0]) / sqrt(self.filter.S[0, 0])
        self.detector.update(sigmas)
        return sigmas


app = faust.App(
    f"bench-{uuid.uuid4().hex[:8]}",
    broker=f"kafka://{BROKER}",
    store="memory://",
    datadir=tempfile.mkdtemp(),
    topic_partitions=PARTITIONS,
    topic_disable_leader=True,
    stream_wait_empty=False,
    web_enabled=False,
    consumer_auto_offset_reset="earliest",
)
observations = app.topic(TOPIC, value_type=Observation)
alerts = app.topic(f"{TOPIC}.plain-alerts", key_type=str, value_type=Alert)
followers: dict[tuple[str, str], Follower] = {}
meter = Meter(warm=3000, most=EVENTS - 3000, seconds=15)


@app.agent(observations)
async def watch(stream):  # type: ignore[no-untyped-def]  # Faust is untyped
    async for observation in stream:
        name = (observation.patient_id, observation.code)
        follower = followers.get(name)
        if follower is None:
            follower = followers[name] = Follower(observation.value, observation.measured_at)
        sigmas = follower.follow(observation.value, observation.measured_at)
        events_total.labels(observation.code).inc()
        innovation_sigmas.labels(observation.code).observe(abs(sigmas))
        if follower.detector.drift_detected:
            drifts_total.labels(observation.code).inc()
        if abs(sigmas) > SURPRISE:
            alerts_total.labels(observation.code).inc()
            alert = Alert(observation.patient_id, observation.code, observation.value, sigmas, observation.measured_at)
            await alerts.send(key=observation.patient_id, value=alert)
        meter.add(1)


if __name__ == "__main__":
    sys.argv = [sys.argv[0], "worker", "-l", "info", "--without-web"]
    app.main()
