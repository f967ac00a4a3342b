"""The root command group: a command's module is imported when that command is called, and not before.

``--help`` needs names and one line each, so it costs no import; plugins' commands need the plugins, which are
loaded only for a name that is none of the core's.
"""

from __future__ import annotations

import json
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

import typer
import typer.main
from typer.core import TyperCommand, TyperGroup
from typing_extensions import override

from gateway.cli.exits import JSON_MODE, CliError, ExitCode

if TYPE_CHECKING:
    from gateway.spec import Command

COMMANDS = {
    "demo": "Make four previews and the final of one, and show how each was routed and recorded.",
    "serve": "Run the gateway: the API, the watcher and the device slots.",
    "worker": "Do the work of a gateway whose API runs elsewhere: submit, watch, settle and render.",
    "generate": "Make a video on a running gateway and save it.",
    "finalize": "Make the final video of an approved preview and save it.",
    "route": "Show how a request would be served, at what price and why; nothing is made.",
    "models": "List the models, where each can be had, at what price, and what keeps one from running.",
    "sandbox": "Run fake providers for test mode, or show the bill that they kept.",
    "plugins": "List the installed plugins and what is wrong with a broken one.",
    "accounts": "List the accounts at providers, and let one take jobs again.",
    "offers": "List the offers that were found to be gone, and restore one.",
    "reconcile": "List the attempts of unknown outcome, and settle one.",
    "usage": "Show what was made, what it cost and how long it took.",
    "keys": "Create, list and revoke API keys.",
    "tenants": "List the tenants and change their limits.",
    "db": "Upgrade or check the database's schema.",
    "ledger": "Verify that the ledger balances.",
    "doctor": "Check this installation, and say how to mend what is wrong.",
}


class Commands(TyperGroup):
    """Finds the core's commands by name, then the plugins'."""

    @override
    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    @override
    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name in self.commands:
            return self.commands[cmd_name]
        return TyperCommand(name=cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-"):
            self._load(args[0])
        return super().resolve_command(ctx, args)

    @override
    def invoke(self, ctx: Any) -> Any:
        """Run the command; what it raises for a user becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise  # typer's own ways to end
        except Exception as error:  # every kind is looked at, and passed on if it is a fault of our own
            from gateway.cli._failures import told

            failure = told(error)
            if failure is None:
                raise
            if ctx.meta.get(JSON_MODE):
                typer.echo(json.dumps(failure.body, ensure_ascii=False))
            typer.echo(f"error: {failure.message}", err=True)
            raise typer.Exit(failure.code) from None

    def _load(self, name: str) -> None:
        """Import the command of this name; without one, put every name in place for a suggestion."""
        if name in COMMANDS:
            self.commands[name] = _built(name, import_module(f"gateway.cli.{name}"))
            return
        from gateway.cli.plugins import plugin_commands

        offered = {command.name: command for command in plugin_commands()}
        if name in offered:
            self.commands[name] = _plugins_own(offered[name])
        else:
            self.commands.update({known: TyperCommand(name=known) for known in (*COMMANDS, *offered)})


def _built(name: str, module: ModuleType) -> Any:
    """A noun's module holds ``app``, a group; a verb's holds ``command``."""
    if hasattr(module, "app"):
        return typer.main.get_group(module.app)
    verb = typer.Typer(add_completion=False)
    verb.command(name)(module.command)
    return typer.main.get_command(verb)


def _plugins_own(command: Command) -> Any:
    try:
        return typer.main.get_group(command.load())
    except Exception as error:  # a stranger's code may raise anything
        raise CliError(
            ExitCode.CONFIG,
            f"The command {command.name!r} of a plugin does not load ({type(error).__name__}: {error}): "
            "update the plugin, or uninstall it.",
        ) from error
