"""Kling as a remote adapter: both of its APIs, several accounts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import quote

from typing_extensions import override

from adapters.kling._account import Account
from adapters.kling._lookup import find
from adapters.kling._models import MODELS
from adapters.kling._orders import TASKS, order_of, tasks_path
from adapters.kling._settings import KlingSettings
from adapters.kling._webhook import check_signature, ids_of
from adapters.kling._wire import LegacyTask, NoSuchTask, Task, WrongParameter, read, snapshot
from gateway.spec import (
    AccountLimits,
    Job,
    NotAuthorised,
    Offer,
    OutcomeUnknown,
    ProviderError,
    RemoteAdapter,
    Snapshot,
    Ticket,
    UnexpectedReply,
    Unready,
    Unsupported,
)

_BATCH = 50
"""Ids in one query: how many Kling takes is not documented, and this many make a URL of 1 to 2 kB."""

Look = list[tuple[int, Snapshot | ProviderError]]


class Kling(RemoteAdapter):
    """Orders clips from Kling.

    A ticket's data names the account, and the path under which its task is found: ``/tasks`` in the API of
    2026, which answers for many in one query, or the older API's own.
    """

    name: ClassVar[str] = "kling"

    def __init__(self, settings: KlingSettings, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._accounts = {name: Account(name, one, now) for name, one in settings.accounts.items()}
        self.accounts = tuple(self._accounts) or ("default",)

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        model = MODELS.get(offer.upstream)
        if model is None:
            missing = f"Kling's documentation has no model {offer.upstream}."
            return Unready(code="unknown_model", detail=missing)
        if not self._accounts:
            missing = f"Kling has no account here: {_how_to_set('default')}"
            return Unready(code="no_credentials", detail=missing)
        if not any(self.serves(offer, account) for account in self.accounts):
            missing = f"{offer.upstream} takes an API key, no access key: {_how_to_set(self.accounts[0])}"
            return Unready(code="no_credentials", detail=missing)
        return None

    @override
    def serves(self, offer: Offer, account: str) -> bool:
        settings, model = self._settings.accounts.get(account), MODELS.get(offer.upstream)
        if settings is None or model is None:
            return False
        return model.legacy or settings.api_key is not None

    @override
    def limits(self, account: str) -> AccountLimits:
        settings = self._settings.accounts.get(account)
        return AccountLimits(concurrent=settings.concurrent if settings is not None else None)

    @override
    async def submit(self, job: Job) -> Ticket:
        account = self._account(job.account)
        order = await asyncio.to_thread(order_of, job, self._settings)  # it reads the images
        if not self.serves(job.offer, job.account):
            raise Unsupported(
                f"This gateway's account at Kling cannot have {job.offer.id}; nothing was created.",
                operator_detail=f"{job.offer.upstream} takes an API key: {_how_to_set(job.account)}",
            )
        try:
            data = await account.call("POST", order.path, creating=True, body=order.body)
        except WrongParameter:
            taken = await self._taken_before(job)
            if taken is None:
                raise
            return taken
        task: Task | LegacyTask = (
            read(Task, data or {}) if order.tasks == TASKS else read(LegacyTask, data or {})
        )
        if not task.id:
            raise UnexpectedReply("Kling took the job, and its answer has no id of a task.")
        return self._ticket(account, order.tasks, task.id)

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        (seen,) = await self.poll_many([ticket])
        if isinstance(seen, ProviderError):
            raise seen
        return seen

    async def poll_many(self, tickets: Sequence[Ticket]) -> list[Snapshot | ProviderError]:
        """One look at each, in order: those of the API of 2026 by the batch, the others one by one."""
        looks = await asyncio.gather(*(self._look(tickets, batch) for batch in _batches(tickets)))
        seen = dict(one for look in looks for one in look)
        return [seen[index] for index in range(len(tickets))]

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        """False: Kling has no way to stop a task."""
        return False

    async def lookup(self, job: Job) -> Ticket | None:
        """Find the task by its ``external_task_id``, which is the job's tag.

        Raises:
            OutcomeUnknown: two have it, or the account's list is too long to be sure.
        """
        account, path = self._account(job.account), tasks_path(job)
        id = await find(account, path, job.tag, since=job.planned_at, now=self._now())
        return self._ticket(account, path, id) if id is not None else None

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        """The ticket of a task that a person found, by Kling's id of it; looked at before it is adopted."""
        return self._ticket(self._account(job.account), tasks_path(job), upstream_id)

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[str]:
        """The task that a callback is about.

        Kling signs only for who has a ``webhook_secret``. Without one this reads the id and verifies nothing:
        what authenticates the call is the token in its URL, and it is a hint to look, no more.

        Raises:
            NotAuthorised: there is a secret, and the signature is missing, wrong or not of these minutes.
        """
        found = [one.webhook_secret for one in self._settings.accounts.values()]
        secrets = [secret.get_secret_value() for secret in found if secret is not None]
        if secrets:
            check_signature(secrets, headers, body, self._now())
        return ids_of(body)

    @override
    async def aclose(self) -> None:
        await asyncio.gather(*(account.aclose() for account in self._accounts.values()))

    async def _look(self, tickets: Sequence[Ticket], batch: Sequence[int]) -> Look:
        """One query; ``batch`` are the places of its tickets."""
        name, path = _place(tickets[batch[0]])
        ids = [tickets[index].id for index in batch]
        try:
            account = self._account(name)
            if path == TASKS:
                shown = await _tasks(account, ids)
            else:
                shown = {ids[0]: await account.call("GET", f"{path}/{quote(ids[0], safe='')}")}
        except NoSuchTask as error:
            if len(batch) == 1:
                return [(batch[0], error)]
            return await self._look_apart(tickets, batch)
        except ProviderError as error:
            return [(index, error) for index in batch]
        shape: type[Task | LegacyTask] = Task if path == TASKS else LegacyTask
        return [(index, self._seen(id, shown.get(id), shape)) for index, id in zip(batch, ids, strict=True)]

    async def _look_apart(self, tickets: Sequence[Ticket], batch: Sequence[int]) -> Look:
        """Each half by itself: one task that Kling does not know is not to hide the others."""
        middle = len(batch) // 2
        halves = (self._look(tickets, half) for half in (batch[:middle], batch[middle:]))
        return [one for half in await asyncio.gather(*halves) for one in half]

    def _seen(self, id: str, shown: Any, shape: type[Task | LegacyTask]) -> Snapshot | ProviderError:
        if not shown:
            return NoSuchTask(f"Kling does not show the task {id}: it keeps them for 30 days.")
        try:
            return snapshot(read(shape, shown), failure_words=self._settings.failure_words)
        except UnexpectedReply as error:
            return error

    async def _taken_before(self, job: Job) -> Ticket | None:
        """The task that has our id already: an order that a person sends again may be refused for that."""
        try:
            return await self.lookup(job)
        except ProviderError as error:
            raise OutcomeUnknown(
                "Kling refused the order, and did not tell if it has the job already. It is not sent again.",
                operator_detail=error.operator_detail,
            ) from None

    def _ticket(self, account: Account, path: str, id: str) -> Ticket:
        return Ticket(id=id, data={"account": account.name, "path": path})

    def _account(self, name: str) -> Account:
        account = self._accounts.get(name)
        if account is None:
            raise NotAuthorised(
                "This gateway has no account at Kling for this job; nothing was created or charged.",
                operator_detail=f"There is no account {name!r} in the section kling: {_how_to_set(name)}",
            )
        return account


async def _tasks(account: Account, ids: Sequence[str]) -> Mapping[str, Any]:
    data = await account.call("GET", TASKS, query={"task_ids": ",".join(ids)})
    return {str(task.get("id")): task for task in read(list[dict[str, Any]], data or [])}


def _place(ticket: Ticket) -> tuple[str, str]:
    return str(ticket.data.get("account")), str(ticket.data.get("path"))


def _batches(tickets: Sequence[Ticket]) -> Iterator[list[int]]:
    """The places of the tickets that one query can answer for."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, ticket in enumerate(tickets):
        account, path = _place(ticket)
        groups.setdefault((account, path) if path == TASKS else (account, path, ticket.id), []).append(index)
    for places in groups.values():
        yield from (places[start : start + _BATCH] for start in range(0, len(places), _BATCH))


def _how_to_set(account: str) -> str:
    variable = f"REELGATE_PLUGINS__KLING__ACCOUNTS__{account.upper()}__API_KEY"
    return f"set accounts.{account}.api_key in the section kling, or {variable}."
