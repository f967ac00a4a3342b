"""A fake behind the sandbox is a world for its adapter's contract."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from typing_extensions import override

from gateway.kit.testing import RemoteAdapterContract
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import Cards

from .toy._sandbox import KEY, FakeToy
from .toy.adapter import Toy

SOURCE = {"text": "invented for a test", "date": "2026-11-20", "confidence": "high"}
CARDS = {
    "models": [
        {
            "id": "toy-1",
            "name": "Toy 1",
            "test_weights": True,
            "tasks": ["text-to-video", "image-to-video"],
            "sizes": {"min": 32, "max": 1280, "step": 2},
            "default_size": "64x64",
            "durations": {"values": ["1"], "default": "1"},
            "fps": {"default": 8, "min": 8, "max": 24},
            "audio": "optional",
            "seed": True,
            "images": {"first_frame": True},
            "sources": [SOURCE],
        }
    ],
    "offers": [
        {
            "model": "toy-1",
            "adapter": "toy",
            "upstream": "toy",
            "submit_policy": "lookup",
            "presets": [
                {"name": "standard", "times": [{"clip_seconds": "1", "seconds": "1", "source": SOURCE}]}
            ],
            "prices": [{"unit": "second", "usd": "0.05", "effective_from": "2026-01-01", "source": SOURCE}],
        }
    ],
}


class TestToy(RemoteAdapterContract):
    canary = KEY

    @override
    @pytest.fixture
    def cards(self) -> Cards:
        return Cards.model_validate(CARDS)

    @override
    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(FakeToy(), Toy) as world:
            yield world
