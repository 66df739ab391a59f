"""What comes of samples without a device's name."""

import pytest

from stream_twin.lane import Lane
from tests.lane.log import CATALOGUE, T0, Log, alerts, applied


def minutes(kind, outlier):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(30):
        log.sample("p", "heart_rate", T0 + 60 * k, outlier if k == 20 else 72.0 + k % 2, device_kind=kind)
        log.tick(T0 + 60 * k + 1)
    return log


@pytest.mark.parametrize(("kind", "told"), [("streaming", []), ("bedside", ["raised", "resolved"])])
def test_one_outlier_of_a_sensor_is_not_told_and_one_by_hand_is(kind, told):
    _, outputs = applied(minutes(kind, 134.0).records)
    assert [change.state for change in alerts(outputs) if change.rule == "news2"] == told


@pytest.mark.parametrize("kind", ["streaming", "bedside"])
def test_a_restored_lane_knows_whether_the_newest_is_by_hand(kind):
    lane, _ = applied(minutes(kind, 72.0).records)
    restored = Lane.restore(0, CATALOGUE, lane.checkpoint(), [(b"p", lane.snapshot(b"p"))])
    for each in (lane, restored):
        assert each.patients[b"p"].latest["heart_rate"].kind == kind
