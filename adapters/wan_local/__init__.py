"""Wan 2.2 in this process, on a device slot. What needs torch is imported when a slot starts, not here."""

from __future__ import annotations

from typing import Any

from adapters.wan_local._adapter import WanLocal
from adapters.wan_local._checks import make_checks
from adapters.wan_local._settings import WanSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, Check, Command, PluginContext, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """The pipeline on real weights where the operator named folders, else on random test weights."""
    return [WanLocal(read_settings(context, "wan_local", WanSettings), context.data_dir)]


@hookimpl
def register_cards() -> list[Cards]:
    """Three models, their local offers, and their stand-ins with random weights."""
    return [load_cards(__name__)]


@hookimpl
def register_commands() -> list[Command]:
    """``reelgate wan``."""
    return [Command(name="wan", help="Folders of Wan 2.2 weights.", load=_load_commands)]


@hookimpl
def register_checks(context: PluginContext) -> list[Check]:
    """Does torch work, and are the configured folders whole and safe?"""
    return make_checks(read_settings(context, "wan_local", WanSettings))


def _load_commands() -> Any:
    from adapters.wan_local._commands import app

    return app
