"""``reelgate plugins``: what is installed, what it brings, and what is wrong with it."""

from __future__ import annotations

from typing import Any

from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.jobs.runtime import open_registry
from gateway.registry import Plugin, Registry
from gateway.settings import load_settings
from gateway.spec import Command


def command(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the installed plugins and what is wrong with a broken one."""
    registry = open_registry(load_settings(data_dir))
    if as_json:
        emit(_described(registry))
        return
    screen = console()
    columns = ("plugin", "distribution", "version", "adapters", "policies", "problem")
    screen.print(table("Plugins", columns, (_row(plugin) for plugin in registry.plugins)))
    if registry.commands:
        rows = ((f"reelgate {one.name}", one.help) for one in registry.commands)
        screen.print()
        screen.print(table("Commands they add", ("command", "does"), rows))
    for problem in registry.catalog.problems:
        screen.print(f"left out: {problem.detail} ({problem.code}, from {problem.origin})")


def plugin_commands() -> tuple[Command, ...]:
    """The sub-apps that the plugins add, found before any option is read: with the default data folder."""
    return open_registry(load_settings()).commands


def _row(plugin: Plugin) -> tuple[str, ...]:
    return (
        plugin.name,
        plugin.distribution,
        plugin.version,
        ", ".join(plugin.adapters),
        ", ".join(plugin.policies),
        plugin.problem,
    )


def _described(registry: Registry) -> dict[str, Any]:
    return {
        "plugins": [
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "version": plugin.version,
                "adapters": list(plugin.adapters),
                "policies": list(plugin.policies),
                "problem": plugin.problem or None,
            }
            for plugin in registry.plugins
        ],
        "commands": [{"name": one.name, "help": one.help} for one in registry.commands],
        "catalog_problems": [problem.model_dump(mode="json") for problem in registry.catalog.problems],
    }
