"""Finding a task again: tasks carry no tag of ours, so it is told by its time and its prompt."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

from adapters.dashscope_wan._wire import TaskReply, TaskUsage

KEPT_FOR = timedelta(hours=24)
"""Tasks are listed, and answered for, no longer than that."""

_CLOCKS_APART = timedelta(minutes=1)
_BEIJING = timezone(timedelta(hours=8))
"""Times are Beijing's, without saying so."""

_SHORTEST_PROMPT_LIMIT = 800
"""Characters. Prompts over a model's limit are cut, not refused; no model's limit is less."""

_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def made_at(tag: str) -> datetime | None:
    """When a tag was made, from the UUIDv7 in its 26 digits of Crockford's base32; None if it holds none."""
    digits = tag.rpartition("_")[2]
    if len(digits) != 26 or not set(digits) <= set(_DIGITS):
        return None
    value = sum(_DIGITS.index(digit) << 5 * place for place, digit in enumerate(reversed(digits)))
    if value >> 128 or value >> 76 & 0xF != 7:
        return None
    return datetime.fromtimestamp((value >> 80) / 1000, UTC)


def window(tag: str, now: datetime) -> dict[str, str]:
    """The query for the tasks that may be this tag's: none is older than the tag itself."""
    since = max(made_at(tag) or now - KEPT_FOR, now - KEPT_FOR)
    return {"start_time": _listed(since - _CLOCKS_APART), "end_time": _listed(now + _CLOCKS_APART)}


def _listed(at: datetime) -> str:
    return at.astimezone(_BEIJING).strftime("%Y%m%d%H%M%S")


def may_be(reply: TaskReply, prompt: str, seconds: Decimal, size: str | None) -> bool:
    """True if a task has this prompt and, as far as it tells, this length and size.

    The prompt is shown as it was sent or cut to the model's limit; nothing is shown before the end.
    """
    shown = reply.output.orig_prompt if reply.output else None
    if not shown or not prompt.startswith(shown):
        return False
    if len(shown) < min(len(prompt), _SHORTEST_PROMPT_LIMIT):
        return False
    usage = reply.usage or TaskUsage()
    return usage.seconds in (None, seconds) and (size is None or usage.pixels in (None, size))
