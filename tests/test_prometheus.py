"""The alerting rules ask for what workers export, and say what to do. Prometheus itself is not run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest
import typer
import yaml

from stream_twin import cli
from stream_twin.serve.metrics import CATALOGUE, PREFIX

ROOT = Path(__file__).parents[1]
GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "prometheus" / "rules.yml").read_text(encoding="utf-8"))["groups"]
RULES: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
EXPORTED = {PREFIX + entry.name + suffix: entry.labels for entry in CATALOGUE for suffix in SUFFIXES[entry.kind]}
SCRAPED = {"instance", "job"}
"""Labels that Prometheus adds."""


def parts(node: object) -> Iterator[Any]:
    """A parsed expression and all that is in it."""
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector"):
        if (inner := getattr(node, name, None)) is not None:
            yield from parts(inner)
    for argument in getattr(node, "args", ()):
        yield from parts(argument)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_names_metrics_and_labels_that_are_exported(rule: dict[str, Any]) -> None:
    parsed = list(parts(promql.parse(rule["expr"])))
    selectors = [part for part in parsed if isinstance(part, promql.VectorSelector)]
    assert selectors
    labels = SCRAPED | {"le"}
    for selector in selectors:
        if selector.name == "up":
            continue
        assert selector.name in EXPORTED
        assert {matcher.name for matcher in selector.matchers.matchers} <= {*EXPORTED[selector.name], *SCRAPED}
        labels |= set(EXPORTED[selector.name])
    for part in parsed:
        if isinstance(part, promql.AggregateExpr) and part.modifier is not None:
            assert set(part.modifier.labels) <= labels


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_says_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    said = rule["annotations"]
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert said["summary"].endswith(".")
    for word in said["description"].replace("(", "").replace(")", "").replace(",", "").split():
        if word.startswith("docs/"):
            assert (ROOT / word.rstrip(".;")).exists()
    for command in said["description"].split("`")[1::2]:
        context, found = None, typer.main.get_command(cli.application())
        for word in command.split()[1:]:
            if word.startswith("-"):
                break
            found = found.get_command(context, word)  # type: ignore[attr-defined]
            assert found is not None, command


def test_kubernetes_has_the_same_rules() -> None:
    manifests = yaml.safe_load_all((ROOT / "kubernetes" / "monitoring.yaml").read_text(encoding="utf-8"))
    [manifest] = [manifest for manifest in manifests if manifest["kind"] == "PrometheusRule"]
    assert manifest["spec"]["groups"] == GROUPS


def test_prometheus_loads_them() -> None:
    config = yaml.safe_load((ROOT / "prometheus" / "prometheus.yml").read_text(encoding="utf-8"))
    [name] = config["rule_files"]
    mounted = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]["prometheus"]["volumes"]
    assert f"./prometheus/{name}:/etc/prometheus/{name}:ro" in mounted
