"""The Videos API's adapter keeps the contract against OpenAI's double."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from typing_extensions import override

from adapters.openai_videos import register_adapters
from adapters.openai_videos._sandbox import AZURE_KEY, OPENAI_KEY, OpenAIVideosSandbox
from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract, make_job
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Job, Offer, PluginContext, RemoteAdapter


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


class TestOpenAIVideos(RemoteAdapterContract):
    canary = OPENAI_KEY
    shape = {"size": "720x1280", "seconds": "4", "fps": 30, "audio": True}  # noqa: RUF012  # as the suite has it

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.openai_videos")

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(OpenAIVideosSandbox(), build) as world:
            yield world

    @override
    @pytest.fixture
    def job(self, offers: list[Offer]) -> Any:
        """Each with a prompt of its own: a lost job is found by what it asked for."""

        def ordered(**given: Any) -> Job:
            prompt = f"a paper boat on a puddle, {uuid4()}"
            return make_job(given.pop("offer", offers[0]), **{**self.shape, "prompt": prompt, **given})

        return ordered


class TestAzure(TestOpenAIVideos):
    """The same protocol under another header, by an account that the offer is led to."""

    canary = AZURE_KEY
    shape = {**TestOpenAIVideos.shape, "account": "azure"}  # noqa: RUF012  # as above

    @override
    @pytest.fixture
    def offers(self, cards: Cards) -> list[Offer]:
        return [offer for offer in cards.offers if offer.region == "azure"]
