"""Which models there are: OpenAI's list, and the whole catalogue with what is ready here and now."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import authenticate, runtime_of
from gateway.db import now
from gateway.jobs.runtime import Runtime
from gateway.spec import LocalAdapter, ModelCard, Offer, Preset

router = APIRouter(prefix="/v1", tags=["models"], dependencies=[Depends(authenticate)])

Reason = dict[str, str]


@router.get("/models", response_model=dict[str, Any])
def list_models(request: Request) -> JSONResponse:
    """OpenAI's list of what a create may name: every model that is ready, and ``auto``."""
    runtime, today = runtime_of(request), now().date()
    usable = [card for card in runtime.registry.catalog.cards if _usable(runtime, card, today)]
    data = [_openai_model("auto", None)]
    data += [_openai_model(card.id, card.lifecycle.announced) for card in usable]
    return JSONResponse({"object": "list", "data": data})


@router.get("/videos/models", response_model=dict[str, Any])
def list_video_models(request: Request) -> JSONResponse:
    """Every model card: abilities, lifecycle, offers with prices, and what keeps an offer from running."""
    runtime, today = runtime_of(request), now().date()
    data = [describe_model(runtime, card, today) for card in runtime.registry.catalog.cards]
    return JSONResponse({"object": "list", "data": data})


def _openai_model(name: str, announced: date | None) -> dict[str, Any]:
    day = announced or date(1970, 1, 1)
    created = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "reelgate"}


def _usable(runtime: Runtime, card: ModelCard, today: date) -> bool:
    return any(
        _obstacle(runtime, card, offer, preset, today) is None
        for offer in card.offers
        for preset in offer.presets
    )


def describe_model(runtime: Runtime, card: ModelCard, today: date) -> dict[str, Any]:
    offers = [_described_offer(runtime, card, offer, today) for offer in card.offers]
    return {
        **card.model_dump(mode="json", exclude={"offers"}),
        "object": "video.model",
        "ready": any(offer["ready"] for offer in offers),
        "offers": offers,
    }


def _described_offer(runtime: Runtime, card: ModelCard, offer: Offer, today: date) -> dict[str, Any]:
    presets = []
    for preset in offer.presets:
        obstacle = _obstacle(runtime, card, offer, preset, today)
        plain = preset.model_dump(mode="json", exclude={"params"})
        presets.append({**plain, "ready": obstacle is None, "unready": obstacle})
    return {
        **offer.model_dump(mode="json", exclude={"presets"}),
        "adapter_installed": offer.adapter in runtime.registry.adapters,
        "ready": any(preset["ready"] for preset in presets),
        "presets": presets,
    }


def _obstacle(runtime: Runtime, card: ModelCard, offer: Offer, preset: Preset, today: date) -> Reason | None:
    """What keeps this preset from running for any request, or None."""
    for life in (card.lifecycle, offer.lifecycle):
        if life.retired(today):
            return {"code": "retired", "detail": f"retired on {life.retired_on}"}
    adapter = runtime.registry.adapters.get(offer.adapter)
    if adapter is None:
        return {"code": "no_adapter", "detail": f"no adapter named {offer.adapter!r} is installed"}
    if isinstance(adapter, LocalAdapter) and offer.pool not in runtime.settings.pools:
        return {"code": "no_device_slot", "detail": f"there is no device pool {offer.pool!r}"}
    unready = adapter.unready(offer, preset.name)
    return None if unready is None else unready.model_dump()
