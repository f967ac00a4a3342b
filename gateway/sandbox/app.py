"""The sandbox as one web application: every fake under its name, the file store, the tester's own pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from gateway.kit.sandbox import FakeProvider
from gateway.sandbox.callbacks import Callbacks
from gateway.sandbox.clips import ClipShelf
from gateway.sandbox.desk import Pace, ProviderDesk, Shared
from gateway.sandbox.disturbing import Disturbing
from gateway.sandbox.faults import KINDS, Fault, Order, Orders
from gateway.sandbox.files import FileStore
from gateway.sandbox.records import BillLine, Held, Records

_RESERVED = ("sandbox", "files")


def folder_in(data_dir: Path) -> Path:
    """The folder of the sandbox that belongs to a gateway's data folder."""
    return data_dir / "sandbox"


def bill_path(folder: Path) -> Path:
    """Where a sandbox with this folder keeps its jobs and its bill."""
    return folder / "sandbox.db"


class OrderBody(BaseModel):
    """``POST /sandbox/orders``: ``fault`` is written ``name[@place][=value]``."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fault: str
    provider: str | None = None
    probability: float = Field(default=1.0, ge=0, le=1)
    times: int | None = Field(default=None, ge=1)


class Sandbox:
    """All fakes and what they share, on one folder; ``close`` it."""

    def __init__(
        self,
        fakes: Sequence[FakeProvider],
        folder: Path,
        *,
        url: str,
        pace: Pace,
        orders: Orders,
        clips: Path | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        """``url`` is the server's root. ``clips``: a folder of clips to share; by default one of its own.

        Raises:
            OSError: another sandbox works on the folder.  ValueError: an order is for a provider not served.
        """
        self._names = sorted(fake.name for fake in fakes)
        assert not set(self._names) & set(_RESERVED)
        for order in orders.standing:
            self._check(order)
        self.url = url
        self.file_origin = file_origin(url)
        self._records = Records(bill_path(folder))
        self._clips = ClipShelf(clips or folder / "clips")
        self._callbacks = Callbacks(self._records, now)
        self.shared = Shared(
            records=self._records,
            clips=self._clips,
            files=FileStore(self.file_origin, self._records, self._clips, now),
            orders=orders,
            pace=pace,
            now=now,
            over=self._callbacks.expect,
        )
        self._desks = {fake: ProviderDesk(fake.name, self.url_of(fake), self.shared) for fake in fakes}
        self._callbacks.serve(self._desks)

    def url_of(self, fake: FakeProvider) -> str:
        """Where this fake is served."""
        return f"{self.url}/{fake.name}"

    def settings(self) -> Mapping[str, Mapping[str, Any]]:
        """The adapters' sections that point them here."""
        return {fake.name: fake.settings(self.url_of(fake)) for fake in self._desks}

    def bill(self) -> list[BillLine]:
        """Every line of the bill."""
        return self._records.bill()

    def app(self) -> Starlette:
        """The application; its lifespan makes the callbacks."""
        return Starlette(
            routes=[
                Route("/files/{token}.mp4", self.shared.files.serve),
                Route("/sandbox/health", self._health),
                Route("/sandbox/settings", self._settings),
                Route("/sandbox/bill", self._bill),
                Route("/sandbox/jobs", self._jobs),
                Route("/sandbox/faults", self._faults),
                Route("/sandbox/orders", self._orders, methods=["GET", "POST", "DELETE"]),
                *(
                    Mount(f"/{fake.name}", Disturbing(fake, fake.routes(desk), self.shared.orders))
                    for fake, desk in self._desks.items()
                ),
            ],
            lifespan=self._lifespan,
        )

    def close(self) -> None:
        """Close the file, and give up clips that are being drawn."""
        self._clips.close()
        self._records.close()

    @asynccontextmanager
    async def _lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        calling = asyncio.create_task(self._callbacks.run())
        try:
            yield
        finally:
            calling.cancel()
            with suppress(asyncio.CancelledError):
                await calling

    async def _health(self, _request: Request) -> Response:
        return JSONResponse(
            {"status": "ok", "providers": {fake.name: desk.url for fake, desk in self._desks.items()}}
        )

    async def _settings(self, _request: Request) -> Response:
        return JSONResponse({"plugins": self.settings()})

    async def _bill(self, _request: Request) -> Response:
        return JSONResponse(bill_body(self.bill(), self.shared.now()))

    async def _jobs(self, _request: Request) -> Response:
        now = self.shared.now()
        return JSONResponse({"jobs": [_job_body(held, now) for held in self._records.all()]})

    async def _faults(self, _request: Request) -> Response:
        return JSONResponse({"faults": {name: asdict(kind) for name, kind in KINDS.items()}})

    async def _orders(self, request: Request) -> Response:
        standing = self.shared.orders.standing
        if request.method == "DELETE":
            standing.clear()
        elif request.method == "POST":
            try:
                standing.append(self._order(await request.body()))
            except ValidationError as error:
                told = error.errors(include_url=False)[0]
                field = ".".join(map(str, told["loc"]))
                return JSONResponse({"error": f"{field or 'the body'}: {told['msg']}"}, 400)
            except ValueError as error:
                return JSONResponse({"error": str(error)}, 400)
        return JSONResponse({"orders": [_order_body(order) for order in standing]})

    def _order(self, raw: bytes) -> Order:
        body = OrderBody.model_validate_json(raw)
        order = Order(Fault.parse(body.fault), body.provider, body.probability, body.times)
        self._check(order)
        return order

    def _check(self, order: Order) -> None:
        if order.provider not in (None, *self._names):
            known = ", ".join(self._names)
            raise ValueError(f"no provider {order.provider!r} is served; there are: {known}")


def file_origin(url: str) -> str:
    """Where files lie: on another name of this machine, so that a client sees two hosts."""
    return url.replace("//127.0.0.1:", "//localhost:", 1)


def bill_body(lines: Sequence[BillLine], now: float) -> dict[str, Any]:
    """The bill as JSON: every line, and what is billed by now."""
    totals: dict[str, Decimal] = {}
    for line in lines:
        totals[line.provider] = totals.get(line.provider, Decimal(0)) + line.billed(now)
    return {
        "as_of": now,
        "lines": [
            {
                "provider": line.provider,
                "job_id": line.job_id,
                "account": line.account,
                "tag": line.tag,
                "prompt": line.prompt,
                "usd": str(line.usd),
                "due_at": line.due_at,
                "fate": line.fate,
                "cancelled_at": line.cancelled_at,
                "billed_usd": str(line.billed(now)),
            }
            for line in lines
        ],
        "billed_usd_by_provider": {name: str(usd) for name, usd in totals.items()},
        "billed_usd": str(sum(totals.values(), Decimal(0))),
    }


def _job_body(held: Held, now: float) -> dict[str, Any]:
    return {
        "provider": held.provider,
        "id": held.job.id,
        "account": held.job.account,
        "tag": held.job.tag,
        "state": held.state(now),
        "created_at": held.job.created_at,
        "finished_at": held.job.finished_at,
        "faults": [str(fault) for fault in held.faults],
    }


def _order_body(order: Order) -> dict[str, Any]:
    return {
        "fault": str(order.fault),
        "provider": order.provider,
        "probability": order.probability,
        "times": order.times,
    }
