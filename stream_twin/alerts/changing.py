"""How one look, or one command, changes a book of alerts, and what people are told of it."""

from collections.abc import Mapping
from math import inf
from typing import Any, Literal

import xxhash

from stream_twin.alerts.book import NO_ALERTS, AlertBook, Latched
from stream_twin.alerts.handling import STANDARD, Handling, Handlings
from stream_twin.alerts.rule import Alert, Evidence, Rule, Verdict
from stream_twin.alerts.wording import duration
from stream_twin.events import AlertChange, AlertCommand, AlertState, Priority
from stream_twin.twin.belief import Belief

RANK: dict[Priority, int] = {"low": 0, "medium": 1, "high": 2}
UNANSWERED = ("raised", "escalated")
TELLING = ("raised", "escalated", "repeated")


class Changing:
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

    def decide(self, rule: Rule[Any], verdict: Verdict, belief: Belief) -> None:
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
            alert.gone_since = None  # it counts as gone only while that is known
            return
        if verdict.active:
            alert.severity, alert.reason = verdict.severity, verdict.reason
            alert.evidence, alert.next_step = verdict.evidence, verdict.next_step
            alert.contributions, alert.devices = verdict.contributions, verdict.devices
            alert.rule_version, alert.kind, alert.gone_since, alert.read_at = rule.version, rule.kind, None, verdict.at
            alert.over_at = None
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
        if alert.sequence:  # else nobody can have answered something lesser
            alert.came_worse_at = self._clock
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
            earliest = min([earliest, *times])
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


def _alert_id(patient_id: str, rule: str, subject: str, problem: str, place: str) -> str:
    return xxhash.xxh3_64_hexdigest("\0".join((patient_id, rule, subject, problem, place)).encode())
