"""The filter's own measurement, once, small: that its rows are there and what they say is about what they name."""

from contextlib import suppress

import pytest

from benchmarks import kernel, report


def test_the_filter_is_measured_beside_filterpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "SIZES", (8, 24))
    monkeypatch.setattr(kernel, "BEHIND", (0, 100))
    monkeypatch.setattr(kernel, "WEIGHED", {24: (20, None, None)})
    with suppress(SystemExit):  # how fast it is, a run like this one does not say
        kernel.main(repeats=1, seconds=0.02, twins=None)
    rows = {row["name"]: row["median"] for row in report.read("bench-kernel")}
    for d in (8, 24):
        assert rows[f"stream-twin d{d} batch100"] > rows[f"filterpy d{d}"] > 100
        ratio = rows[f"stream-twin d{d} batch1000"] / rows[f"filterpy d{d}"]
        assert rows[f"stream-twin d{d} batch1000 to filterpy"] == pytest.approx(ratio)
    assert rows["a sample that is late by 100 samples, d24, 2,000 pending"] > rows["a sample in order, d24, 2,000 pending"]
    assert rows["a twin d24: its state"] < rows["a twin d24 settled: snapshot"]
    assert rows["a twin d24 settled: snapshot"] < rows["a twin d24 with its last samples pending: snapshot"]


def test_a_layout_of_the_size_that_was_asked_for_is_found() -> None:
    population = kernel.shipped(kernel.signals.load())[kernel.POPULATION]
    for elements in kernel.WEIGHED:
        assert kernel.elements_of(population, kernel.signals_for(population, elements)) == elements
