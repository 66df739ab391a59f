from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _reports_of_tests_go_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.report.DIRECTORY", tmp_path / "reports")
