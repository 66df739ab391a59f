"""Counts a program's events; leaves out the start, times what follows, prints the rate and ends the process."""

import json
import os
import time


class Meter:
    """``warm``: events left out at the start; then ``most`` events or ``seconds``, whichever is first."""

    def __init__(self, warm: int, most: int, seconds: float) -> None:
        self._warm, self._most, self._seconds = warm, most, seconds
        self._count, self._start = 0, 0.0

    def add(self, events: int) -> None:
        self._count += events
        if not self._start:
            if self._count >= self._warm:
                self._start, self._count = time.perf_counter(), 0
            return
        if self._count < self._most and self._count % 500 >= events:
            return
        taken = time.perf_counter() - self._start
        if self._count >= self._most or taken >= self._seconds:
            # Faust replaces stdout, and its orderly end takes seconds.
            os.write(1, json.dumps({"events": self._count, "seconds": taken}).encode() + b"\n")
            os._exit(0)
