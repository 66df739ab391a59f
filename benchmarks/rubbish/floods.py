"""What one device, or one mistake, can pour onto the service at once. Each is a stream: how many a second, and the next one."""

import random
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from benchmarks.rubbish import good
from benchmarks.rubbish.good import WEARABLE, Case, keyed
from benchmarks.rubbish.sender import BadRecord
from stream_twin import signals
from stream_twin.events import CATALOGUE

SIGNALS = 200
SERIES = 100_000
JUMPS_S = (0.0, 290.0, -3600.0, -3 * 86_400.0, 400.0, 365 * 86_400.0, -30 * 365 * 86_400.0)
TOLERATED_S = 300.0
GOOD = ""
"""Reason of what is not refused."""


class Flood(NamedTuple):
    """``rate`` records a second; ``records`` gives them, with the reason or GOOD."""

    name: str
    rate: float
    records: Callable[[Case], Iterator[BadRecord]]


def one_device(case: Case) -> Iterator[BadRecord]:
    """All of one signal of one patient."""
    number = 0
    while True:
        now = time.time()
        yield [keyed(WEARABLE, _plain(case, f"flood/{number}", case.stranger, now, value=70.0 + number % 7))], GOOD
        number += 1


def strangers(case: Case) -> Iterator[BadRecord]:
    """Each of another patient that nobody knows."""
    number = 0
    while True:
        yield (
            [keyed(WEARABLE, _plain(case, f"stranger/{number}", f"{case.run}-stranger-{number}", time.time()))],
            "unknown_patient",
        )
        number += 1


def many_signals(case: Case) -> Iterator[BadRecord]:
    """200 signals of one patient in turn: those of the catalogue, and codes that it does not have."""
    known = [signal for signal in signals.load().signals.values() if signal.scale != "environment"]
    number = 0
    while True:
        for signal in known:
            low, high = signal.plausible
            body = _plain(case, f"signals/{number}", case.stranger, time.time(), value=(low + high) / 2)
            yield [keyed(good.CLINICAL, {**body, "code": signal.name, "code_system": CATALOGUE, "unit": signal.unit})], GOOD
            number += 1
        for more in range(SIGNALS - len(known)):
            body = _plain(case, f"signals/{number}", case.stranger, time.time())
            yield [keyed(good.CLINICAL, {**body, "code": f"signal-{more}", "code_system": CATALOGUE})], "unknown_code"
            number += 1


def long_series(case: Case) -> Iterator[BadRecord]:
    number = 0
    while True:
        now = time.time()
        body = _plain(case, f"series/{number}", case.stranger, now)
        del body["value"], body["measured_at"]
        values = [70 + n % 9 for n in range(SERIES)]
        yield (
            [keyed(WEARABLE, {**body, "type": "series", "values": values, "start": now - SERIES / 50, "interval_s": 0.02})],
            GOOD,
        )
        number += 1


def jumping_clocks(case: Case) -> Iterator[BadRecord]:
    """Twenty devices whose clocks jump; what claims to be of the future is refused, what is too late is counted."""
    draws, number = random.Random(case.number), 0
    while True:
        jump = draws.choice(JUMPS_S)
        who = case.patient if number % 2 else case.stranger
        body = _plain(case, f"jumps/{number}", who, time.time() + jump)
        yield [keyed(WEARABLE, {**body, "device_id": f"clock-{number % 20}"})], "time_in_future" if jump > TOLERATED_S else GOOD
        number += 1


def _plain(case: Case, name: str, patient: str, at: float, value: float = 72.0) -> good.Body:
    body: good.Body = {"type": "observation", "id": f"{case.run}/{name}", "patient_id": patient, "code": "8867-4", "unit": "/min"}
    return {**body, "value": value, "measured_at": at}
