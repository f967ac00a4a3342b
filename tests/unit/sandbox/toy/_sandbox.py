"""A provider of nothing but test clips."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from gateway.kit.sandbox import Callback, Clip, Desk, FakeJob, FakeProvider, Refusal

KEY = "toy-key-93b1f0c2d4"
SECRET = b"toy-hook-secret"
USD_PER_SECOND = Decimal("0.05")
WORDS = {"unknown": "daydreaming"}
REFUSALS: dict[Refusal, int] = {
    "rate_limited": 429,
    "out_of_credit": 402,
    "content_refused": 400,
    "model_gone": 404,
    "server_error": 503,
}


class FakeToy(FakeProvider):
    name: ClassVar[str] = "toy"

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        return {"base_url": url, "api_key": KEY}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        self.desk = desk
        return [
            Route("/jobs", self.create, methods=["POST"]),
            Route("/jobs", self.find, methods=["GET"]),
            Route("/jobs/{id}", self.look, methods=["GET"]),
            Route("/jobs/{id}", self.stop, methods=["DELETE"]),
            Route("/jobs/{id}/file", self.file, methods=["GET"]),
        ]

    @override
    def creates(self, request: Request) -> bool:
        return request.method == "POST" and request.url.path == "/jobs"

    @override
    def refuse(self, why: Refusal) -> Response:
        return JSONResponse({"why": why}, REFUSALS[why])

    @override
    def callback(self, desk: Desk, job: FakeJob) -> Callback | None:
        if job.callback_url is None:
            return None
        body = json.dumps({"id": job.id, "state": desk.state(job)}).encode()
        return Callback(url=job.callback_url, headers={"X-Toy-Signature": signature(body)}, body=body)

    async def create(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return JSONResponse({"why": "who are you?"}, 401)
        body = await request.json()
        clip = Clip(
            width=body["width"],
            height=body["height"],
            seconds=Decimal(body["seconds"]),
            fps=body["fps"],
            audio=body.get("audio", False),
        )
        job = self.desk.take(
            account="default",
            clip=clip,
            usd=USD_PER_SECOND * clip.seconds,
            prompt=body["prompt"],
            data={"prompt": body["prompt"]},
            tag=body.get("tag"),
            callback_url=body.get("callback_url"),
        )
        return JSONResponse(self.told(job))

    async def find(self, request: Request) -> Response:
        jobs = self.desk.jobs(account="default")
        tag = request.query_params.get("tag")
        return JSONResponse({"jobs": [self.told(job) for job in jobs if tag in (None, job.tag)]})

    async def look(self, request: Request) -> Response:
        job = self.desk.job(request.path_params["id"], account="default")
        return JSONResponse({"why": "no such job"}, 404) if job is None else JSONResponse(self.told(job))

    async def stop(self, request: Request) -> Response:
        job = self.desk.job(request.path_params["id"], account="default")
        assert job is not None
        return JSONResponse({"stopped": self.desk.cancel(job)})

    async def file(self, request: Request) -> Response:
        job = self.desk.job(request.path_params["id"], account="default")
        assert job is not None
        response = self.desk.file(job, request)
        response.headers["X-Toy"] = "yes"
        return response

    def told(self, job: FakeJob) -> dict[str, Any]:
        state = self.desk.state(job)
        told: dict[str, Any] = {"id": job.id, "state": WORDS.get(state, state)}
        if state == "running":
            told["percent"] = self.desk.percent(job)
        if state == "failed":
            told["why"] = self.desk.failure(job)
        if state == "succeeded":
            told["url"] = self.desk.file_url(job, expires_s=60)
        return told


def signature(body: bytes) -> str:
    return hmac.new(SECRET, body, hashlib.sha256).hexdigest()
