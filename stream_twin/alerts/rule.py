"""The contract of a rule: from a belief to verdicts. A rule is one class in one file of ``alerts/rules/``.

A rule judges and remembers nothing: what has to last (how long a condition holds, what is open, who answered) is kept by
:mod:`stream_twin.alerts.desk`, which hands it back as a :class:`Standing`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar, get_type_hints

import msgspec
from msgspec import Meta, Struct, field

from stream_twin.alerts.handling import STANDARD, Case, Handlings, handlings
from stream_twin.events import AlertKind, Priority
from stream_twin.twin.belief import Belief

Evidence = dict[str, float | str | None]
Contributions = dict[str, float]
Stage = Literal["pending", "raised", "escalated", "acknowledged", "snoozed", "latched"]


class Parameters(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a rule's parameters: each has a range (where it has one), a description in its ``Meta``, and a default."""

    enabled: Annotated[bool, Meta(description="False: the rule is not asked, and what it had open is resolved.")] = True
    handling: Annotated[
        dict[Priority, dict[str, Any]],
        Meta(description="By priority, what is to differ of who is told, repeating, escalating, latching, snoozing, expiring."),
    ] = field(default_factory=dict)


class Verdict(Struct, frozen=True, kw_only=True):
    """What a rule says about one subject now.

    active: the condition holds, does not hold, or (None) cannot be said; then what is open stays open.
    problem: which of several mutually exclusive conditions of the subject, as ``low`` or ``high``: another problem is
    another alert. reason: a sentence for a nurse: value, limit, how long. severity: a rise by 1 is worse, and ends an
    acknowledgement or a snooze even at the same priority. hold_s: how long the condition must hold before people are
    told; release_s: how long it must be gone before the alert is resolved. at: time of the newest reading that the verdict
    rests on; None: it rests on nothing having come, or on nothing with a time. contributions: of each signal or feature, in
    a measure of the rule's own. devices: whose values it rests on; where none of them can be relied on, people are told of that
    instead, unless it is of high priority. Empty: nothing holds it back.
    """

    subject: str
    active: bool | None
    reason: str = ""
    priority: Priority = "low"
    problem: str = ""
    evidence: Evidence = {}
    next_step: str = ""
    hold_s: float = 0.0
    release_s: float = 0.0
    severity: float = 0.0
    at: float | None = None
    contributions: Contributions = {}
    devices: tuple[str, ...] = ()


class Alert(Struct, kw_only=True, omit_defaults=True):
    """One alert of a patient as the book keeps it; times are seconds.

    since: when the condition began. read_at: the newest reading that it rested on. gone_since, worse_since: it is gone, or
    worse than people were told, but not for long enough yet. told_at: lane clock when people were last told something new;
    came_worse_at: the same, that it is worse, or back after it was latched. told_severity: how bad it was when they were told or
    answered. until: end of the snooze. level: how many more than the first were told because nobody answered; repeat_at,
    escalate_at: lane clock of the next time. over_at: lane clock since which nobody can judge it, or it is over and latched.
    """

    stage: Stage = "pending"
    problem: str = ""
    priority: Priority
    kind: AlertKind
    rule_version: int
    since: float
    active: bool | None = True
    severity: float = 0.0
    reason: str = ""
    evidence: Evidence = {}
    next_step: str = ""
    alert_id: str = ""
    sequence: int = 0
    told_at: float = 0.0
    told_severity: float = 0.0
    came_worse_at: float = 0.0
    read_at: float | None = None
    gone_since: float | None = None
    worse_since: float | None = None
    until: float | None = None
    contributions: Contributions = {}
    devices: tuple[str, ...] = ()
    level: int = 0
    repeat_at: float | None = None
    escalate_at: float | None = None
    over_at: float | None = None


class Standing(Struct, frozen=True):
    """What a rule may know of its own past with this patient.

    alerts: its alerts by subject, pending ones included. watched_since: lane clock since which the patient is watched
    without a pause. others: the alerts of all rules, by rule and subject.
    """

    alerts: Mapping[str, Alert]
    watched_since: float
    others: Mapping[str, Mapping[str, Alert]] = {}

    def open(self, subject: str, problem: str = "") -> bool:
        """People were told of it, and it is not resolved: the rule may ask for more than the limit to let it go."""
        alert = self.alerts.get(subject)
        return alert is not None and alert.stage != "pending" and alert.problem == problem

    def since(self, subject: str, at: float, problem: str = "") -> float:
        """When the condition began: ``at`` where it begins now."""
        alert = self.alerts.get(subject)
        return at if alert is None or alert.problem != problem else min(alert.since, at)


P = TypeVar("P", bound=Parameters)


class Rule(ABC, Generic[P]):
    """Base of all rules. Pure: no I/O, no clock but the belief's, nothing kept on the instance.

    name: that of its file. version: raised whenever it would judge otherwise. priorities: each priority that it gives,
    and when; becomes the table in ``docs/alerts.md``, with the class's docstring. handling: who is told and what follows, where
    it is not the standard for its kind. unreliable: its subjects are devices whose values mean nothing while its alert is
    open: it holds back what rests on them alone.
    """

    name: str
    version: int = 1
    kind: AlertKind
    priorities: tuple[Case, ...]
    handling: Handlings | None = None
    unreliable: bool = False
    defaults: P

    @abstractmethod
    def judge(self, belief: Belief, parameters: P, standing: Standing) -> Iterable[Verdict]:
        """Verdicts on every subject that is active, or that is in ``standing.alerts`` and can be judged.

        No verdict on a subject is the same as ``active=None``: a pending alert is forgotten, an open one stays.
        """

    def wake_at(self, belief: Belief, parameters: P, standing: Standing) -> float | None:
        """The value of ``complete_to`` at which its verdict may change though nothing arrives; later than now, or None."""
        return None

    def handled(self, parameters: P) -> Handlings:
        """How alerts of each priority are handled.

        Raises:
            ValueError: settings give what is not allowed.
        """
        return handlings(self.name, self.handling or STANDARD[self.kind], parameters.handling)

    def configure(self, given: Mapping[str, Any]) -> P:
        """The defaults with what settings give.

        Raises:
            ValueError: names the setting, its value and what is allowed.
        """
        kind = type(self.defaults)
        hints = get_type_hints(kind, include_extras=True)
        values = {name: getattr(self.defaults, name) for name in kind.__struct_fields__}
        for name, value in given.items():
            setting = f"rules.{self.name}.{name}"
            if name not in values:
                raise ValueError(f"{setting} = {value!r}: there is no such parameter; there are {', '.join(sorted(values))}")
            try:
                values[name] = msgspec.convert(value, hints[name])
            except msgspec.ValidationError as error:
                message = str(error)
                raise ValueError(f"{setting} = {value!r}: {message[:1].lower()}{message[1:]}") from None
        try:
            return kind(**values)
        except (TypeError, ValueError) as error:
            raise ValueError(f"rules.{self.name} = {dict(given)!r}: {error}") from None
