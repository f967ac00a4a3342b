"""Google Gemini Omni, by the Interactions API of the Gemini API.

Its other surface, the Agent Platform, is in the cards alone: no price for it was found.
"""

from __future__ import annotations

from adapters.gemini_omni._adapter import GeminiOmni, GeminiOmniSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One adapter; its accounts are keys of the Gemini API."""
    return [GeminiOmni(read_settings(context, "gemini_omni", GeminiOmniSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Gemini Omni 1.1 and 1.2 Flash."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """The Gemini API's double for test mode."""
    from adapters.gemini_omni._sandbox import GeminiOmniSandbox  # starlette: for test mode alone

    return [GeminiOmniSandbox()]
