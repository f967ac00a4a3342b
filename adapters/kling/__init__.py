"""Kuaishou Kling: the API of 2026 (model id in the path), and the older one."""

from __future__ import annotations

from adapters.kling._adapter import Kling
from adapters.kling._settings import KlingSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One adapter, with the operator's section ``kling``."""
    return [Kling(read_settings(context, "kling", KlingSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Kling 2.0 to 3.0, Omni and Turbo."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """A double of Kling's two APIs."""
    from adapters.kling._sandbox import KlingSandbox  # it brings a web framework along

    return [KlingSandbox()]
