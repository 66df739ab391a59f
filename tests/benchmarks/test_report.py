"""What becomes of a measurement's numbers: verdicts, the Markdown of the page, and the layers of a profile."""

import json
from pathlib import Path

import pytest

from benchmarks import flame, memory, report, table
from benchmarks.report import Result

ROW = {"name": "send to alert, p99", "unit": "ms", "min": 80.0, "median": 90.0, "max": 120.0, "wanted": 100.0, "at_most": True}


def test_the_median_decides_in_the_direction_that_is_wanted() -> None:
    assert Result("rate", "1/s", [1.0, 70.0, 80.0], 60.0).met is True
    assert Result("rate", "1/s", [1.0, 50.0, 80.0], 60.0).met is False
    assert Result("latency", "ms", [90.0, 95.0, 400.0], 100.0, at_most=True).met is True
    assert Result("latency", "ms", [90.0, 101.0, 400.0], 100.0, at_most=True).met is False
    assert Result("for comparison", "1/s", [1.0]).met is None


def test_a_table_says_what_was_wanted_and_whether_it_was_met() -> None:
    lines = table.table([{**ROW, "met": True}, {**ROW, "median": 110.0, "met": False}, {**ROW, "wanted": None, "met": None}])
    assert lines[0] == "| | min | median | max | wanted |"
    assert lines[2:] == [
        "| send to alert, p99, ms | 80 | 90 | 120 | at most 100: met |",
        "| send to alert, p99, ms | 80 | 110 | 120 | at most 100: **not met** |",
        "| send to alert, p99, ms | 80 | 90 | 120 |  |",
    ]


def test_what_was_measured_once_has_one_column() -> None:
    once = {**ROW, "min": 0.125, "median": 0.125, "max": 0.125, "met": True}
    assert table.table([once])[2] == "| send to alert, p99, ms | 0.125 | at most 100: met |"


def test_blocks_are_written_anew_and_nothing_else() -> None:
    page = "before\n<!-- a -->\nold\n<!-- /a -->\nbetween\n<!-- b -->\n<!-- /b -->\nafter\n"
    filled = table.fill(page, {"a": "new \\1", "b": "b"})
    assert filled == "before\n<!-- a -->\nnew \\1\n<!-- /a -->\nbetween\n<!-- b -->\nb\n<!-- /b -->\nafter\n"
    assert table.fill(filled, {"a": "old"}).count("old") == 1
    with pytest.raises(ValueError, match="<!-- c -->"):
        table.fill(page, {"c": "nowhere"})


def test_the_page_has_a_place_for_every_measurement() -> None:
    page = table.PAGE.read_text(encoding="utf-8")
    assert table.fill(page, dict.fromkeys((*table.MEASUREMENTS, *table.OTHERS), ""))


def test_tables_plots_and_rows_come_from_the_reports(tmp_path: Path) -> None:
    reports = report.DIRECTORY
    reports.mkdir()
    rates = [{**ROW, "name": name, "unit": "events/s", "met": None, "wanted": None} for name in ("limit", "stream-twin")]
    (reports / "bench.json").write_text(json.dumps(rates))
    (reports / "restore.json").write_text(json.dumps([{**ROW, "met": True}]))
    (reports / "restore.csv").write_text("twins,open_s,live_s,state_mb,rss_mb\n1000,6.5,7.5,8,120\n10000,7,9,80,200\n")
    page = tmp_path / "performance.md"
    page.write_text("<!-- bench -->\n<!-- /bench -->\n<!-- restore -->\n<!-- /restore -->\n")
    table.main(page)
    filled = page.read_text()
    assert "| stream-twin, events/s | 80 | 90 | 120 |" in filled
    for name in ("bench", "restore"):
        assert f"](performance/{name}.svg)" in filled
        assert (tmp_path / "performance" / f"{name}.svg").read_text().startswith("<?xml")
    assert (tmp_path / "performance" / "restore.csv").read_text().splitlines()[1] == (
        'restore,"send to alert, p99",ms,80.0,90.0,120.0,100.0,True'
    )


def test_a_sample_counts_for_the_innermost_layer_on_its_stack() -> None:
    run = "run (stream_twin/kafka/worker.py:340);_pump (stream_twin/kafka/owner.py:270)"
    apply = f"{run};apply (stream_twin/lane/lane.py:100);file (stream_twin/lane/intake.py:80)"
    counted = flame.shares(
        [
            f"{run};run (stream_twin/ingest/ingest.py:90) 3",
            f"{apply};offer (stream_twin/twin/tracks.py:50) 4",
            f"{apply} 2",
            "thread (threading.py:1);poll (.venv/lib/python3.11/site-packages/aiokafka/client.py:3);recv (socket.py:5) 1",
        ]
    )
    assert counted == {"twin": 0.4, "ingest": 0.3, "lane": 0.2, "Kafka's client (aiokafka)": 0.1}


def test_growth_is_of_the_second_half_only() -> None:
    rising_first = [(minute, 100.0 + min(minute, 5.0)) for minute in map(float, range(11))]
    assert memory.growth(rising_first) == pytest.approx(0, abs=1e-6)
    assert memory.growth([(minute, 100.0 + minute) for minute in map(float, range(11))]) == pytest.approx(100 * 5 / 105, abs=0.1)
