"""Counts a program's events; leaves out the start, times what follows, prints the rate and ends the process."""

import json
import os
import time

SECONDS = float(os.environ.get("PEER_SECONDS", "12"))
"""Longest time that is measured."""


class Meter:
    """``warm``: events left out at the start; then ``most`` events or :data:`SECONDS`, whichever is first."""

    def __init__(self, warm: int, most: int, seconds: float = SECONDS) -> None:
        self._warm, self._most, self._seconds = warm, most, seconds
        self._count, self._next = 0, 500
        self._start = self._cpu = 0.0

    def add(self, events: int) -> None:
        self._count += events
        if not self._start:
            if self._count >= self._warm:
                self._most -= self._count - self._warm
                self._start, self._cpu, self._count = time.perf_counter(), time.process_time(), 0
            return
        if self._count < min(self._next, self._most):
            return
        self._next = self._count + 500
        taken = time.perf_counter() - self._start
        if self._count >= self._most or taken >= self._seconds:
            row = {"events": self._count, "seconds": taken, "cpu_s": time.process_time() - self._cpu}
            # Faust replaces stdout, and its orderly end takes seconds.
            os.write(1, json.dumps(row).encode() + b"\n")
            os._exit(0)
