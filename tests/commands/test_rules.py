"""``stream-twin rules`` as a person calls it."""

from types import SimpleNamespace

import msgspec
import pytest
from typer.testing import CliRunner

from stream_twin.alerts.rules import discover
from stream_twin.cli import application
from stream_twin.commands import rules
from stream_twin.events import RuleConfiguration
from stream_twin.kafka import reader
from stream_twin.settings import Settings


def called(*arguments):
    result = CliRunner().invoke(application(), ["rules", *map(str, arguments)])
    return result.exit_code, result.output, str(result.exception or "")


def test_list_names_every_rule():
    code, output, _ = called("list")
    assert code == 0
    for rule in discover():
        assert rule.name in output


@pytest.mark.parametrize("rule", discover(), ids=lambda rule: rule.name)
def test_explain_says_what_each_rule_does_and_every_parameter(rule):
    code, output, _ = called("explain", rule.name)
    assert code == 0
    for priority, when, *_ in rule.priorities:
        assert f"{priority}: {when}" in output
    for name in type(rule.defaults).__struct_fields__:
        assert f"  {name} = " in output


def test_explain_of_a_rule_that_does_not_exist_names_those_that_do():
    code, _, error = called("explain", "fever")
    assert code != 0
    assert "fever" in error
    assert "limits" in error


def test_a_right_file_is_called_right(tmp_path):
    (tmp_path / "rules.toml").write_text("[rules.limits]\nhold_s = 120\n")
    code, output, _ = called("test", tmp_path / "rules.toml")
    assert code == 0
    assert "is right" in output


def test_a_wrong_file_is_told_line_by_line(tmp_path):
    (tmp_path / "rules.toml").write_text("[rules.limits]\nhold_s = -1\n[rules.silnce]\n")
    code, _, error = called("test", tmp_path / "rules.toml")
    assert code != 0
    first, second = error.splitlines()
    assert first.startswith("rules.limits.hold_s = -1: ")
    assert second == "rules.silnce: there is no such rule: write silence"


NIGHTS = "date,rhr\n2026-01-01,60\n2026-01-02,60\n2026-01-03,60\n2026-01-04,60\n2026-01-05,66\n2026-01-07,66\n2026-01-08,61\n"
LEVELS = (
    "date,level\n2026-01-01,0\n2026-01-02,0\n2026-01-03,0\n2026-01-04,0\n2026-01-05,0\n2026-01-06,2\n2026-01-07,2\n2026-01-08,0\n"
)


def test_nightsignal_writes_a_row_for_each_night_filled_ones_included(tmp_path):
    (tmp_path / "nights.csv").write_text(NIGHTS)
    assert called("run", "nightsignal", "--csv", tmp_path / "nights.csv")[:2] == (0, LEVELS)


def test_nightsignal_writes_a_file(tmp_path):
    (tmp_path / "nights.csv").write_text(NIGHTS)
    code, output, _ = called("run", "nightsignal", "--csv", tmp_path / "nights.csv", "--out", tmp_path / "levels.csv")
    assert code == 0
    assert "8 nights, 1 of them filled, 2 red" in output
    assert (tmp_path / "levels.csv").read_text() == LEVELS


def test_nightsignal_takes_rows_in_any_order_and_nights_without_a_rate(tmp_path):
    header, *rows = NIGHTS.splitlines()
    shuffled = [header, "2026-01-06,", *reversed(rows)]
    (tmp_path / "nights.csv").write_text("\ufeff" + "\r\n".join(shuffled) + "\r\n")
    assert called("run", "nightsignal", "--csv", tmp_path / "nights.csv")[:2] == (0, LEVELS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("day,rhr\n2026-01-01,60\n", ["day, rhr", "date and rhr are wanted"]),
        ("date,rhr\n01.02.2026,60\n", ["line 2", "'01.02.2026'", "2026-01-31"]),
        ("date,rhr\n2026-01-01,fast\n", ["line 2", "'fast'", "beats per minute"]),
        ("date,rhr\n2026-01-01,nan\n", ["line 2", "'nan'"]),
        ("date,rhr\n2026-01-01,60\n2026-01-01,61\n", ["line 3", "2026-01-01", "twice"]),
    ],
)
def test_a_file_of_nights_that_is_wrong_is_named_with_the_line(tmp_path, text, words):
    (tmp_path / "nights.csv").write_text(text)
    code, _, error = called("run", "nightsignal", "--csv", tmp_path / "nights.csv")
    assert code != 0
    for word in words:
        assert word in error


def test_what_every_lane_refused_is_not_in_force(monkeypatch):
    said = [
        RuleConfiguration(version=1, rules={"limits": {"hold_s": 60}}),
        RuleConfiguration(version=4, rules={"limits": {"hold": 1}}),
    ]
    records = [SimpleNamespace(value=msgspec.json.encode(one)) for one in said] + [SimpleNamespace(value=b"{}")]
    monkeypatch.setattr(reader, "read", lambda broker, topic: records)
    code, output, _ = called("show")
    assert code == 0
    assert msgspec.json.decode(output)["version"] == 1
    assert rules._in_force(Settings()) == (said[0], 4)  # the next one is version 5, whatever other lanes made of version 4
