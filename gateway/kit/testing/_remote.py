"""What a remote adapter promises."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Collection, Sequence
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from typing_extensions import override

from gateway.kit.http import Hop, UnsafeUrl, download, origin_of
from gateway.kit.testing._contract import AdapterContract, MakesJobs
from gateway.spec import (
    Adopts,
    BadRequest,
    Cards,
    Failed,
    LooksUp,
    Offer,
    OutcomeUnknown,
    ProviderError,
    Queued,
    RemoteAdapter,
    Running,
    Snapshot,
    Stopped,
    StreamsContent,
    Succeeded,
    Ticket,
    Unavailable,
)

_SNAPSHOTS = (Queued, Running, Succeeded, Failed, Stopped)
_TERMINAL = (Succeeded, Failed, Stopped)
_LARGEST_CLIP = 64 * 1024 * 1024


class World(Protocol):
    """A fake upstream in the test's hand; each order holds for the jobs made and submitted after it."""

    origins: Collection[str]
    """Where results may be fetched from, and nowhere else: the fake's own origin."""

    def adapter(self) -> RemoteAdapter:
        """A fresh adapter that speaks to this upstream, configured with the suite's canary."""
        ...

    def succeed(self) -> None:
        """Jobs are finished by the next look, with a clip as it was asked for. The state at the start."""
        ...

    def hold(self) -> None:
        """Jobs stay unfinished."""
        ...

    def fail(self) -> None:
        """Jobs are given up by the next look."""
        ...

    def lose_answer(self) -> None:
        """The next submit is taken, but its answer never arrives; those after it are well."""
        ...

    def go_away(self) -> None:
        """Nothing can be reached any more."""
        ...

    def created(self) -> int:
        """How many jobs the upstream has taken, and would bill."""
        ...


class _Only:
    """Lets nothing be fetched but from the fake."""

    def __init__(self, origins: Collection[str]) -> None:
        self._origins = {origin_of(origin) for origin in origins}

    def check_url(self, hop: Hop) -> None:
        if hop.origin not in self._origins:
            raise UnsafeUrl(f"The result is at {hop.origin}, which is not among the fake's origins.")

    def check_addresses(self, hop: Hop, addresses: Sequence[str]) -> None:
        """Wherever the fake may be."""


class RemoteAdapterContract(AdapterContract):
    """Give ``world`` and ``cards``."""

    @pytest.fixture
    def world(self) -> World:
        """The fake upstream; override."""
        raise NotImplementedError("give a fake upstream")

    @override
    @pytest_asyncio.fixture
    async def adapter(  # type: ignore[override]  # pytest-asyncio's decorator keeps the function's type
        self, world: World
    ) -> AsyncIterator[RemoteAdapter]:
        adapter = world.adapter()
        yield adapter
        await adapter.aclose()

    async def look(self, world: World, ticket: Ticket) -> Snapshot:
        """Poll with an instance that knows nothing but the ticket, and that as the database kept it."""
        fresh = world.adapter()
        try:
            snapshot = await fresh.poll(Ticket.model_validate_json(ticket.model_dump_json()))
        finally:
            await fresh.aclose()
        assert isinstance(snapshot, _SNAPSHOTS), f"{snapshot!r} is not a snapshot"
        return snapshot

    async def fetch(self, world: World, adapter: RemoteAdapter, ticket: Ticket, folder: Path) -> Path:
        """The finished clip, by its URL or from the adapter's stream."""
        snapshot = await self.look(world, ticket)
        assert isinstance(snapshot, Succeeded), f"{snapshot!r} is not a success"
        path = folder / "clip.mp4"
        if snapshot.url is None:
            assert isinstance(adapter, StreamsContent), "no URL and no content() to take the result from"
            path.write_bytes(b"".join([chunk async for chunk in adapter.content(ticket)]))
            return path
        held = bytearray()

        async def take(chunk: bytes) -> None:
            held.extend(chunk)

        await download(
            snapshot.url,
            take,
            guard=_Only(world.origins),
            headers=adapter.download_headers(ticket),
            max_bytes=_LARGEST_CLIP,
            deadline_s=30,
        )
        path.write_bytes(held)
        return path

    @pytest.mark.asyncio
    async def test_a_ticket_survives_the_database(self, adapter: RemoteAdapter, job: MakesJobs) -> None:
        ticket = await adapter.submit(job())
        assert isinstance(ticket, Ticket)
        assert Ticket.model_validate_json(ticket.model_dump_json()) == ticket

    @pytest.mark.asyncio
    async def test_a_fresh_instance_can_go_on(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        world.hold()
        ticket = await adapter.submit(job())
        assert isinstance(await self.look(world, ticket), Queued | Running)

    @pytest.mark.asyncio
    async def test_it_delivers_the_clip_that_was_planned(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs, tmp_path: Path
    ) -> None:
        ordered = job()
        ticket = await adapter.submit(ordered)
        self.check_clip(await self.fetch(world, adapter, ticket, tmp_path), ordered.output)

    @pytest.mark.asyncio
    async def test_it_takes_a_first_frame(
        self,
        world: World,
        adapter: RemoteAdapter,
        job: MakesJobs,
        offers: list[Offer],
        cards: Cards,
        tmp_path: Path,
    ) -> None:
        for offer in self.offers_with_first_frame(offers, cards)[:1]:
            ordered = job(offer=offer, first_frame=self.picture(job().output))
            ticket = await adapter.submit(ordered)
            self.check_clip(await self.fetch(world, adapter, ticket, tmp_path), ordered.output)

    @pytest.mark.asyncio
    async def test_what_is_over_stays_over(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        for outcome in (world.succeed, world.fail):
            outcome()
            ticket = await adapter.submit(job())
            first = await self.look(world, ticket)
            assert isinstance(first, _TERMINAL), f"{first!r} is not terminal"
            assert isinstance(await adapter.cancel(ticket), bool)
            assert (await self.look(world, ticket)).state == first.state

    @pytest.mark.asyncio
    async def test_a_failed_job_is_a_value(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        world.fail()
        snapshot = await self.look(world, await adapter.submit(job()))
        assert isinstance(snapshot, Failed)
        assert snapshot.message, "a failure must say what happened"
        self.check_no_secret(snapshot)

    @pytest.mark.asyncio
    async def test_cancelling_is_answered(self, world: World, adapter: RemoteAdapter, job: MakesJobs) -> None:
        world.hold()
        ticket = await adapter.submit(job())
        accepted = await adapter.cancel(ticket)
        assert isinstance(accepted, bool)
        snapshot = await self.look(world, ticket)
        assert accepted or isinstance(snapshot, Queued | Running), "it stopped though it said it would not"

    @pytest.mark.asyncio
    async def test_a_lost_answer_never_makes_a_second_job(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs, offers: list[Offer]
    ) -> None:
        world.lose_answer()
        ordered = job()
        with pytest.raises(OutcomeUnknown):
            await adapter.submit(ordered)
        assert world.created() == 1, "the adapter sent the job again by itself, or not at all"
        match offers[0].submit_policy:
            case "lookup":
                assert isinstance(adapter, LooksUp), "submit_policy is lookup: the adapter needs lookup()"
                found = await adapter.lookup(ordered)
                assert found is not None, "the job was taken but is not found"
                assert await adapter.lookup(job()) is None, "a job that was never sent is found"
            case "idempotency_key":
                found = await adapter.submit(ordered)
            case "none":
                return
        assert isinstance(await self.look(world, found), Succeeded)
        assert world.created() == 1

    @pytest.mark.asyncio
    async def test_a_job_that_a_person_found_can_be_gone_on_with(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        world.hold()
        ordered = job()
        ticket = await adapter.submit(ordered)
        if isinstance(adapter, Adopts):
            adopted = adapter.ticket(ordered, ticket.id)
            assert adopted.id == ticket.id
            assert isinstance(await self.look(world, adopted), Queued | Running)

    @pytest.mark.asyncio
    async def test_an_upstream_that_is_gone_took_nothing(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        world.go_away()
        with pytest.raises(Unavailable):
            await adapter.submit(job())
        assert world.created() == 0

    @pytest.mark.asyncio
    async def test_an_unknown_option_is_refused_by_name(
        self, world: World, adapter: RemoteAdapter, job: MakesJobs
    ) -> None:
        with pytest.raises(BadRequest, match="no_such_option"):
            await adapter.submit(job(options={"no_such_option": 1}))
        assert world.created() == 0

    @pytest.mark.asyncio
    async def test_no_secret_shows(self, world: World, adapter: RemoteAdapter, job: MakesJobs) -> None:
        self.check_no_secret(repr(adapter))
        for trouble in (world.lose_answer, world.go_away):
            trouble()
            with pytest.raises(ProviderError) as caught:
                await adapter.submit(job())
            shown = "".join(traceback.format_exception(caught.value))
            self.check_no_secret(shown, caught.value.caller_detail, caught.value.operator_detail)
