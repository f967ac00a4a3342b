"""What a fake provider is made of, for test mode (``reelgate sandbox``).

A plugin's ``_sandbox.py`` holds a :class:`FakeProvider` that speaks its provider's wire format as the
provider's documentation says, strictly: it imports neither the plugin's own wire code nor its cards, so that
one mistake is not made on both sides. What all fakes share stands behind the :class:`Desk`: the clock and the
life of a job, the bill, the files, and the faults that a tester orders.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, ClassVar, Literal, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

State = Literal["queued", "running", "succeeded", "failed", "cancelled", "unknown"]
"""Where a job stands. ``unknown`` asks for a status word that the documentation does not have."""

Refusal = Literal["rate_limited", "out_of_credit", "content_refused", "model_gone", "server_error"]
"""What a tester can have a create answered with."""

Failure = Literal["failed", "content_refused"]
"""Why a job failed: the provider's own trouble, or its content rules after a look at the result."""


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What is drawn for a job: pixels, seconds, frames per second, and a tone if ``audio``."""

    width: int
    height: int
    seconds: Decimal
    fps: int
    audio: bool


@dataclass(frozen=True, kw_only=True)
class FakeJob:
    """A job that a fake took. ``data`` is the fake's own record of it, JSON; times in seconds since 1970."""

    id: str
    account: str
    clip: Clip
    usd: Decimal
    created_at: float
    started_at: float
    finished_at: float
    data: Mapping[str, Any] = field(default_factory=dict)
    tag: str | None = None
    callback_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class Callback:
    """A call that a provider makes when a job is over."""

    url: str
    headers: Mapping[str, str]
    body: bytes


class Desk(Protocol):
    """What the sandbox does for every fake. ``url`` is where this fake is served, without a slash at the end.

    A method that looks a job up may disturb the whole answer, where a tester ordered that: let its exception
    pass.
    """

    url: str

    def now(self) -> float:
        """Seconds since 1970, as this provider's clock has it."""
        ...

    def take(
        self,
        *,
        account: str,
        clip: Clip,
        usd: Decimal,
        prompt: str,
        data: Mapping[str, Any],
        id: str | None = None,
        tag: str | None = None,
        callback_url: str | None = None,
        slowness: float = 1.0,
    ) -> FakeJob:
        """Take a job, once its body is found right, and put ``usd`` on the bill for the day it succeeds.

        ``account``: whose key it was. ``tag``: the client's own id, where the provider has a field for one.
        ``slowness`` stretches the usual time, for a tier that waits longer. The prompt may hold orders of a
        tester's, which go with the job.
        """
        ...

    def job(self, id: str, *, account: str) -> FakeJob | None:
        """One of this account's jobs, by the provider's id."""
        ...

    def jobs(self, *, account: str) -> Sequence[FakeJob]:
        """All of this account's jobs, newest first."""
        ...

    def state(self, job: FakeJob) -> State:
        """Where it stands now."""
        ...

    def failure(self, job: FakeJob) -> Failure:
        """Why it failed."""
        ...

    def percent(self, job: FakeJob) -> int:
        """How much of its time has passed, 0 to 100."""
        ...

    def cancel(self, job: FakeJob) -> bool:
        """Stop it, unbilled; False if it is over. Whether the provider allows it is for the fake to say."""
        ...

    def forget(self, job: FakeJob) -> None:
        """Remove its record, as a provider's DELETE does; what it cost stays on the bill."""
        ...

    def file_url(self, job: FakeJob, *, expires_s: float | None) -> str:
        """An address on the provider's file store, which is another host and takes no key."""
        ...

    def file(self, job: FakeJob, request: Request) -> Response:
        """The clip, for a provider that serves it itself, behind its key."""
        ...

    def clip_bytes(self, job: FakeJob) -> bytes:
        """The clip, for a provider that puts it into its answer."""
        ...


class FakeProvider(ABC):
    """A provider's double; one instance for the life of the sandbox."""

    name: ClassVar[str]
    """The adapter's name, and the first segment of the path that the fake is served under."""

    @abstractmethod
    def settings(self, url: str) -> Mapping[str, Any]:
        """The adapter's settings section that points it here, its account ``default`` with a fixed test key.

        ``url`` is the fake's own address; the key must be long enough to be found in a log.
        """

    @abstractmethod
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        """The provider's paths, below its address."""

    @abstractmethod
    def creates(self, request: Request) -> bool:
        """True for a call that creates a job: the one that a tester's faults at submit are about."""

    @abstractmethod
    def refuse(self, why: Refusal) -> Response:
        """The provider's own answer of this kind; the sandbox adds ``Retry-After`` to ``rate_limited``."""

    def callback(self, desk: Desk, job: FakeJob) -> Callback | None:
        """The provider's call about a job that is over, signed as it signs; None if it makes none."""
        return None
