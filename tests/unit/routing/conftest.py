"""A small world to plan in: the opening rule's models as short cards, every adapter, one device pool."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from gateway.routing import AccountFacts, AdapterFacts, Facts, PoolFacts
from gateway.spec import ImageRole, InputImage, ModelCard, Offer, VideoRequest
from routing_policies.tiered import Tiered

SOURCE = {"text": "invented for a test", "date": "2026-01-01", "confidence": "high"}
LOCAL = frozenset({"wan_local"})
ADAPTERS = (
    "wan_local",
    "veo",
    "gemini_omni",
    "kling",
    "openai_videos",
    "dashscope_wan",
    "seedance",
)


class World:
    """Builders; each takes only what a test cares about."""

    today = date(2026, 9, 1)
    adapters = ADAPTERS
    source = SOURCE

    def price(self, usd: str = "0.10", **fields: Any) -> dict[str, Any]:
        line = {"unit": "second", "usd": usd, "effective_from": "2026-01-01", "source": SOURCE}
        return {**line, **fields}

    def device_price(self) -> dict[str, Any]:
        return {"unit": "device_second", "effective_from": "2026-01-01", "source": SOURCE}

    def preset(self, name: str, seconds: str | None = None, *, fast: bool = False) -> dict[str, Any]:
        times = [{"clip_seconds": "5", "seconds": seconds, "source": SOURCE}] if seconds else []
        return {"name": name, "fast": fast, "times": times}

    def offer(self, model: str, adapter: str = "kling", **fields: Any) -> Offer:
        whole = {"model": model, "adapter": adapter, "upstream": model, "prices": [self.price()], **fields}
        return Offer.model_validate(whole)

    def local_offer(self, model: str, *presets: dict[str, Any], **fields: Any) -> Offer:
        whole: dict[str, Any] = {"pool": "gpu", "prices": [self.device_price()], "presets": presets, **fields}
        return self.offer(model, "wan_local", **whole)

    def card(self, model: str, *offers: Offer, **fields: Any) -> ModelCard:
        whole: dict[str, Any] = {
            "id": model,
            "name": model,
            "tasks": ["text-to-video", "image-to-video"],
            "sizes": {"480p": ["832x480", "480x832", "480x480"], "720p": ["1280x720", "720x1280"]},
            "default_size": "832x480",
            "durations": {"min": "1", "max": "10", "default": "5"},
            "fps": {"default": 16, "min": 8, "max": 24},
            "seed": True,
            "negative_prompt": True,
            "images": {"first_frame": True},
            "offers": offers,
            **fields,
        }
        return ModelCard.model_validate(whole)

    def facts(self, *cards: ModelCard, **fields: Any) -> Facts:
        kinds = {
            name: AdapterFacts(
                kind="local" if name in LOCAL else "remote", accounts=(AccountFacts(name="default"),)
            )
            for name in ADAPTERS
        }
        whole: dict[str, Any] = {
            "today": self.today,
            "cards": cards or self.opening_cards(),
            "adapters": kinds,
            "policy": Tiered(),
            "tier": "enterprise",
            "tiers": ("basic", "pro", "enterprise"),
            "pools": self.pool(),
            **fields,
        }
        return Facts(**whole)

    def pool(self, **fields: Any) -> dict[str, PoolFacts]:
        return {"gpu": PoolFacts(**{"slots": 1, "hourly_usd": Decimal("1.64"), **fields})}

    def without(self, facts: Facts, adapters: Iterable[str]) -> Facts:
        gone = set(adapters)
        return replace(facts, adapters={n: a for n, a in facts.adapters.items() if n not in gone})

    def request(self, **fields: Any) -> VideoRequest:
        return VideoRequest.model_validate({"prompt": "a paper boat on a river", **fields})

    def image(
        self, role: ImageRole = "first_frame", width: int = 1280, height: int = 720, size: int = 1000
    ) -> InputImage:
        return InputImage(
            role=role,
            key="in/0",
            sha256="0" * 64,
            media_type="image/png",
            width=width,
            height=height,
            bytes=size,
        )

    def wan(self, model: str, tasks: list[str], *, nano: bool = False) -> ModelCard:
        presets = [self.preset("official", "800")]
        if not nano:
            presets.append(self.preset("fast", "70", fast=True))
        return self.card(
            model,
            self.local_offer(model, *presets),
            tasks=tasks,
            test_weights=nano,
            images={"first_frame": "image-to-video" in tasks},
        )

    def remote(self, model: str, adapter: str, audio: str = "never", **fields: Any) -> ModelCard:
        presets = [self.preset("standard", "60")]
        return self.card(model, self.offer(model, adapter, presets=presets), audio=audio, **fields)

    def opening_cards(self) -> tuple[ModelCard, ...]:
        text, image = ["text-to-video"], ["image-to-video"]
        kinds = (("t2v", "t2v-a14b", text), ("i2v", "i2v-a14b", image), ("ti2v", "ti2v-5b", [*text, *image]))
        wan = [
            card
            for kind, name, tasks in kinds
            for card in (
                self.wan(f"wan-2.2-{name}", tasks),
                self.wan(f"wan-2.2-nano-{kind}", tasks, nano=True),
            )
        ]
        return (*wan, *self._remote_cards())

    def _remote_cards(self) -> tuple[ModelCard, ...]:
        sora = {"announced": "2026-03-24", "retired_on": "2026-09-24", "successor": "veo-3.1"}
        veo = self.card(
            "veo-3.1",
            self.offer("veo-3.1", "veo", id="veo/gemini", lifecycle={"retired_on": "2026-10-22"}),
            self.offer("veo-3.1", "veo", id="veo/vertex", lifecycle={"retires_not_before": "2026-11-17"}),
            audio="always",
        )
        return (
            veo,
            self.remote("sora-2", "openai_videos", "always", lifecycle=sora),
            self.remote("gemini-omni-1.1", "gemini_omni", "always"),
            self.remote("kling-3.0", "kling", "never"),
            self.remote("kling-3.0-omni", "kling", "optional"),
            self.remote("seedance-1.5-pro", "seedance", "optional"),
            self.remote("wan-2.2-t2v-plus", "dashscope_wan", tasks=["text-to-video"], images={}),
            self.remote("wan-2.2-i2v-plus", "dashscope_wan", tasks=["image-to-video"]),
            self.remote("wan-2.6", "dashscope_wan", "optional"),
        )


@pytest.fixture(scope="session")
def world() -> World:
    return World()
