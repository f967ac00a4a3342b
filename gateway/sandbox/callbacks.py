"""Calls that providers make when a job is over, and the ones that a tester ordered besides."""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count
from typing import Literal, NamedTuple

from gateway.kit.http import Client, client, translating
from gateway.kit.sandbox import Callback, FakeProvider
from gateway.sandbox.desk import ProviderDesk
from gateway.sandbox.records import Held, Records
from gateway.spec import ProviderError

log = logging.getLogger(__name__)

_WAITS_S = (0.0, 1.0, 4.0)
"""Before each try of one call."""

_CONNECTIONS = 50


class _Due(NamedTuple):
    at: float
    number: int
    held: Held
    what: Literal["early", "forged", "over"]


class Callbacks:
    """Makes each job's call once it is over; after a restart, those that are still due."""

    def __init__(self, records: Records, now: Callable[[], float]) -> None:
        self._records = records
        self._now = now
        self._callers: dict[str, tuple[FakeProvider, ProviderDesk]] = {}
        self._due: list[_Due] = []
        self._number = count()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def serve(self, desks: Mapping[FakeProvider, ProviderDesk]) -> None:
        """Make calls for these providers, as far as they make any."""
        for fake, desk in desks.items():
            if type(fake).callback is not FakeProvider.callback:
                self._callers[fake.name] = (fake, desk)
        for held in self._records.all():
            if not held.called_back:
                self.expect(held)

    def expect(self, held: Held) -> None:
        """Note a job that was taken or cancelled; from any thread."""
        if held.provider not in self._callers:
            return
        if self._loop is None:
            self._push(held)
        else:
            self._loop.call_soon_threadsafe(self._push, held)

    async def run(self) -> None:
        """Make calls until cancelled."""
        self._loop = asyncio.get_running_loop()
        http = client(base_url="", connect_s=5, read_s=10, connections=_CONNECTIONS)
        try:
            async with asyncio.TaskGroup() as calls:
                while True:
                    while self._due and self._due[0].at <= self._now():
                        calls.create_task(self._call(heapq.heappop(self._due), http))
                    await self._until_something_is_due()
        finally:
            self._loop = None
            await http.aclose()

    def _push(self, held: Held) -> None:
        job = held.job
        over_at = job.finished_at if held.cancelled_at is None else held.cancelled_at
        heapq.heappush(self._due, _Due(over_at, next(self._number), held, "over"))
        for what in ("early", "forged"):
            if held.cancelled_at is None and held.has(f"callback_{what}"):
                heapq.heappush(self._due, _Due(job.created_at, next(self._number), held, what))
        self._changed.set()

    async def _until_something_is_due(self) -> None:
        wait = self._due[0].at - self._now() if self._due else None
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), wait)
        except TimeoutError:
            return

    async def _call(self, due: _Due, http: Client) -> None:
        held = due.held
        if held.called_back or self._records.find(held.provider, held.job.id) is None:
            return
        if due.what == "over":
            self._records.called_back(held)  # at most once, like a provider that never looks back
        fake, desk = self._callers[held.provider]
        held.claim = None
        try:
            call = fake.callback(desk, held.job)
        except Exception:
            log.exception("%s has no callback about %s", held.provider, held.job.id)
            return
        if call is None:
            return
        if due.what == "forged":
            call = replace(call, body=call.body + b" ")  # the same JSON, and no longer what was signed
        for _ in range(2 if due.what == "over" and held.has("callback_duplicate") else 1):
            await _deliver(call, http, f"{held.provider}'s callback about {held.job.id}")


async def _deliver(call: Callback, http: Client, what: str) -> None:
    for wait in _WAITS_S:
        await asyncio.sleep(wait)
        try:
            with translating("The receiver", creating=False):
                reply = await http.post(call.url, content=call.body, headers=dict(call.headers))
                reply.raise_for_status()
            return
        except ProviderError as error:
            # without the address, whose path may be a secret
            log.info("%s did not arrive: %s", what, type(error).__name__)
