"""The file store: addresses that are signed, expire, and lie on another host than the API."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from gateway.sandbox.answers import drip, drop
from gateway.sandbox.clips import ClipShelf, drawn
from gateway.sandbox.faults import Fault
from gateway.sandbox.records import Held, Records

_TYPE = "video/mp4"
_OF_THE_CLIP = ("content-type", "content-length")


class FileStore:
    """Signs addresses and serves what lies there; it knows a job only by its signed name."""

    def __init__(self, origin: str, records: Records, clips: ClipShelf, now: Callable[[], float]) -> None:
        self._origin = origin
        self._records = records
        self._clips = clips
        self._now = now

    def url(self, held: Held, expires_s: float | None) -> str:
        """An address of a job's clip; None never expires."""
        until = None if expires_s is None else self._now() + expires_s
        name = json.dumps([held.provider, held.job.id, until]).encode()
        text = base64.urlsafe_b64encode(name).decode().rstrip("=")
        return f"{self._origin}/files/{text}.{self._signature(text)}.mp4"

    async def serve(self, request: Request) -> Response:
        """``GET /files/{token}.mp4``, with ranges; the address is all the right that it takes."""
        if any(name == "authorization" or "api-key" in name for name in request.headers):
            return PlainTextResponse("This address takes no credentials; you sent some.", 400)
        text, _, signature = request.path_params["token"].rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(text).encode()):
            return PlainTextResponse("The signature is wrong.", 403)
        provider, id, until = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if until is not None and until <= self._now():
            return PlainTextResponse("The address has expired.", 403)
        held = self._records.find(provider, id)
        return PlainTextResponse("The file is gone.", 404) if held is None else self.clip(held)

    def clip(self, held: Held) -> Response:
        """A job's clip, disturbed where that was ordered."""
        return _ClipResponse(self._clips, held)

    def _signature(self, text: str) -> str:
        return hmac.new(self._records.signing_key, text.encode(), hashlib.sha256).hexdigest()


class _ClipResponse(Response):
    """Waits for the clip to be drawn, then sends it, or what a fault leaves of it.

    Headers that the fake adds go with it.
    """

    def __init__(self, clips: ClipShelf, held: Held) -> None:
        super().__init__(media_type=_TYPE)
        self._clips = clips
        self._held = held

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = await asyncio.wrap_future(self._clips.clip(drawn(self._held)))
        fault = self._fault() if scope["method"] == "GET" else None
        headers = {name: value for name, value in self.headers.items() if name not in _OF_THE_CLIP}
        if fault is None:
            await FileResponse(path, media_type=_TYPE, headers=headers)(scope, receive, send)
            return
        data = await asyncio.to_thread(path.read_bytes)
        half = data[: len(data) // 2]
        if fault.name == "truncated_file":
            await Response(half, media_type=_TYPE, headers=headers)(scope, receive, send)
            return
        headers |= {"content-type": _TYPE, "content-length": str(len(data))}
        await drip(receive, send, headers, half, drop_of=b"", seconds=float(fault.value))
        await drop(scope, receive)

    def _fault(self) -> Fault | None:
        found = (fault for fault in self._held.faults if fault.place == "file")
        return next((fault for fault in found if self._held.struck.strikes(fault)), None)
