"""The layer before every fake: what goes wrong with a create, and what is answered instead."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Router
from starlette.types import Message, Receive, Scope, Send

from gateway.kit.sandbox import FakeProvider
from gateway.sandbox.answers import disturbed
from gateway.sandbox.desk import Call, this_call
from gateway.sandbox.faults import Disturbance, Orders

_BEFORE = (
    "drop_before_accept",
    "rate_limited",
    "server_error_burst",
    "out_of_credit",
    "content_refused",
    "model_gone",
)
"""Faults at a create that keep the job from being taken."""


class Disturbing:
    """One fake's paths, as an ASGI application."""

    def __init__(self, fake: FakeProvider, routes: Sequence[BaseRoute], orders: Orders) -> None:
        self._fake = fake
        self._router = Router(routes)
        self._orders = orders

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a call, or disturb it."""
        try:
            if self._fake.creates(_own_request(scope)):
                await self._create(scope, receive, send)
            else:
                await self._router(scope, receive, send)
        except Disturbance as ordered:
            await disturbed(ordered.fault, self._fake, scope, receive, send)
        except ClientDisconnect:
            return  # nobody is left to be answered

    async def _create(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        try:
            call = Call(self._orders.draw(self._fake.name, body, request.headers.get("content-type", "")))
        except ValueError as error:
            await JSONResponse({"error": f"sandbox: {error}"}, 400)(scope, receive, send)
            return
        here = [fault for fault in call.faults if fault.place == "create"]
        if before := next((fault for fault in here if fault.name in _BEFORE), None):
            raise Disturbance(before)
        answer = await self._answer(call, scope, _replayed(body, receive))
        if here and call.taken:
            raise Disturbance(here[0])
        for message in answer:
            await send(message)

    async def _answer(self, call: Call, scope: Scope, receive: Receive) -> list[Message]:
        """What the fake answers, kept back until it is known whether it may be sent."""
        said: list[Message] = []

        async def keep(message: Message) -> None:
            said.append(message)

        before = this_call.set(call)
        try:
            await self._router(scope, receive, keep)
        finally:
            this_call.reset(before)
        return said


def _own_request(scope: Scope) -> Request:
    """The request as the fake knows it: its path begins below the fake's address."""
    path = scope["path"].removeprefix(scope["root_path"])
    return Request({**scope, "path": path, "root_path": ""})


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that hands the body out again."""
    parts: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return parts.pop() if parts else await receive()

    return again
