"""The files of ``deploy/``, read once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Manifest:
    """One Kubernetes object and the file it stands in."""

    file: str
    body: Json

    @property
    def kind(self) -> str:
        return str(self.body["kind"])

    @property
    def name(self) -> str:
        metadata = self.body["metadata"]
        return str(metadata.get("name") or metadata["generateName"])

    @property
    def pod(self) -> Json | None:
        """The pod's template, of what has one."""
        spec = self.body.get("spec", {})
        template: Json | None = spec.get("template")
        return template

    @property
    def container(self) -> Json:
        """The one container of the pod."""
        assert self.pod is not None, f"{self.name} has no pods"
        (container,) = self.pod["spec"]["containers"]
        found: Json = container
        return found


def manifests() -> list[Manifest]:
    """Every object of ``deploy/kubernetes``."""
    return [
        Manifest(path.name, body)
        for path in sorted((DEPLOY / "kubernetes").glob("*.yaml"))
        for body in yaml.safe_load_all(path.read_text())
    ]


def manifest(kind: str, name: str) -> Manifest:
    """The one of this kind and name."""
    (found,) = (each for each in manifests() if (each.kind, each.name) == (kind, name))
    return found


def named(each: Manifest) -> str:
    """A test's id."""
    return f"{each.kind}/{each.name}"


def compose() -> Json:
    """The compose file, its merge keys resolved."""
    found: Json = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def seconds(text: str) -> int:
    """``60s`` as a number; the compose file is asked to write its times so."""
    assert text.endswith("s"), text
    return int(text[:-1])


def variables(manifest: Manifest) -> dict[str, str]:
    """The environment that a container is given by name and value."""
    return {each["name"]: each["value"] for each in manifest.container.get("env", ())}


def gateways() -> Iterator[Manifest]:
    """What has pods: each of them runs this gateway."""
    return (each for each in manifests() if each.pod is not None)


@pytest.fixture(params=list(gateways()), ids=named)
def gateway(request: pytest.FixtureRequest) -> Manifest:
    """Each object with pods in turn."""
    assert isinstance(request.param, Manifest)
    return request.param
