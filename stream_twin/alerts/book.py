"""The alerts of one patient, as the lane saves them with the twin."""

from collections.abc import Iterator

from msgspec import Struct

from stream_twin.alerts.rule import Alert

NO_ALERTS: dict[str, Alert] = {}


class Latched(Struct):
    """What is over, and waits for somebody to see it. Its rule knows nothing of it; if it comes back, it is this alert again."""

    rule: str
    subject: str
    alert: Alert


class AlertBook(Struct, kw_only=True, omit_defaults=True):
    """All alerts of one patient: what the lane saves with the twin.

    alerts: by rule, then by subject. latched: the oldest first. wake_at: value of ``complete_to`` at which :meth:`Desk.judge`
    wants to be called though nothing arrives; always later than the one it last saw. clock_at: the same by the lane's clock, for
    what people do or leave undone, or the end of a pause; ``wake_at`` is never later, so that who only looks at that is late by
    what ``complete_to`` is behind. resumed_at: lane clock when a pause ended.
    """

    alerts: dict[str, dict[str, Alert]] = {}
    latched: list[Latched] = []
    wake_at: float | None = None
    clock_at: float | None = None
    watching: bool = True
    resumed_at: float = 0.0

    def open(self) -> Iterator[tuple[str, str, Alert]]:
        """(rule, subject, alert) of what people were told and is not resolved."""
        for rule, by_subject in self.alerts.items():
            for subject, alert in by_subject.items():
                if alert.stage != "pending":
                    yield rule, subject, alert
        for latched in self.latched:
            yield latched.rule, latched.subject, latched.alert
