"""A provider's job becomes an attempt's: by the answer to its submit, by a lookup, or by a person's word.

One job is delivered and charged once, so that what was found afterwards is first held against all that is
known to be another attempt's.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from gateway.db import now
from gateway.db.accounts import locked
from gateway.db.tables import attempts
from gateway.jobs.attempts import change, load, milliseconds, started, upstream_key
from gateway.spec import OutcomeUnknown, Ticket

FIRST_POLL = timedelta(milliseconds=500)


def adopt(connection: sa.Connection, row: sa.Row[Any], ticket: Ticket, fence: int) -> bool:
    """Record the provider's ticket, from which the watcher goes on."""
    at = now()
    kept = change(
        connection,
        row.id,
        expect=("submitting", "outcome_unknown"),
        under=fence,
        state="submitted",
        ticket=ticket.model_dump(mode="json"),
        upstream_id=upstream_key(ticket),
        submitted_at=at,
        submit_ms=milliseconds(row.started_at, at),
        next_poll_at=at + FIRST_POLL,
        tries=0,
        error_code=None,  # of the doubt whether it was taken
        error_message=None,
        operator_detail=None,
    )
    if kept:
        started(connection, row)
    return kept


def adopt_found(connection: sa.Connection, row: sa.Row[Any], ticket: Ticket, fence: int) -> bool:
    """As :func:`adopt`, for a job that was looked up.

    Raises:
        OutcomeUnknown: it is another attempt's, so that this one's is still to be found.
    """
    load(connection, row.id, lock=True)
    other = holder(connection, row, ticket)
    if other is not None:
        raise OutcomeUnknown(
            "The job that the provider shows is that of another video.",
            operator_detail=f"{row.adapter} shows its job {ticket.id}, which is that of {other}.",
        )
    return adopt(connection, row, ticket, fence)


def holder(connection: sa.Connection, row: sa.Row[Any], ticket: Ticket) -> str | None:
    """Another attempt that has this job of the provider's; the caller has locked its own video.

    Until the transaction ends none can find the job at the same time: the account's row is locked.
    """
    locked(connection, row.adapter, row.account)
    known = sa.select(attempts.c.id).where(
        attempts.c.adapter == row.adapter,
        attempts.c.upstream_id == upstream_key(ticket),
        attempts.c.id != row.id,
    )
    found: str | None = connection.execute(known.limit(1)).scalar()
    return found
