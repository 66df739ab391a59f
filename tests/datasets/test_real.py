"""Every published data set as a whole: read without an exception, in order, with known counts and reasons."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stream_twin.datasets.published import DATASETS
from stream_twin.datasets.recording import Recording
from tests.datasets.judged import judge

RECORDINGS = Path(os.environ.get("STREAM_TWIN_RECORDINGS") or Path(__file__).parents[3] / "shared" / "data")
NOW = datetime(2026, 11, 24, 4, tzinfo=UTC).timestamp()
FOLDERS = {
    "t1d": "t1d_uom",
    "sepsis2019": "sepsis2019",
    "mimic-fhir": "mimic_iv_demo_fhir",
    "lifesnaps": "lifesnaps",
    "welltory": "welltory_covid",
    "beijing-pm25": "beijing_pm25",
}
FEWEST = {
    "t1d": 400_000,
    "sepsis2019": 1_400_000,
    "mimic-fhir": 70_000,
    "lifesnaps": 140_000,
    "welltory": 90_000,
    "beijing-pm25": 300_000,
}
REASONS = {
    "t1d": {"missing_field", "time_in_future", "out_of_range", "time_format"},
    "sepsis2019": {"out_of_range"},
    "mimic-fhir": {"out_of_range"},
    "lifesnaps": {"out_of_range"},
    "welltory": {"out_of_range", "time_in_future"},
    "beijing-pm25": set(),
}
"""What these files hold that means nothing; anything else would be our mistake."""


@pytest.mark.recordings
@pytest.mark.parametrize("name", DATASETS)
def test_whole(name: str) -> None:
    path = RECORDINGS / FOLDERS[name]
    if not path.is_dir():
        pytest.skip(f"no {path}: set STREAM_TWIN_RECORDINGS to the folder of the recordings")
    recording = Recording(DATASETS[name], path, now=NOW)
    judged = judge(recording)
    sent = judged.accepted.total() + judged.refused.total()
    print(f"{name}: {len(recording.people)} people, {sent} records: {dict(judged.accepted)}, refused {dict(judged.refused)}")
    assert sent == recording.count >= FEWEST[name]
    assert set(judged.refused) <= REASONS[name]
    assert judged.refused.total() < 0.005 * sent
    assert NOW - 14 * 86400 < recording.last <= NOW
    assert recording.first < recording.last
