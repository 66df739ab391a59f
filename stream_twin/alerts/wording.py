"""Values and times as people on a ward say them, and what the model's scale means in their units."""

from datetime import UTC, datetime

from stream_twin.signals import Signal
from stream_twin.twin.belief import Belief

UNITS = {"Cel": "°C", "mm[Hg]": "mmHg", "1": "", "{score}": "", "[pH]": ""}


def measured(signal: Signal, value: float, limit: float | None = None) -> str:
    """``86 %``, ``36.6 °C``: the signal's decimals and unit; more decimals where it would read as the limit without being it."""
    decimals = signal.decimals
    while limit is not None and decimals < signal.decimals + 3 and value != limit:
        if f"{value:.{decimals}f}" != f"{limit:.{decimals}f}":
            break
        decimals += 1
    return f"{value:.{decimals}f} {UNITS.get(signal.unit, signal.unit)}".rstrip()


def duration(seconds: float) -> str:
    """``45 s``, ``3 min``, ``2 h 10 min``, ``3 days``: cut, never rounded up."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    if whole < 48 * 3600:
        hours, minutes = whole // 3600, whole % 3600 // 60
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{whole // 86400} days"


def moment(belief: Belief, at: float) -> str:
    """``02:10`` by the patient's wall clock, by UTC (and said so) without a time zone; with the date where it is not today's."""
    local = belief.local_time(at)
    zone = " UTC" if local is None else ""
    local = local or datetime.fromtimestamp(at, UTC)
    today = belief.local_time() or datetime.fromtimestamp(belief.at, UTC)
    return (f"{local:%H:%M}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}") + zone


def slope_at(signal: Signal, value: float) -> float:
    """What 1 on the signal's working scale is in its unit around ``value``: carries standard deviations of the model over."""
    if signal.transform == "log":
        return abs(value)
    if signal.transform == "log_headroom":
        return max(signal.ceiling + 1 - value, 0.0)
    return 1.0
