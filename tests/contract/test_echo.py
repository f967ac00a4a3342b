"""Echo's local guise keeps the contract."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typing_extensions import override

from adapters.echo import register_adapters
from gateway.kit.cards import load_cards
from gateway.kit.testing import LocalAdapterContract
from gateway.spec import Cards, LocalAdapter, PluginContext


class TestEcho(LocalAdapterContract):
    simulated_work = frozenset({"_simulate_work"})

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("adapters.echo")

    @override
    @pytest.fixture
    def fresh(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], LocalAdapter]:
        context = PluginContext(settings={}, data_dir=Path(tmp_path_factory.mktemp("data")))

        def build() -> LocalAdapter:
            (found,) = (one for one in register_adapters(context) if isinstance(one, LocalAdapter))
            return found

        return build
