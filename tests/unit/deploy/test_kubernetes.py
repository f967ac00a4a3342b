"""The manifests keep to Kubernetes' own schemas, and the pods are as locked down and as patient as needed."""

from __future__ import annotations

import copy
from typing import Any

import kubernetes_validate
import pytest

from .conftest import Manifest, gateways, manifest, manifests, named, variables

VERSIONS = ("1.33", "1.35", "1.37")
"""The oldest and the newest that KEDA 2.20 is tested with, and the newest that there is a schema of."""

MARGIN_S = 15
PLAIN = [each for each in manifests() if "keda.sh" not in each.body["apiVersion"]]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("each", PLAIN, ids=named)
def test_it_keeps_to_the_schema(each: Manifest, version: str) -> None:
    assert kubernetes_validate.validate(each.body, version, strict=True) == version


def test_the_schema_would_find_a_typing_mistake() -> None:
    body: Any = copy.deepcopy(manifest("Deployment", "reelgate-api").body)
    body["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(body, VERSIONS[0], strict=True)


def test_all_is_in_the_one_namespace() -> None:
    assert {each.body["metadata"].get("namespace") for each in manifests() if each.kind != "Namespace"} == {
        "reelgate"
    }
    assert manifest("Namespace", "reelgate").body["metadata"]["labels"] == {
        "pod-security.kubernetes.io/enforce": "restricted"
    }


def test_a_pod_may_do_what_it_needs_and_no_more(gateway: Manifest) -> None:
    assert gateway.pod is not None
    pod = gateway.pod["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["automountServiceAccountToken"] is False
    assert gateway.container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {each["mountPath"]: each.get("readOnly", False) for each in gateway.container["volumeMounts"]}
    assert {path for path, fixed in mounts.items() if not fixed} == {"/data", "/tmp"}
    assert {each["name"] for each in gateway.container["volumeMounts"]} == {
        each["name"] for each in pod["volumes"]
    }


def test_the_cluster_sets_no_variables_that_look_like_settings(gateway: Manifest) -> None:
    assert gateway.pod is not None
    assert gateway.pod["spec"]["enableServiceLinks"] is False


def test_a_pod_gets_its_settings_and_secrets_from_what_is_there(gateway: Manifest) -> None:
    assert gateway.pod is not None
    assert gateway.container["envFrom"] == [{"secretRef": {"name": "reelgate"}}]
    assert manifest("Secret", "reelgate")
    assert variables(gateway)["REELGATE_CONFIG"] == "/etc/reelgate/config.yaml"
    volumes = {each["name"]: each for each in gateway.pod["spec"]["volumes"]}
    config = manifest("ConfigMap", volumes["config"]["configMap"]["name"])
    assert "config.yaml" in config.body["data"]
    if "weights" in volumes:
        assert manifest("PersistentVolumeClaim", volumes["weights"]["persistentVolumeClaim"]["claimName"])


def test_the_weights_are_where_the_settings_say_wherever_plans_and_renders_are_made() -> None:
    for name in ("reelgate-api", "reelgate-control", "reelgate-gpu"):
        mounts = {each["mountPath"] for each in manifest("Deployment", name).container["volumeMounts"]}
        assert "/weights" in mounts, name


def test_a_deployment_selects_its_own_pods(gateway: Manifest) -> None:
    assert gateway.pod is not None
    labels = gateway.pod["metadata"]["labels"]
    assert labels["app.kubernetes.io/name"] == "reelgate"
    if gateway.kind == "Deployment":
        assert gateway.body["spec"]["selector"]["matchLabels"] == labels
    components = [
        each.pod["metadata"]["labels"]["app.kubernetes.io/component"] for each in gateways() if each.pod
    ]
    assert len(components) == len({*components}), "two would share their pods"


@pytest.mark.parametrize("each", [each for each in gateways() if each.kind == "Deployment"], ids=named)
def test_a_pod_is_given_the_time_to_drain(each: Manifest) -> None:
    assert each.pod is not None
    before = each.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = before + float(variables(each)["REELGATE_DRAIN_S"]) + MARGIN_S
    assert each.pod["spec"]["terminationGracePeriodSeconds"] >= needed


def test_the_api_is_replaced_without_a_gap() -> None:
    api = manifest("Deployment", "reelgate-api")
    assert api.body["spec"]["replicas"] >= 2
    assert api.body["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert api.container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert api.container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    readiness = api.container["readinessProbe"]
    assert api.container["lifecycle"]["preStop"]["sleep"]["seconds"] >= (
        readiness["periodSeconds"] * readiness["failureThreshold"]
    )
    (port,) = api.container["ports"]
    assert port == {"name": "http", "containerPort": 8700}


@pytest.mark.parametrize(
    ("kind", "where"),
    [("Service", ("spec", "selector")), ("PodDisruptionBudget", ("spec", "selector", "matchLabels"))],
)
def test_the_service_and_the_budget_mean_the_pods_of_the_api(kind: str, where: tuple[str, ...]) -> None:
    found: Any = manifest(kind, "reelgate-api").body
    for key in where:
        found = found[key]
    api = manifest("Deployment", "reelgate-api")
    assert api.pod is not None
    assert found == api.pod["metadata"]["labels"]


def test_a_gpu_pod_has_one_gpu_and_its_number_is_left_to_the_autoscaler() -> None:
    gpu = manifest("Deployment", "reelgate-gpu")
    assert gpu.container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert "replicas" not in gpu.body["spec"]


def test_only_the_api_can_be_reached() -> None:
    policies = {each.name: each.body["spec"] for each in manifests() if each.kind == "NetworkPolicy"}
    assert {*policies} == {"reelgate", "reelgate-api"}
    assert "ingress" not in policies["reelgate"]
    assert policies["reelgate-api"]["ingress"] == [{"ports": [{"port": "http", "protocol": "TCP"}]}]
    for policy in policies.values():
        assert policy["policyTypes"] == ["Ingress"]


def test_the_migration_has_a_new_name_each_time() -> None:
    (job,) = (each for each in manifests() if each.kind == "Job")
    assert job.body["metadata"]["generateName"]
    assert "name" not in job.body["metadata"]


def test_the_secrets_are_examples() -> None:
    secrets = [each for each in manifests() if each.kind == "Secret"]
    assert {each.file for each in secrets} == {"secret.example.yaml"}
    assert all("CHANGE-ME" in value for each in secrets for value in each.body["stringData"].values())
