"""A stranger's adapter, from a distribution of its own, keeps the contract like ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from reelgate_comet.testing import FakeComet
from typing_extensions import override

from gateway.kit.cards import load_cards
from gateway.kit.testing import RemoteAdapterContract
from gateway.spec import Cards


class TestComet(RemoteAdapterContract):
    canary = "canary-5f0c1e7ab2"

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return load_cards("reelgate_comet")

    @override
    @pytest.fixture
    def world(self) -> Iterator[FakeComet]:
        assert self.canary is not None
        with FakeComet(api_key=self.canary) as upstream:
            yield upstream
