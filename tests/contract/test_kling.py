"""Kling's adapter keeps the contract against Kling's double, on each of its two APIs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from adapters.kling import register_adapters
from adapters.kling._sandbox import KlingSandbox
from adapters.kling._sandbox_auth import API_KEY
from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Offer, PluginContext, RemoteAdapter


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


class TestKling(RemoteAdapterContract):
    canary = API_KEY
    shape: ClassVar[dict[str, Any]] = {"size": "1280x720", "seconds": "3", "fps": 24}
    upstream = "kling-3.0"

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.kling")

    @override
    @pytest.fixture
    def offers(self, adapter: RemoteAdapter, cards: Cards) -> list[Offer]:
        """The one under test first."""
        return sorted(cards.offers, key=lambda offer: offer.upstream != self.upstream)

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(KlingSandbox(), build) as world:
            yield world


class TestLegacyKling(TestKling):
    upstream = "kling-v3"
