"""Alibaba's hosted Wan, by the asynchronous tasks of Model Studio (DashScope).

Cards only until its adapter exists: the models are listed, and never routed to.
"""

from __future__ import annotations

from gateway.kit.cards import load_cards
from gateway.spec import Cards, hookimpl


@hookimpl
def register_cards() -> list[Cards]:
    """Wan 2.2 T2V Plus and Wan 2.6, by region."""
    return [load_cards(__name__)]
