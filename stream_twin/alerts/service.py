"""One alert about the service itself, where a lane of it is late or gets nothing to the end any more; never one per patient."""

from typing import Literal

import xxhash
from msgspec import Struct

from stream_twin.alerts.wording import duration
from stream_twin.events import SERVICE, AlertChange, AlertState

STALLED_AFTER_S = 120.0
"""Without any progress."""
BEHIND_S, BEHIND_AFTER_S = 60.0, 60.0
"""So far behind, for so long."""
CAUGHT_UP_S = 30.0
"""Less than this behind, the alert is over; between the two it stays as it is."""
NOBODY_S = 30.0
"""Longer than this between two ticks, nobody had the lane."""
VERSION = 2
WATCH = "Watch its patients by other means until then."


class ServiceState(Struct, kw_only=True, omit_defaults=True):
    """What a lane remembers about its own progress; saved with its checkpoint. Times are the lane's clock at a tick.

    began: the first tick. since: the first that found ``complete_to`` where it was. late_since, late_by_s: the first that found
    the lane :data:`BEHIND_S` behind, and how far. standing: the alert says that it stands still. Time in which nobody ticked
    does not count: after an outage a lane has :data:`BEHIND_AFTER_S` to catch up, then people are told that what they see is old.
    """

    complete_to: float | None = None
    ticked_at: float = 0.0
    began: float | None = None
    since: float | None = None
    late_since: float | None = None
    late_by_s: float = 0.0
    alert_id: str | None = None
    raised_at: float = 0.0
    sequence: int = 0
    standing: bool = False


def watch(clock: float, complete_to: float, state: ServiceState, *, lane: int, offset: int) -> list[AlertChange]:
    """To be called with every tick of a lane; ``offset``: the tick's in ``twin.inputs``. Moves ``state`` on."""
    if state.began is None:
        state.began = clock
    if clock - state.ticked_at > NOBODY_S:
        state.since = state.late_since = None
    state.ticked_at = clock
    if state.complete_to is None or complete_to > state.complete_to:
        state.complete_to, state.since = complete_to, None
    elif state.since is None:
        state.since = clock
    behind_s = clock - max(complete_to, state.began)  # a new lane is not behind since 1970
    if behind_s > BEHIND_S and state.late_since is None:
        state.late_since, state.late_by_s = clock, behind_s
    elif behind_s <= CAUGHT_UP_S:
        state.late_since = None

    def change(to: AlertState, priority: Literal["high", "medium"], reason: str, next_step: str) -> list[AlertChange]:
        assert state.alert_id is not None
        state.sequence += 1
        return [
            AlertChange(
                alert_id=state.alert_id,
                sequence=state.sequence,
                patient_id=SERVICE,
                rule=SERVICE,
                rule_version=VERSION,
                subject=f"lane-{lane}",
                kind="technical",
                priority=priority,
                state=to,
                at=clock,
                reason=reason,
                evidence={"lane": float(lane), "complete_to": complete_to, "behind_s": behind_s},
                next_step=next_step,
                told=["nurse", "technician"] if to != "resolved" else [],
            )
        ]

    stands = state.since is not None and clock - state.since >= STALLED_AFTER_S
    # Not while it stands still, which may become the other alert.
    late = state.since is None and state.late_since is not None and clock - state.late_since >= BEHIND_AFTER_S
    if state.alert_id is not None and behind_s <= CAUGHT_UP_S:
        over = change(
            "resolved",
            "high" if state.standing else "medium",
            f"lane {lane} has caught up after {duration(clock - state.raised_at)}",
            "",
        )
        state.alert_id, state.standing = None, False
        return over
    if not (stands or late) or (state.alert_id is not None and (state.standing or not stands)):
        return []
    to: AlertState = "escalated"
    if state.alert_id is None:
        state.alert_id = xxhash.xxh3_64_hexdigest(f"{SERVICE}\0lane-{lane}\0{offset}\0{clock!r}".encode())
        state.raised_at, state.sequence, to = clock, 0, "raised"
    if stands:
        state.standing = True
        reason = (
            f"Lane {lane} of the service has got nothing to the end for {duration(clock - (state.since or clock))}: what its "
            f"patients sent in the last {duration(behind_s)} may not have been judged"
        )
        return change(to, "high", reason, f"Check the broker and the workers with `stream-twin doctor`. {WATCH}")
    late_for, old = duration(clock - (state.late_since or clock)), duration(behind_s)
    reason = f"Lane {lane} of the service has been late for {late_for}: what it says of its patients is {old} old. "
    if behind_s < state.late_by_s:
        return change(to, "medium", f"{reason}It is catching up", f"Wait until it has caught up. {WATCH}")
    next_step = f"Start another worker; docs/scaling.md says how many. {WATCH}"
    return change(to, "medium", f"{reason}More comes than it can do", next_step)
