"""Submit: hand one remote attempt to its provider, once.

The intent is committed (``submitting``) before the call. If this process dies in between, the attempt is
found in that state, and what then happens is the offer's ``submit_policy``: send again with the same key,
look the job up by its tag, or leave it as ``outcome_unknown``. Never a blind resend. A refusal after which it
is sent again is committed too, as the attempt's ``error_code`` until then: whoever finds it in that state may
send it.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa

from gateway.db import CommitUnknown, now
from gateway.db.retired import retire
from gateway.jobs.admit import admitted, keep_waiting
from gateway.jobs.adoption import adopt_answer, adopt_found
from gateway.jobs.attempts import (
    Claim,
    change,
    end,
    finish,
    hand_back,
    load,
    milliseconds,
    started,
)
from gateway.jobs.failure import close, for_caller, next_way
from gateway.jobs.pace import TooSoon
from gateway.jobs.persist import persist
from gateway.jobs.resources import Resources
from gateway.jobs.sending import look_up, send
from gateway.jobs.work import Gone, build_job
from gateway.media import StoreError
from gateway.observe.steps import step
from gateway.registry import SANDBOX, retired_as
from gateway.spec import (
    Failed,
    Job,
    ModelGone,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    Refused,
    Stopped,
    Ticket,
    Unavailable,
)

STORE_PAUSE_S = 5.0
LOOKUP_AGAIN = timedelta(seconds=5)
_Claimed = tuple[Claim, sa.Row[Any], bool]
"""The claim, the attempt as it is under it, and whether an earlier claim was interrupted."""

log = logging.getLogger(__name__)


def submit(resources: Resources, attempt_id: str) -> None:
    """Submit one attempt; safe to be run again from the start after any crash."""
    claimed = _in_time(resources, attempt_id)
    if claimed is not None:
        claim, row, interrupted = claimed
        with step("submit", row):
            _hand_over(resources, row, claim, interrupted)


def _in_time(resources: Resources, attempt_id: str) -> _Claimed | None:
    """Claim the attempt, as soon as the pace of its account allows."""
    while True:
        try:
            return _claimed_surely(resources, attempt_id, now())
        except TooSoon as early:
            if resources.stopping.wait(early.wait_s):
                persist(resources.stopping, lambda: _left(resources, attempt_id))
                return None


def _claimed_surely(resources: Resources, attempt_id: str, at: datetime) -> _Claimed | None:
    try:
        return _claim(resources, attempt_id, at)
    except CommitUnknown:
        return persist(resources.stopping, partial(_claimed_after_all, resources, attempt_id, at))


def _left(resources: Resources, attempt_id: str) -> None:
    """Leave an attempt whose turn did not come to the next process."""
    with resources.db.write() as connection:
        row = load(connection, attempt_id, lock=True)
        if row.state == "planned":
            keep_waiting(connection, row)


def _hand_over(resources: Resources, row: sa.Row[Any], claim: Claim, interrupted: bool) -> None:
    try:
        job = _order(resources, row, interrupted)
    except StoreError as error:  # its images cannot be seen to at present: nothing was sent
        log.warning("attempt %s: put off: %s", row.id, error)
        resources.stopping.wait(STORE_PAUSE_S)
        if interrupted:
            persist(resources.stopping, partial(_unknown, resources, row, claim, error))
        else:
            persist(resources.stopping, partial(_handed_back, resources, row, claim))
        return
    except Gone as error:
        ended = _unknown if interrupted else _refused
        persist(resources.stopping, partial(ended, resources, row, claim, error))
        return
    _speak(resources, row, claim, job, interrupted)


def _order(resources: Resources, row: sa.Row[Any], interrupted: bool) -> Job:
    """The job, with its images at hand: a store that fails is noticed while nothing can have been sent."""
    job = build_job(resources, row)
    if interrupted:
        return job
    images = {image.key: job.read_image(image) for image in job.request.images}
    return replace(job, read_image=lambda image: images[image.key])


def _speak(resources: Resources, row: sa.Row[Any], claim: Claim, job: Job, interrupted: bool) -> None:
    try:
        adapter = resources.registry.remote(row.adapter, row.account)
        if interrupted:
            ticket = resources.io.run(look_up(resources, adapter, job, row))
        else:
            ticket = send(resources, adapter, job, claim, (row.adapter, row.account))
    except Exception as error:  # noqa: BLE001  # what proves nothing leaves it open: it may have been taken
        if interrupted or not isinstance(error, Refused | Unavailable):
            ended = partial(_unknown, resources, row, claim, error)
        elif isinstance(error, Unavailable) and resources.stopping.is_set():
            ended = partial(_handed_back, resources, row, claim)
        else:
            ended = partial(_refused, resources, row, claim, error)
    else:
        ended = partial(_found if interrupted else _submitted, resources, row, claim, ticket)
    persist(resources.stopping, ended)


def _claimed_after_all(resources: Resources, attempt_id: str, at: datetime) -> _Claimed | None:
    """The claim of which no word came, if it lasted: nothing was sent under it yet. Else a new one."""
    with resources.db.read() as connection:
        row = load(connection, attempt_id)
    if row.state == "submitting" and row.started_at == at:
        return Claim(attempt_id=attempt_id, fence=row.fence), row, False
    return _claim(resources, attempt_id, at)


def _claim(resources: Resources, attempt_id: str, at: datetime) -> _Claimed | None:
    with resources.db.write() as connection:
        row = load(connection, attempt_id, lock=True)
        if row.state not in ("planned", "submitting"):
            return None
        interrupted = row.state == "submitting" and row.error_code is None
        if row.stop_requested_at is not None and not interrupted:
            finish(connection, resources, attempt_id, expect=(row.state,), outcome=Stopped())
            return None
        if not interrupted and not admitted(connection, resources, row, at):
            return None
        claim = Claim(attempt_id=attempt_id, fence=row.fence + 1)
        taken = change(
            connection,
            attempt_id,
            expect=(row.state,),
            under=row.fence,
            state="submitting",
            waiting=False,
            fence=claim.fence,
            started_at=at,
            queued_ms=milliseconds(row.created_at, at),
            error_code=None,
            error_message=None,
        )
        return (claim, load(connection, attempt_id), interrupted) if taken else None


def _handed_back(resources: Resources, row: sa.Row[Any], claim: Claim) -> None:
    with resources.db.write() as connection:
        hand_back(connection, resources, row, claim)


def _submitted(resources: Resources, row: sa.Row[Any], claim: Claim, ticket: Ticket) -> None:
    with resources.db.write() as connection:
        kept = adopt_answer(connection, row, ticket, fence=claim.fence)
    if not kept:
        log.error("attempt %s: the provider took it as %s, and it has gone on without", row.id, ticket.id)


def _found(resources: Resources, row: sa.Row[Any], claim: Claim, ticket: Ticket) -> None:
    try:
        with resources.db.write() as connection:
            adopt_found(connection, row, ticket, fence=claim.fence)
    except OutcomeUnknown as error:
        _unknown(resources, row, claim, error)


def _unknown(resources: Resources, row: sa.Row[Any], claim: Claim, error: Exception) -> None:
    """Nobody knows whether the provider took it: the watcher looks it up, where that can be done."""
    detail = error.operator_detail if isinstance(error, ProviderError) else f"{type(error).__name__}: {error}"
    log.warning("attempt %s: outcome unknown: %s", row.id, detail)
    with resources.db.write() as connection:
        change(
            connection,
            row.id,
            expect=("submitting",),
            under=claim.fence,
            state="outcome_unknown",
            error_code=OutcomeUnknown.code,
            error_message="The provider may or may not have taken the job.",
            operator_detail=detail,
            next_poll_at=now() + LOOKUP_AGAIN,
            tries=0,
        )
        started(connection, row)


def _refused(
    resources: Resources, row: sa.Row[Any], claim: Claim, error: Refused | Unavailable | Gone
) -> None:
    if isinstance(error, Gone):
        outcome, detail = error.outcome, str(error)
    else:
        detail, user_fault = error.operator_detail, not error.another_candidate
        outcome = Failed(
            code=error.code,
            message=for_caller(error.caller_detail, user_fault=user_fault),
            user_fault=user_fault,
        )
    ending: dict[str, Any] = {
        "expect": ("submitting",),
        "outcome": outcome,
        "under": claim.fence,
        "operator_detail": detail,
        "finished_at": now(),
    }
    with resources.db.write() as connection:
        if isinstance(error, RateLimited):
            _too_fast(connection, resources, row, ending)
            return
        if isinstance(error, ModelGone):
            _passed_over_from_now_on(connection, resources, row, error)
        finish(connection, resources, row.id, **ending)


def _passed_over_from_now_on(
    connection: sa.Connection, resources: Resources, row: sa.Row[Any], error: ModelGone
) -> None:
    name = retired_as(row.offer, sandboxed=row.account == SANDBOX)
    if retire(connection, name, error.caller_detail):
        log.warning("offer %s is retired, as its provider answered: %s", name, error.operator_detail)
    resources.timings.forget_accounts()


def _too_fast(
    connection: sa.Connection, resources: Resources, row: sa.Row[Any], ending: dict[str, Any]
) -> None:
    """What came too fast for its account goes another way at once, which may be gone later; where there is
    none, it waits for its account, within its deadline."""
    stopped = load(connection, row.id, lock=True).stop_requested_at is not None
    if not stopped and next_way(connection, resources, row) is None:
        detail = ending["operator_detail"]
        change(connection, row.id, expect=("submitting",), under=row.fence, operator_detail=detail)
        keep_waiting(connection, row)
    elif end(connection, row.id, **ending):
        close(connection, resources, load(connection, row.id))
