"""Kuaishou Kling: the API of 2026 (model id in the path), and the older one for Kling 2.0.

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Kling 3.0, 3.0 Omni and 2.0."""
    return [load_cards(__name__)]
