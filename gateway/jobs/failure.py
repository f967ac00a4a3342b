"""An attempt that brought nothing: account for its cost, then try the next way or end the video."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import MissingPrice, PriceTerms, cost, to_micro_usd
from gateway.db import now
from gateway.db.tables import attempts, videos
from gateway.jobs.attempts import all_notes, clip_ms, mark_settled, parties_of, plan_attempt
from gateway.jobs.events import add_event
from gateway.jobs.resources import Resources
from gateway.jobs.work import Gone, Way, resolve
from gateway.ledger.entries import provider_actual, provider_void, release
from gateway.registry import SANDBOX, retired_as
from gateway.routing.accounts import choose_account
from gateway.routing.gather import account_facts
from gateway.spec import (
    Candidate,
    Continues,
    NotAuthorised,
    OutOfCredit,
    Output,
    Plan,
    RateLimited,
    RemoteAdapter,
    Unavailable,
    Usage,
    VideoRequest,
)

ACCOUNT_OPEN = "account_open"
OF_THE_ACCOUNT = (NotAuthorised.code, OutOfCredit.code, Unavailable.code, RateLimited.code, ACCOUNT_OPEN)
"""Failures that another account at the same provider may not have."""

AGAIN = "Send it again later, or ask for another model."

log = logging.getLogger(__name__)


def close(connection: sa.Connection, resources: Resources, row: sa.Row[Any]) -> None:
    """Close the books of a failed or cancelled attempt, in the caller's transaction.

    A failure that is not the caller's own doing is followed by the next candidate of the plan, inside the
    hold and the deadline; everything else ends the video and releases the hold.
    """
    outcome = row.snapshot or {}
    cost_micro_usd = _cost(row)
    if not mark_settled(connection, row, actual_micro_usd=cost_micro_usd):
        return
    if cost_micro_usd is None:
        provider_void(connection, parties_of(row))
    else:
        provider_actual(connection, parties_of(row), cost_micro_usd, row.price_version)
    may_go_on = row.state == "failed" and not outcome.get("user_fault") and row.stop_requested_at is None
    way = None
    if may_go_on and now() < row.deadline_at:
        way = next_way(connection, resources, row, elsewhere=row.error_code == ACCOUNT_OPEN)
    if way is None:
        fail_video(connection, row, *_reason(row))
    else:
        _go_on(connection, resources, row, way)


def for_caller(message: str, *, user_fault: bool) -> str:
    """What a provider or an adapter says of a failure, and what its caller wants to know besides: whether it
    was charged, and what to do."""
    text = message.strip()
    end = "" if text.endswith((".", "!", "?")) else "."
    advice = "Change the request before you send it again." if user_fault else AGAIN
    return f"{text}{end} You were not charged. {advice}"


def give_up(connection: sa.Connection, row: sa.Row[Any]) -> None:
    """Nobody can say what becomes of the job, and nobody waits any longer: fail the video, release its hold.

    The estimate stays open in the provider account, as exposure to be reconciled.
    """
    if not mark_settled(connection, row, state="outcome_unknown"):
        return
    if row.state == "outcome_unknown" and row.stop_reason == "deadline":
        fail_video(
            connection,
            row,
            "outcome_unknown",
            "The provider may or may not have made this video, and could not be asked. You were not charged. "
            "Send it again if you can bear two.",
        )
    else:
        fail_video(connection, row, *_reason(row))


def fail_video(connection: sa.Connection, row: sa.Row[Any], code: str, message: str) -> None:
    """End a video without a result: release the whole hold, charge nothing."""
    release(connection, parties_of(row))
    connection.execute(
        videos.update()
        .where(videos.c.id == row.video_id)
        .values(
            status="failed",
            completed_at=now(),
            charge_micro_usd=0,
            error_code=code,
            error_message=message,
            notes=all_notes(row),
        )
    )
    add_event(connection, row.video_id, "video.failed", code=code, message=message)


def _cost(row: sa.Row[Any]) -> int | None:
    """What the failed attempt cost the gateway, in micro-USD; None if the provider bills nothing."""
    outcome = row.snapshot or {}
    usage = Usage.model_validate(outcome.get("usage") or row.usage or {})
    if not outcome.get("billed") and usage.device_ms is None:
        return None
    price = PriceTerms.model_validate(row.price)
    return to_micro_usd(cost(price, Output.model_validate(row.output), usage))


def _reason(row: sa.Row[Any]) -> tuple[str, str]:
    if row.stop_reason == "deadline":
        return "deadline_exceeded", (
            "The video was not ready by its deadline. You were not charged. Give it longer, or a faster mode."
        )
    if row.stop_reason == "caller":
        return "cancelled", "The video was cancelled. You were not charged."
    if row.state == "cancelled":
        return "cancelled", "The provider stopped this video without being asked. You were not charged."
    return row.error_code, row.error_message


def next_way(
    connection: sa.Connection, resources: Resources, row: sa.Row[Any], *, elsewhere: bool = False
) -> Way | None:
    """The next candidate of the video's own plan that is still to be had and fits its hold.

    Each is tried once, but on another account where it was the account that failed. ``elsewhere``: on none
    of this attempt's own account.
    """
    request = VideoRequest.model_validate(row.request)
    tried: dict[tuple[str, str], set[str]] = defaultdict(set)
    before = sa.select(attempts.c.offer, attempts.c.preset, attempts.c.account)
    for attempt in connection.execute(before.where(attempts.c.video_id == row.video_id)):
        tried[attempt.offer, attempt.preset].add(attempt.account)
    again = (row.offer, row.preset) if row.error_code in (None, *OF_THE_ACCOUNT) else None
    for candidate in Plan.model_validate(row.plan).candidates:
        way = (candidate.offer, candidate.preset)
        affordable = to_micro_usd(candidate.estimate_usd) <= row.hold_micro_usd
        if affordable and (way not in tried or way == again):
            own = {row.account} if elsewhere and candidate.adapter == row.adapter else set()
            found = _to_be_had(connection, resources, candidate, tried[way] | own, request.continues)
            if found is not None:
                try:
                    return resolve(resources, found, request)
                except (Gone, MissingPrice) as error:
                    log.info("video %s: %s is passed over: %s", row.video_id, candidate.offer, error)
    return None


def _is_gone(connection: sa.Connection, resources: Resources, candidate: Candidate) -> bool:
    name = retired_as(candidate.offer, sandboxed=candidate.account == SANDBOX)
    return name in resources.timings.retired(connection)


def _to_be_had(
    connection: sa.Connection,
    resources: Resources,
    candidate: Candidate,
    spoilt: Collection[str],
    continues: Continues | None,
) -> Candidate | None:
    """The candidate on an account that takes jobs now, other than those that failed it; None if there is
    none, or its offer is gone."""
    adapter = resources.registry.find(candidate.adapter, candidate.account)
    if isinstance(adapter, RemoteAdapter):
        names = (SANDBOX,) if candidate.account == SANDBOX else adapter.accounts
        accounts = account_facts(connection, resources.registry, adapter, names, resources.timings)
        account = choose_account(accounts, candidate.offer, but=spoilt, continues=continues)
        if account is None or _is_gone(connection, resources, candidate):
            return None
        return candidate.model_copy(update={"account": account.name})
    return None if spoilt else candidate


def _go_on(connection: sa.Connection, resources: Resources, row: sa.Row[Any], way: Way) -> None:
    candidate = way.candidate
    plan_attempt(
        connection,
        resources,
        way,
        tenant_id=row.tenant_id,
        video_id=row.video_id,
        number=row.number + 1,
    )
    connection.execute(
        videos.update()
        .where(videos.c.id == row.video_id)
        .values(model=candidate.model, size=candidate.output.size, clip_ms=clip_ms(candidate.output))
    )
    add_event(
        connection,
        row.video_id,
        "video.progress",
        stage="next_attempt",
        after=row.error_code,
        model=candidate.model,
        adapter=candidate.adapter,
    )
