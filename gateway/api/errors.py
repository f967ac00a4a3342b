"""OpenAI's error envelope, and how each exception of the gateway is told to a caller.

    {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}

Every message says what to do next; none holds an internal.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from gateway.api.invalid import problem_of
from gateway.jobs.errors import (
    AcceptUnknown,
    CheckpointMissing,
    IdempotencyInFlight,
    IdempotencyMismatch,
    NotAPreview,
    NotContinuable,
    NotFinished,
    OverBudget,
    PlanRefused,
    PromptRefused,
    SandboxOff,
    StillActive,
    TierTooHigh,
    UnknownOptions,
)
from gateway.jobs.records import VideoNotFound
from gateway.media import StoreError, StoreFull
from gateway.routing import UnknownModel
from gateway.spec import Dropped

log = logging.getLogger(__name__)
ErrorType = Literal[
    "invalid_request_error", "authentication_error", "permission_error", "insufficient_quota", "server_error"
]
NO_RETRY = {"x-should-retry": "false"}
RETRY_SOON = {"retry-after": "2"}
_SHOWN_REASONS = 3
_BESIDE_THE_POINT = {"preview_only": 1, "preset_not_asked": 2, "cannot_continue": 2}
"""Reasons that tell only that another way was meant; they are given where there is no better one."""


class ApiError(Exception):
    """An answer other than success; ``extra`` stands beside ``error`` in the body."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        type: ErrorType = "invalid_request_error",
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.type = type
        self.param = param
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})

    def response(self) -> JSONResponse:
        """The envelope."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return JSONResponse({"error": error, **self.extra}, self.status, self.headers)


def invalid(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A 400 about one field."""
    return ApiError(400, code, message, param=param)


def internal_error(request_id: str) -> ApiError:
    """What is said of a fault of the gateway's own."""
    return ApiError(
        500,
        "internal_error",
        f"The gateway failed on this request. Try again; if it fails again, give the operator {request_id}.",
        type="server_error",
    )


def _reason(way: Dropped) -> str:
    """Why this way was left out, said of whom."""
    subject = way.offer or way.model
    return way.detail if way.detail.startswith((subject, way.model)) else f"{subject}: {way.detail}"


def _telling(dropped: Sequence[Dropped]) -> list[Dropped]:
    """The ways whose reasons help most."""
    least = min((_BESIDE_THE_POINT.get(way.code, 0) for way in dropped), default=0)
    return [way for way in dropped if _BESIDE_THE_POINT.get(way.code, 0) == least]


def plan_refused(error: PlanRefused, model: str, preset: str | None = None) -> ApiError:
    """402 or 422 with the whole plan beside the error; ``model`` and ``preset`` are what was asked for."""
    plan = error.plan
    extra = {"plan": plan.model_dump(mode="json")}
    if isinstance(error, OverBudget):
        return ApiError(
            402,
            "budget_exceeded",
            "What is left of the budget covers none of the ways to serve this request: ask for something "
            "shorter, smaller or in mode 'preview', or have the operator raise the budget. "
            "Nothing was charged.",
            type="insufficient_quota",
            headers=NO_RETRY,
            extra=extra,
        )
    named = model != "auto"
    meant = [way for way in plan.dropped if preset is not None and way.preset == preset]
    dropped = meant or _telling(plan.dropped)
    reasons = list(dict.fromkeys(_reason(way) for way in dropped))
    if preset is not None and not meant:
        there = sorted({way.preset for way in plan.dropped if way.preset})
        reasons = [f"none has a preset {preset}; there are: {', '.join(there) or 'none'}", *reasons]
    more = f"; and {len(reasons) - _SHOWN_REASONS} more, see plan" if len(reasons) > _SHOWN_REASONS else ""
    advice = (
        f"Try model '{plan.alternative}', or leave model out."
        if plan.alternative
        else "Change what the reasons name; POST /v1/videos/plan tries a request at no cost."
    )
    subject = f"Model '{model}' cannot" if named else "No model here can"
    return ApiError(
        422,
        dropped[0].code if named and dropped else "nothing_fits",
        f"{subject} serve this request ({'; '.join(reasons[:_SHOWN_REASONS])}{more}). {advice} "
        "Nothing was charged.",
        param="model" if named else None if preset is None else "preset",
        headers=NO_RETRY,
        extra=extra,
    )


def _video_not_found(error: VideoNotFound, request: Request) -> ApiError:
    return ApiError(
        404,
        "video_not_found",
        "There is no such video: check the id; a deleted video, or one of another account, is not shown.",
        param="video_id",
    )


def _unknown_model(error: UnknownModel, request: Request) -> ApiError:
    near = request.app.state.runtime.registry.catalog.nearest(error.name)
    hint = f"Did you mean '{near}'? " if near else ""
    return ApiError(
        404,
        "model_not_found",
        f"There is no model '{error.name}'. {hint}GET /v1/videos/models lists them; leave model out to have "
        "one chosen.",
        param="model",
    )


def _unknown_options(error: UnknownOptions, request: Request) -> ApiError:
    message = f"Options are given for nobody: {error}. Nothing was charged."
    return ApiError(400, "unknown_parameter", message, param=f"options.{error.adapter}")


def _sandbox_off(error: SandboxOff, request: Request) -> ApiError:
    return ApiError(
        403,
        "sandbox_off",
        "This key is for test mode, and this gateway has no sandbox: its operator starts one with 'reelgate "
        "serve --sandbox', or runs 'reelgate sandbox' and sets sandbox_url. Nothing was made or charged.",
        type="permission_error",
    )


def _tier_too_high(error: TierTooHigh, request: Request) -> ApiError:
    allowed = ", ".join(error.allowed)
    return ApiError(
        403,
        "tier_too_high",
        f"Tier '{error.requested}' is not open to this key: use one of {allowed}, or leave tier out.",
        type="permission_error",
        param="tier",
    )


def _prompt_refused(error: PromptRefused, request: Request) -> ApiError:
    message = f"{error}. Change the prompt; nothing was created or charged."
    return ApiError(400, "content_blocked", message[:1].upper() + message[1:], param="prompt")


def _idempotency_mismatch(error: IdempotencyMismatch, request: Request) -> ApiError:
    return ApiError(
        422,
        "idempotency_key_reused",
        "This Idempotency-Key was used with another body: use a new key for a new request. "
        "Nothing was charged for this one.",
        param="Idempotency-Key",
        headers=NO_RETRY,
    )


def _idempotency_in_flight(error: IdempotencyInFlight, request: Request) -> ApiError:
    return ApiError(
        409,
        "idempotency_key_in_flight",
        "A request with this Idempotency-Key is being accepted at this moment: send it again in a second "
        "to get its answer.",
        param="Idempotency-Key",
        headers={"retry-after": "1"},
    )


def _still_active(error: StillActive, request: Request) -> ApiError:
    return ApiError(
        409,
        "video_active",
        "The video is not finished: cancel it first (POST /v1/videos/{id}/cancel), then delete it.",
        param="video_id",
        headers=NO_RETRY,
    )


def _not_finished(error: NotFinished, request: Request) -> ApiError:
    return ApiError(
        409,
        "not_finished",
        "The preview is not finished: wait until GET /v1/videos/{id} says 'completed', then ask again. "
        "Nothing was charged.",
        param="video_id",
        headers=NO_RETRY,
    )


def _not_a_preview(error: NotAPreview, request: Request) -> ApiError:
    why = f"it failed ({error.failed})" if error.failed else "it was not made in mode 'preview'"
    return ApiError(
        409,
        "not_a_preview",
        f"This video cannot be finalised: {why}. Create one with mode 'preview' first. Nothing was charged.",
        param="video_id",
        headers=NO_RETRY,
    )


def _not_continuable(error: NotContinuable, request: Request) -> ApiError:
    return ApiError(
        409,
        "not_continuable",
        f"This video cannot be continued: {error}. Create one with mode 'preview' and a 'preset' that is "
        "finished_by another, as GET /v1/videos/models shows. Nothing was charged.",
        param="video_id",
        headers=NO_RETRY,
    )


def _checkpoint_missing(error: CheckpointMissing, request: Request) -> ApiError:
    return ApiError(
        410,
        "checkpoint_missing",
        "The state of this preview has expired or is gone from storage: create the video anew. "
        "Nothing was charged.",
        param="video_id",
    )


def _storage(error: StoreError, request: Request) -> ApiError:
    if isinstance(error, StoreFull):
        message = (
            "The gateway's storage is full: nothing was created or charged. Ask the operator to free space, "
            "then send the request again."
        )
        return ApiError(503, "storage_full", message, type="server_error", headers=NO_RETRY)
    message = "The gateway's storage failed: nothing was created or charged. Try again later."
    return ApiError(503, "storage_failed", message, type="server_error")


def _database(error: SQLAlchemyError, request: Request) -> ApiError:
    orig = getattr(error, "orig", error)
    cause = str(orig).lower()
    log.error("the database failed: %s: %s", type(orig).__name__, orig)
    if "disk is full" in cause or "no space left" in cause:
        return _storage(StoreFull(""), request)
    return ApiError(
        503,
        "database_unavailable",
        "The gateway's database did not answer: nothing was created or charged. Send the request again.",
        type="server_error",
        headers=RETRY_SOON,
    )


def _accept_unknown(error: AcceptUnknown, request: Request) -> ApiError:
    """Only a request with an Idempotency-Key can be repeated without a thought, so others are told not to."""
    log.error("not known whether %s is accepted: %s", error.video_id, error.__cause__)
    lost = "The gateway's database went away before it said whether the video was accepted"
    if request.headers.get("idempotency-key"):
        advice = "Send the request again with the same Idempotency-Key: it is made and charged once."
        headers = RETRY_SOON
    else:
        advice = (
            f"If GET /v1/videos/{error.video_id} knows it in a moment, it was, and it is charged once it is "
            "made; else send the request again. With an Idempotency-Key you could just repeat it."
        )
        headers = RETRY_SOON | NO_RETRY
    return ApiError(503, "accept_unknown", f"{lost}. {advice}", type="server_error", headers=headers)


def _invalid_request(error: RequestValidationError, request: Request) -> ApiError:
    problem = problem_of(error.errors()[0], where=True)
    return ApiError(400, problem.code, problem.message, param=problem.param)


def _http(error: HTTPException, request: Request) -> ApiError:
    codes = {404: "unknown_url", 405: "method_not_allowed"}
    messages = {
        404: f"There is nothing at {request.method} {request.url.path}: the paths start with /v1/videos, and "
        "/openapi.json lists them all.",
        405: f"{request.url.path} does not take {request.method}: /openapi.json lists what it takes.",
    }
    return ApiError(
        error.status_code,
        codes.get(error.status_code, "invalid_request"),
        messages.get(error.status_code, str(error.detail)),
        headers=error.headers,
    )


def _api_error(error: ApiError, request: Request) -> ApiError:
    return error


HANDLERS: dict[type[Exception], Callable[[Any, Request], ApiError]] = {
    ApiError: _api_error,
    VideoNotFound: _video_not_found,
    UnknownModel: _unknown_model,
    SandboxOff: _sandbox_off,
    TierTooHigh: _tier_too_high,
    UnknownOptions: _unknown_options,
    PromptRefused: _prompt_refused,
    IdempotencyMismatch: _idempotency_mismatch,
    IdempotencyInFlight: _idempotency_in_flight,
    StillActive: _still_active,
    NotFinished: _not_finished,
    NotAPreview: _not_a_preview,
    NotContinuable: _not_continuable,
    CheckpointMissing: _checkpoint_missing,
    StoreError: _storage,
    AcceptUnknown: _accept_unknown,
    OperationalError: _database,
    InterfaceError: _database,
    InternalError: _database,
    PoolTimeout: _database,
    RequestValidationError: _invalid_request,
    HTTPException: _http,
}
"""What an exception says to the caller; one that is not listed is a fault of the gateway's own (500)."""
