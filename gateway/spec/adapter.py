"""The two kinds of adapter, because they are two kinds of thing.

Neither waits, loops or retries: waiting, retrying, limits and deadlines are the core's, once. What only some
remote adapters can do stands in a protocol of its own, which the core looks for with ``isinstance``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from pydantic import Field

from gateway.spec._value import Name, Value
from gateway.spec.card import Offer
from gateway.spec.errors import ProviderError
from gateway.spec.job import Asset, Job, Snapshot, Ticket


class Unready(Value):
    """Why an offer's preset cannot run here and now, for example missing credentials or weights."""

    code: Name
    detail: str


class _Adapter(ABC):
    """What both kinds share."""

    name: ClassVar[str]

    def unready(self, offer: Offer, preset: str) -> Unready | None:
        """Say why this preset cannot run as configured, or None. Called at planning: no I/O but a stat."""
        return None


class AccountLimits(Value):
    """What a provider allows one account; None where it sets no limit, or none is known.

    ``concurrent``: jobs that are taken and not over.  ``submits_per_s``: submits in a second, which may be
    less than one.
    """

    concurrent: int | None = Field(default=None, ge=1)
    submits_per_s: float | None = Field(default=None, gt=0)


class RemoteAdapter(_Adapter):
    """Speaks to a provider. Holds no job state: all it needs to find a job again is in the ticket."""

    accounts: tuple[str, ...] = ("default",)
    """Names of the operator's accounts at the provider, in the order in which they are preferred."""

    def serves(self, offer: Offer, account: str) -> bool:
        """True if the offer can be had with this account, which may be bound to a region; no I/O."""
        return True

    def limits(self, account: str) -> AccountLimits:
        """What the provider allows this account."""
        return AccountLimits()

    @abstractmethod
    async def submit(self, job: Job) -> Ticket:
        """Create the job at the provider, once.

        Raises:
            Refused: a definite no.  Unavailable: not taken.  OutcomeUnknown: may have been taken.
            UnexpectedReply: an answer outside the contract.
        """

    @abstractmethod
    async def poll(self, ticket: Ticket) -> Snapshot:
        """Take one look.

        Raises:
            Unavailable, UnexpectedReply: this look failed; the job is as it was.
        """

    @abstractmethod
    async def cancel(self, ticket: Ticket) -> bool:
        """Ask the provider to stop; True if it accepted. Keep polling for what became of it."""

    def download_headers(self, ticket: Ticket) -> Mapping[str, str]:
        """Headers for fetching the result's URL, sent only to that URL's own host."""
        return {}

    async def aclose(self) -> None:
        """Close what the adapter keeps open."""
        return


@runtime_checkable
class PollsMany(Protocol):
    """The provider answers for many jobs in one call."""

    async def poll_many(self, tickets: Sequence[Ticket]) -> Sequence[Snapshot | ProviderError]:
        """One look at each, in order."""
        ...


@runtime_checkable
class LooksUp(Protocol):
    """A job whose submit answer was lost can be found again."""

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the job by its tag, else by matching fields; None if there is none.

        Raises:
            OutcomeUnknown: more than one matches.
        """
        ...


@runtime_checkable
class Adopts(Protocol):
    """A job that a person found at the provider can be gone on with, by the provider's id of it."""

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket that the submit of ``job`` would have returned, had its answer come; no I/O.

        Raises:
            BadRequest: this cannot be an id of the provider's.
        """
        ...


@runtime_checkable
class ParsesWebhooks(Protocol):
    """The provider calls back."""

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[str]:
        """Verify the call and return the upstream ids it speaks of; ``headers`` by their names in lower case.

        Raises:
            NotAuthorised: the signature is missing or wrong.  UnexpectedReply: the body is not as documented.
        """
        ...


@runtime_checkable
class StreamsContent(Protocol):
    """The result has no URL to fetch: the adapter streams it."""

    def content(self, ticket: Ticket) -> AsyncIterator[bytes]:
        """The clip's bytes, in order."""
        ...


class Device(Value):
    """The slot that runs a local job: ``kind`` is what torch calls it, for example ``cuda:0`` or ``cpu``."""

    pool: Name
    slot: int
    kind: str


class Control(Protocol):
    """The core's end of a running local job.

    A process may end at any moment. A render that can keep its state looks at :meth:`checkpoints` first, and
    asks after every step::

        if control.checkpoint_due():
            control.keep_checkpoint(state)
        if control.cancelled():
            raise Cancelled("…")

    ``usage.device_ms`` of its result is then the time of all steps that count: of this run and, kept in the
    state, of the earlier ones that it went on from; but not of the steps that were lost.
    """

    folder: Path
    """Where the render may write; removed afterwards."""

    def progress(self, stage: str, done: int, total: int) -> None:
        """Report that ``done`` of ``total`` units of the whole job are done; one count over all stages.

        It never falls and ends at ``total``; ``stage`` names what is going on, for people.
        """

    def cancelled(self) -> bool:
        """True once the job should stop; ask between steps and raise :class:`Cancelled`."""

    def checkpoint_due(self) -> bool:
        """True when the state should be kept now; ask between steps, before :meth:`cancelled`.

        Now and then (the operator's ``checkpoint_every_s``), at once when this process is told to end, and
        once more when it is to hand the job back.
        """

    def keep_checkpoint(self, data: bytes) -> None:
        """Keep this state; it is safe when this returns. Trouble is logged, not raised."""

    def checkpoints(self) -> Iterator[bytes]:
        """What earlier runs of this attempt kept, newest first, each whole as far as the core can tell.

        The adapter sees for itself that it can go on from one, tries the next if not, and begins anew if
        there is none.
        """

    def preview_due(self) -> bool:
        """True when the caller may be shown something new (the operator's ``preview_every_s``)."""

    def preview(self, image: bytes, media_type: str = "image/webp") -> None:
        """Show the caller a picture of what is being made: encoded, 96 KiB at most, or it is dropped."""


class LocalAdapter(_Adapter):
    """Renders in the process that owns a device slot."""

    def prepare(self, device: Device) -> None:
        """Called once when a slot starts, before its first job: import and load what takes long."""
        return

    @abstractmethod
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        """Make the clip.

        Raises:
            Refused: this job cannot be rendered.  RenderError: it failed.  Cancelled: stopped on request.
        """


Adapter = RemoteAdapter | LocalAdapter
