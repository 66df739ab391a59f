"""Between a signal's unit and the scale on which its filter works. Increasing in the value, so that high stays high."""

import math

import numpy as np
from numpy.typing import NDArray

from stream_twin.signals import Signal

Floats = NDArray[np.float64]


def to_working(signal: Signal, value: float) -> float:
    """Values where the logarithm ends are taken half a display step inside it."""
    if signal.transform == "log":
        return math.log(max(value, _step(signal)))
    if signal.transform == "log_headroom":
        return -math.log(max(signal.ceiling + 1 - value, _step(signal)))
    return value


def from_working(signal: Signal, working: float) -> float:
    if signal.transform == "log":
        return math.exp(min(working, 700.0))
    if signal.transform == "log_headroom":
        return signal.ceiling + 1 - math.exp(min(-working, 700.0))
    return working


def _step(signal: Signal) -> float:
    return 0.5 * 10.0**-signal.decimals
