"""Reconciling: a person says what became of a submit whose answer was lost.

``adopt``: the provider has the job, under this id. ``release``: it has none. ``resubmit``: it has none, and
is to be asked again. While the video is under way each goes on with it. Once its books are closed (the
deadline has passed, the hold is released) the first two settle what the provider bills, and nothing is sent.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gateway.catalog.prices import PriceTerms, cost, to_micro_usd
from gateway.db.tables import attempts, videos
from gateway.jobs.adoption import adopt as adopt_ticket
from gateway.jobs.adoption import holder
from gateway.jobs.attempts import change, finish, load, parties_of, start_planned, upstream_key
from gateway.jobs.errors import JobError
from gateway.jobs.resources import Resources
from gateway.jobs.work import Gone, build_job
from gateway.ledger.entries import provider_actual, provider_void
from gateway.spec import Adopts, Failed, Output, ReelgateError, Ticket, Usage

UNKNOWN = "outcome_unknown"

NEVER_TAKEN = Failed(
    code="never_taken",
    message="The provider did not take this job, as the gateway's operator found. You were not charged.",
)
TAKEN_TOO_LATE = Failed(
    code="taken_too_late",
    message="The provider had taken this job, as the gateway's operator found when it was too late. You were "
    "not charged.",
    billed=True,
)

log = logging.getLogger(__name__)


class NoSuchAttempt(JobError):
    """There is no attempt with this id."""


class NotReconcilable(JobError):
    """This cannot be done to the attempt; the text says why and what can, in a sentence."""


def unknown_attempts(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """The attempts that a provider may or may not have taken, the oldest first; ``settled_at`` is set where
    the video has failed since, and only what the provider bills is open."""
    query = (
        sa.select(
            attempts,
            videos.c.tenant_id,
            videos.c.status,
            videos.c.deadline_at,
            videos.c.stop_requested_at,
        )
        .join(videos, videos.c.id == attempts.c.video_id)
        .where(attempts.c.state == UNKNOWN)
        .order_by(attempts.c.id)
    )
    return connection.execute(query).all()


def adopt(resources: Resources, attempt_id: str, upstream_id: str, who: str) -> None:
    """Go on with the job that the provider has under this id; where the video is over, record what it bills.

    Raises:
        NoSuchAttempt, NotReconcilable: the latter also where the provider shows no such job.
    """
    with resources.db.read() as connection:
        row = _unknown(connection, attempt_id)
    ticket = _seen(resources, row, upstream_id) if row.settled_at is None else Ticket(id=upstream_id)
    with resources.db.write() as connection:
        row = _unknown(connection, attempt_id, lock=True)
        _refuse_anothers(connection, row, ticket)
        if row.settled_at is None:
            if not adopt_ticket(connection, row, ticket, fence=row.fence):
                raise _meanwhile(attempt_id)
        else:
            terms, usage = PriceTerms.model_validate(row.price), Usage()
            billed = to_micro_usd(cost(terms, Output.model_validate(row.output), usage))
            provider_actual(connection, parties_of(row), billed, terms.version)
            _close(connection, row, TAKEN_TOO_LATE, actual_micro_usd=billed, upstream_id=upstream_key(ticket))
    _told(attempt_id, f"adopted as {upstream_id}", who)


def release(resources: Resources, attempt_id: str, who: str) -> None:
    """The provider has no such job: the attempt fails at no cost and the next way is tried; where the video
    is over, record that nothing is billed.

    Raises:
        NoSuchAttempt, NotReconcilable
    """
    with resources.db.write() as connection:
        row = _unknown(connection, attempt_id, lock=True)
        if row.settled_at is None:
            over = finish(
                connection, resources, row.id, expect=(UNKNOWN,), outcome=NEVER_TAKEN, under=row.fence
            )
            if not over:
                raise _meanwhile(attempt_id)
        else:
            provider_void(connection, parties_of(row))
            _close(connection, row, NEVER_TAKEN)
    _told(attempt_id, "released", who)


def resubmit(resources: Resources, attempt_id: str, who: str) -> None:
    """The provider has no such job and is asked for it again, as the same attempt.

    Raises:
        NoSuchAttempt, NotReconcilable: the latter also where nobody waits for the video any more.
    """
    with resources.db.write() as connection:
        row = _unknown(connection, attempt_id, lock=True)
        if row.settled_at is not None or row.stop_requested_at is not None:
            raise NotReconcilable(
                f"{attempt_id} is not sent again: its video is over, and nobody would get what is made; "
                "adopt it or release it, so that the costs on record are right."
            )
        again: dict[str, Any] = {"fence": row.fence + 1, "next_poll_at": None, "tries": 0}
        again |= {"error_code": None, "error_message": None, "operator_detail": None}
        if not change(connection, row.id, expect=(UNKNOWN,), under=row.fence, state="planned", **again):
            raise _meanwhile(attempt_id)
        start_planned(connection, resources, load(connection, row.id))
    _told(attempt_id, "sent again", who)


def _unknown(connection: sa.Connection, attempt_id: str, *, lock: bool = False) -> sa.Row[Any]:
    try:
        row = load(connection, attempt_id, lock=lock)
    except sa.exc.NoResultFound:
        raise NoSuchAttempt(attempt_id) from None
    if row.state != UNKNOWN:
        raise NotReconcilable(f"{attempt_id} is {row.state}: there is nothing to reconcile.")
    return row


def _meanwhile(attempt_id: str) -> NotReconcilable:
    return NotReconcilable(f"{attempt_id} was found by the gateway itself meanwhile: nothing was changed.")


def _refuse_anothers(connection: sa.Connection, row: sa.Row[Any], ticket: Ticket) -> None:
    other = holder(connection, row, ticket)
    if other is not None:
        raise NotReconcilable(f"The provider's job {ticket.id} is that of {other}.")


def _seen(resources: Resources, row: sa.Row[Any], upstream_id: str) -> Ticket:
    """The ticket, once the provider has shown the job: an id that was mistyped must not be watched."""
    adapter = resources.registry.find(row.adapter, row.account)
    if adapter is None:
        raise NotReconcilable(
            f"{row.adapter} was not asked: these settings have none for the account {row.account}. Adopt it "
            "with the settings and the environment of the server that sent it."
        )
    if not isinstance(adapter, Adopts):
        raise NotReconcilable(
            f"Adapter {row.adapter} cannot adopt a job by its id: release it or resubmit it."
        )
    try:
        ticket = adapter.ticket(build_job(resources, row), upstream_id)
        # told to nobody: what a provider says of an id that was mistyped is no sign of the account's health
        resources.io.run(resources.registry.remote(row.adapter, row.account).poll(ticket))
    except (ReelgateError, Gone) as error:
        told = error.operator_detail if isinstance(error, ReelgateError) else error
        raise NotReconcilable(f"{row.adapter} does not show a job {upstream_id}: {told}") from error
    return ticket


def _close(connection: sa.Connection, row: sa.Row[Any], outcome: Failed, **values: Any) -> None:
    """Past the state that closed books guard: only what the person knows is added."""
    settled = attempts.update().where(attempts.c.id == row.id, attempts.c.state == UNKNOWN)
    told = {"error_code": outcome.code, "error_message": outcome.message}
    connection.execute(
        settled.values(state="failed", snapshot=outcome.model_dump(mode="json"), **told, **values)
    )


def _told(attempt_id: str, what: str, who: str) -> None:
    log.warning("attempt %s, of unknown outcome, is %s, by %s", attempt_id, what, who)
