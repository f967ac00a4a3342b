"""Alibaba's hosted Wan, by the asynchronous tasks of Model Studio (DashScope)."""

from __future__ import annotations

from adapters.dashscope_wan._adapter import DashscopeWan, StudioSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One, with an account for each region that is to be used."""
    return [DashscopeWan(read_settings(context, "dashscope_wan", StudioSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Wan 2.2 to 3.0, by region."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """Model Studio's double for test mode."""
    from adapters.dashscope_wan._sandbox import FakeModelStudio

    return [FakeModelStudio()]
