"""The stage of the fault matrix: one gateway in test mode, one sandbox, and what both put on record."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.api.app import create_app
from gateway.db.keys import create_key, create_tenant
from gateway.db.tables import attempts, ledger_entries, videos
from gateway.jobs import settle
from gateway.jobs.runtime import Runtime
from gateway.ledger.verify import verify_ledger
from gateway.sandbox.app import bill_path, folder_in
from gateway.sandbox.inside import serve_inside
from gateway.sandbox.records import BillLine, read_bill
from gateway.settings import Settings
from gateway.spec import Offer

LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What became of one video: as its caller is told, as SQL has it, as the provider bills it.

    ``money``: the tenant's entries, kind → micro-USD; ``entries``: the same of the provider's, by attempt.
    ``lines``: each attempt's line on the bill, None where the gateway knows of no job. ``calls``: how the
    provider's calls back were answered.
    """

    told: dict[str, Any]
    attempts: Sequence[sa.Row[Any]]
    money: dict[str, int]
    entries: Sequence[dict[str, int]]
    lines: Sequence[BillLine | None]
    calls: Counter[int]

    @property
    def code(self) -> str | None:
        error = self.told["error"]
        return None if error is None else str(error["code"])

    @property
    def message(self) -> str:
        return "" if self.told["error"] is None else str(self.told["error"]["message"])

    @property
    def notes(self) -> set[str]:
        return {note["code"] for note in self.told["gateway"]["notes"]}


@dataclass
class _Calls:
    """The gateway's application, and by attempt how it answered the calls back."""

    app: ASGIApp
    answers: dict[str, Counter[int]] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = re.fullmatch(r"/hooks/\w+/(\w+)\.\S+", scope.get("path", ""))

        async def noted(message: Message) -> None:
            if found and message["type"] == "http.response.start":
                self.answers.setdefault(found[1], Counter())[message["status"]] += 1
            await send(message)

        await self.app(scope, receive, noted)


@dataclass(kw_only=True)
class Stage:
    """A running gateway and its sandbox. ``admin`` and ``caller`` are clients with keys of the two kinds."""

    runtime: Runtime
    admin: httpx.Client
    caller: httpx.Client
    calls: _Calls

    def create(self, body: dict[str, Any]) -> httpx.Response:
        return self.caller.post("/v1/videos", json=body)

    def wait(self, ids: Collection[str], within_s: float) -> set[str]:
        """Wait for all to end; returns those that did not."""
        end = time.monotonic() + within_s
        query = sa.select(videos.c.id).where(videos.c.status.in_(("queued", "in_progress")))
        while True:
            with self.runtime.db.read() as connection:
                live = set(ids) & set(connection.execute(query).scalars())
            if not live or time.monotonic() > end:
                return live
            self.runtime.stopping.wait(LOOK_AGAIN_S)

    def ended(self, video_id: str, bill: Sequence[BillLine]) -> Ended:
        told = self.caller.get(f"/v1/videos/{video_id}").json()
        with self.runtime.db.read() as connection:
            mine = attempts.c.video_id == video_id
            rows = connection.execute(sa.select(attempts).where(mine).order_by(attempts.c.number)).all()
            of_video = sa.select(ledger_entries).where(ledger_entries.c.video_id == video_id)
            entries = connection.execute(of_video).all()
        return Ended(
            told=told,
            attempts=rows,
            money={entry.kind: entry.amount_micro_usd for entry in entries if entry.account == "tenant"},
            entries=[
                {
                    entry.kind: entry.amount_micro_usd
                    for entry in entries
                    if entry.account == "provider" and entry.attempt_id == row.id
                }
                for row in rows
            ],
            lines=[line_of(row, bill) for row in rows],
            calls=sum((self.calls.answers.get(row.id, Counter()) for row in rows), Counter()),
        )

    def bill(self) -> list[BillLine]:
        return read_bill(bill_path(folder_in(self.runtime.settings.data_dir)))

    def unknown(self) -> list[dict[str, Any]]:
        """The attempts that the gateway lists as of unknown outcome."""
        listed: list[dict[str, Any]] = self.admin.get("/v1/reconcile").json()["data"]
        return listed

    def account(self, adapter: str) -> dict[str, Any]:
        """The account of an adapter's stand-in, which is on record once it has had trouble."""
        found = self.admin.get("/v1/accounts").json()["data"]
        mine = [one for one in found if (one["adapter"], one["account"]) == (adapter, "sandbox")]
        return mine[0] if mine else {"state": "closed"}

    def reset(self, adapter: str) -> None:
        """As an admin, let the account take jobs again."""
        assert self.admin.post(f"/v1/accounts/{adapter}/sandbox/reset").status_code == 200

    def problems(self) -> list[str]:
        with self.runtime.db.read() as connection:
            return verify_ledger(connection)


def line_of(row: sa.Row[Any], bill: Sequence[BillLine]) -> BillLine | None:
    """The line of an attempt's job: its upstream id is the provider's, or ends with it."""
    if row.upstream_id is None:
        return None
    ours = [line for line in bill if line.provider == row.adapter]
    return next((line for line in ours if row.upstream_id.split("/")[-1] == line.job_id), None)


def _once_for_equal_clips(make: Callable[[Path], bytes]) -> Callable[[Path], bytes]:
    """The sandbox delivers the same few clips over and over: a picture of each is made once."""
    made: dict[bytes, bytes] = {}

    def picture(path: Path) -> bytes:
        digest = hashlib.sha256(path.read_bytes()).digest()
        if digest not in made:
            made[digest] = make(path)
        return made[digest]

    return picture


@contextmanager
def staged(
    data_dir: Path, plugins: tuple[str, ...], offers: Sequence[Offer], speed: float
) -> Iterator[Stage]:
    """One gateway, whose remote offers all lead to one sandbox, in a process of its own."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    plain = {"data_dir": data_dir, "isolation": "none", "enabled_plugins": plugins, "policy": "cheapest"}
    with serve_inside(Settings(**plain), speed=speed) as inside, pytest.MonkeyPatch.context() as patch:
        for name in ("thumbnail", "spritesheet"):
            patch.setattr(settle, name, _once_for_equal_clips(getattr(settle, name)))
        settings = Settings(**plain, offers=tuple(offers), public_url=url, sandbox_url=inside.url)
        runtime = Runtime.open(settings)
        with runtime.db.write() as connection:
            tenant = create_tenant(connection, "matrix", "enterprise")
            admin = create_key(connection, runtime.pepper, tenant, name="admin", admin=True)
            caller = create_key(connection, runtime.pepper, tenant, name="caller", livemode=False)
        runtime.start()
        calls = _Calls(create_app(runtime))
        try:
            with (
                _served(calls, listening),
                _client(url, admin.secret) as one,
                _client(url, caller.secret) as other,
            ):
                yield Stage(runtime=runtime, admin=one, caller=other, calls=calls)
        finally:
            runtime.close()


def _client(url: str, secret: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}, timeout=30)


@contextmanager
def _served(app: ASGIApp, listening: socket.socket) -> Iterator[None]:
    config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=2, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=10)
        listening.close()
        assert not thread.is_alive()
