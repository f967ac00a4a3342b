"""The Videos API's adapter against a running Reelgate, the one server of its kinds that is at hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from adapters.openai_videos import register_adapters
from gateway.kit.testing import decode, make_job
from gateway.media import fetch_result
from gateway.spec import (
    Failed,
    Job,
    ModelGone,
    NotAuthorised,
    Offer,
    PluginContext,
    Queued,
    RemoteAdapter,
    Running,
    Stopped,
    Succeeded,
    Ticket,
    Unsupported,
)

ECHO = Offer(
    model="echo",
    adapter="openai_videos",
    upstream="echo",
    region="upstairs",
    submit_policy="idempotency_key",
)


@pytest_asyncio.fixture
async def adapter(server: Any, tmp_path: Path) -> AsyncIterator[RemoteAdapter]:
    """An adapter with the first tenant's key."""
    account = {"flavour": "reelgate", "base_url": f"{server.url}/v1", "api_key": server.key.secret}
    settings = {"openai_videos": {"accounts": {"upstairs": account}}}
    (built,) = register_adapters(PluginContext(settings=settings, data_dir=tmp_path))
    assert isinstance(built, RemoteAdapter)
    assert built.unready(ECHO, "standard") is None
    yield built
    await built.aclose()


def job(offer: Offer = ECHO, **given: Any) -> Job:
    return make_job(offer, **{"size": "64x36", "seconds": "1", "fps": 8, "account": "upstairs", **given})


def picture() -> bytes:
    out = BytesIO()
    Image.new("RGB", (128, 128), "orange").save(out, "PNG")
    return out.getvalue()


async def test_a_clip_is_ordered_seen_and_fetched(
    server: Any, adapter: RemoteAdapter, tmp_path: Path
) -> None:
    ticket = await adapter.submit(job(first_frame=picture()))
    server.finished(ticket.id)
    done = await adapter.poll(ticket)
    assert isinstance(done, Succeeded)
    assert (done.url, done.usage.seconds) == (f"{server.url}/v1/videos/{ticket.id}/content", 1)
    await fetch_result(
        done.url or "",
        tmp_path / "clip.mp4",
        headers=adapter.download_headers(ticket),
        allowed_origins=[server.url],
    )
    seen = decode(tmp_path / "clip.mp4")
    assert (seen.width, seen.height, seen.frames, seen.fps) == (64, 36, 8, 8)
    assert await adapter.cancel(ticket) is False
    assert await adapter.poll(ticket) == done


async def test_a_job_that_is_sent_again_is_the_same_job(server: Any, adapter: RemoteAdapter) -> None:
    ordered = job()
    first = await adapter.submit(ordered)
    assert await adapter.submit(ordered) == first
    assert await adapter.submit(job()) != first


async def test_a_cancelled_job_stops(server: Any, adapter: RemoteAdapter) -> None:
    ticket = ordered_there(server, latency_ms=60_000)
    assert isinstance(await adapter.poll(ticket), Queued | Running)
    assert await adapter.cancel(ticket) is True
    server.finished(ticket.id)
    assert await adapter.poll(ticket) == Stopped()


async def test_its_refusals_are_understood(server: Any, adapter: RemoteAdapter) -> None:
    with pytest.raises(ModelGone, match="no model 'sora-2'"):
        await adapter.submit(job(ECHO.model_copy(update={"upstream": "sora-2"})))
    with pytest.raises(Unsupported):
        await adapter.submit(job(seconds="500"))


async def test_a_key_that_is_not_its_own_is_not_accepted(server: Any, tmp_path: Path) -> None:
    account = {"flavour": "reelgate", "base_url": f"{server.url}/v1", "api_key": "rg_live_0_wrong"}
    settings = {"openai_videos": {"accounts": {"upstairs": account}}}
    (stranger,) = register_adapters(PluginContext(settings=settings, data_dir=tmp_path))
    assert isinstance(stranger, RemoteAdapter)
    with pytest.raises(NotAuthorised):
        await stranger.submit(job())
    await stranger.aclose()


async def test_a_job_that_failed_there_failed_here(server: Any, adapter: RemoteAdapter) -> None:
    ticket = ordered_there(server, fail="render")
    server.finished(ticket.id)
    failed = await adapter.poll(ticket)
    assert isinstance(failed, Failed)
    assert failed.code == "gave_up"
    assert failed.message.startswith("Reelgate gave the job up: ")


def ordered_there(server: Any, **options: Any) -> Ticket:
    """A job with options of the upstream's own adapter, which are its callers' alone."""
    body = {"prompt": "x", "model": "echo", "size": "64x36", "options": {"echo": options}}
    with server.client() as client:
        return Ticket(id=client.post("/v1/videos", json=body).json()["id"], data={"account": "upstairs"})
