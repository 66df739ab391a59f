"""Adding a rule is adding one file: done here with the code and the timeline that ``docs/add-a-rule.md`` shows."""

import re
import sys
from pathlib import Path

import pytest

from stream_twin.alerts import rules
from stream_twin.alerts.desk import Desk
from stream_twin.alerts.table import END, PAGE, START, page, table
from tests.alerts.timeline import Ward, check, read

DOCS = Path(__file__).parents[2] / "docs"


def shown(language: str) -> str:
    """The first block of this kind on the page."""
    match = re.search(rf"^```{language}\n(.*?)^```$", (DOCS / "add-a-rule.md").read_text(), re.DOTALL | re.MULTILINE)
    assert match
    return match[1]


@pytest.fixture
def add(tmp_path, monkeypatch):
    """Drops a file into the folder of rules."""
    folder = tmp_path / "rules"
    folder.mkdir()
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(folder)])

    def drop(name: str, code: str) -> None:
        monkeypatch.delitem(sys.modules, f"{rules.__name__}.{name}", raising=False)
        (folder / f"{name}.py").write_text(code)

    yield drop
    for path in folder.glob("*.py"):
        sys.modules.pop(f"{rules.__name__}.{path.stem}", None)
        vars(rules).pop(path.stem, None)


def test_one_file_is_all_it_takes(add, tmp_path):
    timeline = tmp_path / "fever.txt"
    timeline.write_text(shown("text"))
    with pytest.raises(AssertionError, match="never came: between 02:20"):
        check(read(timeline), Ward(read(timeline)).run())
    add("fever", shown("python"))
    check(read(timeline), Ward(read(timeline)).run())


def test_it_can_be_configured_and_is_in_the_table(add):
    add("fever", shown("python"))
    Desk({"fever": {"temperature": 38.5}})
    with pytest.raises(ValueError, match=r"rules.fever.temperature = 50: .*< 42"):
        Desk({"fever": {"temperature": 50}})
    assert "### fever" in table(rules.discover())


def test_a_file_without_a_rule_is_named(add):
    add("nothing", '"""No rule."""\n')
    with pytest.raises(TypeError, match=r"rules/nothing.py holds 0 rules"):
        rules.discover()


def test_a_rule_is_called_as_its_file(add):
    add("other", shown("python"))
    with pytest.raises(TypeError, match=r"rules/other.py holds the rule 'fever'"):
        rules.discover()


def test_the_page_of_rules_is_up_to_date():
    text = (DOCS / PAGE.name).read_text()
    assert page(text, rules.discover()) == text, "run python -m stream_twin.alerts.table"


def test_a_page_without_its_marks_is_refused():
    with pytest.raises(ValueError, match="lost its mark"):
        page(f"{START}", rules.discover())
    with pytest.raises(ValueError, match="lost its mark"):
        page(f"{END}", rules.discover())
