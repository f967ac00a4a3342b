from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import Request

from gateway.api.forms import Form, read_form

Read = Callable[..., Awaitable[Form]]


@pytest.fixture
def read() -> Read:
    """Encode a body as httpx would, and read it as the API does."""

    async def read_body(*, limit: int = 1_000_000, **body: Any) -> Form:
        sent = httpx.Request("POST", "http://gateway", **body)
        sent.read()

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": sent.content}

        headers = [(name.lower().encode(), value.encode()) for name, value in sent.headers.items()]
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "app": object()}
        return await read_form(Request(scope, receive), max_image_bytes=limit, max_body_bytes=limit)

    return read_body
