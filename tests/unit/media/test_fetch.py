"""A result arrives whole, or leaves nothing behind."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.kit.http import Guard, Hop, Take, TooLong, UnsafeUrl
from gateway.media import BadImage, StoreError, StoreFull, fetch, fetch_image, fetch_result
from gateway.spec import RateLimited, Unavailable, UnexpectedReply

MIB = 1 << 20


class Stream:
    """An adapter's stream that remembers whether it was closed."""

    def __init__(self, *chunks: bytes, fails: Exception | None = None, stalls: bool = False) -> None:
        self.chunks, self.fails, self.stalls = chunks, fails, stalls
        self.stalled, self.closed = asyncio.Event(), False

    async def content(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self.chunks:
                yield chunk
            if self.fails:
                raise self.fails
            if self.stalls:
                self.stalled.set()
                await asyncio.Event().wait()
        finally:
            self.closed = True


def content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def leave(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "clip.mp4"


async def test_a_stream_fills_the_file(to: Path) -> None:
    chunks = [bytes([i]) * (MIB // 3) for i in range(10)]
    stream = Stream(*chunks)
    assert await fetch_result(stream.content(), to, max_bytes=len(b"".join(chunks))) == 10 * (MIB // 3)
    assert content(to) == b"".join(chunks)
    assert stream.closed


async def test_what_an_earlier_try_left_is_replaced(to: Path) -> None:
    leave(to, b"x" * 100)
    assert await fetch_result(Stream(b"new").content(), to) == 3
    assert content(to) == b"new"


async def test_a_plain_iterator_will_do(to: Path) -> None:
    class Once:
        left = 1

        def __aiter__(self) -> Once:
            return self

        async def __anext__(self) -> bytes:
            if not self.left:
                raise StopAsyncIteration
            self.left = 0
            return b"abc"

    assert await fetch_result(Once(), to) == 3


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (Stream(b"x" * 60, b"x" * 60), UnexpectedReply),
        (Stream(), UnexpectedReply),
        (Stream(b"x", stalls=True), Unavailable),
        (Stream(b"x", fails=RateLimited("slow down")), RateLimited),
        (Stream(b"x", fails=TimeoutError("the adapter's own")), TimeoutError),
    ],
)
async def test_a_failure_leaves_no_file_and_a_closed_stream(
    to: Path, stream: Stream, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await fetch_result(stream.content(), to, max_bytes=100, deadline_s=0.05)
    assert content(to) is None
    assert stream.closed


async def test_cancelled_it_leaves_no_file(to: Path) -> None:
    stream = Stream(b"x" * 2 * MIB, stalls=True)
    task = asyncio.create_task(fetch_result(stream.content(), to))
    async with asyncio.timeout(5):
        await stream.stalled.wait()
    assert content(to)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert content(to) is None
    assert stream.closed


async def test_a_full_disk_is_said(to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    class FullFile(fetch.FileIO):
        write = full

    monkeypatch.setattr(fetch, "FileIO", FullFile)
    with pytest.raises(StoreFull):
        await fetch_result(Stream(b"x").content(), to)
    assert content(to) is None


async def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        await fetch_result(Stream(b"x").content(), tmp_path / "gone" / "clip.mp4")


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[object, ...]]:
    """Takes the place of the guarded download, which has tests of its own; records what it was asked."""
    asked: list[tuple[object, ...]] = []

    async def download(
        url: str, take: Take, *, guard: Guard, headers: Mapping[str, str], max_bytes: int, deadline_s: float
    ) -> int:
        inside = Hop(scheme="http", host="127.0.0.1", port=9000, userinfo=False)
        with suppress(UnsafeUrl):
            guard.check_url(inside)
            url += " and inside"
        asked.append((url, dict(headers), max_bytes, deadline_s))
        await take(b"part")
        if "gone" in url:
            raise UnexpectedReply("It may have expired.")
        return 0 if "empty" in url else 4

    monkeypatch.setattr(fetch, "download", download)
    return asked


async def test_a_url_goes_to_the_guarded_download(to: Path, downloads: list[tuple[object, ...]]) -> None:
    url = "https://cdn.example/clip"
    assert await fetch_result(url, to) == 4
    told = {"X-Key": "k"}
    origins = ["http://127.0.0.1:9000"]
    await fetch_result(url, to, headers=told, allowed_origins=origins, max_bytes=9, deadline_s=3)
    assert downloads == [(url, {}, 2 * 1024**3, 600.0), (url + " and inside", told, 9, 3)]
    assert content(to) == b"part"


@pytest.mark.parametrize("name", ["gone", "empty"])
@pytest.mark.usefixtures("downloads")
async def test_a_failed_download_leaves_no_file(to: Path, name: str) -> None:
    with pytest.raises(UnexpectedReply):
        await fetch_result(f"https://cdn.example/{name}", to)
    assert content(to) is None


async def image(url: str, *, origins: Collection[str] = (), max_bytes: int = 9) -> bytes:
    return await fetch_image(url, allowed_origins=origins, max_bytes=max_bytes, deadline_s=3)


async def test_an_images_url_goes_there_too_and_without_headers(downloads: list[tuple[object, ...]]) -> None:
    assert await image("https://cdn.example/a.png") == b"part"
    assert await image("https://cdn.example/b.png", origins=["http://127.0.0.1:9000"]) == b"part"
    assert downloads == [
        ("https://cdn.example/a.png", {}, 9, 3),
        ("https://cdn.example/b.png and inside", {}, 9, 3),
    ]


@pytest.mark.parametrize(
    ("trouble", "code", "words"),
    [
        (
            UnsafeUrl("The address at x is not https."),
            "image_url_unsafe",
            "address at x is not https: send the image itself",
        ),
        (TooLong("Longer."), "image_too_large", "larger than 2 MiB"),
        (Unavailable("It was slow."), "image_url_unreachable", "it was slow; or send the image itself"),
        (UnexpectedReply("The file is gone."), "image_url_unreachable", "the file is gone; or send"),
        (RateLimited("Slow down."), "image_url_unreachable", "slow down; or send"),
    ],
)
async def test_an_image_that_cannot_be_had_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, trouble: Exception, code: str, words: str
) -> None:
    async def download(*_: object, **__: object) -> int:
        raise trouble

    monkeypatch.setattr(fetch, "download", download)
    with pytest.raises(BadImage) as caught:
        await image("https://cdn.example/a.png?sig=s3cret", max_bytes=2 * MIB)
    assert caught.value.code == code
    assert words in caught.value.message
    assert "s3cret" not in caught.value.message
