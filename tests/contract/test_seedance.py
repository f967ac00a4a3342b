"""Seedance keeps the contract, against the fake Ark."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

import pytest
from typing_extensions import override

from adapters.seedance import register_adapters, register_sandbox
from gateway.kit.cards import load_cards
from gateway.kit.sandbox import FakeProvider
from gateway.kit.testing import RemoteAdapterContract
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, Output, PluginContext, RemoteAdapter


def build(context: PluginContext) -> RemoteAdapter:
    return cast(RemoteAdapter, register_adapters(context)[0])


class TestSeedance(RemoteAdapterContract):
    canary = "ark-sandbox-key-2f41c9d07be3"
    shape: ClassVar[dict[str, Any]] = {"size": "736x544", "seconds": "2", "fps": 24}

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.seedance")

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(cast(FakeProvider, register_sandbox()[0]), build) as world:
            yield world

    @override
    def frames_of(self, output: Output) -> int:
        """The provider makes one frame more."""
        return round(output.seconds * output.fps) + 1
