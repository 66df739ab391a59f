"""What nobody watches any more where a device is no longer to be relied on."""

from collections.abc import Iterable
from math import inf

from stream_twin.alerts.handling import Case
from stream_twin.alerts.rule import Standing
from stream_twin.events import Priority
from stream_twin.twin.belief import Belief, DeviceBelief

UNWATCHED = (
    Case(
        "high",
        "what it alone measured is an open alert of high priority: nobody watches that any more",
        "death or irreversible injury",
        "prompt",
    ),
    Case(
        "medium",
        "no other device of the patient speaks, or what it alone measured is an open alert of medium priority",
        "death or irreversible injury",
        "delayed",
    ),
    Case("low", "other devices of the patient still speak", "reversible injury", "delayed"),
)


def priority_of(
    device: DeviceBelief, others: Iterable[DeviceBelief], belief: Belief, standing: Standing, until: float = inf
) -> tuple[Priority, list[str]]:
    """Of a technical alert about ``device``: that of what is no longer watched; and the names of that, where an alert is open.

    others: which still speak. until: what it measured later it still watches.
    """
    speaking = {other.device_id for other in others}
    alone: dict[str, Priority] = {
        belief.signals[subject].signal.display if subject in belief.signals else rule: alert.priority
        for rule, by_subject in standing.others.items()
        for subject, alert in by_subject.items()
        if alert.stage != "pending" and alert.priority != "low" and alert.active is not False
        if alert.active is None or (alert.read_at or 0.0) <= until
        if device.device_id in alert.devices and speaking.isdisjoint(alert.devices)
    }
    if "high" in alone.values():
        return "high", list(alone)
    return "medium" if alone or not speaking else "low", list(alone)


def told_of(unwatched: list[str]) -> str:
    """To be put behind a reason."""
    return f"; nobody watches {', '.join(unwatched)} any more, where an alert is open" if unwatched else ""
