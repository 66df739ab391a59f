"""The catalogue, its numbers as Prometheus reads them, and the endpoint."""

import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from stream_twin.serve.metrics import BY_NAME, CATALOGUE, PREFIX, Endpoint, Numbers, document
from stream_twin.serve.observer import WorkerMetrics
from stream_twin.signals import load


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_no_label_names_a_person_or_a_device() -> None:
    assert not {label for entry in CATALOGUE for label in entry.labels} & {
        "patient",
        "patient_id",
        "device",
        "device_id",
        "place",
    }


def test_names_follow_the_conventions_of_prometheus() -> None:
    for entry in CATALOGUE:
        assert re.fullmatch(r"[a-z][a-z_]*[a-z]", entry.name)
        assert not entry.name.endswith(("_total", "_count", "_sum", "_bucket"))
        assert list(entry.buckets) == sorted(set(entry.buckets))
        assert bool(entry.buckets) == (entry.kind == "histogram")


@given(st.lists(st.floats(0, 20, allow_nan=False), max_size=50), st.lists(st.floats(0, 20, allow_nan=False), max_size=50))
def test_a_histogram_filled_in_bulk_equals_one_filled_by_the_client_library(first: list[float], second: list[float]) -> None:
    bulk, single = CollectorRegistry(), CollectorRegistry()
    numbers = Numbers(bulk)
    reference = Histogram("x", "x", ["signal"], registry=single, buckets=BY_NAME["innovation_sigmas"].buckets)
    for values in (first, second):
        numbers.observe("innovation_sigmas", np.array(values), "heart_rate")
        for value in values:
            reference.labels("heart_rate").observe(value)
    if not first and not second:
        return
    for le in [*map(str, map(float, BY_NAME["innovation_sigmas"].buckets)), "+Inf"]:
        labels = {"signal": "heart_rate", "le": le}
        assert bulk.get_sample_value(f"{PREFIX}innovation_sigmas_bucket", labels) == single.get_sample_value("x_bucket", labels)
    total = bulk.get_sample_value(f"{PREFIX}innovation_sigmas_sum", {"signal": "heart_rate"})
    assert total == pytest.approx(single.get_sample_value("x_sum", {"signal": "heart_rate"}))


def test_counters_add_and_gauges_replace(registry: CollectorRegistry) -> None:
    numbers = Numbers(registry)
    numbers.add("rejected", 2, "ingest", "not_json")
    numbers.add("rejected", 3, "ingest", "not_json")
    numbers.set("twins", 7)
    numbers.set("twins", 5)
    assert registry.get_sample_value(f"{PREFIX}rejected_total", {"stage": "ingest", "reason": "not_json"}) == 5
    assert registry.get_sample_value(f"{PREFIX}twins") == 5
    with pytest.raises(KeyError):
        numbers.add("invented", 1)


def test_two_workers_in_one_process_do_not_share_numbers() -> None:
    one, other = CollectorRegistry(), CollectorRegistry()
    Numbers(one).add("restores", 1)
    Numbers(other)
    assert other.get_sample_value(f"{PREFIX}restores_total") == 0


@pytest.fixture
def endpoint(registry: CollectorRegistry) -> Iterator[tuple[Endpoint, dict[str, str | None], Numbers]]:
    trouble: dict[str, str | None] = {"unready": None, "stuck": None}
    numbers = Numbers(registry)
    endpoint = Endpoint(registry, "127.0.0.1", 0, lambda: trouble["unready"], lambda: trouble["stuck"])
    yield endpoint, trouble, numbers
    endpoint.close()


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_scraped_is_the_catalogue(endpoint: tuple[Endpoint, dict[str, str | None], Numbers]) -> None:
    served, _, numbers = endpoint
    numbers.observe("innovation_sigmas", [0.3, 5.0], "heart_rate")
    status, text = _get(f"{served.address}/metrics")
    families = {family.name: family for family in text_string_to_metric_families(text)}
    assert status == 200
    assert set(families) == {PREFIX + entry.name for entry in CATALOGUE}
    assert all(families[PREFIX + entry.name].type == entry.kind for entry in CATALOGUE)


def test_probes_say_what_is_wrong(endpoint: tuple[Endpoint, dict[str, str | None], Numbers]) -> None:
    served, trouble, _ = endpoint
    assert _get(f"{served.address}/readyz") == (200, "ok\n")
    trouble["unready"] = "lane 3 is restoring"
    assert _get(f"{served.address}/readyz") == (503, "lane 3 is restoring\n")
    assert _get(f"{served.address}/livez") == (200, "ok\n")
    trouble["stuck"] = "the loop stands still"
    assert _get(f"{served.address}/livez") == (503, "the loop stands still\n")
    assert _get(f"{served.address}/secret")[0] == 404


def test_a_port_that_is_taken_is_named(endpoint: tuple[Endpoint, dict[str, str | None], Numbers]) -> None:
    port = int(endpoint[0].address.rpartition(":")[2])
    with pytest.raises(OSError, match=f"metrics_port {port}"):
        Endpoint(CollectorRegistry(), "127.0.0.1", port, lambda: None, lambda: None)


def test_the_page_names_every_metric() -> None:
    assert all(f"`{PREFIX}{entry.name}" in document() for entry in CATALOGUE)


def test_the_first_failed_update_is_seen_as_a_rise(registry: CollectorRegistry) -> None:
    """``increase()`` of a series that begins at 1 is 0."""
    Numbers(registry)
    assert registry.get_sample_value("stream_twin_rejected_total", {"stage": "twin", "reason": "failed"}) == 0


def test_time_to_the_commit_counts_what_is_committed(registry: CollectorRegistry) -> None:
    told = WorkerMetrics(registry, load(), "0", now=lambda: 100.0, twins=lambda: 0, learning=dict)
    sample = msgspec.json.encode({"type": "samples", "arrived_at": 99.0})

    def counted() -> float | None:
        return registry.get_sample_value("stream_twin_end_to_end_seconds_count")

    told.taken(0, [sample])
    told.taken(1, [sample])
    told.transaction(0, 0.1, {"alerts": 1}, all_of_it=False)
    assert counted() == 0
    told.transaction(0, 0.1, {"twin.estimates": 1}, all_of_it=True)
    assert counted() == 1
