"""The autoscaler asks the documented question, of the pool that its pods work on."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from jsonschema import Draft202012Validator

from gateway.observe.metrics import QUEUE_DEPTH_SQL

from .conftest import ROOT, manifest

COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string", "minLength": 1}


def closed(required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": {**required, **optional},
        "required": [*required],
        "additionalProperties": False,
    }


POLICY = closed(
    {"type": {"enum": ["Pods", "Percent"]}, "value": COUNT, "periodSeconds": {"maximum": 1800, **COUNT}}
)
SCALE_DOWN = closed({}, stabilizationWindowSeconds={"maximum": 3600, **COUNT}, policies={"items": POLICY})
POSTGRESQL = closed(
    dict.fromkeys(("host", "port", "dbName", "userName", "sslmode", "query", "targetQueryValue"), TEXT),
    activationTargetQueryValue=TEXT,
)
TRIGGER = closed(
    {"type": {"const": "postgresql"}, "metadata": POSTGRESQL}, authenticationRef=closed({"name": TEXT})
)
SCALED_OBJECT = closed(
    {
        "scaleTargetRef": closed({"name": TEXT}),
        "triggers": {"type": "array", "items": TRIGGER, "minItems": 1},
    },
    minReplicaCount=COUNT,
    maxReplicaCount=COUNT,
    pollingInterval={"type": "integer", "minimum": 1},
    cooldownPeriod=COUNT,
    advanced=closed(
        {"horizontalPodAutoscalerConfig": closed({"behavior": closed({"scaleDown": SCALE_DOWN})})}
    ),
)
TRIGGER_AUTHENTICATION = closed(
    {"secretTargetRef": {"type": "array", "items": closed({"parameter": TEXT, "name": TEXT, "key": TEXT})}}
)
"""Written by hand, for KEDA's own schemas are in no package: the fields that are used here, as they stand in
``config/crd/bases/keda.sh_scaledobjects.yaml`` and ``keda.sh_triggerauthentications.yaml`` of KEDA 2.20, and
in its ``pkg/scalers/postgresql_scaler.go``: a trigger's values are texts, and all parts of an address are
needed if there is no ``connection``."""

SCHEMAS = {"ScaledObject": SCALED_OBJECT, "TriggerAuthentication": TRIGGER_AUTHENTICATION}
NAMES = {"ScaledObject": "reelgate-gpu", "TriggerAuthentication": "reelgate-autoscaler"}


@pytest.mark.parametrize("kind", SCHEMAS)
def test_it_keeps_to_the_schema(kind: str) -> None:
    found = manifest(kind, NAMES[kind])
    assert found.body["apiVersion"] == "keda.sh/v1alpha1"
    validator = Draft202012Validator(SCHEMAS[kind])
    assert [error.message for error in validator.iter_errors(found.body["spec"])] == []
    broken: Any = copy.deepcopy(found.body["spec"])
    broken["coolDownPeriod"] = 1
    assert not validator.is_valid(broken)


def test_it_asks_the_documented_question_of_the_pool_that_its_pods_work_on() -> None:
    gpu = manifest("Deployment", "reelgate-gpu").container["args"]
    pool = gpu[gpu.index("--slots") + 1].partition("/")[0]
    assert trigger()["metadata"]["query"] == QUEUE_DEPTH_SQL.format(pool=pool)


def test_its_pods_work_on_a_slot_that_the_settings_have() -> None:
    config = yaml.safe_load(manifest("ConfigMap", "reelgate").body["data"]["config.yaml"])
    gpu = manifest("Deployment", "reelgate-gpu").container["args"]
    slots = {
        f"{name}/{number}" for name, pool in config["pools"].items() for number in range(len(pool["devices"]))
    }
    assert gpu[gpu.index("--slots") + 1] in slots


def test_it_scales_the_gpu_pods_by_jobs_per_pod() -> None:
    spec = manifest("ScaledObject", "reelgate-gpu").body["spec"]
    assert manifest("Deployment", spec["scaleTargetRef"]["name"])
    assert float(trigger()["metadata"]["targetQueryValue"]) > 0
    assert 0 <= spec["minReplicaCount"] < spec["maxReplicaCount"]


def test_a_pod_that_has_loaded_its_weights_is_kept_for_a_while() -> None:
    assert manifest("ScaledObject", "reelgate-gpu").body["spec"]["cooldownPeriod"] >= 600


def test_its_password_is_a_secret_of_its_own() -> None:
    login = manifest("TriggerAuthentication", trigger()["authenticationRef"]["name"])
    (reference,) = login.body["spec"]["secretTargetRef"]
    assert reference["parameter"] == "password"
    assert reference["key"] in manifest("Secret", reference["name"]).body["stringData"]
    assert reference["name"] != "reelgate", "the gateway's own role may write"


def test_the_documented_role_may_ask_the_question_and_read_nothing_else(postgres: Any) -> None:
    page = (ROOT / "docs" / "howto" / "deploy.md").read_text()
    (statements,) = re.findall(r"^```sql\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    role = trigger()["metadata"]["userName"]
    with postgres.new() as url:
        engine = sa.create_engine(url)
        with engine.connect() as connection:  # rolled back at the end, and the role is gone
            connection.exec_driver_sql(statements)
            connection.exec_driver_sql(f"SET LOCAL ROLE {role}")
            assert connection.exec_driver_sql(trigger()["metadata"]["query"]).scalar_one() == 0
            with pytest.raises(sa.exc.ProgrammingError, match="permission denied"):
                connection.exec_driver_sql("SELECT request FROM videos")
        engine.dispose()


def trigger() -> Any:
    """The one trigger."""
    (found,) = manifest("ScaledObject", NAMES["ScaledObject"]).body["spec"]["triggers"]
    return found
