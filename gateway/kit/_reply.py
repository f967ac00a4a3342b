"""What a provider's answer says beyond its status, read leniently."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

_DAY_S = 86_400.0
_EXCERPT = 300  # characters
_SHORTEST_SECRET = 6  # characters; shorter words would strike out half of any text


def retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds of a ``Retry-After`` header in either form, at most a day; None if absent or senseless."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())
    if not math.isfinite(seconds) or seconds < 0:
        return None
    return min(seconds, _DAY_S)


def excerpt(text: str, secrets: Iterable[str]) -> str:
    """The message in an answer's body, else its start, on one line, the words of ``secrets`` struck out."""
    with suppress(ValueError, RecursionError):  # not JSON: a proxy's page, say; its text will do
        text = _message(json.loads(text)) or text
    words = {word for value in secrets for word in [value, *value.split()]}
    for secret in sorted(words, key=len, reverse=True):  # or of one that holds another the rest would show
        if len(secret) >= _SHORTEST_SECRET:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:_EXCERPT]


def _message(body: Any) -> str | None:
    """The text under the names that APIs commonly use."""
    for name in ("error", "message", "detail", "msg"):
        found = body.get(name) if isinstance(body, dict) else None
        if isinstance(found, str):
            return found
        if isinstance(found, dict):
            return _message(found)
    return None
