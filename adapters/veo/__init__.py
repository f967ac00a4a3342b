"""Google Veo, by predictLongRunning on Vertex AI (now Agent Platform) and on the Gemini API.

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Veo 3.1 and 3.1 Fast, each on two surfaces."""
    return [load_cards(__name__)]
