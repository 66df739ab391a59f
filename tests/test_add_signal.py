"""Adding a signal is adding one entry: done here with the entry and the message that ``docs/add-a-signal.md`` shows."""

import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from stream_twin import signals
from stream_twin.datasets.recording import Sent
from stream_twin.events import Estimate, Profile
from stream_twin.serve.observer import WorkerMetrics
from tests.memory_service import MemoryService

ROOT = Path(__file__).parents[1]
NAME = "peak_expiratory_flow"


def shown(language: str) -> str:
    """The first block of this kind on the page."""
    match = re.search(rf"^```{language}\n(.*?)^```$", (ROOT / "docs" / "add-a-signal.md").read_text(), re.DOTALL | re.MULTILINE)
    assert match
    return match[1]


@pytest.fixture
def catalogue(tmp_path: Path) -> signals.Catalogue:
    file = tmp_path / "signals.toml"
    file.write_text((ROOT / "stream_twin" / "signals.toml").read_text() + "\n" + shown("toml"))
    return signals.load(file)


def test_one_entry_carries_a_signal_from_message_to_estimate(catalogue: signals.Catalogue) -> None:
    assert NAME not in signals.load()
    message = msgspec.json.decode(shown("json"))
    at = datetime.fromisoformat(message["measured_at"]).timestamp()
    profile = msgspec.json.encode(Profile(patient_id="anna", valid_from=at - 86400))
    service = MemoryService(catalogue, lanes=1)
    service.run(
        [Sent(at - 60, "patient.profiles", b"anna", profile), Sent(at, "wearable.observations", b"anna", shown("json").encode())]
    )
    assert service.topics["dead.letters", 0] == []
    estimate = msgspec.json.decode(service.topics["twin.estimates", 0][-1].value, type=Estimate)
    believed = estimate.signals[NAME]
    assert believed.last_value == pytest.approx(390.0)
    assert 350.0 < believed.level < 450.0
    assert believed.low < believed.level < believed.high


def test_what_is_outside_its_range_is_refused(catalogue: signals.Catalogue) -> None:
    service = MemoryService(catalogue, lanes=1)
    message = msgspec.json.decode(shown("json")) | {"value": 17.0}
    at = datetime.fromisoformat(message["measured_at"]).timestamp()
    service.run([Sent(at, "wearable.observations", b"anna", msgspec.json.encode(message))])
    (letter,) = service.topics["dead.letters", 0]
    assert dict(letter.headers)["reason"] == b"out_of_range"


def test_its_innovations_are_counted_under_its_name(catalogue: signals.Catalogue) -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, catalogue, "test", now=lambda: 0.0, twins=lambda: 0, learning=dict)
    surprises = [([list(catalogue.signals).index(NAME)] * 3, [0.1, -2.2, 1.0])]
    metrics.applied(3, SimpleNamespace(counts={}, surprises=surprises), 0.0)
    assert registry.get_sample_value("stream_twin_innovation_sigmas_bucket", {"signal": NAME, "le": "1.0"}) == 2


def test_an_entry_that_is_wrong_is_named(tmp_path: Path) -> None:
    file = tmp_path / "signals.toml"
    file.write_text(shown("toml").replace("noise_sd = 0.05", "noise_sd = 0.0"))
    with pytest.raises(ValueError, match=f"{NAME}.*noise_sd"):
        signals.load(file)
