"""Google Gemini Omni, by the Interactions API of the Gemini API and of the Agent Platform.

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Gemini Omni 1.1 Flash on two surfaces."""
    return [load_cards(__name__)]
