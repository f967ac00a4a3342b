"""The local Wan 2.2 adapter keeps the contract, on random test weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from typing_extensions import override

from adapters.wan_local.plugin import register_adapters, register_cards
from gateway.kit.testing import FakeControl, LocalAdapterContract
from gateway.spec import Adapter, Cards, Job, LocalAdapter, Offer, Output, PluginContext


class TestWanLocal(LocalAdapterContract):
    @pytest.fixture(autouse=True)
    def one_thread(self) -> Iterator[None]:
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        yield
        torch.set_num_threads(before)

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        (cards,) = register_cards()
        return cards

    @override
    @pytest.fixture
    def offers(self, adapter: Adapter, cards: Cards) -> list[Offer]:
        """Those that are ready without real weights."""
        return [one for one in cards.offers if adapter.unready(one, one.presets[0].name) is None]

    @override
    @pytest.fixture
    def fresh(self, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], LocalAdapter]:
        context = PluginContext(settings={}, data_dir=tmp_path_factory.mktemp("data"))

        def build() -> LocalAdapter:
            (adapter,) = register_adapters(context)
            assert isinstance(adapter, LocalAdapter)
            return adapter

        return build

    @override
    def frames_of(self, output: Output) -> int:
        """4n+1: what the model's VAE can hold."""
        return 4 * round(output.seconds * output.fps / 4) + 1

    @override
    def test_progress_rises_to_the_end(
        self, adapter: LocalAdapter, job: Callable[..., Job], control: FakeControl
    ) -> None:
        super().test_progress_rises_to_the_end(adapter, job, control)
        assert {total for _, _, total in control.reports} == {100}
        assert {stage for stage, _, _ in control.reports} == {"load", "text", "denoise", "decode"}
