"""Google Veo, by predictLongRunning on Vertex AI (now Agent Platform) and on the Gemini API."""

from __future__ import annotations

from adapters.veo._adapter import Veo
from adapters.veo._settings import VeoSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One adapter for both surfaces."""
    return [Veo(read_settings(context, "veo", VeoSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Veo 3.1, 3.1 Fast and 3.1 Lite, each on both surfaces."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """Both surfaces, imitated."""
    from adapters.veo._sandbox import FakeVeo  # a web framework, which only test mode needs

    return [FakeVeo()]
