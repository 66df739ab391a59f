"""The work per event: one filterpy constant-velocity filter and River's view of its innovation, for each patient and signal.

Written as the manuals of the libraries write it; the same code in all the frameworks. It does less than the service: no
validation of units and ranges, no late data, no rules, nothing exactly once.
"""

from math import sqrt

import numpy as np
from filterpy.common import Q_discrete_white_noise
from filterpy.kalman import KalmanFilter
from prometheus_client import Counter, Histogram
from river.drift import ADWIN
from river.stats import EWVar

SURPRISE = 4.0
NOISE_VARIANCE = 4.0

events_total = Counter("events", "Observations filtered", ["code"])
alerts_total = Counter("alerts", "Alerts raised", ["code"])
drifts_total = Counter("drifts", "Drifts detected", ["code"])
innovation_sigmas = Histogram("innovation_sigmas", "Innovations", buckets=(0.5, 1, 2, 3, 4, 6, 10))


class Follower:
    """One signal of one patient."""

    def __init__(self, value: float, at: float) -> None:
        self.at = at
        self.filter = KalmanFilter(dim_x=2, dim_z=1)
        self.filter.x = np.array([value, 0.0])
        self.filter.P = np.diag([NOISE_VARIANCE, 1e-4])
        self.filter.H = np.array([[1.0, 0.0]])
        self.filter.R *= NOISE_VARIANCE
        self.drift = ADWIN()
        self.variance = EWVar(fading_factor=0.05)

    def follow(self, value: float, at: float) -> float:
        """Innovation of the value in standard deviations, without sign."""
        gap_s, self.at = max(at - self.at, 1e-3), at
        self.filter.F = np.array([[1.0, gap_s], [0.0, 1.0]])
        self.filter.Q = Q_discrete_white_noise(dim=2, dt=gap_s, var=1e-7)
        self.filter.predict()
        self.filter.update(value)
        innovation = float(self.filter.y[0])
        self.drift.update(innovation)
        self.variance.update(innovation)
        return abs(innovation) / sqrt(self.filter.S[0, 0])


class Ward:
    """Every signal of every patient."""

    def __init__(self) -> None:
        self._followers: dict[tuple[str, str], Follower] = {}

    def watch(self, patient: str, code: str, value: float, at: float) -> dict[str, float | str] | None:
        """Take one value; an alert's fields, or None."""
        follower = self._followers.get((patient, code))
        if follower is None:
            follower = self._followers[patient, code] = Follower(value, at)
        sigmas = follower.follow(value, at)
        events_total.labels(code).inc()
        innovation_sigmas.observe(sigmas)
        if follower.drift.drift_detected:
            drifts_total.labels(code).inc()
        if sigmas <= SURPRISE:
            return None
        alerts_total.labels(code).inc()
        variance = follower.variance.get()
        return {"patient_id": patient, "code": code, "value": value, "sigmas": sigmas, "variance": variance, "measured_at": at}
