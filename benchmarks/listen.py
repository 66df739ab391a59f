"""Hears what the service commits, as somebody who reads its topics does: read_committed, and the moment of hearing noted."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.service import Place
from stream_twin.events import AlertState, Priority
from stream_twin.kafka import reader


class _Signal(msgspec.Struct):
    last_at: float


class _Estimate(msgspec.Struct):
    signals: dict[str, _Signal]
    arrived_at: float | None = None


class _Alert(msgspec.Struct):
    patient_id: str
    state: AlertState
    priority: Priority
    rule: str
    evidence: dict[str, float | str | None]
    arrived_at: float | None = None


class Heard(NamedTuple):
    """``sent``: of the sample that was the cause, by the sender's clock; ``at``: when it was heard, committed."""

    sent: float
    at: float
    lane: int


_estimate = msgspec.json.Decoder(_Estimate).decode
_alert = msgspec.json.Decoder(_Alert).decode


def cause_of_estimate(value: bytes) -> float | None:
    """When the sample was sent that caused an estimate; None where a tick did.

    Samples carry the moment of their sending as the time of measurement, which the estimate repeats; the Kafka timestamp that
    it carries too must not flatter: the older of both counts.
    """
    estimate = _estimate(value)
    if estimate.arrived_at is None or not estimate.signals:
        return None
    return min(estimate.arrived_at, max(signal.last_at for signal in estimate.signals.values()))


def newest_sample(value: bytes) -> float | None:
    """When the newest sample was sent that an estimate knows of, whatever its cause."""
    return max((signal.last_at for signal in _estimate(value).signals.values()), default=None)


def cause_of_urgent_alert(value: bytes) -> float | None:
    """When the sample was sent that broke a limit of high priority; None for other alerts."""
    alert = _alert(value)
    sent = alert.evidence.get("measured_at")
    is_urgent = alert.rule == "limits" and alert.priority == "high" and alert.patient_id.startswith("caller-")
    return float(sent) if is_urgent and alert.state == "raised" and isinstance(sent, float | int) else None


class Listener:
    """While its context lasts, collects what ``cause`` finds in the records of a topic (without prefix)."""

    def __init__(self, place: Place, topic: str, cause: Callable[[bytes], float | None]) -> None:
        self.heard: list[Heard] = []
        self._place, self._topic, self._cause = place, topic, cause
        self._ready, self._over = threading.Event(), threading.Event()
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._listen, name=topic, daemon=True)

    def __enter__(self) -> "Listener":
        self._thread.start()
        self._ready.wait(30)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(10)
        if self._error is not None and error is None:
            raise self._error

    def since(self, moment: float) -> list[Heard]:
        """What was caused by samples sent at ``moment`` or later."""
        return [one for one in list(self.heard) if one.sent >= moment]

    def latencies_ms(self, since: float, until: float = float("inf")) -> NDArray[np.float64]:
        """Of what was caused by samples sent from ``since`` to ``until``."""
        return np.array([(one.at - one.sent) * 1000 for one in self.since(since) if one.sent <= until])

    def _listen(self) -> None:
        try:
            for record in reader.tail(self._place.broker, self._place.topic(self._topic), idle_s=0.1):
                now = time.time()
                if self._over.is_set():
                    return
                if record is None:
                    self._ready.set()
                elif (sent := self._cause(record.value or b"")) is not None:
                    self.heard.append(Heard(sent, now, record.partition))
        except Exception as error:
            self._error = error
            self._ready.set()


def estimates(place: Place) -> Listener:
    return Listener(place, "twin.estimates", cause_of_estimate)


def urgent_alerts(place: Place) -> Listener:
    return Listener(place, "alerts", cause_of_urgent_alert)
