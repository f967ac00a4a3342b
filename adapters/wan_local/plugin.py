"""What the plugin registers. What needs torch is imported when a slot starts, not here.

The hooks stand in a module of their own, so that importing the engine, which has to do without the gateway,
does not run them.
"""

from __future__ import annotations

from typing import Any

from adapters.wan_local import _checks
from adapters.wan_local._adapter import WanLocal
from adapters.wan_local._settings import WanSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, Check, Command, PluginContext, Sandboxed, StandIn, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """The pipeline on real weights where the operator named folders, else on the nano models."""
    return [WanLocal(read_settings(context, WanLocal.name, WanSettings), context.data_dir)]


@hookimpl
def register_cards() -> list[Cards]:
    """Three models, their local offers, and their stand-ins: small trained ones, and random weights."""
    return [load_cards("adapters.wan_local")]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """In test mode real models run on random weights of their kind: at their sizes nano takes minutes."""
    return [StandIn(WanLocal.name, {"test_weights": True})]


@hookimpl
def register_commands() -> list[Command]:
    """``reelgate wan``."""
    return [Command(name="wan", help="Folders of Wan 2.2 weights.", load=_load_commands)]


@hookimpl
def register_checks(context: PluginContext) -> list[Check]:
    """Does torch work, and are the configured folders whole and safe?"""
    return _checks.make_checks(read_settings(context, WanLocal.name, WanSettings))


def _load_commands() -> Any:
    from adapters.wan_local._commands import app

    return app
