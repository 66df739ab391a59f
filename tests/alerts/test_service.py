"""One alert about a lane that gets nothing to the end, and when there is none."""

import msgspec

from stream_twin.alerts.service import BEHIND_AFTER_S, BEHIND_S, CAUGHT_UP_S, STALLED_AFTER_S, ServiceState, watch


def run(ticks):
    """Ticks (clock, complete_to) -> (clock, state, alert id) of every change; the state is saved and restored between."""
    state, changes = ServiceState(), []
    for offset, (clock, complete_to) in enumerate(ticks):
        found = watch(clock, complete_to, state, lane=3, offset=offset)
        changes += [(change.at, change.state, change.alert_id, change.sequence, change.subject) for change in found]
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ServiceState)
    return changes


def test_more_than_it_can_do():
    """From 100 s on half of what comes is worked off, from 1000 s on all and as much again."""
    ticks = [(float(c), c if c < 100 else 100 + (c - 100) / 2 if c < 1000 else min(c, 550 + 2 * (c - 1000))) for c in range(1500)]
    raised, resolved = run(ticks)
    assert raised[:2] == (100 + 2 * BEHIND_S + 1 + BEHIND_AFTER_S, "raised")
    assert resolved[:2] == (1000 + 450 - CAUGHT_UP_S, "resolved")
    assert raised[2] == resolved[2]


def test_what_it_says_to_people():
    def said(ticks):
        state = ServiceState()
        found = [watch(clock, complete_to, state, lane=3, offset=n) for n, (clock, complete_to) in enumerate(ticks)]
        return [(change.priority, change.reason, change.next_step) for changes in found for change in changes]

    [growing] = said((float(clock), clock / 2) for clock in range(300))
    assert growing == (
        "medium",
        "Lane 3 of the service has been late for 1 min: what it says of its patients is 1 min old. More comes than it can do",
        "Start another worker; docs/scaling.md says how many. Watch its patients by other means until then.",
    )
    outage = [(0.0, 0.0), *((3600.0 + k, 5.0 * k) for k in range(600))]
    [shrinking, _] = said([*outage, (4300.0, 4300.0)])
    assert shrinking[1].endswith("is 56 min old. It is catching up")
    assert shrinking[2].startswith("Wait until it has caught up.")


def test_a_lane_that_is_a_little_late_is_not_behind():
    """Nor one that is for less than a minute, or one whose first tick knows nothing."""
    assert run((float(clock), clock - BEHIND_S) for clock in range(2000)) == []
    assert run((1e9 + clock, 0.0 if clock < 50 else 1e9 + clock) for clock in range(2000)) == []
    assert run((float(clock), clock - (90.0 if clock % 200 < 55 else 0.0)) for clock in range(1, 2000)) == []


def test_late_and_then_at_a_stand():
    """One alert, that becomes worse, and ends when the lane has caught up and not when it moves."""
    ticks = [(float(c), min(c / 2, 250.0)) for c in range(1000)] + [
        (1000.0 + c, min(250.0 + 50 * c, 1000.0 + c)) for c in range(60)
    ]
    changes = run(ticks)
    assert [change[1] for change in changes] == ["raised", "escalated", "resolved"]
    assert changes[1][0] == 501 + STALLED_AFTER_S
    assert len({change[2] for change in changes}) == 1
    assert [change[3] for change in changes] == [1, 2, 3]


def test_one_alert_while_it_stands_still_and_its_end():
    ticks = [(float(clock), min(clock, 100.0)) for clock in range(1000)] + [(1000.0, 1000.0), (1001.0, 1001.0)]
    raised, resolved = run(ticks)
    assert raised[:2] == (101 + STALLED_AFTER_S, "raised")
    assert resolved[:2] == (1000.0, "resolved")
    assert raised[2] == resolved[2]
    assert (raised[3], resolved[3], raised[4]) == (1, 2, "lane-3")


def test_a_second_stall_is_a_second_alert():
    ticks = [(float(clock), float(clock // 500 * 500)) for clock in range(1000)]
    changes = run(ticks)
    assert [change[1] for change in changes] == ["raised", "resolved", "raised"]
    assert changes[0][2] != changes[2][2]


def test_an_outage_is_no_stall():
    """Ten minutes without a tick, then a few while the backlog is read."""
    ticks = [(0.0, 0.0), (1.0, 1.0), (600.0, 1.0), (601.0, 1.0), (659.0, 1.0), (660.0, 660.0)]
    assert run(ticks) == []


def test_an_outage_in_which_the_last_tick_had_nothing_new_is_no_stall():
    ticks = [(0.0, 0.0), (1.0, 0.0), *((600.0 + k, 600.0 + k if k > 5 else 0.0) for k in range(100))]
    assert run(ticks) == []


def test_after_an_outage_people_are_told_that_what_they_see_is_old():
    ticks = [(0.0, 0.0), (1.0, 1.0), *((600.0 + k, 1.0 + 3 * k) for k in range(300)), (900.0, 900.0)]
    assert [change[:2] for change in run(ticks)] == [(660.0, "raised"), (600.0 + (599 - CAUGHT_UP_S + 1) // 2, "resolved")]
