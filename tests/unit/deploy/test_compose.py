"""The compose file is one, and its services are as locked down and as patient as they must be."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.settings import Settings

from .conftest import DEPLOY, ROOT, compose, seconds

MARGIN_S = 15
OURS = ("migrate", "api", "worker")


def check(file: Path) -> subprocess.CompletedProcess[str]:
    """Hold a file against the compose specification's own schema, as check-jsonschema vendors it."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(file)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_it_keeps_to_the_compose_specification(tmp_path: Path) -> None:
    done = check(DEPLOY / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text((DEPLOY / "compose.yaml").read_text().replace("stop_grace_period:", "stop_grace:"))
    assert check(broken).returncode != 0


def test_it_builds_what_is_there() -> None:
    build = compose()["services"]["api"]["build"]
    context = (DEPLOY / build["context"]).resolve()
    assert context == ROOT
    assert (context / build["dockerfile"]).is_file()
    assert {*build["args"]} <= {*re.findall(r"^ARG (\w+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)}


def test_there_are_two_apis_a_worker_a_migration_and_postgres() -> None:
    services = compose()["services"]
    assert {*services} == {*OURS, "postgres"}
    assert services["api"]["deploy"]["replicas"] == 2
    assert services["migrate"]["command"] == ["db", "upgrade"]
    for name in ("api", "worker"):
        assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"
        assert services[name]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_each_api_has_a_port_of_the_host_and_only_on_its_loopback() -> None:
    api = compose()["services"]["api"]
    (ports,) = api["ports"]
    first, last = map(int, re.fullmatch(r"127\.0\.0\.1:(\d+)-(\d+):8700", ports).groups())  # type: ignore[union-attr]  # no match is a failure too
    assert last - first + 1 == api["deploy"]["replicas"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_of_ours_can_write_to_its_data_and_tmp_only(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["volumes"] == ["data:/data"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_health_is_asked_where_there_is_someone_to_answer() -> None:
    services = compose()["services"]
    assert services["api"]["healthcheck"]["test"] == ["CMD", "python", "/opt/reelgate/probe.py", "/readyz"]
    assert services["worker"]["healthcheck"] == {"disable": True}
    assert services["migrate"]["healthcheck"] == {"disable": True}


@pytest.mark.parametrize("name", ["api", "worker"])
def test_a_service_is_given_the_time_to_drain(name: str) -> None:
    service = compose()["services"][name]
    drain = drain_of(service["environment"])
    assert seconds(service["stop_grace_period"]) >= drain + MARGIN_S


def test_a_proxy_has_the_time_to_see_that_an_api_drains() -> None:
    api = compose()["services"]["api"]
    assert float(api["environment"]["REELGATE_DRAIN_NOTICE_S"]) >= 2 * seconds(api["healthcheck"]["interval"])


def test_secrets_come_from_the_environment_and_the_example_names_them_all() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    example = (DEPLOY / ".env.example").read_text()
    named = {*re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE)}
    assert {*re.findall(r"\$\{(\w+)", text)} <= named
    required = {*re.findall(r"\$\{(\w+):\?", text)}
    assert required == {"POSTGRES_PASSWORD", "REELGATE_KEY_PEPPER"}
    assert required == {*re.findall(r"^([A-Z_]+)=$", example, re.MULTILINE)}, "the example fills none in"
    services = compose()["services"]
    for name in OURS:
        assert services[name]["env_file"] == ".env"
        assert services[name]["environment"]["REELGATE_KEY_PEPPER"].startswith("${")
    assert ".env" in (DEPLOY / ".gitignore").read_text().split()


def drain_of(environment: dict[str, Any]) -> float:
    """How long a process may take to end after SIGTERM."""
    fields = Settings.model_fields
    names = ("drain_s", "drain_notice_s")
    return sum(float(environment.get(f"REELGATE_{name.upper()}", fields[name].default)) for name in names)
