"""OpenAI's Videos API, closed at OpenAI on 2026-09-24, and whatever else still speaks that protocol.

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Sora 2 and Sora 2 Pro, at OpenAI and at Azure."""
    return [load_cards(__name__)]
