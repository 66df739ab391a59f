"""The only place that asks what time it is."""

import time


def wall() -> float:
    """Seconds since 1970-01-01T00:00:00Z by this machine's clock."""
    return time.time()


def elapsed() -> float:
    """Seconds on a clock that never goes back; only differences mean something."""
    return time.monotonic()
