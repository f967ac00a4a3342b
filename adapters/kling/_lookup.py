"""Find a task by the id that we gave it (spec A.10): by asking for it, then in the account's list."""

from __future__ import annotations

from datetime import datetime, timedelta
from math import ceil
from urllib.parse import quote

from adapters.kling._account import Account
from adapters.kling._orders import TASKS
from adapters.kling._wire import LegacyTask, NoSuchTask, Page, Task, read
from gateway.spec import OutcomeUnknown

_PAGE = 500
"""Tasks on a page: the most that both APIs allow."""

_PAGES = 10
"""Pages that are looked through before we say that we do not know."""

_CLOCKS_APART = timedelta(minutes=10)


async def find(account: Account, path: str, tag: str, *, since: datetime | None, now: float) -> str | None:
    """The provider's id of the task with our id ``tag``; None if the whole list was seen without it.

    ``since``: it is no older; ``now`` in seconds since 1970. The older API cannot be asked for a time.

    Raises:
        OutcomeUnknown: two have it, or the list is too long to be read to its end.
    """
    if path == TASKS:
        return await _asked(account, tag) or await _listed(account, tag, _window(since, now))
    return await _legacy_asked(account, path, tag) or await _legacy_listed(account, path, tag)


def _window(since: datetime | None, now: float) -> dict[str, int]:
    """The times between which the task was made, in ms; without them the list is that of 30 days."""
    if since is None:
        return {}
    begin = (since - _CLOCKS_APART).timestamp()
    return {"start_time": int(begin * 1000), "end_time": ceil(now * 1000)}


async def _asked(account: Account, tag: str) -> str | None:
    try:
        data = await account.call("GET", TASKS, query={"external_task_ids": tag})
    except NoSuchTask:
        return None
    return _only([task for task in read(list[Task], data or []) if task.tag in (None, tag)], tag)


async def _listed(account: Account, tag: str, window: dict[str, int]) -> str | None:
    cursor: str | None = None
    for _ in range(_PAGES):
        order = {**window, "limit": _PAGE, **({} if cursor is None else {"cursor": cursor})}
        page = read(Page, await account.call("POST", TASKS, body=order) or {})
        found = _only([task for task in page.result or [] if task.tag == tag], tag)
        cursor = page.next_cursor
        if found is not None or page.has_more is False or not cursor:
            return found
    raise _too_long(tag)


async def _legacy_asked(account: Account, path: str, tag: str) -> str | None:
    try:
        task = read(LegacyTask, await account.call("GET", f"{path}/{quote(tag, safe='')}") or {})
    except NoSuchTask:
        return None
    return task.id if task.tag in (None, tag) else None


async def _legacy_listed(account: Account, path: str, tag: str) -> str | None:
    for number in range(1, _PAGES + 1):
        query = {"pageNum": str(number), "pageSize": str(_PAGE)}
        tasks = read(list[LegacyTask], await account.call("GET", path, query=query) or [])
        found = _only([task for task in tasks if task.tag == tag], tag)
        if found is not None or len(tasks) < _PAGE:
            return found
    raise _too_long(tag)


def _only(tasks: list[Task] | list[LegacyTask], tag: str) -> str | None:
    ids = [task.id for task in tasks if task.id]
    if len(ids) > 1:
        raise OutcomeUnknown(f"Kling has {len(ids)} tasks with our id {tag}: {', '.join(ids)}.")
    return ids[0] if ids else None


def _too_long(tag: str) -> OutcomeUnknown:
    return OutcomeUnknown(f"The task {tag} is not among the {_PAGE * _PAGES:,} that Kling listed first.")
