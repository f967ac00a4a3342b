"""An attempt's row turned into the job that its adapter is handed."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import PriceTerms, price_terms
from gateway.db import now
from gateway.jobs.callbacks import attempt_url
from gateway.jobs.resources import Resources
from gateway.media import Missing, Store
from gateway.spec import (
    Candidate,
    Continues,
    Failed,
    Job,
    ModelCard,
    Offer,
    Output,
    Preset,
    Priority,
    VideoRequest,
)

log = logging.getLogger(__name__)


class Gone(Exception):
    """The adapter, offer or preset that was planned is no longer installed."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.outcome = Failed(
            code="adapter_missing",
            message=f"{what} is no longer installed on this gateway. You were not charged.",
        )


class InputMissing(Gone):
    """An input image is no longer in the store, so that no way can serve the request."""

    def __init__(self, key: str) -> None:
        super().__init__(key)
        self.outcome = Failed(
            code="input_missing",
            message="An input image is gone from the gateway's storage. You were not charged. Send it again.",
            user_fault=True,
        )


@dataclass(frozen=True, kw_only=True)
class Way:
    """A candidate resolved: its offer and preset, and the price it would be started at now.

    ``tuned``: the request has options for its adapter, or goes on from a preview, so that its time is no
    measure for others.
    """

    candidate: Candidate
    offer: Offer
    preset: Preset
    price: PriceTerms
    tuned: bool
    priority: Priority


def resolve(resources: Resources, candidate: Candidate, request: VideoRequest) -> Way:
    """Find what a candidate names, and its price today.

    Raises:
        Gone: it is not installed any more.  MissingPrice: it has no price any more.
    """
    card, offer, preset = _find(resources, candidate)
    pool = resources.settings.pools.get(offer.pool) if offer.pool else None
    price = price_terms(
        card,
        offer,
        preset,
        candidate.output,
        request.task,
        now().date(),
        pool.hourly_usd if pool else None,
    )
    tuned = bool(request.options.get(candidate.adapter)) or request.continues is not None
    return Way(
        candidate=candidate,
        offer=offer,
        preset=preset,
        price=price,
        tuned=tuned,
        priority=request.priority,
    )


def _find(resources: Resources, way: Candidate | sa.Row[Any]) -> tuple[ModelCard, Offer, Preset]:
    registry = resources.registry
    found = registry.catalog.offer(way.offer)
    if registry.find(way.adapter, way.account) is None or found is None:
        raise Gone(f"offer {way.offer!r}")
    card, offer = found
    preset = offer.preset(way.preset)
    if preset is None:
        raise Gone(f"preset {way.preset!r} of offer {way.offer!r}")
    return card, offer, preset


def build_job(resources: Resources, row: sa.Row[Any]) -> Job:
    """The job of an attempt; ``row`` is from :func:`gateway.jobs.attempts.load`.

    Raises:
        Gone: what was planned is not installed any more.  InputMissing: an input image is lost.
    """
    _card, offer, preset = _find(resources, row)
    request = VideoRequest.model_validate(row.request)
    lost = next((image.key for image in request.images if not resources.store.exists(image.key)), None)
    if lost is not None:
        raise InputMissing(lost)
    return Job(
        request=request,
        output=Output.model_validate(row.output),
        offer=offer,
        preset=preset,
        tag=row.id,
        account=resources.registry.own_account(offer, row.account),
        callback_url=attempt_url(resources, row),
        read_image=lambda image: resources.store.read(image.key),
        read_checkpoint=partial(_read_checkpoint, resources.store, request.continues),
        planned_at=row.created_at,
    )


def _read_checkpoint(store: Store, continues: Continues | None) -> bytes | None:
    """The state to go on from; without it, whole, the render starts from the beginning."""
    if continues is None:
        return None
    try:
        data = store.read(continues.checkpoint)
    except Missing:
        return None
    if hashlib.sha256(data).hexdigest() != continues.sha256:
        log.warning("the state of the preview %s is damaged: %s", continues.video_id, continues.checkpoint)
        return None
    return data
