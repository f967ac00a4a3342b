"""``--help`` costs nothing, and every command takes the same options."""

from __future__ import annotations

import inspect
import subprocess
import sys
from importlib import import_module
from typing import Any

import pytest
import typer
import typer.main

from gateway.cli._group import COMMANDS

HEAVY = ("pydantic", "sqlalchemy", "fastapi", "httpx", "dbos", "uvicorn", "av", "PIL", "torch", "yaml")
OURS = ("gateway.spec", "gateway.settings", "adapters", "routing_policies")

LEAVES = [
    *(
        name
        for name in COMMANDS
        if name not in ("keys", "tenants", "accounts", "offers", "reconcile", "db", "ledger")
    ),
    *(
        "keys create",
        "keys list",
        "keys revoke",
        "tenants list",
        "tenants set",
        "accounts list",
        "accounts reset",
        "offers list",
        "offers restore",
        "reconcile list",
        "reconcile adopt",
        "reconcile release",
        "reconcile resubmit",
        "db upgrade",
        "db check",
        "ledger verify",
        "sandbox bill",
    ),
]


def test_the_root_help_imports_no_part_of_the_gateway():
    code = """
import sys
from gateway.cli.main import run
try:
    run()
finally:
    print(*sys.modules, file=sys.stderr)
"""
    ran = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    loaded = set(ran.stderr.split())
    assert {"typer", "gateway.cli._group"} <= loaded
    assert not {module for module in loaded if module.split(".")[0] in HEAVY or module.startswith(OURS)}
    assert all(f" {name} " in ran.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", LEAVES)
def test_every_command_takes_json_and_a_data_folder(cli: Any, command: str):
    ran = cli(*command.split(), "--help")
    assert ran.code == 0
    assert "--json" in ran.out
    assert "--data-dir" in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_root_help_is_the_commands_own(name: str):
    module = import_module(f"gateway.cli.{name}")
    if hasattr(module, "app"):
        assert module.app.info.help == COMMANDS[name]
    else:
        assert (inspect.getdoc(module.command) or "").splitlines()[0] == COMMANDS[name]


def test_a_plugins_command_is_found_when_it_is_called(cli: Any, monkeypatch: pytest.MonkeyPatch):
    from gateway.cli import plugins
    from gateway.spec import Command

    extra = typer.Typer(help="A stranger's.")

    @extra.command()
    def hello() -> None:
        """Say hello."""
        typer.echo("hello")

    command = Command(name="stranger", help="A stranger's.", load=lambda: extra)
    monkeypatch.setattr(plugins, "plugin_commands", lambda: (command,))
    assert cli("stranger", "hello").out == "hello\n"


def test_a_plugins_command_that_does_not_load_is_named(cli: Any, monkeypatch: pytest.MonkeyPatch):
    from gateway.cli import plugins
    from gateway.spec import Command

    def load() -> Any:
        raise ImportError("no module named stranger")

    command = Command(name="stranger", help="A stranger's.", load=load)
    monkeypatch.setattr(plugins, "plugin_commands", lambda: (command,))
    ran = cli("stranger")
    assert ran.code == 3
    assert "'stranger' of a plugin does not load (ImportError: no module named stranger)" in ran.err


def test_a_plugin_cannot_take_a_core_commands_name(cli: Any, monkeypatch: pytest.MonkeyPatch):
    from gateway.cli import plugins

    monkeypatch.setattr(plugins, "plugin_commands", lambda: pytest.fail("the core's own name was looked up"))
    assert cli("plugins").code == 0


def test_an_unknown_command_names_the_nearest(cli: Any):
    ran = cli("modles")
    assert ran.code == 2
    assert "No such command 'modles'" in ran.err
    assert "Did you mean 'models'" in ran.err


def test_the_version_is_the_distributions(cli: Any):
    from importlib.metadata import version

    assert cli("--version").out.strip() == version("reelgate")
