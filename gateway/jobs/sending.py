"""Send: the calls that hand a job to its provider, and find it where the answer was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Any

import sqlalchemy as sa
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential_jitter,
)

from gateway.db import now
from gateway.db.accounts import Key
from gateway.jobs.accounts import LONG_WAIT_S, CallKind
from gateway.jobs.attempts import Claim, change
from gateway.jobs.persist import persist
from gateway.jobs.resources import Resources
from gateway.observe.traces import span
from gateway.spec import (
    Job,
    LooksUp,
    OutcomeUnknown,
    ProviderError,
    RateLimited,
    RemoteAdapter,
    Ticket,
    Unavailable,
)

TRIES = 4
RESEND_WITHIN = timedelta(hours=1)
"""For how long a lost submit is sent again under its key: providers forget keys, often after a day."""


def send(resources: Resources, adapter: RemoteAdapter, job: Job, claim: Claim, account: Key) -> Ticket:
    """Submit; again only after an answer or a failure that proves nothing was created.

    ``account``: as it is on record. The adapter's own name for it is the live account's where it stands in.

    Raises:
        OutcomeUnknown: another process has the attempt meanwhile.
        Further provider errors: the last answer.
    """

    def refused(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        assert isinstance(error, Unavailable)
        persist(resources.stopping, partial(_note_refusal, resources, claim, error))

    def again(state: RetryCallState) -> None:
        if state.attempt_number > 1:
            persist(resources.stopping, partial(_note_refusal, resources, claim, None))

    sending = Retrying(
        retry=retry_if_exception(_soon),
        stop=stop_after_attempt(TRIES) | stop_when_event_set(resources.stopping),
        wait=_wait,
        sleep=sleep_using_event(resources.stopping),
        before=again,
        before_sleep=refused,
        reraise=True,
    )

    def once() -> Ticket:
        with span("provider.submit", kind="client", adapter=adapter.name):
            return resources.io.run(resources.accounts.reported(account, "submit", adapter.submit(job)))

    return sending(once)


def _note_refusal(resources: Resources, claim: Claim, error: Unavailable | None) -> None:
    """Commit that nothing was created, or, before it is sent again, that this is no longer known."""
    told = {"error_code": error and error.code, "error_message": error and error.caller_detail}
    with resources.db.write() as connection:
        mine = change(connection, claim.attempt_id, expect=("submitting",), under=claim.fence, **told)
    if not mine:
        raise OutcomeUnknown("Another process of the gateway goes on with this job.")


def _soon(error: BaseException) -> bool:
    """Nothing was created, and the provider asks for no longer pause than can be waited for here."""
    return isinstance(error, Unavailable) and _asked_s(error) <= LONG_WAIT_S


def _asked_s(error: BaseException | None) -> float:
    return (error.retry_after or 0.0) if isinstance(error, RateLimited) else 0.0


def _wait(state: RetryCallState) -> float:
    asked = _asked_s(state.outcome.exception() if state.outcome else None)
    return max(asked, wait_exponential_jitter(multiplier=0.2, max=LONG_WAIT_S)(state))


async def look_up(resources: Resources, adapter: RemoteAdapter, job: Job, row: sa.Row[Any]) -> Ticket:
    """Find a job whose submit answer was lost: by its tag, or by sending it again under the same key.

    What is to be stopped is not sent again.

    Raises:
        OutcomeUnknown: the provider has no lookup, does not know the job (yet), or could not be asked.
    """
    find: Callable[[Job], Awaitable[Ticket | None]]
    kind: CallKind = "look"
    if job.offer.submit_policy == "idempotency_key":
        if row.stop_requested_at is not None or now() > row.created_at + RESEND_WITHIN:
            raise OutcomeUnknown("The answer to the submit was lost, and it is too late to send it again.")
        find, kind = adapter.submit, "submit"
    elif job.offer.submit_policy == "lookup" and isinstance(adapter, LooksUp):
        find = adapter.lookup
    else:
        raise OutcomeUnknown("The answer to the submit was lost, and this provider cannot look a job up.")
    try:
        ticket = await resources.accounts.reported((row.adapter, row.account), kind, find(job))
    except ProviderError as error:
        raise OutcomeUnknown(
            "The job could not be looked up.", operator_detail=error.operator_detail
        ) from error
    if ticket is None:
        raise OutcomeUnknown("The provider does not show the job yet.")
    return ticket
