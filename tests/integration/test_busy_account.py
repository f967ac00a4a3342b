"""More jobs than a provider account takes at once, in a running gateway: they wait, and all are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override

from adapters.echo._remote import EchoRemote, RemoteOptions
from gateway.spec import AccountLimits, Job, Ticket

from .conftest import Server, running

AT_ONCE = 2
JOBS = 7


class Narrow(EchoRemote):
    """Echo's imitated provider, of which an account takes two jobs at once; ``most`` is what it had."""

    def __init__(self, bill: Path) -> None:
        super().__init__(RemoteOptions(latency_ms=300), bill=bill)
        self.taken: list[str] = []
        self.most = 0

    @override
    def limits(self, account: str) -> AccountLimits:
        return AccountLimits(concurrent=AT_ONCE, submits_per_s=20)

    @override
    async def submit(self, job: Job) -> Ticket:
        ticket = await super().submit(job)
        self.taken.append(ticket.id)
        under_way = [id for id in self.taken if self._provider.state(id) in ("queued", "running")]
        self.most = max(self.most, len(under_way))
        return ticket


@pytest.fixture
def narrow(tmp_path: Path) -> Narrow:
    return Narrow(tmp_path / "bill.jsonl")


@pytest.fixture
def server(module_database_url: str, tmp_path: Path, narrow: Narrow) -> Iterator[Server]:
    with running(module_database_url, tmp_path / "data", narrow) as server:
        yield server


def test_they_wait_for_room_and_all_are_made(server: Server, narrow: Narrow) -> None:
    body = {"prompt": "one of many", "model": "echo-remote", "seconds": "1", "size": "64x64"}
    with server.client() as client:
        made = [client.post("/v1/videos", json=body).json()["id"] for _ in range(JOBS)]
    ends = [server.finished(video_id) for video_id in made]
    assert {end["status"] for end in ends} == {"completed"}
    assert len(narrow.taken) == JOBS, "each was sent once"
    assert narrow.most == AT_ONCE, "no more than the account takes, and no fewer"
