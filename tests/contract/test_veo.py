"""Veo keeps the contract: from a bucket and inline on Vertex AI, and on the Gemini API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from typing_extensions import override

from adapters.veo._adapter import Veo
from adapters.veo._sandbox import FakeVeo
from adapters.veo._settings import VeoSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.kit.testing import RemoteAdapterContract
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Offer, PluginContext

ACCOUNT = FakeVeo().settings("http://127.0.0.1:1")["accounts"]["default"]


class InlineVeo(FakeVeo):
    """Its account names no bucket."""

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        account = {**super().settings(url)["accounts"]["default"]}
        del account["storage_uri"]
        return {"accounts": {"default": account}}


def build(context: PluginContext) -> Veo:
    return Veo(read_settings(context, "veo", VeoSettings))


class TestVertexWithABucket(RemoteAdapterContract):
    shape = {"size": "1280x720", "seconds": "4", "fps": 24, "audio": True}  # noqa: RUF012  # as in the base
    canary = ACCOUNT["service_account"]["private_key"].splitlines()[5]
    fake: type[FakeVeo] = FakeVeo

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.veo")

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(self.fake(), build) as world:
            yield world


class TestVertexInline(TestVertexWithABucket):
    fake = InlineVeo


class TestGeminiApi(TestVertexWithABucket):
    canary = ACCOUNT["api_key"]

    @override
    @pytest.fixture
    def offers(self, cards: Cards) -> list[Offer]:
        return [offer for offer in cards.offers if offer.id.endswith("/gemini-api")]
