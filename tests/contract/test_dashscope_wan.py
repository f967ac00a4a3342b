"""Hosted Wan keeps the contract, against Model Studio's double."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from adapters.dashscope_wan import register_adapters
from adapters.dashscope_wan._sandbox import TEST_KEY, FakeModelStudio
from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract, make_job
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Job, Offer, PluginContext, RemoteAdapter


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


class TestDashscopeWan(RemoteAdapterContract):
    canary = TEST_KEY
    shape: ClassVar[dict[str, Any]] = {"size": "832x480", "seconds": "5", "fps": 30}

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.dashscope_wan")

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(FakeModelStudio(), build) as world:
            yield world

    @override
    @pytest.fixture
    def job(self, offers: list[Offer]) -> Any:
        numbers = count(1)

        def make(**given: Any) -> Job:
            """Each with a prompt of its own: tasks carry no tag, and only the prompt tells them apart."""
            prompt = f"fox number {next(numbers)} runs through snow"
            return make_job(given.pop("offer", offers[0]), **{**self.shape, "prompt": prompt, **given})

        return make
