"""How people are told: the priority by what would happen otherwise, who is told, and what follows where nobody answers."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from stream_twin.events import AlertKind, Priority

Harm = Literal["death or irreversible injury", "reversible injury", "minor injury or discomfort"]
Onset = Literal["immediate", "prompt", "delayed"]
LONGEST_HIGH_SNOOZE_S = 1800.0
SELDOMEST_HIGH_S = {"repeat_s": 900.0, "escalate_s": 1800.0}

PRIORITY: dict[tuple[Harm, Onset], Priority] = {
    ("death or irreversible injury", "immediate"): "high",
    ("death or irreversible injury", "prompt"): "high",
    ("death or irreversible injury", "delayed"): "medium",
    ("reversible injury", "immediate"): "high",
    ("reversible injury", "prompt"): "medium",
    ("reversible injury", "delayed"): "low",
    ("minor injury or discomfort", "immediate"): "medium",
    ("minor injury or discomfort", "prompt"): "low",
    ("minor injury or discomfort", "delayed"): "low",
}
"""IEC 60601-1-8:2006+AMD1:2012, table 1: the result if nobody responds, and how soon it may come. Immediate: usually too soon
for anybody to act by hand; prompt: soon, but there is usually time to act; delayed: later than that."""


class Case(NamedTuple):
    """A priority that a rule gives, when, and why it is this one: what would come of it, and how soon, if nobody responds."""

    priority: Priority
    when: str
    harm: Harm
    onset: Onset


class Handling(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What becomes of alerts of one priority once they are raised. Times go by the lane's clock."""

    tell: Annotated[tuple[str, ...], Meta(min_length=1)]
    """Roles: who is told first, then whom else each time that nobody has answered for ``escalate_s``."""
    repeat_s: Annotated[float, Meta(ge=10)] | None = None
    """How often it is told again while nobody has answered; None: never."""
    escalate_s: Annotated[float, Meta(ge=10)] | None = None
    latching: bool = False
    """What is over stays until a person has seen it."""
    longest_snooze_s: Annotated[float, Meta(gt=0)]
    expires_s: Annotated[float, Meta(gt=0)] = 2 * 86400.0
    """How long it is kept after nobody can judge it any more, or after it is over and latched."""


Handlings = Mapping[Priority, Handling]

STANDARD: dict[AlertKind, dict[Priority, Handling]] = {
    "physiological": {
        "high": Handling(
            tell=("nurse", "doctor", "shift lead"), repeat_s=300.0, escalate_s=600.0, longest_snooze_s=LONGEST_HIGH_SNOOZE_S
        ),
        "medium": Handling(tell=("nurse",), longest_snooze_s=4 * 3600.0),
        "low": Handling(tell=("nurse",), longest_snooze_s=24 * 3600.0),
    },
    "technical": {
        "high": Handling(
            tell=("nurse", "technician", "shift lead"), repeat_s=300.0, escalate_s=600.0, longest_snooze_s=LONGEST_HIGH_SNOOZE_S
        ),
        "medium": Handling(tell=("nurse",), longest_snooze_s=4 * 3600.0),
        "low": Handling(tell=("technician",), longest_snooze_s=24 * 3600.0),
    },
}
"""What holds where neither rule nor settings say otherwise: this project's own choice."""


def handlings(rule: str, standard: Handlings, given: Mapping[Priority, Mapping[str, Any]]) -> Handlings:
    """The rule's own with what settings give for some priorities.

    Raises:
        ValueError: names the setting, its value and what is allowed.
    """
    merged = dict(standard)
    for priority, changes in given.items():
        setting = f"rules.{rule}.handling.{priority}"
        try:
            new = msgspec.convert({**msgspec.to_builtins(standard[priority]), **changes}, Handling, strict=False)
        except msgspec.ValidationError as error:
            message = str(error)
            raise ValueError(f"{setting} = {dict(changes)!r}: {message[:1].lower()}{message[1:]}") from None
        if priority == "high":
            if new.longest_snooze_s > LONGEST_HIGH_SNOOZE_S:
                raise ValueError(
                    f"{setting}.longest_snooze_s = {new.longest_snooze_s:g}: at most {LONGEST_HIGH_SNOOZE_S:g} is allowed"
                )
            if new.repeat_s is None or new.escalate_s is None:
                raise ValueError(f"{setting}: repeat_s and escalate_s are wanted, so that a high alert is never left unanswered")
            for name, most in SELDOMEST_HIGH_S.items():
                if getattr(new, name) > most:
                    raise ValueError(f"{setting}.{name} = {getattr(new, name):g}: at most {most:g} is allowed")
        merged[priority] = new
    return merged
