"""The life of alerts: pending, raised, escalated, acknowledged, snoozed, latched, resolved, expired. Pure; all that lasts is in
the book.

Two times rule here. How long a condition holds or is gone goes by what is known: up to the newest reading, or to the
lane's ``complete_to``. So after an outage nobody is called ill, silent or well before the backlog was read. What people do or
leave undone (snoozes, repeating, escalating, expiring) goes by the lane's clock. No wall clock anywhere.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from math import inf
from typing import Any, Literal

import xxhash
from msgspec import Struct

from stream_twin.alerts.handling import STANDARD, Handling, Handlings
from stream_twin.alerts.rule import Alert, Evidence, Parameters, Rule, Standing, Verdict
from stream_twin.alerts.rules import discover
from stream_twin.alerts.wording import duration
from stream_twin.events import AlertChange, AlertCommand, AlertState, Instant, Priority, Profile
from stream_twin.twin.belief import Belief

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

RANK: dict[Priority, int] = {"low": 0, "medium": 1, "high": 2}
SNOOZE_S = 1800.0
"""For a snooze that says no end."""
NO_ALERTS: dict[str, Alert] = {}
UNANSWERED = ("raised", "escalated")
TELLING = ("raised", "escalated", "repeated")


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
        changing = _Changing(book, self._handled, belief.patient_id, belief.clock, offset, late=late, arrived_at=arrived_at)
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
            if mine is not None:
                _forget_unconfirmed(book, name, mine, verdicts, belief.clock)
            unreliable = self._unreliable_devices(book) if verdicts and book.alerts else ()
            for verdict in verdicts:
                changing.decide(rule, verdict, belief, unreliable)
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
        changing = _Changing(book, self._handled, command.patient_id, clock, offset)
        if command.action in ("acknowledge", "snooze") and alert.stage == "escalated" and _seconds(command.at) < alert.told_at:
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


class _Changing:
    """One call's changes of one book."""

    __slots__ = ("_arrived_at", "_book", "_clock", "_handled", "_late", "_offset", "_patient_id", "changes", "wake_at")

    def __init__(
        self,
        book: AlertBook,
        handled: Mapping[str, Handlings],
        patient_id: str,
        clock: float,
        offset: int,
        *,
        late: bool = False,
        arrived_at: float | None = None,
    ) -> None:
        self._book, self._handled = book, handled
        self._patient_id, self._clock, self._offset = patient_id, clock, offset
        self._late, self._arrived_at = late, arrived_at
        self.changes: list[AlertChange] = []
        self.wake_at = inf

    def handling(self, rule: str, alert: Alert) -> Handling:
        return self._handled.get(rule, STANDARD[alert.kind])[alert.priority]

    def answered(self, alert: Alert) -> None:
        """Somebody has seen it: no more reminders."""
        alert.level, alert.repeat_at, alert.escalate_at = 0, None, None

    def decide(self, rule: Rule[Any], verdict: Verdict, belief: Belief, unreliable: Collection[str]) -> None:
        mine = self._book.alerts.get(rule.name, NO_ALERTS)
        alert = mine.get(verdict.subject)
        begins = belief.at if verdict.at is None else verdict.at
        known_to = belief.complete_to if verdict.at is None else max(belief.complete_to, verdict.at)
        if alert is not None and alert.problem != verdict.problem and verdict.active is not None:
            self._over(rule.name, verdict.subject, alert, verdict.reason)
            alert = None
        if alert is None:
            if not verdict.active:
                return
            alert = Alert(
                problem=verdict.problem, priority=verdict.priority, kind=rule.kind, rule_version=rule.version, since=begins
            )
            self._book.alerts.setdefault(rule.name, {})[verdict.subject] = alert
        alert.active = verdict.active
        if verdict.active is None:
            return
        if verdict.active:
            alert.severity, alert.reason = verdict.severity, verdict.reason
            alert.evidence, alert.next_step = verdict.evidence, verdict.next_step
            alert.contributions, alert.devices = verdict.contributions, verdict.devices
            alert.rule_version, alert.kind, alert.gone_since, alert.read_at = rule.version, rule.kind, None, verdict.at
            alert.over_at = None
            # The twin may be wrong of a device, so nothing of high priority waits for it.
            rests = verdict.devices
            if rests and unreliable and verdict.priority != "high" and all(device in unreliable for device in rests):
                alert.worse_since = None
            else:
                self._active(rule, verdict, alert, begins, known_to)
        else:
            alert.worse_since = None
            if alert.gone_since is None:
                alert.gone_since = begins
            if alert.stage == "pending":
                self.close(rule.name, verdict.subject, alert, verdict.reason)
            elif (
                self._late and verdict.at is not None and verdict.at <= (alert.since if alert.read_at is None else alert.read_at)
            ):
                self.close(rule.name, verdict.subject, alert, f"corrected by late data: {verdict.reason}")
            elif self._lasted(alert.gone_since, known_to, verdict.release_s):
                self._over(rule.name, verdict.subject, alert, verdict.reason)

    def _active(self, rule: Rule[Any], verdict: Verdict, alert: Alert, begins: float, known_to: float) -> None:
        if alert.stage == "pending":
            alert.priority = verdict.priority
            if self._lasted(alert.since, known_to, verdict.hold_s):
                if (back := self._latched(rule.name, verdict)) is not None:
                    alert.alert_id, alert.sequence = back.alert.alert_id, back.alert.sequence
                    self._book.latched.remove(back)
                else:
                    place = f"{self._offset}\0{self._clock!r}"  # offsets alone begin anew with a new generation of the log
                    alert.alert_id = _alert_id(self._patient_id, rule.name, verdict.subject, verdict.problem, place)
                self._tell(rule.name, verdict, alert, "raised")
            return
        answered = alert.stage in ("acknowledged", "snoozed")
        if RANK[verdict.priority] > RANK[alert.priority] or (answered and verdict.severity >= alert.told_severity + 1):
            if alert.worse_since is None:
                alert.worse_since = begins
            if self._lasted(alert.worse_since, known_to, verdict.hold_s):
                alert.priority = max(alert.priority, verdict.priority, key=RANK.__getitem__)
                self._tell(rule.name, verdict, alert, "escalated")
        else:
            alert.worse_since = None

    def _tell(self, rule: str, verdict: Verdict, alert: Alert, stage: Literal["raised", "escalated"]) -> None:
        alert.stage, alert.told_at, alert.told_severity = stage, self._clock, verdict.severity
        alert.until = alert.worse_since = None
        self._begin_telling(rule, alert)
        self.put(rule, verdict.subject, alert, stage, verdict.reason)

    def _begin_telling(self, rule: str, alert: Alert) -> None:
        handling = self.handling(rule, alert)
        alert.level = 0
        alert.repeat_at = None if handling.repeat_s is None else self._clock + handling.repeat_s
        further = handling.escalate_s is not None and len(handling.tell) > 1
        alert.escalate_at = self._clock + (handling.escalate_s or 0.0) if further else None

    def remind(self) -> float | None:
        """What has to be done because of the time: of all alerts that are open. -> When it will be the next time.

        However long nobody looked, each is told once. What is about to be resolved needs no reminder.
        """
        earliest = inf
        for rule, subject, alert in list(self._book.open()):
            times = list[float]()
            expires_at = self._expires_at(rule, alert)
            if expires_at > self._clock:
                times.append(expires_at)
            elif alert.active is None or alert.stage == "latched":
                self._expire(rule, subject, alert)
                continue
            if alert.gone_since is None:
                if alert.stage == "snoozed" and alert.until is not None and alert.until <= self._clock:
                    alert.stage, alert.until, alert.told_at = "raised", None, self._clock
                    self._begin_telling(rule, alert)
                    self.put(rule, subject, alert, "raised", f"the snooze is over: {alert.reason}")
                elif alert.stage in UNANSWERED:
                    self._press(rule, subject, alert)
                times += [at for at in (alert.until, alert.repeat_at, alert.escalate_at) if at is not None]
            earliest = min(earliest, *times)
        return None if earliest == inf else earliest

    def _press(self, rule: str, subject: str, alert: Alert) -> None:
        """Tell again, and tell more people, while nobody has answered."""
        handling, clock = self.handling(rule, alert), self._clock
        unanswered = f"nobody has answered for {duration(clock - alert.told_at)}: {alert.reason}"
        if alert.escalate_at is not None and alert.escalate_at <= clock:
            alert.level += 1
            alert.escalate_at = None
            if handling.escalate_s is not None and alert.level + 1 < len(handling.tell):
                alert.escalate_at = clock + handling.escalate_s
            alert.repeat_at = None if handling.repeat_s is None else clock + handling.repeat_s
            self.put(rule, subject, alert, "escalated", unanswered)
        elif alert.repeat_at is not None and alert.repeat_at <= clock:
            alert.repeat_at = None if handling.repeat_s is None else clock + handling.repeat_s
            self.put(rule, subject, alert, "repeated", unanswered)

    def _expires_at(self, rule: str, alert: Alert) -> float:
        """Also of what can be judged yet: nothing else may wake the patient when it has grown old."""
        since = alert.over_at if alert.stage == "latched" or alert.read_at is None else alert.read_at
        if since is None or (alert.priority == "high" and alert.stage in UNANSWERED and alert.gone_since is None):
            return inf  # it may still be true, so somebody has to answer
        return since + self.handling(rule, alert).expires_s

    def _expire(self, rule: str, subject: str, alert: Alert) -> None:
        why = "it was over, and nobody looked at it" if alert.stage == "latched" else "nobody can tell whether it is still true"
        since = alert.over_at if alert.stage == "latched" or alert.read_at is None else alert.read_at
        lasted = duration(self._clock - (since or self._clock))
        self.close(rule, subject, alert, f"{why}, for {lasted}: {alert.reason}", expired=True)

    def _latched(self, rule: str, verdict: Verdict) -> Latched | None:
        for latched in self._book.latched:
            if (latched.rule, latched.subject, latched.alert.problem) == (rule, verdict.subject, verdict.problem):
                return latched
        return None

    def _over(self, rule: str, subject: str, alert: Alert, reason: str) -> None:
        """Resolve it, or keep it until somebody has seen it."""
        if alert.stage in UNANSWERED and self.handling(rule, alert).latching:
            self._take_out(rule, subject)
            alert.stage, alert.over_at, alert.active = "latched", self._clock, False
            self.answered(alert)
            self._book.latched.append(Latched(rule, subject, alert))
            self.put(rule, subject, alert, "latched", f"over, but nobody has seen it: {reason}")
        else:
            self.close(rule, subject, alert, reason)

    def close(
        self,
        rule: str,
        subject: str,
        alert: Alert,
        reason: str,
        *,
        command: AlertCommand | None = None,
        expired: bool = False,
    ) -> None:
        """Take it out of the book; people hear of it only if they heard of it before."""
        if alert.stage == "latched":
            self._book.latched = [latched for latched in self._book.latched if latched.alert is not alert]
        else:
            self._take_out(rule, subject)
        if alert.stage != "pending":
            alert.until, alert.next_step, alert.evidence, alert.contributions = None, "", {}, {}
            self.put(rule, subject, alert, "expired" if expired else "resolved", reason, command=command)

    def _take_out(self, rule: str, subject: str) -> None:
        by_subject = self._book.alerts[rule]
        del by_subject[subject]
        if not by_subject:
            del self._book.alerts[rule]

    def put(
        self, rule: str, subject: str, alert: Alert, state: AlertState, reason: str, *, command: AlertCommand | None = None
    ) -> None:
        alert.sequence += 1
        evidence: Evidence = {} if command else alert.evidence
        told = list(self.handling(rule, alert).tell[: alert.level + 1]) if state in TELLING else []
        self.changes.append(
            AlertChange(
                alert_id=alert.alert_id,
                sequence=alert.sequence,
                patient_id=self._patient_id,
                rule=rule,
                rule_version=alert.rule_version,
                subject=subject,
                kind=alert.kind,
                priority=alert.priority,
                state=state,
                at=self._clock,
                reason=reason,
                evidence=evidence,
                contributions={} if command else alert.contributions,
                next_step="" if command else alert.next_step,
                told=told,
                command_id=command.id if command else None,
                by=command.by if command else None,
                comment=command.comment if command else None,
                until=alert.until,
                arrived_at=self._arrived_at,
            )
        )

    def _lasted(self, since: float, known_to: float, wanted_s: float) -> bool:
        if wanted_s <= 0 or known_to - since >= wanted_s:
            return True
        self.wake_at = min(self.wake_at, since + wanted_s)
        return False


def _forget_unconfirmed(book: AlertBook, rule: str, mine: dict[str, Alert], verdicts: list[Verdict], clock: float) -> None:
    """A pending condition counts only while it is known to hold; what is open stays, and it cannot be said if it still holds."""
    said = {verdict.subject: verdict.active for verdict in verdicts}
    for subject, alert in list(mine.items()):
        if said.get(subject) is None:
            if alert.stage == "pending":
                del mine[subject]
            else:
                alert.active = None
                if alert.over_at is None:
                    alert.over_at = clock
    if not mine:
        del book.alerts[rule]


def _alert_id(patient_id: str, rule: str, subject: str, problem: str, place: str) -> str:
    return xxhash.xxh3_64_hexdigest("\0".join((patient_id, rule, subject, problem, place)).encode())


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
