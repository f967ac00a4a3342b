"""Kling's callbacks (spec A.6): their signature, where a secret exists, and the task they are about."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence

from gateway.spec import NotAuthorised

_TOLERANCE_S = 300
_DIGITS = 12  # of a timestamp, at most: int() fails where there are thousands


def check_signature(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Standard Webhooks: ``v1,`` and the base64 of HMAC-SHA256 over ``{id}.{timestamp}.{body}``.

    Raises:
        NotAuthorised: no secret made this signature, or it is older or newer than five minutes.
    """
    got = {name.lower(): value for name, value in headers.items()}
    id, timestamp = got.get("webhook-id", ""), got.get("webhook-timestamp", "")
    if not timestamp.isdecimal() or len(timestamp) > _DIGITS or abs(now - int(timestamp)) > _TOLERANCE_S:
        raise NotAuthorised("A callback in Kling's name has no timestamp of these minutes.")
    signed = f"{id}.{timestamp}.".encode() + body
    right = {b"v1," + base64.b64encode(hmac.digest(_key(s), signed, hashlib.sha256)) for s in secrets}
    given = got.get("webhook-signature", "").encode().split()
    if not any(hmac.compare_digest(one, other) for one in given for other in right):
        raise NotAuthorised("A callback in Kling's name is not signed as Kling signs.")


def ids_of(body: bytes) -> list[str]:
    """The upstream id that a callback names: ``task_id`` in the older API, ``id`` in that of 2026."""
    try:
        task = json.loads(body)
    except (ValueError, RecursionError):
        return []
    named = (task.get("task_id") or task.get("id")) if isinstance(task, dict) else None
    return [named] if isinstance(named, str) else []


def _key(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_"))
