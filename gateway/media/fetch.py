"""Bringing a finished clip here, from the provider's address or from its adapter's own stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from io import FileIO
from pathlib import Path

from gateway.kit.http import download
from gateway.media.errors import store_errors
from gateway.spec import Unavailable, UnexpectedReply

MAX_RESULT_BYTES = 2 * 1024**3
_CHUNK = 1 << 20


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

    ``headers`` and ``allowed_origins`` go to the download of a URL. After any failure there is no file.

    Raises:
        UnexpectedReply: nothing came, or more than ``max_bytes``.  Unavailable: not done within
            ``deadline_s`` seconds; the same call may work later.  StoreFull, StoreError: no place here.
            Further provider errors: what the download or the adapter's stream says.
    """
    done = False
    try:
        if isinstance(source, str):
            with store_errors(to.parent):
                length = await download(
                    source,
                    to,
                    headers=headers or {},
                    max_bytes=max_bytes,
                    allowed_origins=allowed_origins,
                    deadline_s=deadline_s,
                )
        else:
            length = await _drain(source, to, max_bytes, deadline_s)
        if not length:
            raise UnexpectedReply("the provider says that the clip is done, but sent no bytes")
        done = True
        return length
    finally:
        if not done:
            to.unlink(missing_ok=True)  # noqa: ASYNC240 - no await: it must also happen while being cancelled


async def _drain(stream: AsyncIterator[bytes], to: Path, max_bytes: int, deadline_s: float) -> int:
    with store_errors(to.parent):
        file = FileIO(to, "wb")
    try:
        async with asyncio.timeout(deadline_s) as scope:
            return await _copy(stream, file, to.parent, max_bytes)
    except TimeoutError:
        if not scope.expired():
            raise
        raise Unavailable(
            f"the provider did not deliver the whole clip in {deadline_s:g} s; fetching it again may work"
        ) from None
    finally:
        file.close()
        if isinstance(stream, AsyncGenerator):
            await stream.aclose()


async def _copy(stream: AsyncIterator[bytes], file: FileIO, folder: Path, max_bytes: int) -> int:
    length, held = 0, bytearray()
    async for chunk in stream:
        length += len(chunk)
        if length > max_bytes:
            raise UnexpectedReply(
                f"the provider's clip is larger than the {max_bytes:,} bytes that are accepted"
            )
        held += chunk
        if len(held) >= _CHUNK:
            await asyncio.to_thread(_write, file, bytes(held), folder)
            held.clear()
    await asyncio.to_thread(_write, file, bytes(held), folder)
    return length


def _write(file: FileIO, data: bytes, folder: Path) -> None:
    left = memoryview(data)
    with store_errors(folder):
        while left:
            left = left[file.write(left) :]
