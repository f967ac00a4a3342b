"""Where the API waits for SQL: never on the event loop, and in few threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from anyio import to_thread
from fastapi import Request

Result = TypeVar("Result")

SQL_THREADS = 3
"""Of so many at once some wait for the database while one computes; more only fight for the interpreter."""


async def in_sql_thread(request: Request, work: Callable[[], Result]) -> Result:
    """Do what reads or writes SQL, and waits for nothing else, in one of the app's threads for that."""
    return await to_thread.run_sync(work, limiter=request.app.state.sql)
