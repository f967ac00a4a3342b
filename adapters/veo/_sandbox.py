"""Veo's double: Vertex AI with Google's token service and Cloud Storage, and the Gemini API as it was.

Written from the providers' documentation alone; the gateway's own wire code and cards are not looked at.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import wraps
from typing import Any, ClassVar
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Route
from typing_extensions import override

from adapters.veo._sandbox_google import (
    API_KEY,
    PROJECT,
    Wrong,
    check_bearer,
    check_key,
    error,
    grant,
    json_body,
    service_account,
)
from adapters.veo._sandbox_order import Order, read_gemini, read_vertex
from gateway.kit.sandbox import Desk, FakeJob, FakeProvider, Refusal, State

USD_PER_SECOND: Mapping[str, Mapping[str, Decimal]] = {
    "veo-3.1-generate": {"720p": Decimal("0.40"), "1080p": Decimal("0.40"), "4k": Decimal("0.60")},
    "veo-3.1-fast-generate": {"720p": Decimal("0.10"), "1080p": Decimal("0.12"), "4k": Decimal("0.30")},
    "veo-3.1-lite-generate": {"720p": Decimal("0.05"), "1080p": Decimal("0.08")},
}
"""Google's list for both surfaces, sound included. It publishes no other price for a silent clip."""

_BUCKET = "reelgate-sandbox"
_GEMINI_ACCOUNT = "gemini-api"
_KEPT_S = 48 * 3600.0  # a file of the Gemini API
_URL_LIVES_S = 3600.0
_MODELS = "/projects/{project}/locations/{location}/publishers/google/models/{model}"
_REASON = (
    "The video could not be generated because it may violate our usage guidelines. You were not charged"
    " for this attempt. Support codes: 58061214"
)

Handler = Callable[[Request], Awaitable[Response]]


def _refusing(handle: Handler) -> Handler:
    """Answers what a handler refuses."""

    @wraps(handle)
    async def answered(request: Request) -> Response:
        try:
            return await handle(request)
        except Wrong as wrong:
            return wrong.answer

    return answered


class FakeVeo(FakeProvider):
    """Both surfaces on one address."""

    name: ClassVar[str] = "veo"
    _desk: Desk

    @override
    def settings(self, url: str) -> Mapping[str, Any]:
        account = {
            "service_account": service_account(f"{url}/token"),
            "api_key": API_KEY,
            "storage_uri": f"gs://{_BUCKET}/clips/",
            "base_url": url,
            "submits_per_s": None,  # nothing is rationed here
        }
        return {"accounts": {"default": account}}

    @override
    def routes(self, desk: Desk) -> Sequence[BaseRoute]:
        self._desk = desk
        vertex = [
            route
            for version in ("v1", "v1beta1")
            for route in (
                _post(f"/{version}{_MODELS}:predictLongRunning", self._submit_vertex),
                _post(f"/{version}{_MODELS}:fetchPredictOperation", self._look_vertex),
            )
        ]
        return [
            _post("/token", self._grant),
            *vertex,
            _get("/storage/v1/b/{bucket}/o/{object:path}", self._object),
            _post("/v1beta/models/{model}:predictLongRunning", self._submit_gemini),
            _get("/v1beta/models/{model}/operations/{id}", self._look_gemini),
            _get("/v1beta/files/{id}:download", self._file),
        ]

    @override
    def creates(self, request: Request) -> bool:
        return request.url.path.endswith(":predictLongRunning")

    @override
    def refuse(self, why: Refusal) -> Response:
        match why:
            case "rate_limited":
                return error(429, "RESOURCE_EXHAUSTED", "Quota exceeded for requests per minute per model.")
            case "out_of_credit":
                return error(429, "RESOURCE_EXHAUSTED", "Your prepayment credits are depleted.")
            case "content_refused":
                said = "The prompt could not be submitted. It may violate our usage guidelines."
                return error(400, "INVALID_ARGUMENT", said)
            case "model_gone":
                return error(404, "NOT_FOUND", "This model is no longer available.")
            case "server_error":
                return error(503, "UNAVAILABLE", "The service is currently unavailable.")

    async def _grant(self, request: Request) -> Response:
        return await grant(request, f"{self._desk.url}/token", self._desk.now())

    async def _submit_vertex(self, request: Request) -> Response:
        at = request.path_params
        check_bearer(request, self._desk.now(), at["project"])
        family = _family(at["model"], "-001")
        order = read_vertex(await json_body(request), at["model"])
        model = f"projects/{at['project']}/locations/{at['location']}/publishers/google/models/{at['model']}"
        return JSONResponse({"name": self._take(order, family, model, PROJECT)})

    async def _submit_gemini(self, request: Request) -> Response:
        check_key(request)
        model = request.path_params["model"]
        family = _family(model, "-preview")
        order = read_gemini(await json_body(request), model)
        return JSONResponse({"name": self._take(order, family, f"models/{model}", _GEMINI_ACCOUNT)})

    def _take(self, order: Order, family: str, model: str, account: str) -> str:
        """Take a job; returns the operation's name."""
        id = str(uuid4())
        name = f"{model}/operations/{id}"
        places = [f"{order.storage_uri}{id}/sample_{n}.mp4" for n in range(order.count) if order.storage_uri]
        self._desk.take(
            id=id,
            account=account,
            clip=order.clip,
            usd=USD_PER_SECOND[family][order.resolution] * order.clip.seconds * order.count,
            prompt=order.prompt,
            data={"name": name, "count": order.count, "places": places},
            tag=order.label,
        )
        return name

    async def _look_vertex(self, request: Request) -> Response:
        at = request.path_params
        check_bearer(request, self._desk.now(), at["project"])
        body = await json_body(request)
        name = body.get("operationName") if isinstance(body, dict) and len(body) == 1 else None
        if not isinstance(name, str) or f"/models/{at['model']}/operations/" not in name:
            raise Wrong(400, "INVALID_ARGUMENT", "operationName has to name an operation of this model.")
        job = self._job(name.rpartition("/")[2], PROJECT, name)
        kind = "type.googleapis.com/cloud.ai.large_models.vision.GenerateVideoResponse"
        state = self._desk.state(job)
        told = self._told(job, state)
        if state == "succeeded":
            told["response"] = {"@type": kind, "raiMediaFilteredCount": 0, "videos": await self._videos(job)}
        elif "filtered" in told:
            told["response"] = {"@type": kind, **told.pop("filtered")}
        return JSONResponse(told)

    async def _videos(self, job: FakeJob) -> list[dict[str, str]]:
        if job.data["places"]:
            return [{"gcsUri": place, "mimeType": "video/mp4"} for place in job.data["places"]]
        clip = await asyncio.to_thread(self._desk.clip_bytes, job)
        text = base64.b64encode(clip).decode()
        return [{"bytesBase64Encoded": text, "mimeType": "video/mp4"}] * job.data["count"]

    async def _look_gemini(self, request: Request) -> Response:
        check_key(request)
        at = request.path_params
        job = self._job(at["id"], _GEMINI_ACCOUNT, f"models/{at['model']}/operations/{at['id']}")
        kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
        state = self._desk.state(job)
        told = self._told(job, state)
        made = told.pop("filtered", None)
        if state == "succeeded":
            uri = f"{self._desk.url}/v1beta/files/{job.id}:download?alt=media"
            made = {"generatedSamples": [{"video": {"uri": uri}}]}
        if made is not None:
            told["response"] = {"@type": kind, "generateVideoResponse": made}
        return JSONResponse(told)

    def _told(self, job: FakeJob, state: State) -> dict[str, Any]:
        """An operation, but for what was made; ``filtered`` where the content rules took it."""
        told: dict[str, Any] = {"name": job.data["name"]}
        match state:
            case "succeeded":
                told["done"] = True
            case "failed" if self._desk.failure(job) == "content_refused":
                told |= {"done": True, "filtered": _FILTERED}
            case "failed":
                told |= {"done": True, "error": {"code": 13, "message": "Internal error. Please try again."}}
            case "unknown":  # there are no status words; a field that nobody knows comes nearest
                told["metadata"] = {"state": "REHEARSING"}
            case _:
                pass
        return told

    async def _object(self, request: Request) -> Response:
        check_bearer(request, self._desk.now(), PROJECT)
        place = f"gs://{request.path_params['bucket']}/{request.path_params['object']}"
        id = place.split("/")[-2]
        job = self._desk.job(id, account=PROJECT)
        if job is None or place not in job.data["places"] or self._desk.state(job) != "succeeded":
            raise Wrong(404, "NOT_FOUND", f"No such object: {place.removeprefix('gs://')}")
        if request.query_params.get("alt") != "media":
            return JSONResponse({"kind": "storage#object", "contentType": "video/mp4"})
        return self._desk.file(job, request)

    async def _file(self, request: Request) -> Response:
        check_key(request)
        job = self._desk.job(request.path_params["id"], account=_GEMINI_ACCOUNT)
        gone = job is None or self._desk.now() > job.finished_at + _KEPT_S
        if job is None or gone or self._desk.state(job) != "succeeded":
            raise Wrong(404, "NOT_FOUND", f"File {request.path_params['id']} does not exist.")
        return RedirectResponse(self._desk.file_url(job, expires_s=_URL_LIVES_S), 302)

    def _job(self, id: str, account: str, name: str) -> FakeJob:
        job = self._desk.job(id, account=account)
        if job is None or job.data["name"] != name:
            raise Wrong(404, "NOT_FOUND", f"Operation {name} was not found.")
        return job


_FILTERED = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": [_REASON]}


def _family(model: str, ending: str) -> str:
    """The name in the price list of a model of this surface, whose ids have this ending."""
    family = model.removesuffix(ending)
    if not model.endswith(ending) or family not in USD_PER_SECOND:
        raise Wrong(404, "NOT_FOUND", f"Model {model} was not found.")
    return family


def _post(path: str, handle: Handler) -> Route:
    return Route(path, _refusing(handle), methods=["POST"])


def _get(path: str, handle: Handler) -> Route:
    return Route(path, _refusing(handle), methods=["GET"])
