"""Recording what cannot be had again for nothing: a provider's answer, an hour's render."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential_jitter,
)

DATABASE_FAILURES = (
    sa.exc.OperationalError,
    sa.exc.InterfaceError,
    sa.exc.InternalError,
    sa.exc.TimeoutError,
)
"""What the database raises when it, or the way to it, fails for a while; TimeoutError is the pool's.

InternalError: Postgres is read-only for the time of a failover, or ended a transaction that stood still.
"""

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 20.0
T = TypeVar("T")
log = logging.getLogger(__name__)


def persist(stopping: threading.Event, record: Callable[[], T]) -> T:
    """Do ``record``, which must be safe to be done twice; again for as long as the database fails.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it still fails when this process is to end.
    """
    recording = Retrying(
        retry=retry_if_exception_type(DATABASE_FAILURES),
        stop=stop_when_event_set(stopping),
        wait=wait_exponential_jitter(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        sleep=sleep_using_event(stopping),
        before_sleep=_tell,
        reraise=True,
    )
    return recording(record)


def _tell(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome is not None else None
    log.error("the database failed, and what came of the work is not recorded yet: %s", error)
