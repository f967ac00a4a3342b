"""Gemini Omni's adapter keeps the contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typing_extensions import override

from adapters.gemini_omni import register_adapters
from adapters.gemini_omni._sandbox import KEY, GeminiOmniSandbox
from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards, PluginContext, RemoteAdapter


def build(context: PluginContext) -> RemoteAdapter:
    (adapter,) = register_adapters(context)
    assert isinstance(adapter, RemoteAdapter)
    return adapter


class TestGeminiOmni(RemoteAdapterContract):
    canary = KEY
    shape = {"size": "640x360", "seconds": "3", "fps": 24, "audio": True}  # noqa: RUF012  # as the suite has it

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.gemini_omni")

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(GeminiOmniSandbox(), build) as world:
            yield world
