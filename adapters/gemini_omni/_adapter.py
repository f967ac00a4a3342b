"""Gemini Omni by background interactions of the Gemini API."""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr
from typing_extensions import override

from adapters.gemini_omni._wire import (
    GenerationConfig,
    ImagePart,
    Interaction,
    Order,
    ResponseFormat,
    Task,
    TextPart,
    VideoConfig,
    failure,
    is_late,
    retry_delay,
    verdict,
    without_video,
)
from gateway.kit.http import Client, client, json_object, refusal, translating
from gateway.kit.options import read_options
from gateway.spec import (
    AccountLimits,
    Failed,
    Job,
    Name,
    Offer,
    Output,
    Queued,
    RateLimited,
    RemoteAdapter,
    Running,
    Snapshot,
    Stopped,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unready,
    Unsupported,
    Usage,
    Value,
    parse_size,
)

_TITLE = "Gemini"
_REGION = "gemini-api"
_CHUNK = 1 << 20
_FILE = re.compile(r"/files/([A-Za-z0-9_-]+)(?::download)?$")

_RESOLUTIONS: Mapping[int, Literal["360p", "720p", "1080p", "4k"]] = {
    360: "360p",
    720: "720p",
    1080: "1080p",
    2160: "4k",
}
_TASKS: Mapping[tuple[str, ...], Task] = {
    (): "text_to_video",
    ("first_frame",): "image_to_video",
    ("first_frame", "last_frame"): "image_to_video",
    ("reference",): "reference_to_video",
}
"""By the roles of the images, in the order in which they are sent."""


class Account(Value):
    """A key of the Gemini API."""

    api_key: SecretStr
    base_url: str = "https://generativelanguage.googleapis.com/v1beta"
    concurrent: int | None = Field(default=None, ge=1)
    submits_per_s: float = Field(default=33, gt=0, description="2,000 a minute (litellm 1.109.1)")


class GeminiOmniSettings(Value):
    """The operator's section ``gemini_omni``."""

    accounts: dict[Name, Account] = Field(default_factory=dict)


class GeminiOmniOptions(Value):
    """A caller's ``options.gemini_omni``: Gemini has no knob for video beyond the request's own."""


@dataclass(frozen=True, kw_only=True)
class _Service:
    """An account, ready to be spoken to."""

    account: Account
    headers: Mapping[str, str] = field(repr=False)
    client: Client = field(repr=False)


class GeminiOmni(RemoteAdapter):
    """Orders clips from Gemini Omni. A lost answer stays open: there is no key, no tag and no list."""

    name: ClassVar[str] = "gemini_omni"

    def __init__(self, settings: GeminiOmniSettings, *, now: Callable[[], float] = time.time) -> None:
        self._services = {name: _service(account) for name, account in settings.accounts.items()}
        self._now = now
        self.accounts = tuple(self._services) or ("default",)

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        if offer.region not in (None, _REGION):
            detail = f"This adapter speaks to the Gemini API alone, not to {offer.region}."
            return Unready(code="region_unsupported", detail=detail)
        if self._services:
            return None
        return Unready(
            code="no_credentials",
            detail="Set plugins.gemini_omni.accounts.default.api_key, for example with"
            " REELGATE_PLUGINS__GEMINI_OMNI__ACCOUNTS__DEFAULT__API_KEY.",
        )

    @override
    def limits(self, account: str) -> AccountLimits:
        service = self._services.get(account)
        if service is None:
            return AccountLimits()
        return AccountLimits(
            concurrent=service.account.concurrent, submits_per_s=service.account.submits_per_s
        )

    @override
    async def submit(self, job: Job) -> Ticket:
        read_options(job, GeminiOmniOptions)
        service = self._service(job.account)
        body = await asyncio.to_thread(_order, job)
        with translating(_TITLE, creating=True, classify=partial(verdict, creating=True)):
            response = await service.client.post("/interactions", json=body)
            if response.status_code == 429:
                told = verdict(response, creating=True)
                assert told is not None
                error = refusal(_TITLE, response, told, creating=True)
                if isinstance(error, RateLimited) and error.retry_after is None:
                    error.retry_after = retry_delay(response)
                raise error
            interaction = Interaction.model_validate(json_object(response))
        if not interaction.id:
            raise UnexpectedReply(f"{_TITLE} took the job, as it seems, but its answer names none.")
        return Ticket(id=interaction.id, data={"account": job.account})

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of an interaction that a person found, by its id; looked at before it is adopted."""
        return Ticket(id=upstream_id, data={"account": job.account})

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        service = self._service(ticket.data.get("account"))
        interaction = await _look(service, ticket)
        match interaction.status:
            case None:
                raise UnexpectedReply(f"{_TITLE} shows an interaction without a status.")
            case "queued":
                return Queued()
            case "cancelled":
                tokens = interaction.video_tokens()
                return Stopped(billed=bool(tokens), usage=Usage(tokens=tokens))
            case "completed":
                return await self._completed(service, interaction)
            case "failed" | "incomplete" | "budget_exceeded" | "requires_action" | "requires_continuation":
                return failure(interaction)
            case _:  # in_progress, and any word that may be added: the core's deadline bounds them
                return Running()

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        service = self._service(ticket.data.get("account"))
        with translating(_TITLE, creating=False, classify=partial(verdict, creating=False)):
            response = await service.client.post(f"{_path(ticket)}/cancel")
            if response.status_code in (400, 409) and not verdict(response, creating=False):
                return False  # it is over, and what is over cannot be cancelled
            interaction = Interaction.model_validate(json_object(response))
        return interaction.status in ("cancelled", "queued", "in_progress")

    @override
    def download_headers(self, ticket: Ticket) -> Mapping[str, str]:
        return self._service(ticket.data.get("account")).headers

    async def content(self, ticket: Ticket) -> AsyncIterator[bytes]:
        """A clip that came inside the answer, though it was asked for by URI."""
        service = self._service(ticket.data.get("account"))
        video = (await _look(service, ticket)).video()
        if video is None or not video.data:
            raise UnexpectedReply(f"{_TITLE} no longer has the clip in its answer.")
        try:
            clip = base64.b64decode(video.data, validate=True)
        except (binascii.Error, ValueError):
            raise UnexpectedReply(f"{_TITLE} answered with a clip that is not base64.") from None
        for start in range(0, len(clip), _CHUNK):
            yield clip[start : start + _CHUNK]

    @override
    async def aclose(self) -> None:
        for service in self._services.values():
            await service.client.aclose()

    async def _completed(self, service: _Service, interaction: Interaction) -> Snapshot:
        video = interaction.video()
        if video is None:
            without = without_video(interaction)
            late = without.code == "no_output" and is_late(interaction, self._now())
            return Running() if late else without
        usage = Usage(tokens=interaction.video_tokens())
        if not video.uri:
            return Succeeded(usage=usage)
        return await _file(service, video.uri) or Succeeded(url=video.uri, usage=usage)

    def _service(self, account: object) -> _Service:
        service = self._services.get(str(account))
        if service is None:
            raise Unavailable(
                "The account for this video is not configured.",
                operator_detail=f"There is no plugins.gemini_omni.accounts.{account}.",
            )
        return service


def _service(account: Account) -> _Service:
    headers = {"x-goog-api-key": account.api_key.get_secret_value()}
    return _Service(
        account=account, headers=headers, client=client(base_url=account.base_url, headers=headers)
    )


def _order(job: Job) -> dict[str, Any]:
    images = sorted(job.request.images, key=lambda image: image.role)
    roles = tuple(dict.fromkeys(image.role for image in images))
    task = _TASKS.get(roles)
    if task is None:
        raise Unsupported(f"{_TITLE} cannot be given {' and '.join(roles)} together; nothing was created.")
    parts: list[TextPart | ImagePart] = [TextPart(text=job.request.prompt)]
    for image in images:
        data = base64.b64encode(job.read_image(image)).decode()
        kind: Literal["image/png", "image/jpeg"] = (
            "image/png" if image.media_type == "image/png" else "image/jpeg"
        )
        parts.append(ImagePart(data=data, mime_type=kind))
    order = Order(
        model=job.offer.upstream,
        input=tuple(parts),
        generation_config=GenerationConfig(video_config=VideoConfig(task=task)),
        response_format=_format(job.output),
    )
    return order.model_dump(mode="json")


def _format(output: Output) -> ResponseFormat:
    width, height = parse_size(output.size)
    resolution = _RESOLUTIONS.get(min(width, height))
    if resolution is None:
        raise Unsupported(f"{_TITLE} makes no clip of {output.size}; nothing was created.")
    return ResponseFormat(
        aspect_ratio="16:9" if width > height else "9:16",
        resolution=resolution,
        duration=f"{output.seconds.normalize():f}s",
    )


def _path(ticket: Ticket) -> str:
    return f"/interactions/{quote(ticket.id, safe='')}"


async def _look(service: _Service, ticket: Ticket) -> Interaction:
    with translating(_TITLE, creating=False, classify=partial(verdict, creating=False)):
        reply = await service.client.get(_path(ticket), params={"stream": "false"})
        return Interaction.model_validate(json_object(reply))


async def _file(service: _Service, uri: str) -> Snapshot | None:
    """What stands in the way of fetching the file; None where nothing does, or only fetching it will tell.

    The key is for Google's hosts alone.

    Raises:
        UnexpectedReply: it lies elsewhere.
    """
    url = urlsplit(uri)
    host = url.hostname or ""
    home = urlsplit(service.account.base_url)
    google = url.scheme == "https" and host.endswith(".googleapis.com")
    if not google and (url.scheme, url.netloc) != (home.scheme, home.netloc):
        raise UnexpectedReply(f"{_TITLE}'s clip lies on {host or 'no host'}, which is not Google's.")
    named = _FILE.search(url.path)
    if named is None:
        return None
    with translating(_TITLE, creating=False, classify=partial(verdict, creating=False)):
        reply = await service.client.get(f"/files/{named[1]}")
        if reply.status_code in (403, 404):  # so are files that are gone: the key is not at fault
            return None
        state = json_object(reply).get("state")
    if state == "PROCESSING":
        return Running()
    if state == "FAILED":
        return Failed(code="gave_up", message=f"{_TITLE} could not keep the clip.", billed=True)
    return None
