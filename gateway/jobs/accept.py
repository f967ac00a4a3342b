"""Accept: plan a request, hold its price and start it, in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import to_micro_usd
from gateway.db import CommitUnknown, new_id, now
from gateway.db.keys import Caller
from gateway.db.tables import videos
from gateway.jobs.attempts import clip_ms, plan_attempt
from gateway.jobs.errors import (
    AcceptUnknown,
    OverBudget,
    PlanRefused,
    PromptRefused,
    SandboxOff,
    TierTooHigh,
    UnknownOptions,
)
from gateway.jobs.events import add_first_event
from gateway.jobs.idempotency import Idempotency, Reply, first_reply, in_flight, remember
from gateway.jobs.parking import park_if_full
from gateway.jobs.records import VideoRecord, accepted_video
from gateway.jobs.resources import Resources
from gateway.jobs.work import resolve
from gateway.ledger.budget import Limits, budget_left, limits_of
from gateway.ledger.entries import Parties, hold
from gateway.observe.traces import traceparent
from gateway.routing import plan
from gateway.routing.continuity import Continuity
from gateway.routing.gather import gather
from gateway.spec import InputImage, Plan, VideoRequest


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """The body to answer with; ``replayed`` if an earlier request with the same key made it."""

    reply: Reply
    replayed: bool


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The video that this one comes from. ``continuity``: what a final keeps of the preview it is made of."""

    remixed_from: str | None = None
    finalized_from: str | None = None
    continuity: Continuity | None = None


NEW = Origin()


@dataclass(frozen=True)
class _Order:
    """What is to be accepted, as it will be stored, and for whom."""

    caller: Caller
    request: VideoRequest
    tier: str
    video_id: str
    origin: Origin

    @property
    def continued_from(self) -> str | None:
        """The prefix preview that it goes on from."""
        return None if self.request.continues is None else self.request.continues.video_id


def dry_run(resources: Resources, caller: Caller, request: VideoRequest) -> Plan:
    """Plan a request and do nothing.

    Raises:
        UnknownModel: the request names a model or alias that no card has.
        TierTooHigh: the tier is above the tenant's, or there is no such tier.
        UnknownOptions: the options name an adapter that is not installed.
        SandboxOff: the key is one for test mode, and there is no sandbox.
    """
    _check_mode(resources, caller)
    _check_options(resources, request)
    tier = _tier(resources, caller, request)
    with resources.db.read() as connection:
        at = now()
        left = budget_left(connection, caller.tenant_id, at) if caller.livemode else None
        return _plan(connection, resources, caller, request, tier, at, left)


def accept(
    resources: Resources,
    caller: Caller,
    request: VideoRequest,
    images: Mapping[str, bytes],
    *,
    reply: Callable[[VideoRecord], Reply],
    idempotency: Idempotency | None = None,
    origin: Origin = NEW,
) -> Accepted:
    """Accept a request durably: when this returns, the video will be made or fail with a reason.

    The keys of ``request.images`` are their sha256, by which ``images`` holds their bytes. ``reply`` renders
    the body that is stored with the idempotency key.

    Raises:
        UnknownModel, TierTooHigh, UnknownOptions, SandboxOff: as for :func:`dry_run`.
        PromptRefused: a screen refused the prompt.
        PlanRefused, OverBudget: nothing can serve it, or nothing within the budget.
        IdempotencyMismatch, IdempotencyInFlight: the key belongs to another body, or is being accepted.
        AcceptUnknown: the database went away before it said whether it is accepted.
        StoreError: an input image could not be stored.
        sqlalchemy.exc.IntegrityError: the preview of ``origin`` has a final already.
    """
    with in_flight(caller, idempotency):
        earlier = first_reply(resources.db, caller, idempotency)
        if earlier is not None:
            return Accepted(reply=earlier, replayed=True)
        _check_mode(resources, caller)
        _check_options(resources, request)
        tier = _tier(resources, caller, request)
        _screen(resources, request)
        video_id = new_id("video")
        stored, keys = _with_keys(request, video_id)
        order = _Order(caller, stored, tier, video_id, origin)
        try:
            for image, key in zip(request.images, keys, strict=True):
                resources.store.put(key, images[image.key])
            with resources.db.write() as connection:
                limits = limits_of(connection, caller.tenant_id)
                decided = _decide(connection, resources, order, limits)
                body = reply(_insert(connection, resources, order, decided, limits))
                remember(connection, caller, idempotency, video_id, body)
        except CommitUnknown as error:  # it may be accepted, and needs its images then; else they are orphans
            raise AcceptUnknown(video_id) from error
        except BaseException as error:
            for key in keys:
                resources.store.delete(key)
            if isinstance(error, sa.exc.IntegrityError):
                earlier = first_reply(resources.db, caller, idempotency)
                if earlier is not None:
                    return Accepted(reply=earlier, replayed=True)
            raise
        return Accepted(reply=body, replayed=False)


def _tier(resources: Resources, caller: Caller, request: VideoRequest) -> str:
    tiers = resources.settings.tiers
    allowed = tiers[: tiers.index(caller.tier) + 1] if caller.tier in tiers else ()
    tier = request.tier or caller.tier
    if tier not in allowed:
        raise TierTooHigh(tier, allowed)
    return tier


def _check_mode(resources: Resources, caller: Caller) -> None:
    if not caller.livemode and not resources.settings.sandbox_url:
        raise SandboxOff


def _check_options(resources: Resources, request: VideoRequest) -> None:
    known = tuple(sorted({adapter.name for adapter in resources.registry.every_adapter()}))
    for adapter in request.options:
        if adapter not in known:
            raise UnknownOptions(adapter, known)


def _screen(resources: Resources, request: VideoRequest) -> None:
    for screen in resources.registry.screens:
        reason = screen.prompt(request.prompt)
        if reason is not None:
            raise PromptRefused(screen.name, reason)


def _plan(
    connection: sa.Connection,
    resources: Resources,
    caller: Caller,
    request: VideoRequest,
    tier: str,
    at: datetime,
    budget_left_micro_usd: int | None,
) -> Plan:
    facts = gather(
        connection,
        resources.settings,
        resources.registry,
        tier=tier,
        budget_left_micro_usd=budget_left_micro_usd,
        today=at.date(),
        timings=resources.timings,
        livemode=caller.livemode,
    )
    return plan(request, facts)


def _with_keys(request: VideoRequest, video_id: str) -> tuple[VideoRequest, list[str]]:
    """The request with its images under the video's own keys."""
    suffixes = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}
    stored: list[InputImage] = [
        image.model_copy(update={"key": f"inputs/{video_id}/{number}.{suffixes[image.media_type]}"})
        for number, image in enumerate(request.images)
    ]
    return request.model_copy(update={"images": tuple(stored)}), [image.key for image in stored]


def _decide(connection: sa.Connection, resources: Resources, order: _Order, limits: Limits) -> Plan:
    """Plan it; only a tenant that has a budget waits for its other creates, to count what they hold."""
    at, left = now(), None
    if limits.monthly_budget_micro_usd is not None and order.caller.livemode:
        left = budget_left(connection, order.caller.tenant_id, at, lock=True)
    decided = _plan(connection, resources, order.caller, order.request, order.tier, at, left)
    if decided.chosen is None:
        over = any(dropped.code == "over_budget" for dropped in decided.dropped)
        raise OverBudget(decided) if over else PlanRefused(decided)
    return decided


def _lineage(connection: sa.Connection, order: _Order) -> str:
    """The first of the line that this video belongs to; its own id if it begins one."""
    source = order.origin.finalized_from or order.continued_from
    if source is None:
        return order.video_id
    root = sa.select(sa.func.coalesce(videos.c.lineage_id, videos.c.id)).where(videos.c.id == source)
    return str(connection.execute(root).scalar_one())


def _insert(
    connection: sa.Connection, resources: Resources, order: _Order, decided: Plan, limits: Limits
) -> VideoRecord:
    caller, request, video_id = order.caller, order.request, order.video_id
    chosen, at = decided.candidates[0], now()
    held = max(to_micro_usd(candidate.estimate_usd) for candidate in decided.candidates)
    row: dict[str, Any] = {
        "id": video_id,
        "tenant_id": caller.tenant_id,
        "key_id": caller.key_id,
        "status": "queued",
        "progress": 0,
        "event_seq": 1,
        "request": request.model_dump(mode="json"),
        "plan": decided.model_dump(mode="json"),
        "mode": request.mode,
        "tier": order.tier,
        "model": chosen.model,
        "size": chosen.output.size,
        "clip_ms": clip_ms(chosen.output),
        "estimate_micro_usd": to_micro_usd(chosen.estimate_usd),
        "hold_micro_usd": held,
        "created_at": at,
        "created_day": at.date(),
        "deadline_at": at + timedelta(seconds=request.deadline or resources.settings.default_deadline_s),
        "traceparent": traceparent(),
        "livemode": caller.livemode,
        "remixed_from": order.origin.remixed_from,
        "continued_from": order.continued_from,
        "finalized_from": order.origin.finalized_from,
        "continuity": order.origin.continuity,
        "lineage_id": _lineage(connection, order),
        "notes": [note.model_dump() for note in (*decided.notes, *chosen.notes)],
    }
    connection.execute(videos.insert(), row)
    limited = caller.livemode and limits.max_active is not None
    parked = limited and park_if_full(connection, caller.tenant_id, video_id)
    way = resolve(resources, chosen, request)
    attempt_id = plan_attempt(
        connection,
        resources,
        way,
        tenant_id=caller.tenant_id,
        video_id=video_id,
        number=1,
        parked=parked,
    )
    hold(connection, Parties(tenant_id=caller.tenant_id, video_id=video_id, attempt_id=attempt_id), held)
    add_first_event(connection, video_id, "video.queued", model=chosen.model, adapter=chosen.adapter)
    return accepted_video({**row, "parked": parked}, decided, attempt_id)
