"""What a worker starts with is what its lanes will read in their logs."""

import pytest

from stream_twin import app
from stream_twin.lane import Lane, LaneSettings
from stream_twin.settings import Settings, SettingsError
from tests.lane.log import CATALOGUE, Log, applied, dead_letters


@pytest.mark.parametrize(
    ("lane", "words"),
    [
        (LaneSettings(rules={"limits": {"max_age_s": float("inf")}}), r"lane\.rules\.limits\.max_age_s = null, inf or nan"),
        (LaneSettings(lateness_s={"streaming": float("inf")}), "inf and nan are not allowed: .*lateness_s"),
        (LaneSettings(rules={"limits": {"adult_years": 2**70}}), "lane.rules: .*64 bits"),
    ],
)
def test_settings_that_a_log_cannot_hold_are_refused(lane, words):
    with pytest.raises(SettingsError, match=words):
        app.lane_settings(Settings(lane=lane))


def test_an_open_range_is_compared_as_it_comes_back():
    wanted = app.lane_settings(Settings(lane=LaneSettings(rules={"limits": {"urgent": {"spo2": [80.0, float("inf")]}}})))
    log = Log()
    log.put(b"", Lane(0, CATALOGUE).configuration(wanted))
    lane, outputs = applied(log.records)
    assert lane.configuration(wanted) is None
    assert not dead_letters(outputs)
