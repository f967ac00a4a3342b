"""One job as an adapter sees it, and what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.spec._value import Name, Note, Size, Value
from gateway.spec.card import Offer, Preset
from gateway.spec.request import InputImage, VideoRequest


class Output(Value):
    """The clip that was planned: every default filled in."""

    size: Size
    seconds: Decimal
    fps: int
    audio: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """What an adapter is asked to do.

    ``tag`` names this attempt and no other: hand it to the provider where it takes a client's own id.
    ``read_image`` returns the bytes of one of the request's images. ``read_checkpoint`` returns the state to
    go on from (``request.continues``); None if there is none, or it is gone. ``callback_url`` is this
    attempt's own address for a provider that calls back, or None where none can be reached. ``planned_at``:
    no job that a provider made before is this attempt's; None where that is not known.
    """

    request: VideoRequest
    output: Output
    offer: Offer
    preset: Preset
    tag: str
    account: str
    read_image: Callable[[InputImage], bytes]
    read_checkpoint: Callable[[], bytes | None] = lambda: None
    callback_url: str | None = None
    planned_at: datetime | None = None

    def options(self) -> dict[str, Any]:
        """The caller's options for this job's adapter."""
        return self.request.options.get(self.offer.adapter, {})


class Ticket(Value):
    """All an adapter needs to find its job again, as opaque JSON; ``id`` is the provider's own."""

    id: str
    data: dict[str, Any] = Field(default_factory=dict)


class Usage(Value):
    """What the provider or the device says was used; None where it does not say."""

    seconds: Decimal | None = None
    tokens: int | None = None
    device_ms: int | None = None


class Queued(Value):
    """Taken, not started."""

    state: Literal["queued"] = "queued"
    poll_after_ms: int | None = None


class Running(Value):
    """Being made; ``progress`` in percent where the provider tells."""

    state: Literal["running"] = "running"
    progress: int | None = Field(default=None, ge=0, le=100)
    poll_after_ms: int | None = None


class Succeeded(Value):
    """Done. ``url`` is where the clip can be fetched; None where the adapter streams it itself."""

    state: Literal["succeeded"] = "succeeded"
    url: str | None = None
    usage: Usage = Usage()
    notes: tuple[Note, ...] = ()


class Failed(Value):
    """The provider gave the job up; with ``user_fault`` nothing else is tried, since it would fail too."""

    state: Literal["failed"] = "failed"
    code: Name
    message: str
    user_fault: bool = False
    billed: bool = False


class Stopped(Value):
    """Cancelled at the provider; ``billed`` where it charges for what ran."""

    state: Literal["cancelled"] = "cancelled"
    billed: bool = False
    usage: Usage = Usage()


Snapshot = Annotated[Queued | Running | Succeeded | Failed | Stopped, Field(discriminator="state")]


@dataclass(frozen=True, kw_only=True)
class Asset:
    """What a local render made: a file inside the control's folder. ``usage.device_ms`` excludes loading."""

    path: Path
    usage: Usage = field(default_factory=Usage)
    notes: tuple[Note, ...] = ()
