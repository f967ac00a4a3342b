"""Finding a task again: tasks carry no tag of ours, so it is told by its time and its prompt."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from adapters.dashscope_wan._wire import SHAPES, TaskReply, TaskUsage
from gateway.spec import Job

KEPT_FOR = timedelta(hours=24)
"""Tasks are listed, and answered for, no longer than that."""

_CLOCKS_APART = timedelta(minutes=1)
_BEIJING = timezone(timedelta(hours=8))
"""Times are Beijing's, without saying so."""

_SHORTEST_PROMPT_LIMIT = 800
"""Characters. Prompts over a model's limit are cut, not refused; no model's limit is less."""


def window(planned_at: datetime | None, now: datetime) -> dict[str, str]:
    """The query for the tasks that may be a job's: none is older than its plan."""
    since = max(planned_at or now - KEPT_FOR, now - KEPT_FOR)
    return {"start_time": _listed(since - _CLOCKS_APART), "end_time": _listed(now + _CLOCKS_APART)}


def _listed(at: datetime) -> str:
    return at.astimezone(_BEIJING).strftime("%Y%m%d%H%M%S")


def may_be(reply: TaskReply, job: Job, size: str | None) -> bool:
    """True if a task has this job's prompt and, as far as it tells, its length, resolution and ``size``.

    ``size`` is ``W*H`` where that was ordered, else None. The prompt is shown as it was sent or cut to the
    model's limit; nothing is shown before the end.
    """
    prompt = job.request.prompt
    shown = reply.output.orig_prompt if reply.output else None
    if not shown or not prompt.startswith(shown):
        return False
    if len(shown) < min(len(prompt), _SHORTEST_PROMPT_LIMIT):
        return False
    usage = reply.usage or TaskUsage()
    return (
        usage.seconds in (None, job.output.seconds)
        and usage.tier in (None, SHAPES[job.output.size][0])
        and (size is None or usage.pixels in (None, size))
    )
