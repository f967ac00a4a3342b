"""Which models there are: OpenAI's list, and the whole catalogue with what is ready here and now."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from gateway.api.auth import Authenticated, runtime_of
from gateway.db import now
from gateway.db.retired import Retired, read_retired
from gateway.jobs.runtime import Runtime
from gateway.registry import retired_as
from gateway.routing import AccountFacts
from gateway.routing.accounts import choose_account, serving, why_none
from gateway.routing.gather import account_facts, serving_adapters
from gateway.spec import Adapter, LocalAdapter, ModelCard, Offer, Preset, RemoteAdapter

router = APIRouter(prefix="/v1", tags=["models"])

Reason = dict[str, str]


@router.get("/models", response_model=dict[str, Any])
def list_models(request: Request, caller: Authenticated) -> JSONResponse:
    """OpenAI's list of what a create may name: every model that is ready, and ``auto``."""
    runtime, today = runtime_of(request), now().date()
    standing = read_standing(runtime, livemode=caller.livemode)
    usable = [card for card in runtime.registry.catalog.cards if _usable(runtime, card, today, standing)]
    data = [_openai_model("auto", None)]
    data += [_openai_model(card.id, card.lifecycle.announced) for card in usable]
    return JSONResponse({"object": "list", "data": data})


@router.get("/videos/models", response_model=dict[str, Any])
def list_video_models(request: Request, caller: Authenticated) -> JSONResponse:
    """Every model card: abilities, lifecycle, offers with prices, and what keeps an offer from running."""
    runtime, today = runtime_of(request), now().date()
    standing = read_standing(runtime, livemode=caller.livemode)
    data = [describe_model(runtime, card, today, standing) for card in runtime.registry.catalog.cards]
    return JSONResponse({"object": "list", "data": data})


def _openai_model(name: str, announced: date | None) -> dict[str, Any]:
    day = announced or date(1970, 1, 1)
    created = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "reelgate"}


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What was found out at run time: who serves, what offers are gone, and the remote adapters' accounts."""

    adapters: Mapping[str, Adapter]
    gone: Mapping[str, Retired]
    accounts: Mapping[str, Sequence[AccountFacts]]
    sandboxed: bool


def read_standing(runtime: Runtime, *, livemode: bool = True) -> Standing:
    """As SQL has it now, for keys of this mode."""
    with runtime.db.read() as connection:
        serving = serving_adapters(runtime.settings, runtime.registry, livemode=livemode)
        accounts = {
            name: account_facts(connection, runtime.registry, adapter, names, runtime.timings)
            for name, (adapter, names) in serving.items()
            if isinstance(adapter, RemoteAdapter)
        }
        adapters = {name: adapter for name, (adapter, _) in serving.items()}
        sandboxed = not livemode or runtime.settings.sandbox_only
        gone = read_retired(connection)
        return Standing(gone=gone, accounts=accounts, adapters=adapters, sandboxed=sandboxed)


def _usable(runtime: Runtime, card: ModelCard, today: date, standing: Standing) -> bool:
    return any(
        _obstacle(runtime, card, offer, preset, today, standing) is None
        for offer in card.offers
        for preset in offer.presets
    )


def describe_model(runtime: Runtime, card: ModelCard, today: date, standing: Standing) -> dict[str, Any]:
    """The card with its offers, each preset with what keeps it from running."""
    offers = [_described_offer(runtime, card, offer, today, standing) for offer in card.offers]
    return {
        **card.model_dump(mode="json", exclude={"offers"}),
        "object": "video.model",
        "ready": any(offer["ready"] for offer in offers),
        "offers": offers,
    }


def _described_offer(
    runtime: Runtime, card: ModelCard, offer: Offer, today: date, standing: Standing
) -> dict[str, Any]:
    presets = []
    for preset in offer.presets:
        obstacle = _obstacle(runtime, card, offer, preset, today, standing)
        plain = preset.model_dump(mode="json", exclude={"params"})
        presets.append({**plain, "ready": obstacle is None, "unready": obstacle})
    return {
        **offer.model_dump(mode="json", exclude={"presets"}),
        "adapter_installed": offer.adapter in standing.adapters,
        "ready": any(preset["ready"] for preset in presets),
        "presets": presets,
    }


def _obstacle(
    runtime: Runtime, card: ModelCard, offer: Offer, preset: Preset, today: date, standing: Standing
) -> Reason | None:
    """What keeps this preset from running for any request, or None."""
    for life in (card.lifecycle, offer.lifecycle):
        if life.retired(today):
            return {"code": "retired", "detail": f"retired on {life.retired_on}"}
    gone = standing.gone.get(retired_as(offer.id, sandboxed=standing.sandboxed))
    if gone is not None:
        detail = f"its provider said on {gone.since:%Y-%m-%d} that the model is gone: {gone.said}"
        return {"code": "retired", "detail": detail}
    adapter = standing.adapters.get(offer.adapter)
    if adapter is None:
        return {"code": "no_adapter", "detail": f"no adapter named {offer.adapter!r} is installed"}
    accounts = serving(standing.accounts.get(offer.adapter, ()), offer.id)
    if accounts and choose_account(accounts, offer.id) is None:
        return {"code": "account_open", "detail": why_none(offer.adapter, accounts)}
    if isinstance(adapter, LocalAdapter) and offer.pool not in runtime.settings.pools:
        return {"code": "no_device_slot", "detail": f"there is no device pool {offer.pool!r}"}
    unready = adapter.unready(offer, preset.name)
    return None if unready is None else unready.model_dump()
