"""One alert about a lane that gets nothing to the end, and when there is none."""

import msgspec

from stream_twin.alerts.service import STALLED_AFTER_S, ServiceState, stalled


def run(ticks):
    """Ticks (clock, complete_to) -> (clock, state, alert id) of every change; the state is saved and restored between."""
    state, changes = ServiceState(), []
    for offset, (clock, complete_to) in enumerate(ticks):
        found = stalled(clock, complete_to, state, lane=3, offset=offset)
        changes += [(change.at, change.state, change.alert_id, change.sequence, change.subject) for change in found]
        state = msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=ServiceState)
    return changes


def test_a_lane_that_moves_on_is_not_stalled_however_far_behind():
    assert run((float(clock), clock / 2) for clock in range(2000)) == []


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
    ticks = [(0.0, 0.0), (1.0, 1.0), (600.0, 1.0), (601.0, 1.0), (660.0, 1.0), (661.0, 661.0)]
    assert run(ticks) == []
