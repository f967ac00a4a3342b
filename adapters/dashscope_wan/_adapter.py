"""Wan at Alibaba Model Studio (DashScope): asynchronous tasks, in regions that share nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import Field, SecretStr, model_validator
from typing_extensions import override

from adapters.dashscope_wan._lookup import may_be, window
from adapters.dashscope_wan._order import order_of, pixels, read_params
from adapters.dashscope_wan._wire import (
    PROVIDER,
    TaskList,
    TaskReply,
    classify,
    error_code,
    read,
    snapshot,
)
from gateway.kit.http import Client, Response, client, json_object, refusal, translating
from gateway.spec import (
    AccountLimits,
    BadRequest,
    Job,
    Name,
    NotAuthorised,
    Offer,
    OutcomeUnknown,
    ProviderError,
    RemoteAdapter,
    Snapshot,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unready,
    Unsupported,
    Value,
)

Region = Literal["singapore", "beijing", "virginia", "hongkong", "frankfurt", "tokyo"]

_HOSTS = MappingProxyType[Region, str](
    {
        "singapore": "https://dashscope-intl.aliyuncs.com",
        "beijing": "https://dashscope.aliyuncs.com",
        "virginia": "https://dashscope-us.aliyuncs.com",
        "hongkong": "https://cn-hongkong.dashscope.aliyuncs.com",
    }
)
"""Frankfurt and Tokyo have workspace hosts only."""

_ZONES = MappingProxyType[Region, str](
    {
        "singapore": "ap-southeast-1",
        "beijing": "cn-beijing",
        "virginia": "us-east-1",
        "hongkong": "cn-hongkong",
        "frankfurt": "eu-central-1",
        "tokyo": "ap-northeast-1",
    }
)

_CREATE = "/api/v1/services/aigc/video-generation/video-synthesis"
_CREATE_FROM_FRAMES = "/api/v1/services/aigc/image2video/video-synthesis"
_TASKS = "/api/v1/tasks"
_TASK_ID = re.compile(r"[0-9A-Za-z-]{8,64}")
_ASYNC = {"X-DashScope-Async": "enable"}

_PAGE = 100
_MOST_PAGES = 2
"""Each task found costs a look of its own, and 20 are allowed in a second."""


class StudioAccount(Value):
    """A key and where it is valid. ``base_url`` beats ``workspace``, which beats the region's shared host.

    The limits are per model and the account has one set of them: the slowest model's submits, since one too
    many is refused, and the fastest model's tasks, since one too many only waits.
    """

    api_key: SecretStr = Field(min_length=1)
    region: Region = "singapore"
    workspace: str | None = Field(default=None, pattern=r"^[A-Za-z0-9-]+$")
    base_url: str | None = Field(default=None, pattern=r"^https?://")
    concurrent: int = Field(default=5, ge=1)
    submits_per_s: float = Field(default=2, gt=0)

    @model_validator(mode="after")
    def _has_a_host(self) -> Self:
        if not (self.base_url or self.workspace or self.region in _HOSTS):
            raise ValueError(f"{self.region} has no shared host: set workspace")
        return self

    @property
    def url(self) -> str:
        """Where this account is spoken to."""
        if self.base_url is not None:
            return self.base_url
        if self.workspace is not None:
            return f"https://{self.workspace}.{_ZONES[self.region]}.maas.aliyuncs.com"
        return _HOSTS[self.region]


class StudioSettings(Value):
    """The operator's section ``dashscope_wan``."""

    accounts: dict[Name, StudioAccount] = Field(default_factory=dict)
    inline_media: bool = Field(
        default=False,
        description="Wan 2.7 and 3.0 get images inside the request, as older models do; no document says so",
    )


class DashscopeWan(RemoteAdapter):
    """Orders clips from Model Studio; an account has the offers of its region."""

    name: ClassVar[str] = "dashscope_wan"

    def __init__(self, settings: StudioSettings) -> None:
        self.accounts = tuple(settings.accounts) or ("default",)
        self._settings = settings
        self._clients = {
            name: client(
                base_url=account.url,
                headers={"Authorization": f"Bearer {account.api_key.get_secret_value()}"},
            )
            for name, account in settings.accounts.items()
        }

    @override
    def serves(self, offer: Offer, account: str) -> bool:
        known = self._settings.accounts.get(account)
        return known is not None and offer.region in (None, known.region)

    @override
    def limits(self, account: str) -> AccountLimits:
        known = self._settings.accounts.get(account)
        if known is None:
            return AccountLimits()
        return AccountLimits(concurrent=known.concurrent, submits_per_s=known.submits_per_s)

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        found = offer.preset(preset)
        params = read_params(found) if found is not None else None
        if params is None:
            return Unready(
                code="unknown_model",
                detail=f"{offer.id}: params.body of preset {preset} has to say how {offer.upstream} is"
                " spoken to: size, image, frames, ratio or media",
            )
        if not any(self.serves(offer, account) for account in self.accounts):
            return self._no_account(offer)
        if params.body == "media" and not self._settings.inline_media:
            return Unready(
                code="switched_off",
                detail="that this model takes an image inside the request is not documented: set"
                " inline_media: true in the section dashscope_wan to try",
            )
        return None

    @override
    async def submit(self, job: Job) -> Ticket:
        params = read_params(job.preset)
        if params is None:
            raise Unsupported(f"{job.offer.id} does not say how its model is spoken to.")
        account = self._account_of(job)
        order = await asyncio.to_thread(order_of, job, params)
        path = _CREATE_FROM_FRAMES if params.body == "frames" else _CREATE
        with translating(PROVIDER, creating=True, classify=classify):
            response = await self._client(account).post(path, json=order.body(), headers=_ASYNC)
            reply = read(TaskReply, json_object(response))
        if reply.output is None or not reply.output.task_id:
            raise _no_task(response, creating=True)
        return _ticket(account, reply.output.task_id)

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        reply, response = await self._look(ticket.data["account"], ticket.id)
        found = snapshot(reply)
        if found is None:
            raise _no_task(response, creating=False)
        return found

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        """Only a task that waits can be stopped."""
        with translating(PROVIDER, creating=False, classify=classify):
            response = await self._client(ticket.data["account"]).post(f"{_task(ticket.id)}/cancel")
            if error_code(response) == "unsupportedoperation":
                return False
            json_object(response)
        if error_code(response) is not None:
            raise _no_task(response, creating=False)
        return True

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the job by its time, model and prompt; once it is over also by its length and size.

        Tasks that wait, run or failed do not show their prompts, so that a job may be found only later.
        """
        account = self._account_of(job)
        params = read_params(job.preset)
        size = pixels(job, params) if params is not None else None
        matching = []
        for id in await self._listed(account, job):
            reply, _ = await self._look(account, id)
            if may_be(reply, job, size):
                matching.append(id)
        if len(matching) > 1:
            raise OutcomeUnknown(
                f"{PROVIDER} has {len(matching)} tasks with this prompt, and nothing tells them apart.",
                operator_detail=f"{job.tag} is one of the tasks {', '.join(matching)} of account {account}.",
            )
        return _ticket(account, matching[0]) if matching else None

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of a task that a person found in the console.

        Raises:
            BadRequest: no task has such an id.
        """
        if not _TASK_ID.fullmatch(upstream_id):
            raise BadRequest(f"{upstream_id!r} is no id of a task at {PROVIDER}.")
        return _ticket(self._account_of(job), upstream_id)

    @override
    async def aclose(self) -> None:
        for one in self._clients.values():
            await one.aclose()

    async def _look(self, account: str, id: str) -> tuple[TaskReply, Response]:
        with translating(PROVIDER, creating=False, classify=classify):
            response = await self._client(account).get(_task(id))
            return read(TaskReply, json_object(response)), response

    async def _listed(self, account: str, job: Job) -> Sequence[str]:
        """The tasks of the job's model since the job was planned."""
        query: dict[str, Any] = {
            **window(job.planned_at, datetime.now(UTC)),
            "model_name": job.offer.upstream,
        }
        ids: dict[str, None] = {}  # a task may move to the next page meanwhile
        for page in range(1, _MOST_PAGES + 1):
            with translating(PROVIDER, creating=False, classify=classify):
                response = await self._client(account).get(
                    _TASKS, params={**query, "page_no": page, "page_size": _PAGE}
                )
                listed = read(TaskList, json_object(response))
            if error_code(response) is not None:
                raise _no_task(response, creating=False)
            ids |= dict.fromkeys(task.task_id for task in listed.tasks)
            if not listed.tasks or len(ids) >= (listed.total or 0):
                return list(ids)
        raise OutcomeUnknown(
            f"{PROVIDER} has too many tasks to look through for this one.",
            operator_detail=f"More than {_PAGE * _MOST_PAGES} tasks of {job.offer.upstream} since {job.tag}.",
        )

    def _no_account(self, offer: Offer) -> Unready:
        region = offer.region or "singapore"
        name = region if self._settings.accounts else "default"
        return Unready(
            code="no_credentials",
            detail=f"no account in {region}: set accounts.{name}.api_key in the section {self.name}, or"
            f" REELGATE_PLUGINS__{self.name.upper()}__ACCOUNTS__{name.upper()}__API_KEY,"
            f" and its region to {region}",
        )

    def _account_of(self, job: Job) -> str:
        """The account that was planned, once it is sure that it can have the offer."""
        known = self._settings.accounts.get(job.account)
        if known is None:
            raise NotAuthorised(
                f"This gateway no longer has the account at {PROVIDER} that this job is for.",
                operator_detail=f"dashscope_wan.accounts has no {job.account!r} any more: put it back.",
            )
        if not self.serves(job.offer, job.account):
            raise Unsupported(
                f"This gateway's account at {PROVIDER} is of another region than {job.offer.id}.",
                operator_detail=f"dashscope_wan.accounts.{job.account} is in {known.region}, not in"
                f" {job.offer.region}.",
            )
        return job.account

    def _client(self, account: str) -> Client:
        found = self._clients.get(account)
        if found is None:
            raise Unavailable(  # no word of the provider's about a key
                f"{PROVIDER} cannot be asked: this gateway no longer has the account of this job.",
                operator_detail=f"dashscope_wan.accounts has no {account!r} any more, and it has jobs: put it"
                " back.",
            )
        return found


def _ticket(account: str, id: str) -> Ticket:
    return Ticket(id=id, data={"account": account})


def _task(id: str) -> str:
    return f"{_TASKS}/{quote(id, safe='')}"


def _no_task(response: Response, *, creating: bool) -> ProviderError:
    """What an HTTP 200 means that holds an error, or nothing that is documented."""
    verdict = classify(response)
    if verdict is not None:
        return refusal(PROVIDER, response, verdict, creating=creating)
    return UnexpectedReply(
        f"{PROVIDER} gave an answer that its API does not document.",
        operator_detail=f"{PROVIDER}: HTTP {response.status_code}, code {error_code(response)}, no task.",
    )
