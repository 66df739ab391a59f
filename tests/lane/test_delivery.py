"""What comes of a device whose samples come too late, or again with other values."""

import pytest

from tests.lane.log import T0, Log, alerts, applied


@pytest.mark.parametrize(("what", "words"), [("late", "20 samples came too late in"), ("refused", "20 samples were refused in")])
def test_a_device_whose_samples_cannot_be_used_is_told_once_and_is_over_an_hour_later(what, words):
    log = Log()
    log.profile("p")
    log.tick(T0)
    for k in range(350):
        at = T0 + 10 * k
        number = "same" if what == "refused" and k < 21 else None
        log.sample("p", "heart_rate", at, 70 + k % 3, number, device_id="watch", device_kind="streaming")
        if what == "late" and 300 <= k < 320:
            log.sample("p", "heart_rate", at - 2905, 71, device_id="watch", device_kind="streaming")
        log.tick(at + 1)
    _, outputs = applied(log.records)
    (raised,) = [change for change in alerts(outputs) if change.rule == "delivery"]
    assert (raised.state, raised.subject, raised.priority, raised.told) == ("raised", "watch", "low", ["technician"])
    assert words in raised.reason
    for k in range(60, 140):
        log.sample("p", "heart_rate", T0 + 60 * k, 70 + k % 3, device_id="watch", device_kind="streaming")
        log.tick(T0 + 60 * k + 1)
    _, outputs = applied(log.records)
    assert [change.state for change in alerts(outputs) if change.rule == "delivery"] == ["raised", "resolved"]
