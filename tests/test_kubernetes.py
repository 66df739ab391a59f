"""The manifests are valid, and what they name is in the product."""

import tomllib
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from stream_twin import cli, settings
from stream_twin.topics import BY_NAME

DIRECTORY = Path(__file__).parents[1] / "kubernetes"
SCHEMAS = "1.34"
OPERATORS = ("keda.sh", "monitoring.coreos.com", "kustomize.config.k8s.io")
"""Kinds that Kubernetes itself does not know."""
MANIFESTS: list[dict[str, Any]] = [
    manifest for file in sorted(DIRECTORY.glob("*.yaml")) for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]


def named(kind: str, name: str = "") -> dict[str, Any]:
    [found] = [one for one in MANIFESTS if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return found


WORKER = named("Deployment")["spec"]["template"]
PODS = [WORKER["spec"], named("Job")["spec"]["template"]["spec"]]
CONTAINERS = [container for pod in PODS for container in pod["containers"]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "stream-twin.toml"
    file.write_text(named("ConfigMap")["data"]["stream-twin.toml"], encoding="utf-8")
    return file


@pytest.mark.parametrize(
    "manifest",
    [one for one in MANIFESTS if not one["apiVersion"].startswith(OPERATORS)],
    ids=lambda manifest: f"{manifest['kind']} {manifest['metadata']['name']}",
)
def test_kubernetes_takes_it(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, SCHEMAS, strict=True)


def test_every_file_is_applied() -> None:
    kustomization = yaml.safe_load((DIRECTORY / "kustomization.yaml").read_text(encoding="utf-8"))
    assert set(kustomization["resources"]) == {file.name for file in DIRECTORY.glob("*.yaml")} - {"kustomization.yaml"}
    assert {image["name"] for image in kustomization["images"]} == {container["image"] for container in CONTAINERS}


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container["name"])
def test_the_command_takes_the_arguments(container: dict[str, Any]) -> None:
    command, words, context = typer.main.get_command(cli.application()), list(container["args"]), None
    while hasattr(command, "commands"):
        name = words.pop(0)
        context = typer.Context(command, parent=context, info_name=name)
        command = command.commands[name]
    command.make_context(container["name"], words, parent=context)  # raises for an option that there is not


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container["name"])
def test_settings_are_valid_and_the_environment_is_read(
    container: dict[str, Any], config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in container["env"]:
        assert "value" not in variable or "PASSWORD" not in variable["name"], "secrets by reference only"
        monkeypatch.setenv(variable["name"], variable.get("value", "from the secret"))
    found = settings.load(config)
    assert settings.unknown_environment() == []
    assert found.kafka_options.sasl_plain_password is not None
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(found.kafka_options.ssl_cafile.parent) in mounts  # type: ignore[union-attr]  # it is given


def test_ports_are_those_of_the_worker(config: Path) -> None:
    [worker] = WORKER["spec"]["containers"]
    [port] = worker["ports"]
    assert port["containerPort"] == settings.load(config).metrics_port
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        assert worker[probe]["httpGet"] == {"path": path, "port": port["name"]}
    [endpoint] = named("PodMonitor")["spec"]["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == (port["name"], "/metrics")


def test_selectors_find_the_workers() -> None:
    labels = WORKER["metadata"]["labels"]
    for one in (named("Deployment"), named("PodDisruptionBudget"), named("PodMonitor")):
        assert one["spec"]["selector"]["matchLabels"] == labels
    assert named("ScaledObject")["spec"]["scaleTargetRef"]["name"] == named("Deployment")["metadata"]["name"]


def test_lag_is_that_of_the_workers_and_lanes_suffice(config: Path) -> None:
    found, spec = settings.load(config), named("ScaledObject")["spec"]
    [trigger] = spec["triggers"]
    assert trigger["metadata"]["bootstrapServers"] == found.broker
    assert trigger["metadata"]["consumerGroup"] == found.group
    assert trigger["metadata"]["topic"].removeprefix(found.prefix) in BY_NAME
    assert trigger["metadata"]["sasl"] == "scram_sha512"
    assert found.kafka_options.sasl_mechanism == "SCRAM-SHA-512"
    assert trigger["authenticationRef"]["name"] == named("TriggerAuthentication")["metadata"]["name"]
    assert spec["maxReplicaCount"] * 4 <= found.partition_count


@pytest.mark.parametrize("pod", PODS, ids=["worker", "topics"])
def test_nothing_runs_with_more_rights_than_it_needs(pod: dict[str, Any]) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {pod['securityContext']['runAsUser']}" in (DIRECTORY.parent / "Dockerfile").read_text(encoding="utf-8")
    assert pod["automountServiceAccountToken"] is False
    for container in pod["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["resources"]["limits"]["memory"]


def test_the_file_is_toml_without_secrets() -> None:
    assert "password" not in str(tomllib.loads(named("ConfigMap")["data"]["stream-twin.toml"])).lower()
