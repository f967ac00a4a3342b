"""Google Veo by ``predictLongRunning``: on Vertex AI, now Agent Platform, and as the Gemini API had it.

No idempotency key, no list of jobs, no cancel: a submit whose answer is lost stays unknown.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar
from urllib.parse import quote, urlsplit

from typing_extensions import override

from adapters.veo._inline import InlineClip
from adapters.veo._order import order_of
from adapters.veo._settings import Account, Surface, VeoOptions, VeoParams, VeoSettings
from adapters.veo._tokens import Tokens
from adapters.veo._wire import Operation, classify, outcome, read, retry_delay
from gateway.kit.http import Response, client, json_object, refusal, translating
from gateway.kit.options import read_options
from gateway.spec import (
    AccountLimits,
    BadRequest,
    Failed,
    Job,
    NotAuthorised,
    Offer,
    RateLimited,
    RemoteAdapter,
    Running,
    Snapshot,
    Succeeded,
    Ticket,
    UnexpectedReply,
    Unready,
    Unsupported,
    Value,
)

_VEO = "Google Veo"
_GEMINI_API = "https://generativelanguage.googleapis.com"
_STORAGE = "https://storage.googleapis.com"
_POLL_AFTER_MS = 10_000  # as Google's own samples do
_NAME = re.compile(r"([A-Za-z0-9_:-][A-Za-z0-9._:-]*/)+operations/[A-Za-z0-9_-]+")


class _Where(Value):
    """A ticket's data."""

    account: str
    surface: Surface
    location: str


class Veo(RemoteAdapter):
    """Orders clips from Google. Those of Vertex AI are streamed, those of the Gemini API have a URL."""

    name: ClassVar[str] = "veo"

    def __init__(self, settings: VeoSettings, *, now: Callable[[], float] = time.time) -> None:
        self._accounts = settings.accounts
        self.accounts = tuple(settings.accounts) or ("default",)
        self._http = client(base_url="")  # without credentials: each call brings those of its own host
        self._tokens = {
            name: Tokens(account.service_account, self._http, now)
            for name, account in settings.accounts.items()
            if account.service_account is not None
        }

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        if any(self.serves(offer, account) for account in self.accounts):
            return None
        field = "service_account_file" if "vertex" in _surfaces(offer) else "api_key"
        name = self.accounts[0]
        variable = f"REELGATE_PLUGINS__VEO__ACCOUNTS__{name}__{field}".upper()
        detail = f"Set accounts.{name}.{field} in the section veo, or {variable}."
        return Unready(code="no_credentials", detail=detail)

    @override
    def serves(self, offer: Offer, account: str) -> bool:
        known = self._accounts.get(account)
        return known is not None and _surfaces(offer) <= known.surfaces

    @override
    def limits(self, account: str) -> AccountLimits:
        given = self._accounts.get(account, Account())
        return AccountLimits(concurrent=given.concurrent, submits_per_s=given.submits_per_s)

    @override
    async def submit(self, job: Job) -> Ticket:
        account, where = self._account(job.account), self._where(job)
        surface = where.surface
        if surface not in account.surfaces:
            raise Unsupported(
                f"This gateway's account at Google cannot have {job.offer.id}; nothing was created.",
                operator_detail=f"accounts.{job.account} in the section veo has no credential for {surface}.",
            )
        options = read_options(job, VeoOptions)
        order = await asyncio.to_thread(order_of, job, options, account, surface)  # it reads the images
        url = f"{self._models(where)}/{quote(job.offer.upstream, safe='')}:predictLongRunning"
        headers = await self._credentials(where)
        with translating(_VEO, creating=True):
            response = await self._http.post(url, json=order.body(), headers=headers)
            self._check(response, where, creating=True)
            name = read(Operation, json_object(response)).name
        if name is None or not _NAME.fullmatch(name):
            raise UnexpectedReply(
                f"{_VEO} took the job without naming it.",
                operator_detail=f"{_VEO}: the answer names no operation; the job may be billed.",
            )
        return Ticket(id=name, data=where.model_dump())

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of an operation that a person found, by its whole name.

        Raises:
            BadRequest: no operation has such a name.
        """
        if not _NAME.fullmatch(upstream_id):
            raise BadRequest(
                f"{upstream_id!r} is no operation's whole name: projects/… or models/…, then operations/…."
            )
        return Ticket(id=upstream_id, data=self._where(job).model_dump())

    def _where(self, job: Job) -> _Where:
        surface = VeoParams.model_validate(job.preset.params).surface
        location = self._account(job.account).location or job.offer.region or "us-central1"
        return _Where(account=job.account, surface=surface, location=location)

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        where = _Where.model_validate(ticket.data)
        inline = InlineClip()
        async with self._look(ticket, where) as response:
            async for chunk in response.aiter_bytes():
                inline.feed(chunk)
                if inline.found:  # what is left of the answer is the clip
                    return Succeeded()
        operation = read(Operation, inline.rest)
        if not operation.done:
            return Running(poll_after_ms=_POLL_AFTER_MS)
        found = outcome(operation)
        if isinstance(found, Failed):
            return found
        return Succeeded() if where.surface == "vertex" else Succeeded(url=self._own(found, where))

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        return False  # there is no such call

    @override
    def download_headers(self, ticket: Ticket) -> Mapping[str, str]:
        where = _Where.model_validate(ticket.data)
        return self._key(where.account) if where.surface == "gemini_api" else {}

    async def content(self, ticket: Ticket) -> AsyncIterator[bytes]:
        """The clip of Vertex AI, out of the operation's own answer or from the bucket that it names."""
        where = _Where.model_validate(ticket.data)
        inline = InlineClip()
        async with self._look(ticket, where) as response:
            async for chunk in response.aiter_bytes():
                if clip := inline.feed(chunk):
                    yield clip
        if inline.complete:
            return
        place = None if inline.found else read(Operation, inline.rest).made().place()
        if place is None:
            raise UnexpectedReply(f"{_VEO} said that the clip is done, and now sends none, or half of it.")
        async with self._call("GET", self._object(place, where), where, params={"alt": "media"}) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    @override
    async def aclose(self) -> None:
        await self._http.aclose()

    @asynccontextmanager
    async def _call(self, method: str, url: str, where: _Where, **sent: Any) -> AsyncIterator[Response]:
        """A call that creates nothing; its answer is a good one, and yet to be read."""
        headers = await self._credentials(where)
        with translating(_VEO, creating=False):
            async with self._http.stream(method, url, headers=headers, **sent) as response:
                if not response.is_success:
                    await response.aread()
                self._check(response, where, creating=False)
                yield response

    def _look(self, ticket: Ticket, where: _Where) -> AbstractAsyncContextManager[Response]:
        if where.surface == "gemini_api":
            return self._call("GET", f"{self._host(where)}/v1beta/{ticket.id}", where)
        model = ticket.id.partition("/operations/")[0]
        url = f"{self._host(where)}/v1/{model}:fetchPredictOperation"
        return self._call("POST", url, where, json={"operationName": ticket.id})

    def _check(self, response: Response, where: _Where, *, creating: bool) -> None:
        """Raise what an answer that is no success means; call it inside ``translating``."""
        verdict = None if response.is_success else classify(response, creating=creating)
        if response.status_code == 401 and where.surface == "vertex":
            self._tokens[where.account].forget()
        if verdict is None:
            response.raise_for_status()
            return
        error = refusal(_VEO, response, verdict, creating=creating)
        if isinstance(error, RateLimited) and error.retry_after is None:
            error.retry_after = retry_delay(response)
        raise error

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise NotAuthorised(f"This gateway has no account {name} at Google any more.")
        return account

    async def _credentials(self, where: _Where) -> Mapping[str, str]:
        """The headers that say who calls."""
        if where.surface == "gemini_api":
            return self._key(where.account)
        tokens = self._tokens.get(where.account)
        if tokens is None:
            raise NotAuthorised(f"This gateway's account {where.account} at Google is no service account.")
        return {"Authorization": f"Bearer {await tokens.current()}"}

    def _key(self, account: str) -> Mapping[str, str]:
        key = self._account(account).api_key
        if key is None:
            raise NotAuthorised(f"This gateway's account {account} at Google has no key of the Gemini API.")
        return {"x-goog-api-key": key.get_secret_value()}

    def _host(self, where: _Where) -> str:
        own = self._account(where.account).base_url
        if own is not None:
            return own
        return _GEMINI_API if where.surface == "gemini_api" else _vertex(where.location)

    def _models(self, where: _Where) -> str:
        """Where the models are, without a slash at the end."""
        if where.surface == "gemini_api":
            return f"{self._host(where)}/v1beta/models"
        place = f"projects/{self._account(where.account).project_id}/locations/{where.location}"
        return f"{self._host(where)}/v1/{place}/publishers/google/models"

    def _object(self, gcs_uri: str, where: _Where) -> str:
        """Cloud Storage's address of ``gs://bucket/object``."""
        bucket, _, name = gcs_uri.removeprefix("gs://").partition("/")
        if not gcs_uri.startswith("gs://") or not name:
            raise UnexpectedReply(f"{_VEO} names a place for the clip that is none in Cloud Storage.")
        host = self._account(where.account).base_url or _STORAGE
        return f"{host}/storage/v1/b/{quote(bucket, safe='')}/o/{quote(name, safe='')}"

    def _own(self, url: str, where: _Where) -> str:
        """A result's URL, once it is sure that the account's key may be shown there."""
        named, host = urlsplit(url), urlsplit(self._host(where))
        if (named.scheme, named.netloc) != (host.scheme, host.netloc):
            raise UnexpectedReply(
                f"{_VEO} names a place for the clip that is not its own.",
                operator_detail=f"{_VEO}: the clip is to lie at {named.hostname}, not at {host.hostname}.",
            )
        return url


def _surfaces(offer: Offer) -> set[Surface]:
    """Those by which its presets are reached: one, but in an offer of the operator's own."""
    return {VeoParams.model_validate(preset.params).surface for preset in offer.presets}


def _vertex(location: str) -> str:
    match location:
        case "global":
            return "https://aiplatform.googleapis.com"
        case "us" | "eu":
            return f"https://aiplatform.{location}.rep.googleapis.com"
        case _:
            return f"https://{location}-aiplatform.googleapis.com"
