"""Orders clips from Seedance, and looks after them."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from pydantic import ValidationError
from typing_extensions import override

from adapters.seedance._order import notes_of, order_of
from adapters.seedance._settings import PresetParams, SeedanceOptions, SeedanceSettings
from adapters.seedance._wire import (
    MOST_LISTED,
    PROVIDER,
    TASKS,
    Created,
    Page,
    Task,
    Tier,
    classify,
    failed,
    read,
)
from gateway.kit.http import Client, client, json_object, translating
from gateway.kit.options import read_options
from gateway.spec import (
    AccountLimits,
    Failed,
    Job,
    NotAuthorised,
    Note,
    Offer,
    OutcomeUnknown,
    ProviderError,
    Queued,
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
)

_AT_ONCE = 50
"""Task ids in one query, so that its address stays short."""

_POLL_MS: dict[Tier, int] = {"default": 5_000, "flex": 60_000}
_ENV = "REELGATE_PLUGINS__SEEDANCE__ACCOUNTS__DEFAULT__API_KEY"


class Kept(Value):
    """What a ticket holds besides the task's id."""

    account: str
    tier: Tier = "default"
    draws_seed: bool = False
    notes: tuple[Note, ...] = ()


class Seedance(RemoteAdapter):
    """One client for each account. There is no idempotency key; a lost job is looked up by its tag."""

    name: ClassVar[str] = "seedance"

    def __init__(self, settings: SeedanceSettings) -> None:
        self._settings = settings
        self.accounts = tuple(settings.accounts) or RemoteAdapter.accounts
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
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        if not any(self.serves(offer, account) for account in self.accounts):
            where = f" in {offer.region}" if offer.region else ""
            detail = (
                f"No account{where}: set accounts.default.api_key and its region in the section seedance,"
                f" or {_ENV} and …__REGION."
            )
            return Unready(code="no_credentials", detail=detail)
        found = offer.preset(preset)
        unconfirmed = found is not None and PresetParams.model_validate(found.params).unconfirmed
        if unconfirmed and not self._settings.unconfirmed_drafts:
            detail = "Set unconfirmed_drafts in the section seedance: one weak source says that this works."
            return Unready(code="drafts_unconfirmed", detail=detail)
        return None

    @override
    def limits(self, account: str) -> AccountLimits:
        found = self._settings.accounts.get(account)
        return found.limits if found is not None else AccountLimits()

    @override
    async def submit(self, job: Job) -> Ticket:
        account = self._account(job)
        options = read_options(job, SeedanceOptions)
        order, notes = await asyncio.to_thread(order_of, job, account, options)
        with translating(PROVIDER, creating=True, classify=classify):
            # for the provider's support to find the call by: it makes nothing idempotent
            traced = {"X-Client-Request-Id": job.tag}
            reply = json_object(await self._client(account).post(TASKS, json=order.body(), headers=traced))
        return _ticket(job, account, read(Created, reply).id, notes)

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of a task that a person found, by its id; looked at before it is adopted."""
        account = self._account(job)
        return _ticket(job, account, upstream_id, notes_of(job, account))

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        return _snapshot(await self._task(ticket), _kept(ticket))

    async def poll_many(self, tickets: Sequence[Ticket]) -> Sequence[Snapshot | ProviderError]:
        """One look at each, in order, by the list: a query for each account, tier and fifty tasks."""
        groups: dict[tuple[str, Tier], list[Ticket]] = defaultdict(list)
        for ticket in tickets:
            kept = _kept(ticket)
            groups[kept.account, kept.tier].append(ticket)
        chunks = [
            (account, tier, group[start : start + _AT_ONCE])
            for (account, tier), group in groups.items()
            for start in range(0, len(group), _AT_ONCE)
        ]
        looks = await asyncio.gather(*(self._look(*chunk) for chunk in chunks))
        seen = {key: outcome for look in looks for key, outcome in look.items()}
        return [seen[_key(ticket)] for ticket in tickets]

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        """Only a task that waits can be stopped. The same call deletes one that is over, with its result."""
        if (await self._task(ticket)).status != "queued":
            return False
        with translating(PROVIDER, creating=False, classify=classify):
            response = await self._client(_kept(ticket).account).delete(_task_path(ticket))
            if response.status_code == 409:  # it has begun in the meantime
                return False
            json_object(response)
        return True

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the job by its tag among the tasks of the last seven days.

        Raises:
            OutcomeUnknown: more than one task has the tag.
        """
        account, tier = self._account(job), _tier(job)
        notes = await asyncio.to_thread(notes_of, job, account)
        found: set[str] = set()
        looked_at = 0
        for number in range(1, MOST_LISTED + 1):
            query = {"page_num": number, "page_size": MOST_LISTED, "filter.service_tier": tier}
            page = await self._list(account, query)
            tasks = page.items or ()
            found |= {id for id, task in _by_id(page).items() if task.get("safety_identifier") == job.tag}
            looked_at += len(tasks)
            if not tasks or looked_at >= (page.total or 0):
                break
        if len(found) > 1:
            raise OutcomeUnknown(
                f"{PROVIDER} has {len(found)} tasks for this one job.",
                operator_detail=f"{PROVIDER}: {', '.join(sorted(found))} have the tag {job.tag}.",
            )
        return _ticket(job, account, found.pop(), notes) if found else None

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[str]:
        """The task that a callback names. None is signed: what it says is never believed, only looked up."""
        try:
            id = Task.model_validate_json(body).id
        except ValidationError:
            return []
        return [id] if id else []

    @override
    async def aclose(self) -> None:
        await asyncio.gather(*(http.aclose() for http in self._clients.values()))

    def _account(self, job: Job) -> str:
        """The account that was planned, once it is sure that it can have the offer."""
        known = self._settings.accounts.get(job.account)
        if known is None:
            raise NotAuthorised(
                f"{PROVIDER} was not asked: this gateway no longer has the account that this job is for.",
                operator_detail=f"The section seedance has no accounts.{job.account}: put it back.",
            )
        if not self.serves(job.offer, job.account):
            raise Unsupported(
                f"{PROVIDER} was not asked: this gateway's account is of another region than {job.offer.id}.",
                operator_detail=f"accounts.{job.account} in the section seedance is in {known.region}, not in"
                f" {job.offer.region}.",
            )
        return job.account

    def _client(self, account: str) -> Client:
        if account not in self._clients:
            raise Unavailable(
                f"{PROVIDER} cannot be asked: this gateway's account there was removed.",
                operator_detail=f"Set accounts.{account} in the section seedance again: it has jobs.",
            )
        return self._clients[account]

    async def _task(self, ticket: Ticket) -> Task:
        http = self._client(_kept(ticket).account)
        with translating(PROVIDER, creating=False, classify=classify):
            return read(Task, json_object(await http.get(_task_path(ticket))))

    async def _list(self, account: str, query: dict[str, Any]) -> Page:
        with translating(PROVIDER, creating=False, classify=classify):
            return read(Page, json_object(await self._client(account).get(TASKS, params=query)))

    async def _look(
        self, account: str, tier: Tier, tickets: Sequence[Ticket]
    ) -> dict[tuple[str, str], Snapshot | ProviderError]:
        query = {
            "page_num": 1,
            "page_size": len(tickets),
            "filter.service_tier": tier,
            "filter.task_ids": [ticket.id for ticket in tickets],
        }
        try:
            page = await self._list(account, query)
        except ProviderError as error:
            return {_key(ticket): error for ticket in tickets}
        listed = _by_id(page)
        return {_key(ticket): await self._seen(listed.get(ticket.id), ticket) for ticket in tickets}

    async def _seen(self, listed: dict[str, Any] | None, ticket: Ticket) -> Snapshot | ProviderError:
        """What became of a task; one that the list leaves out is asked for by itself."""
        try:
            task = await self._task(ticket) if listed is None else read(Task, listed)
            return _snapshot(task, _kept(ticket))
        except ProviderError as error:
            return error


def _snapshot(task: Task, kept: Kept) -> Snapshot:
    match task.status:
        case "queued":
            return Queued(poll_after_ms=_POLL_MS[kept.tier])
        case "succeeded":
            return _success(task, kept)
        case "failed":
            return failed(task.error)
        case "expired":
            message = f"{PROVIDER} gave the job up: it was not done in the time it had. Nothing is billed."
            return Failed(code="expired", message=message)
        case "cancelled" | "canceled":
            return Stopped()
        case _:  # "running", and any word that is new: the core's deadline bounds it
            return Running(poll_after_ms=_POLL_MS[kept.tier])


def _success(task: Task, kept: Kept) -> Succeeded:
    content = task.content
    if content is None or not content.video_url:
        raise UnexpectedReply(f"{PROVIDER} says that the video is done, and not where it is.")
    notes = list(kept.notes)
    if kept.draws_seed and task.seed is not None and task.seed >= 0:
        notes.append(Note(code="seed_used", detail=f"no seed was given; this clip's is {task.seed}"))
    if content.last_frame_url:
        notes.append(Note(code="last_frame", detail=f"for 24 hours at {content.last_frame_url}"))
    tokens = task.usage.completion_tokens if task.usage else None
    return Succeeded(url=content.video_url, usage=Usage(tokens=tokens), notes=tuple(notes))


def _by_id(page: Page) -> dict[str, dict[str, Any]]:
    return {id: task for task in page.items or () if isinstance(id := task.get("id"), str)}


def _ticket(job: Job, account: str, id: str, notes: tuple[Note, ...]) -> Ticket:
    kept = Kept(account=account, tier=_tier(job), draws_seed=job.request.seed is None, notes=notes)
    return Ticket(id=id, data=kept.model_dump(mode="json"))


def _task_path(ticket: Ticket) -> str:
    return f"{TASKS}/{quote(ticket.id, safe='')}"


def _kept(ticket: Ticket) -> Kept:
    try:
        return Kept.model_validate(ticket.data)
    except ValidationError:
        raise UnexpectedReply("The job's ticket is not one that this adapter wrote.") from None


def _key(ticket: Ticket) -> tuple[str, str]:
    return _kept(ticket).account, ticket.id


def _tier(job: Job) -> Tier:
    return PresetParams.model_validate(job.preset.params).service_tier or "default"
