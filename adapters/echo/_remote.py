"""Echo as a remote provider: what a commercial API looks like to the gateway, without a server."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from adapters.echo._drawing import Drawing
from adapters.echo._fate import meets
from adapters.echo._provider import Entry, Fate, Provider
from gateway.kit.options import read_options
from gateway.kit.video import write_mp4
from gateway.spec import (
    ContentBlocked,
    Failed,
    Job,
    OutcomeUnknown,
    Queued,
    RemoteAdapter,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Usage,
    Value,
)

_CHUNK = 64 * 1024

Fail = Literal["none", "refused", "submit", "submit_lost", "job", "job_user"]
_FATES: dict[Fail, Fate] = {"job": "fails", "job_user": "fails_by_user"}


class RemoteOptions(Value):
    """A caller's ``options.echo_remote``.

    ``fail``: ``refused`` by content rules · ``submit`` not taken · ``submit_lost`` taken, but the answer is
    lost · ``job`` given up by the provider · ``job_user`` as before, and the input is to blame.
    """

    latency_ms: int = Field(default=200, ge=0, le=86_400_000, description="from submit to the end")
    fail: Fail = "none"
    fail_every: int = Field(default=1, ge=1, description="one job in this many goes wrong, chosen by its tag")


class RemoteSettings(RemoteOptions):
    """The operator's section ``echo_remote``: every job's defaults, and where the bill lies."""

    bill: Path | None = Field(default=None, description="the provider's own record; default: the data folder")


class EchoRemote(RemoteAdapter):
    """Orders the clip from an imitated provider."""

    name: ClassVar[str] = "echo_remote"

    def __init__(self, settings: RemoteOptions, *, bill: Path, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._provider = Provider(bill, now)

    @override
    async def submit(self, job: Job) -> Ticket:
        asked = read_options(job, RemoteOptions)
        options = self._settings.model_copy(update=asked.model_dump(exclude_unset=True))
        accident = options.fail if meets(job.tag, options.fail_every) else "none"
        if accident == "refused":
            raise ContentBlocked("Echo refused the prompt, as it was told to.")
        if accident == "submit":
            raise Unavailable("Echo did not take the job, as it was told to.")
        id = self._provider.submit(job, options.latency_ms, _FATES.get(accident, "succeeds"))
        if accident == "submit_lost":
            raise OutcomeUnknown("Echo's answer was lost, as it was told to; the job may have been created.")
        return Ticket(id=id)

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        entry = self._entry(ticket)
        match self._provider.state(ticket.id):
            case "queued":
                return Queued(poll_after_ms=self._provider.left_ms(entry))
            case "running":
                percent = int(100 * self._provider.share_done(entry))
                return Running(progress=percent, poll_after_ms=self._provider.left_ms(entry))
            case "cancelled":
                return Stopped()
            case "failed":
                return _failure(entry)
            case _:
                return Succeeded(usage=Usage(seconds=entry.seconds))

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        return self._provider.cancel(ticket.id)

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the job by its tag."""
        found = self._provider.find(job.tag)
        if len(found) > 1:
            raise OutcomeUnknown(
                f"Echo has {len(found)} jobs with the tag {job.tag}: compare them with its bill."
            )
        return Ticket(id=found[0]) if found else None

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of a job by its id at the imitated provider."""
        return Ticket(id=upstream_id)

    async def content(self, ticket: Ticket) -> AsyncIterator[bytes]:
        """The clip, drawn when it is asked for; the same bytes each time."""
        entry = self._entry(ticket)
        with tempfile.TemporaryDirectory(prefix="reelgate-echo-") as folder:
            path = Path(folder) / "echo.mp4"
            await asyncio.to_thread(_write, path, entry.drawing, self._provider.image(entry))
            with await asyncio.to_thread(path.open, "rb") as file:
                for chunk in iter(partial(file.read, _CHUNK), b""):
                    yield chunk

    def _entry(self, ticket: Ticket) -> Entry:
        entry = self._provider.entry(ticket.id)
        if entry is None:
            raise UnexpectedReply(
                f"Echo knows no job {ticket.id}; is its bill the one that was written then?"
            )
        return entry


def _failure(entry: Entry) -> Failed:
    if entry.fate == "fails_by_user":
        message = "Echo gave the job up because of its input, as it was told to."
        return Failed(code="bad_input", message=message, user_fault=True)
    return Failed(code="gave_up", message="Echo gave the job up, as it was told to.")


def _write(path: Path, drawing: Drawing, image: bytes | None) -> None:
    from adapters.echo._draw import draw  # numpy and Pillow are loaded here, not by every command of the CLI

    write_mp4(path, draw(drawing, image), drawing.fps, metadata={"title": drawing.prompt[:200]})
