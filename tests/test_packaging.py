"""What a stranger gets: files that fit together, and a command line that loads."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from stream_twin import cli
from stream_twin.serve.metrics import BY_NAME, PREFIX
from stream_twin.settings import Settings

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "alerts",
    "audit",
    "backtest",
    "dead-letters",
    "demo",
    "doctor",
    "fit",
    "fit-crossing",
    "fit-risk",
    "history",
    "patients",
    "plan",
    "rebuild",
    "replay",
    "rules",
    "send",
    "show",
    "topics",
    "worker",
)


def test_the_licence_is_the_one_that_is_named() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"


def test_the_lock_pins_every_dependency_and_names_no_registry() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!_-]+", line) for line in lock.splitlines())
    pinned = {re.sub(r"[-_.]+", "-", line.partition("==")[0]).lower() for line in lock.splitlines()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["dev"]):
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        assert name
        assert re.sub(r"[-_.]+", "-", name[0]).lower() in pinned


@pytest.mark.parametrize(
    "page", sorted(p for p in ROOT.glob("*.md")) + sorted((ROOT / "docs").glob("*.md")), ids=lambda p: p.name
)
def test_links_of_the_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_pages_name_commands_and_targets_that_exist() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"stream-twin (\w[\w-]*)(?= |`|\n)", "".join(re.findall(r"`[^`]*`", text)))) <= set(COMMANDS), page
        assert set(re.findall(r"`make (\w+)", text)) <= targets, page


def test_every_command_is_there_and_has_help() -> None:
    app = cli.application()
    listed = CliRunner().invoke(app, ["--help"]).output
    for command in COMMANDS:
        assert re.search(rf"^\W*{command}\b", listed, re.MULTILINE), command
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_a_command_that_does_not_load_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream_twin.commands.__path__", [str(tmp_path)])
    (tmp_path / "broken.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        cli.application()
    (tmp_path / "broken.py").write_text("")
    sys.modules.pop("stream_twin.commands.broken", None)
    with pytest.raises(AttributeError, match="register"):
        cli.application()
    sys.modules.pop("stream_twin.commands.broken", None)


def test_a_mistake_of_the_user_shows_no_traceback() -> None:
    command = [sys.executable, "-m", "stream_twin.cli", "worker", "--partition-count", "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("stream-twin: partition_count = 'none' (from option): ")
    assert "Traceback" not in done.stderr


def test_the_version_is_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert CliRunner().invoke(cli.application(), ["--version"]).output == f"stream-twin {version}\n"


def test_compose_uses_settings_that_exist_and_pins_images() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for name, service in services.items():
        if "image" in service:
            assert re.search(r":v?\d+\.\d+", service["image"]), name
        for variable in service.get("environment", {}):
            if variable.startswith("STREAM_TWIN_"):
                assert variable.removeprefix("STREAM_TWIN_").lower() in Settings.model_fields
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_the_dashboard_asks_only_for_metrics_of_the_catalogue() -> None:
    dashboard = json.loads((ROOT / "grafana" / "dashboards" / "service.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert queries
    for query in queries:
        names = re.findall(rf"{PREFIX}(\w+)", query)
        assert names, query
        for name in names:
            entry = BY_NAME[re.sub(r"_(total|bucket|count|sum)$", "", name)]
            suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}[entry.kind]
            assert name in {entry.name + suffix for suffix in suffixes}, query
            labels = set(re.findall(r"by \(([^)]*)\)", query)[0].replace(" ", "").split(",")) if "by (" in query else set()
            assert labels <= {*entry.labels, "le"}, query
