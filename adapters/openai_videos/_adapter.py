"""The Videos API at whatever address speaks it; which kind of server that is, the account says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar
from urllib.parse import quote

from standardwebhooks import Webhook, WebhookVerificationError
from typing_extensions import override

from adapters.openai_videos._picture import fitted
from adapters.openai_videos._settings import Account, OpenAIVideosOptions, OpenAIVideosSettings
from adapters.openai_videos._wire import (
    DIALECTS,
    Dialect,
    Order,
    Video,
    body_of,
    create_verdict,
    is_lost,
    seconds_text,
    snapshot,
)
from gateway.kit.http import Client, Response, client, json_object, translating
from gateway.kit.options import read_options
from gateway.spec import (
    AccountLimits,
    Failed,
    Job,
    NotAuthorised,
    Offer,
    OutcomeUnknown,
    RemoteAdapter,
    Snapshot,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unready,
    Unsupported,
)

_CLOCKS_APART = timedelta(seconds=10)
_PAGE = 100
_PAGES = 10
_FILE_FIELDS = {"first_frame": "input_reference", "last_frame": "last_frame"}

Parts = list[tuple[str, tuple[Any, ...]]]


@dataclass(frozen=True, kw_only=True)
class _Server:
    """An account, ready to be spoken to."""

    name: str
    account: Account
    dialect: Dialect
    headers: Mapping[str, str] = field(repr=False)
    client: Client = field(repr=False)
    webhook: Webhook | None = field(repr=False)


class OpenAIVideos(RemoteAdapter):
    """Orders clips from servers that speak OpenAI's Videos API."""

    name: ClassVar[str] = "openai_videos"

    def __init__(self, settings: OpenAIVideosSettings) -> None:
        self._servers = {name: _server(name, account) for name, account in settings.accounts.items()}
        self.accounts = tuple(self._servers) or ("default",)

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        if not self._servers:
            return Unready(
                code="no_credentials",
                detail="Set plugins.openai_videos.accounts.default.api_key, for example with"
                " REELGATE_PLUGINS__OPENAI_VIDEOS__ACCOUNTS__DEFAULT__API_KEY.",
            )
        missing = [_missing(server, offer) for server in self._servers.values() if _offers(server, offer)]
        if not missing:
            detail = f"No account of openai_videos has the name or the flavour {offer.region}."
            return Unready(code="no_credentials", detail=detail)
        return None if None in missing else missing[0]

    @override
    def serves(self, offer: Offer, account: str) -> bool:
        server = self._servers.get(account)
        return server is not None and _offers(server, offer) and _missing(server, offer) is None

    @override
    def limits(self, account: str) -> AccountLimits:
        server = self._servers.get(account)
        if server is None:
            return AccountLimits()
        return AccountLimits(concurrent=server.account.concurrent, submits_per_s=server.account.submits_per_s)

    @override
    async def submit(self, job: Job) -> Ticket:
        server = self._serving(job)
        order = _order(job, server.dialect)
        parts = [*order.parts(), *await asyncio.to_thread(_pictures, job, server.dialect)]
        headers = {"Idempotency-Key": job.tag} if server.dialect.idempotent else {}
        title, verdict = server.dialect.title, partial(create_verdict, dialect=server.dialect)
        with translating(title, creating=True, classify=verdict):
            response = await server.client.post("/videos", files=parts, headers=headers)
            video = Video.model_validate(json_object(response))
        if not video.id:
            raise UnexpectedReply(f"{title} took the job, as it seems, but its answer names none.")
        return Ticket(id=video.id, data={"account": server.name})

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        server = self._server(ticket)
        title = server.dialect.title
        with translating(title, creating=False):
            response = await server.client.get(_path(ticket))
            if is_lost(response, server.dialect):
                return Failed(code="job_lost", message=f"{title} was restarted and no longer knows the job.")
            video = Video.model_validate(body_of(response))
            # vLLM-Omni answers for a failed job with the failure's own status
            if response.is_success or video.status != "failed":
                video = Video.model_validate(json_object(response))
        if video.status is None:
            raise UnexpectedReply(f"{title} shows a job without a status.")
        return snapshot(
            video,
            server.dialect,
            content_url=_result_url(server, ticket, video),
            poll_after_ms=_wish(response),
        )

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        server = self._server(ticket)
        with translating(server.dialect.title, creating=False):
            match server.dialect.cancels:
                case "POST":
                    reply = Video.model_validate(
                        json_object(await server.client.post(f"{_path(ticket)}/cancel"))
                    )
                    return reply.status in ("queued", "in_progress")
                case "DELETE":  # which would also remove a clip that is done
                    seen = Video.model_validate(body_of(await server.client.get(_path(ticket))))
                    if seen.status not in ("queued", "in_progress"):
                        return False
                    return json_object(await server.client.delete(_path(ticket))).get("deleted") is True
                case None:
                    return False

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the job among those made since its attempt was planned, by all that the list shows of it.

        Raises:
            OutcomeUnknown: more than one matches, or this server's list cannot tell.
        """
        server = self._serving(job)
        title = server.dialect.title
        if not server.dialect.lists or job.planned_at is None:
            raise OutcomeUnknown(f"{title} has no list in which the job could be told from others.")
        order = _order(job, server.dialect)
        since = (job.planned_at - _CLOCKS_APART).timestamp()
        found = [video.id for video in await _made_since(server, since) if _is_of(video, order) and video.id]
        if len(found) > 1:
            raise OutcomeUnknown(f"{title} has {len(found)} jobs that could be this one: {', '.join(found)}.")
        return Ticket(id=found[0], data={"account": server.name}) if found else None

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of a video that a person found, by its id; looked at before it is adopted."""
        return Ticket(id=upstream_id, data={"account": self._serving(job).name})

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[str]:
        """The job of a ``video.completed`` or ``video.failed`` event, signed as Standard Webhooks says."""
        if not any(_signed(server.webhook, headers, body) for server in self._servers.values()):
            raise NotAuthorised("The webhook's signature is missing, wrong or older than five minutes.")
        match json.loads(body):
            case {"type": "video.completed" | "video.failed", "data": {"id": str(id)}}:
                return [id]
            case _:  # another kind of event, signed all the same
                return []

    @override
    def download_headers(self, ticket: Ticket) -> Mapping[str, str]:
        return self._server(ticket).headers

    @override
    async def aclose(self) -> None:
        for server in self._servers.values():
            await server.client.aclose()

    def _serving(self, job: Job) -> _Server:
        """The account that was planned, once it is sure that it can have the offer."""
        server = self._servers.get(job.account)
        if server is None:
            raise NotAuthorised(
                "This gateway no longer has the account that this job is for; nothing was created.",
                operator_detail=f"Put plugins.openai_videos.accounts.{job.account} back.",
            )
        if not self.serves(job.offer, job.account):
            raise Unsupported(
                f"This gateway's account does not have {job.offer.id}; nothing was created.",
                operator_detail=f"plugins.openai_videos.accounts.{job.account} does not fit {job.offer.id}.",
            )
        return server

    def _server(self, ticket: Ticket) -> _Server:
        server = self._servers.get(str(ticket.data.get("account")))
        if server is None:
            raise Unavailable(
                "The account that ordered this video is not configured any more.",
                operator_detail=f"Put plugins.openai_videos.accounts.{ticket.data.get('account')} back.",
            )
        return server


def _server(name: str, account: Account) -> _Server:
    dialect = DIALECTS[account.flavour]
    headers: dict[str, str] = {}
    if account.api_key is not None:
        key = account.api_key.get_secret_value()
        headers[dialect.key_header] = f"Bearer {key}" if dialect.key_header == "Authorization" else key
    return _Server(
        name=name,
        account=account,
        dialect=dialect,
        headers=headers,
        client=client(base_url=account.address, headers=headers),
        webhook=account.webhook(),
    )


def _offers(server: _Server, offer: Offer) -> bool:
    """True if it is named or flavoured like the offer's region, or that has none."""
    return offer.region in (None, server.name, server.account.flavour)


def _missing(server: _Server, offer: Offer) -> Unready | None:
    """What this server lacks to serve its offer."""
    if server.dialect.needs_key and server.account.api_key is None:
        detail = f"Set plugins.openai_videos.accounts.{server.name}.api_key."
        return Unready(code="no_credentials", detail=detail)
    if not _can_keep(offer, server.dialect):
        detail = f"{server.dialect.title} cannot keep the submit_policy {offer.submit_policy}."
        return Unready(code="submit_policy_unsupported", detail=detail)
    return None


def _can_keep(offer: Offer, dialect: Dialect) -> bool:
    """False if a lost answer would be handled in a way that this kind of server does not know."""
    known = {"none": True, "lookup": dialect.lists, "idempotency_key": dialect.idempotent}
    return known[offer.submit_policy]


def _order(job: Job, dialect: Dialect) -> Order:
    output, request = job.output, job.request
    asked = read_options(job, OpenAIVideosOptions).model_dump(exclude_none=True)
    for name in asked.keys() - dialect.takes:
        raise Unsupported(f"options.openai_videos.{name}: {dialect.title} does not take it.")
    beyond = {
        "fps": output.fps,
        "num_frames": round(output.seconds * output.fps),
        "seed": request.seed,
        "negative_prompt": request.negative_prompt,
        "audio": output.audio,
        "generate_sound": output.audio,
        **asked,
    }
    # a server that counts frames takes whole seconds only
    told = "num_frames" not in dialect.takes or output.seconds == output.seconds.to_integral_value()
    return Order(
        prompt=request.prompt,
        model=job.offer.upstream,
        seconds=seconds_text(output.seconds) if told else None,
        size=output.size,
        **{name: value for name, value in beyond.items() if name in dialect.takes},
    )


def _pictures(job: Job, dialect: Dialect) -> Parts:
    """The images as file parts, each in the clip's own size."""
    parts: Parts = []
    for image in job.request.images:
        name = _FILE_FIELDS.get(image.role, "")
        if name != "input_reference" and name not in dialect.takes:
            raise Unsupported(f"{dialect.title} takes no {image.role} image; nothing was created.")
        data = fitted(job.read_image(image), image, job.output.size)
        kind = "png" if image.media_type == "image/png" else "jpeg"
        parts.append((name, (f"{image.role}.{kind}", data, f"image/{kind}")))
    return parts


def _path(ticket: Ticket) -> str:
    return f"/videos/{quote(ticket.id, safe='')}"


def _result_url(server: _Server, ticket: Ticket, video: Video) -> str:
    """Where the clip is: at the server, or in the bucket that an SGLang put it into.

    Headers go with the URL that is given here, so that a server with a key has its own address alone.
    """
    if video.url and video.url.startswith(("https://", "http://")) and not server.headers:
        return video.url
    return f"{server.account.address}{_path(ticket)}/content"


def _wish(response: Response) -> int | None:
    wish = response.headers.get("openai-poll-after-ms", "")
    return int(wish) if wish.isdecimal() and len(wish) < 10 else None


async def _made_since(server: _Server, since: float) -> list[Video]:
    """The jobs of the account that were made since, newest first."""
    found: list[Video] = []
    after: dict[str, str] = {}
    for _ in range(_PAGES):
        with translating(server.dialect.title, creating=False):
            page = json_object(
                await server.client.get("/videos", params={"limit": _PAGE, "order": "desc", **after})
            )
        data = page.get("data")
        videos = [Video.model_validate(one) for one in data or [] if isinstance(one, dict)]
        recent = [video for video in videos if (video.created_at or 0) >= since]
        found += recent
        last = page.get("last_id")
        if len(recent) < len(videos) or page.get("has_more") is not True or not isinstance(last, str):
            return found
        after = {"after": last}
    raise OutcomeUnknown(f"{server.dialect.title} made too many jobs since to find this one among them.")


def _is_of(video: Video, order: Order) -> bool:
    seconds = None if video.seconds is None else seconds_text(video.seconds)
    return (video.prompt, video.model, video.size) == (order.prompt, order.model, order.size) and (
        order.seconds in (None, seconds)
    )


def _signed(webhook: Webhook | None, headers: Mapping[str, str], body: bytes) -> bool:
    if webhook is None:
        return False
    try:
        webhook.verify(body, dict(headers))
    except (WebhookVerificationError, ValueError):  # the package lets a malformed signature's own error pass
        return False
    return True
