"""A remote adapter that does as the test says: accounts, limits, refusals, webhooks, jobs adopted by id."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from typing_extensions import override

from gateway.spec import AccountLimits, Job, NotAuthorised, Offer, RemoteAdapter, Running, Snapshot, Ticket

SOURCE = {"text": "invented for a test", "date": "2026-01-01", "confidence": "high"}


def hand_offer(**fields: Any) -> dict[str, Any]:
    """An offer of the model ``echo-remote`` that is cheaper than echo's own."""
    price = {"unit": "second", "usd": "0.001", "effective_from": "2026-01-01", "source": SOURCE}
    return {"model": "echo-remote", "adapter": "hand", "upstream": "hand-1", "prices": [price], **fields}


class Hand(RemoteAdapter):
    """``sent``: account and tag of each submit. ``trouble``: what a submit on an account raises.

    ``lacks``: offers that cannot be had with an account. ``jobs``: what a look at an id finds; ``blind``:
    what looks raise instead.
    """

    name: ClassVar[str] = "hand"

    def __init__(self, accounts: tuple[str, ...] = ("first", "second")) -> None:
        self.accounts = accounts
        self.sent: list[tuple[str, str]] = []
        self.trouble: dict[str, Exception] = {}
        self.allowed: dict[str, AccountLimits] = {}
        self.lacks: dict[str, set[str]] = {}
        self.jobs: dict[str, Snapshot] = {}
        self.callbacks: list[str | None] = []
        self.blind: Exception | None = None

    @override
    def serves(self, offer: Offer, account: str) -> bool:
        return offer.id not in self.lacks.get(account, set())

    @override
    def limits(self, account: str) -> AccountLimits:
        return self.allowed.get(account, AccountLimits())

    @override
    async def submit(self, job: Job) -> Ticket:
        self.sent.append((job.account, job.tag))
        self.callbacks.append(job.callback_url)
        if job.account in self.trouble:
            raise self.trouble[job.account]
        return self.ticket(job, f"up-{job.tag}")

    @override
    async def poll(self, ticket: Ticket) -> Snapshot:
        if self.blind is not None:
            raise self.blind
        return self.jobs.get(ticket.id, Running())

    @override
    async def cancel(self, ticket: Ticket) -> bool:
        return False

    def ticket(self, job: Job, upstream_id: str) -> Ticket:
        return Ticket(id=upstream_id, data={"account": job.account})

    def parse_webhook(self, headers: Mapping[str, str], body: bytes) -> Sequence[str]:
        if headers.get("x-hand-signature") != "good":
            raise NotAuthorised("the signature is wrong")
        return list(json.loads(body)["ids"])
