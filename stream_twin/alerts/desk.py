"""The life of alerts: pending, raised, escalated, acknowledged, snoozed, latched, resolved, expired. Pure; all that lasts is in
the book.

Two times rule here. How long a condition holds or is gone goes by what is known: up to the newest reading, or to the
lane's ``complete_to``. So after an outage nobody is called ill, silent or well before the backlog was read. What people do or
leave undone (snoozes, repeating, escalating, expiring) goes by the lane's clock. No wall clock anywhere.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from stream_twin.alerts.book import NO_ALERTS, AlertBook
from stream_twin.alerts.changing import Changing
from stream_twin.alerts.rule import Alert, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.rules import discover
from stream_twin.events import AlertChange, AlertCommand, Instant, Profile
from stream_twin.twin.belief import Belief

__all__ = ["AlertBook", "Desk", "Rejection", "RejectionReason", "RuleSettings"]

RuleSettings = Mapping[str, Mapping[str, Any]]
"""Parameters that differ from the defaults, by the rule's name."""
RejectionReason = Literal[
    "unknown_alert",
    "already_acknowledged",
    "worse_since",
    "comment_missing",
    "snooze_over",
    "snooze_too_long",
    "still_true",
    "over_already",
]

SNOOZE_S = 1800.0
"""For a snooze that says no end."""


class Rejection(Struct, frozen=True):
    """A command that cannot be followed: the dead letter's reason and its sentence."""

    reason: RejectionReason
    detail: str


class Desk:
    """The rules with their parameters. One serves all patients; what differs between patients is in the book.

    Raises:
        ValueError: a setting names no rule or parameter, or its value is not allowed.
    """

    def __init__(self, settings: RuleSettings | None = None, rules: Sequence[Rule[Any]] | None = None) -> None:
        known = {rule.name: rule for rule in (discover() if rules is None else rules)}
        settings = settings or {}
        for name, given in settings.items():
            if name not in known:
                raise ValueError(f"rules.{name}: there is no such rule; there are {', '.join(known)}")
            if not isinstance(given, Mapping):
                raise ValueError(f"rules.{name} = {given!r}: a table of the rule's parameters is wanted")
        configured = [(rule, rule.configure(settings.get(name, {}))) for name, rule in known.items()]
        # What says that a device cannot be relied on comes first: it holds back what rests on the device.
        configured.sort(key=lambda each: not each[0].unreliable)
        self._rules: list[tuple[str, Rule[Any], Parameters]] = [
            (rule.name, rule, parameters) for rule, parameters in configured if parameters.enabled
        ]
        self._names = {name for name, _, _ in self._rules}
        self._unreliable = [rule.name for rule, parameters in configured if parameters.enabled and rule.unreliable]
        self._handled = {rule.name: rule.handled(parameters) for rule, parameters in configured}

    def judge(
        self, book: AlertBook, belief: Belief, offset: int, *, late: bool = False, arrived_at: float | None = None
    ) -> list[AlertChange]:
        """Ask every rule, move the book on and return what changed for people.

        offset: of the log record that is the cause; part of the id of what is raised. late: readings came late or were corrected
        since it was last asked; what is no longer true although nothing newer was read never was. arrived_at: passed on to the
        changes.
        """
        changing = Changing(book, self._handled, belief.patient_id, belief.clock, offset, late=late, arrived_at=arrived_at)
        over = _not_watched(belief.profile, belief.clock)
        if over is not None:
            for name, subject, alert in list(book.open()):
                changing.close(name, subject, alert, over)
            book.alerts.clear()
            book.latched.clear()
            book.watching = False
            book.wake_at = book.clock_at = _pause_ends(belief.profile)
            return changing.changes
        if not book.watching:
            book.watching = True
            book.resumed_at = belief.clock
        for name in [name for name in book.alerts if name not in self._names]:
            for subject, alert in list(book.alerts[name].items()):
                changing.close(name, subject, alert, f"the rule {name} is no longer in use")
        for latched in [latched for latched in book.latched if latched.rule not in self._names]:
            changing.close(latched.rule, latched.subject, latched.alert, f"the rule {latched.rule} is no longer in use")

        watched_since = max(belief.watched_since, book.resumed_at)
        fresh = Standing(NO_ALERTS, watched_since, book.alerts)
        for name, rule, parameters in self._rules:
            mine = book.alerts.get(name)
            standing = fresh if mine is None else Standing(mine, watched_since, book.alerts)
            verdicts = list(rule.judge(belief, parameters, standing))
            if verdicts and book.alerts and (unreliable := self._unreliable_devices(book)):
                verdicts = [_held_back(verdict, unreliable) for verdict in verdicts]
            if mine is not None:
                _forget_unconfirmed(book, name, mine, verdicts, belief.clock)
            for verdict in verdicts:
                changing.decide(rule, verdict, belief)
            wake = rule.wake_at(belief, parameters, standing)
            if wake is not None and wake < changing.wake_at:
                changing.wake_at = wake
        book.clock_at = changing.remind() if book.alerts or book.latched else None
        wake_at = changing.wake_at if book.clock_at is None else min(changing.wake_at, book.clock_at)
        book.wake_at = None if wake_at == inf else wake_at
        return changing.changes

    def _unreliable_devices(self, book: AlertBook) -> Collection[str]:
        """Devices of which people were told that their values mean nothing."""
        return [
            subject
            for name in self._unreliable
            for subject, alert in book.alerts.get(name, NO_ALERTS).items()
            if alert.stage != "pending"
        ]

    def command(self, book: AlertBook, command: AlertCommand, clock: float, offset: int) -> list[AlertChange] | Rejection:
        """Follow a person's command, or say why not. That a command comes twice is for the lane to see, by its id."""
        found = next(((r, s, a) for r, s, a in book.open() if a.alert_id == command.alert_id), None)
        if found is None:
            return Rejection("unknown_alert", f"alert {command.alert_id} is not open: it was resolved, or is another patient's")
        rule, subject, alert = found
        changing = Changing(book, self._handled, command.patient_id, clock, offset)
        if command.action in ("acknowledge", "snooze") and _seconds(command.at) < alert.came_worse_at:
            return Rejection(
                "worse_since",
                f"alert {command.alert_id} became {alert.priority} after this {command.action}: look at it, then send it again",
            )
        if command.action == "acknowledge":
            if alert.stage == "acknowledged":
                return Rejection("already_acknowledged", f"alert {command.alert_id} is acknowledged already")
            if alert.stage == "latched":
                changing.close(rule, subject, alert, f"over, and seen by {command.by}", command=command)
                return changing.changes
            alert.stage, alert.until, alert.told_severity = "acknowledged", None, alert.severity
            changing.answered(alert)
            changing.put(rule, subject, alert, "acknowledged", f"acknowledged by {command.by}", command=command)
        elif command.action == "snooze":
            if alert.stage == "latched":
                return Rejection("over_already", f"alert {command.alert_id} is over and only waits to be seen: acknowledge it")
            longest = changing.handling(rule, alert).longest_snooze_s
            until = clock + SNOOZE_S if command.until is None else _seconds(command.until)
            if until <= clock:
                return Rejection("snooze_over", f"the snooze would have ended {clock - until:.0f} s ago: give a later end")
            if until > clock + longest:
                return Rejection(
                    "snooze_too_long",
                    f"a snooze of {(until - clock) / 60:.0f} min: {alert.priority} ones sleep {longest / 60:.0f} min at most",
                )
            alert.stage, alert.until, alert.told_severity = "snoozed", until, alert.severity
            changing.answered(alert)
            book.clock_at = until if book.clock_at is None else min(book.clock_at, until)
            book.wake_at = until if book.wake_at is None else min(book.wake_at, until)
            changing.put(rule, subject, alert, "snoozed", f"snoozed by {command.by}", command=command)
        elif command.action == "comment":
            if not command.comment:
                return Rejection("comment_missing", f"the comment on alert {command.alert_id} is empty")
            changing.put(rule, subject, alert, "commented", f"comment by {command.by}", command=command)
        else:
            if alert.active and alert.stage != "latched":
                return Rejection("still_true", f"it is still true that {alert.reason}: acknowledge or snooze it instead")
            changing.close(rule, subject, alert, f"resolved by {command.by}", command=command)
        return changing.changes


def _held_back(verdict: Verdict, unreliable: Collection[str]) -> Verdict:
    """What rests on unreliable devices alone cannot be said. They may be reliable after all, so what is high is told."""
    if not verdict.devices or (verdict.active and verdict.priority == "high"):
        return verdict
    return verdict if any(device not in unreliable for device in verdict.devices) else replace(verdict, active=None)


def _forget_unconfirmed(book: AlertBook, rule: str, mine: dict[str, Alert], verdicts: list[Verdict], clock: float) -> None:
    """A pending condition counts only while it is known to hold; what is open stays: whether it holds cannot be said."""
    said = {verdict.subject: verdict.active for verdict in verdicts}
    for subject, alert in list(mine.items()):
        if said.get(subject) is None:
            if alert.stage == "pending":
                del mine[subject]
            else:
                alert.active = alert.gone_since = None
                if alert.over_at is None:
                    alert.over_at = clock
    if not mine:
        del book.alerts[rule]


def _not_watched(profile: Profile, clock: float) -> str | None:
    """Why nobody is to be told anything about this patient."""
    if not profile.consent:
        return "consent was withdrawn"
    if profile.state == "enrolled":
        return None
    if profile.state == "paused":
        ends = _pause_ends(profile)
        if ends is not None and ends <= clock:
            return None
    return f"the patient {'has died' if profile.state == 'died' else f'is {profile.state}'}" + (
        f" ({profile.state_reason})" if profile.state_reason else ""
    )


def _pause_ends(profile: Profile) -> float | None:
    return None if profile.state != "paused" or profile.paused_until is None else _seconds(profile.paused_until)


def _seconds(instant: Instant) -> float:
    return datetime.fromisoformat(instant).timestamp() if isinstance(instant, str) else instant
