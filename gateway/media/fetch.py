"""Bringing files here: finished clips, from a provider's address or its adapter's own stream, and images."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from io import FileIO
from pathlib import Path

from gateway.kit.http import Take, TooLong, UnsafeUrl, download
from gateway.media.errors import store_errors
from gateway.media.guard import PublicOnly
from gateway.media.images import BadImage, too_large
from gateway.spec import ProviderError, Unavailable, UnexpectedReply

log = logging.getLogger(__name__)

MAX_RESULT_BYTES = 2 * 1024**3
_CHUNK = 1 << 20
_ITSELF = "send the image itself, as a file or data URL"


async def fetch_result(
    source: str | AsyncIterator[bytes],
    to: Path,
    *,
    headers: Mapping[str, str] | None = None,
    allowed_origins: Collection[str] = (),
    max_bytes: int = MAX_RESULT_BYTES,
    deadline_s: float = 600.0,
) -> int:
    """Fill the file ``to`` from a URL, or from a stream of bytes; returns its length.

    A URL is fetched under guard: ``headers`` go to its own origin only, ``allowed_origins`` may be reached
    although they are not public. After any failure there is no file.

    Raises:
        UnexpectedReply: nothing came, or more than ``max_bytes``, or the URL leads where it must not.
        Unavailable: not done within ``deadline_s`` seconds; the same call may work later.
        StoreFull, StoreError: no place here.
        Further provider errors: what the download or the adapter's stream says.
    """
    done = False
    try:
        with store_errors(to.parent):
            file = FileIO(to, "wb")
        with file:
            writer = _Writer(file, to.parent)
            if isinstance(source, str):
                length = await download(
                    source,
                    writer.take,
                    guard=PublicOnly(allowed_origins),
                    headers=headers or {},
                    max_bytes=max_bytes,
                    deadline_s=deadline_s,
                )
            else:
                length = await _drain(source, writer.take, max_bytes, deadline_s)
            await writer.flush()
        if not length:
            raise UnexpectedReply("the provider says that the clip is done, but sent no bytes")
        done = True
        return length
    finally:
        if not done:
            to.unlink(missing_ok=True)  # noqa: ASYNC240 - no await: it must also happen while being cancelled


async def fetch_image(
    url: str, *, allowed_origins: Collection[str], max_bytes: int, deadline_s: float
) -> bytes:
    """What lies at a caller's URL; :func:`check_image` says whether it is an image.

    Raises:
        BadImage: it leads where it must not, cannot be had within ``deadline_s`` seconds, or is too large.
    """
    held = bytearray()

    async def take(chunk: bytes) -> None:
        held.extend(chunk)

    try:
        await download(
            url,
            take,
            guard=PublicOnly(allowed_origins),
            headers={},
            max_bytes=max_bytes,
            deadline_s=deadline_s,
        )
    except UnsafeUrl as error:
        log.warning("an input image's address was refused: %s", error.operator_detail)
        raise BadImage("image_url_unsafe", f"{_said(error)}: {_ITSELF}") from None
    except TooLong:
        raise too_large(max_bytes) from None
    except ProviderError as error:
        raise BadImage("image_url_unreachable", f"{_said(error)}; or {_ITSELF}") from None
    return bytes(held)


def _said(error: ProviderError) -> str:
    text = error.caller_detail.rstrip(".")
    return f"{text[:1].lower()}{text[1:]}"


async def _drain(stream: AsyncIterator[bytes], take: Take, max_bytes: int, deadline_s: float) -> int:
    length = 0
    try:
        async with asyncio.timeout(deadline_s) as scope:
            async for chunk in stream:
                length += len(chunk)
                if length > max_bytes:
                    raise UnexpectedReply(
                        f"the provider's clip is larger than the {max_bytes:,} bytes that are accepted"
                    )
                await take(chunk)
    except TimeoutError:
        if not scope.expired():
            raise
        raise Unavailable(
            f"the provider did not deliver the whole clip in {deadline_s:g} s; fetching it again may work"
        ) from None
    finally:
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()
    return length


class _Writer:
    """Writes to a file in the folder, off the event loop and in large pieces."""

    def __init__(self, file: FileIO, folder: Path) -> None:
        self._file, self._folder = file, folder
        self._held = bytearray()

    async def take(self, chunk: bytes) -> None:
        self._held += chunk
        if len(self._held) >= _CHUNK:
            await self.flush()

    async def flush(self) -> None:
        data, self._held = bytes(self._held), bytearray()
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        with store_errors(self._folder):
            while left:
                left = left[self._file.write(left) :]
