"""What the files call the gateway with exists: commands, options, settings, routes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from gateway.api.app import PUBLIC_ROUTES
from gateway.cli.main import app as cli
from gateway.settings import NO_SETTINGS, PREFIX, Settings, load_settings

from .conftest import DEPLOY, compose, gateways, manifest, manifests, variables

FILES = [path for path in sorted(DEPLOY.rglob("*")) if path.is_file() and path.name != ".env"]
VARIABLE = re.compile(rf"{PREFIX}[A-Z][A-Z_]*")


def calls() -> Iterator[tuple[str, list[str]]]:
    """Where the gateway is called, and with which words."""
    (command,) = re.findall(r"^CMD (\[.*\])$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    yield "Dockerfile", ast.literal_eval(command)
    for name, service in compose()["services"].items():
        if service["image"].startswith("reelgate"):
            yield f"compose.yaml {name}", service["command"]
    for each in gateways():
        yield each.file, each.container["args"]


@pytest.mark.parametrize("words", [words for _, words in calls()], ids=[where for where, _ in calls()])
def test_the_command_line_understands_it(words: list[str]) -> None:
    command, rest = resolve(words)
    with typer.Context(command) as context:
        command.parse_args(context, rest)


def test_the_command_line_would_not_understand_another_option() -> None:
    command, rest = resolve(["db", "upgrade", "--gently"])
    with typer.Context(command) as context, pytest.raises(Exception, match="gently"):
        command.parse_args(context, rest)


def test_both_roles_and_each_kind_of_worker_are_called() -> None:
    called = [" ".join(words) for _, words in calls()]
    assert len([words for words in called if words.startswith("serve --role api")]) == 2
    assert "worker" in called
    assert "worker --slots none" in called
    assert "worker --queues none --slots gpu/0" in called


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(DEPLOY)))
def test_every_variable_is_a_setting(file: Path) -> None:
    names = {name.removeprefix(PREFIX).lower() for name in VARIABLE.findall(file.read_text())}
    names.discard("api_")  # of a comment: what the cluster would set
    assert names <= {*Settings.model_fields} | NO_SETTINGS


def test_the_settings_of_the_pods_are_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.yaml").write_text(manifest("ConfigMap", "reelgate").body["data"]["config.yaml"])
    for each in gateways():
        given = {**manifest("Secret", "reelgate").body["stringData"], **variables(each)}
        with monkeypatch.context() as environment:
            for name, value in given.items():
                environment.setenv(name, value)
            environment.setenv("REELGATE_CONFIG", str(tmp_path / "config.yaml"))
            settings = load_settings(tmp_path)
        assert settings.host == "0.0.0.0"
        assert settings.key_pepper is not None
        assert settings.store_options
        assert settings.database_url.startswith("postgresql+psycopg://")


def test_the_settings_of_the_compose_services_are_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optional = re.findall(r"^#(REELGATE_\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert optional
    for name in ("api", "worker", "migrate"):
        environment = compose()["services"][name]["environment"]
        with monkeypatch.context() as patched:
            for key, value in [*environment.items(), *optional]:
                patched.setenv(key, value.strip("'"))
            settings = load_settings(tmp_path)
        assert settings.store_url
        assert settings.store_options


def test_the_probed_paths_need_no_key() -> None:
    probed = {*re.findall(r"/(?:livez|readyz)\b", (DEPLOY / "Dockerfile").read_text())}
    probed |= {*re.findall(r"/(?:livez|readyz)\b", yaml.safe_dump([each.body for each in manifests()]))}
    assert probed == {"/livez", "/readyz"}
    assert {("GET", path) for path in probed} <= PUBLIC_ROUTES


def resolve(words: Sequence[str]) -> tuple[Any, list[str]]:
    """The command that the words name, and what is left for it to parse."""
    command: Any = typer.main.get_command(cli)
    rest = list(words)
    while hasattr(command, "commands"):
        context = typer.Context(command)
        _, command, rest = command.resolve_command(context, rest)
        assert command is not None, words
    return command, rest
