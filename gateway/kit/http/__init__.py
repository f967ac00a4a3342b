"""HTTP for adapters and for the core: one client, one translation of trouble, one guarded download.

This is the only package that imports httpx, and httpcore below it. An adapter's call looks like this::

    with translating("Comet", creating=True):
        reply = json_object(await self._client.post("/jobs", json=order))

Nothing here retries, follows a redirect unasked, or reads proxies from the environment.
"""

from __future__ import annotations

from gateway.kit.http._calls import (
    Client,
    Response,
    Verdict,
    client,
    json_object,
    refusal,
    translating,
)
from gateway.kit.http._download import Guard, Hop, Take, TooLong, UnsafeUrl, download, origin_of

__all__ = [
    "Client",
    "Guard",
    "Hop",
    "Response",
    "Take",
    "TooLong",
    "UnsafeUrl",
    "Verdict",
    "client",
    "download",
    "json_object",
    "origin_of",
    "refusal",
    "translating",
]
