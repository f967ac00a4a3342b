"""Wan 2.2 in this process, on a device slot: the plugin ``wan_local``, and ``engine``, a library of its own.

Importing the engine imports this package first, and the engine has to do without the gateway. So the hooks
stand here with pluggy's own marker (the one that ``gateway.spec`` exports) and import what they need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from gateway.spec import Adapter, Cards, Check, Command, PluginContext

hookimpl = pluggy.HookimplMarker("reelgate")


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """The pipeline on real weights where the operator named folders, else on random test weights."""
    from adapters.wan_local._plugin import make_adapter

    return [make_adapter(context)]


@hookimpl
def register_cards() -> list[Cards]:
    """Three models, their local offers, and their stand-ins with random weights."""
    from gateway.kit.cards import load_cards

    return [load_cards(__name__)]


@hookimpl
def register_commands() -> list[Command]:
    """``reelgate wan``."""
    from adapters.wan_local._plugin import COMMAND

    return [COMMAND]


@hookimpl
def register_checks(context: PluginContext) -> list[Check]:
    """Does torch work, and are the configured folders whole and safe?"""
    from adapters.wan_local._plugin import make_checks

    return make_checks(context)
