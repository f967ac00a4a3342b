"""ByteDance Seedance, by the content generation tasks of BytePlus ModelArk and Volcengine Ark.

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Seedance 1.0 Pro and 1.5 Pro, international and in China."""
    return [load_cards(__name__)]
