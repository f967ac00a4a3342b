"""ByteDance Seedance, by the content generation tasks of BytePlus ModelArk and Volcengine Ark."""

from __future__ import annotations

from adapters.seedance._adapter import Seedance
from adapters.seedance._settings import SeedanceSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One adapter for both hosts, with the operator's section ``seedance``."""
    return [Seedance(read_settings(context, "seedance", SeedanceSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Seedance 1.0 to 2.5, international and in China."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """The fake provider."""
    from adapters.seedance._sandbox import FakeArk

    return [FakeArk()]
