"""One alert about the service itself, where its lane gets nothing to the end any more; never one per patient."""

import xxhash
from msgspec import Struct

from stream_twin.alerts.wording import duration
from stream_twin.events import AlertChange, AlertState

SERVICE = "service"
"""Rule and patient of these alerts; the key of their records."""
STALLED_AFTER_S = 120.0
VERSION = 1


class ServiceState(Struct, kw_only=True, omit_defaults=True):
    """What a lane remembers about its own progress; saved with its checkpoint.

    since: lane clock of the first tick that found ``complete_to`` where it was: time in which nobody ticked does not
    count, so a restart after an outage is not a stall.
    """

    complete_to: float | None = None
    since: float | None = None
    alert_id: str | None = None
    raised_at: float = 0.0


def stalled(clock: float, complete_to: float, state: ServiceState, *, lane: int, offset: int) -> list[AlertChange]:
    """To be called with every tick of a lane; ``offset``: the tick's in ``twin.inputs``. Moves ``state`` on."""
    if state.complete_to is None or complete_to > state.complete_to:
        moved_on = state.alert_id
        state.complete_to, state.since = complete_to, None
        if moved_on is None:
            return []
        state.alert_id = None
        text = f"lane {lane} is reading again after {duration(clock - state.raised_at)}"
        return [_change("resolved", moved_on, clock, text, lane=lane, complete_to=complete_to)]
    if state.since is None:
        state.since = clock
    if state.alert_id is not None or clock - state.since < STALLED_AFTER_S:
        return []
    state.alert_id = xxhash.xxh3_64_hexdigest(f"{SERVICE}\0lane-{lane}\0{offset}\0{clock!r}".encode())
    state.raised_at = clock
    text = (
        f"Lane {lane} of the service has not caught up for {duration(clock - state.since)}: what its patients sent in the last "
        f"{duration(clock - complete_to)} may not have been judged"
    )
    return [_change("raised", state.alert_id, clock, text, lane=lane, complete_to=complete_to)]


def _change(state: AlertState, alert_id: str, clock: float, reason: str, *, lane: int, complete_to: float) -> AlertChange:
    return AlertChange(
        alert_id=alert_id,
        sequence=1 if state == "raised" else 2,
        patient_id=SERVICE,
        rule=SERVICE,
        rule_version=VERSION,
        subject=f"lane-{lane}",
        kind="technical",
        priority="high",
        state=state,
        at=clock,
        reason=reason,
        evidence={"lane": float(lane), "complete_to": complete_to},
        next_step="Check the broker and the workers with `stream-twin doctor`; watch the patients by other means until then."
        if state == "raised"
        else "",
    )
