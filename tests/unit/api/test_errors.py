from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from gateway.api.errors import HANDLERS, ApiError, plan_refused
from gateway.jobs.errors import (
    AcceptUnknown,
    CheckpointMissing,
    IdempotencyInFlight,
    IdempotencyMismatch,
    NotContinuable,
    NotFinished,
    OverBudget,
    PlanRefused,
    PromptRefused,
    StillActive,
    TierTooHigh,
)
from gateway.jobs.records import VideoNotFound
from gateway.media import StoreError, StoreFull
from gateway.routing import UnknownModel
from gateway.spec import Dropped, Plan

PLAN = Plan(
    chosen=None,
    candidates=(),
    dropped=tuple(
        Dropped(model="old", offer=f"a/old/{n}", code="retired", detail=f"retired {n}") for n in range(5)
    ),
    policy="tiered",
    branch="named",
    alternative="new",
)


def told(error: Exception, headers: dict[str, str] | None = None) -> ApiError:
    catalog = SimpleNamespace(nearest={"ecko": "echo"}.get)
    runtime = SimpleNamespace(registry=SimpleNamespace(catalog=catalog))
    app = SimpleNamespace(state=SimpleNamespace(runtime=runtime))
    request: Any = SimpleNamespace(app=app, headers=headers or {})
    handler = next(HANDLERS[kind] for kind in type(error).__mro__ if kind in HANDLERS)
    return handler(error, request)


@pytest.mark.parametrize(
    ("error", "status", "code", "kind", "says"),
    [
        (VideoNotFound("x"), 404, "video_not_found", "invalid_request_error", "check the id"),
        (UnknownModel("ecko"), 404, "model_not_found", "invalid_request_error", "Did you mean 'echo'"),
        (UnknownModel("zzz"), 404, "model_not_found", "invalid_request_error", "/v1/videos/models"),
        (TierTooHigh("pro", ("basic",)), 403, "tier_too_high", "permission_error", "one of basic"),
        (PromptRefused("s", "rude"), 400, "content_blocked", "invalid_request_error", "rude. Change"),
        (IdempotencyMismatch(), 422, "idempotency_key_reused", "invalid_request_error", "a new key"),
        (IdempotencyInFlight(), 409, "idempotency_key_in_flight", "invalid_request_error", "again"),
        (StillActive("x"), 409, "video_active", "invalid_request_error", "cancel it first"),
        (NotFinished("x"), 409, "not_finished", "invalid_request_error", "then ask again"),
        (NotContinuable("it is a dog"), 409, "not_continuable", "invalid_request_error", "'preview'"),
        (CheckpointMissing("x"), 410, "checkpoint_missing", "invalid_request_error", "anew"),
        (StoreFull("x"), 503, "storage_full", "server_error", "nothing was created or charged"),
        (StoreError("x"), 503, "storage_failed", "server_error", "nothing was created or charged"),
        (
            OperationalError("INSERT", {}, Exception("database or disk is full")),
            503,
            "storage_full",
            "server_error",
            "free space",
        ),
        (
            OperationalError("SELECT secret", {}, Exception("database is locked")),
            503,
            "database_unavailable",
            "server_error",
            "nothing was created or charged",
        ),
        (
            InterfaceError("SELECT secret", {}, Exception("the connection is closed")),
            503,
            "database_unavailable",
            "server_error",
            "Send the request again",
        ),
        (
            InternalError("INSERT secret", {}, Exception("cannot execute INSERT in a read-only transaction")),
            503,
            "database_unavailable",
            "server_error",
            "nothing was created or charged",
        ),
        (
            PoolTimeout("QueuePool limit reached"),
            503,
            "database_unavailable",
            "server_error",
            "nothing was created or charged",
        ),
    ],
)
def test_each_error_says_what_to_do(error: Exception, status: int, code: str, kind: str, says: str) -> None:
    answer = told(error)
    assert (answer.status, answer.code, answer.type) == (status, code, kind)
    assert says in answer.message
    assert "secret" not in answer.message


def test_a_failing_database_is_to_be_tried_again_soon() -> None:
    assert told(PoolTimeout("QueuePool limit reached")).headers == {"retry-after": "2"}


def test_an_accept_that_may_have_happened_is_only_repeated_with_its_key() -> None:
    answer = told(AcceptUnknown("video_1"), {"idempotency-key": "order-1"})
    assert (answer.status, answer.code, answer.type) == (503, "accept_unknown", "server_error")
    assert "with the same Idempotency-Key" in answer.message
    assert answer.headers == {"retry-after": "2"}
    answer = told(AcceptUnknown("video_1"))
    assert "GET /v1/videos/video_1" in answer.message
    assert answer.headers["x-should-retry"] == "false"


def test_a_named_model_that_cannot_serve_is_refused_with_its_reason_and_an_alternative() -> None:
    answer = plan_refused(PlanRefused(PLAN), "old")
    assert (answer.status, answer.code, answer.param) == (422, "retired", "model")
    assert "retired 0" in answer.message
    assert "and 2 more" in answer.message
    assert "Try model 'new'" in answer.message
    assert answer.extra["plan"]["dropped"][4]["detail"] == "retired 4"
    assert answer.headers["x-should-retry"] == "false"


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        (["preset_not_asked", "preview_only", "over_max_cost"], "over_max_cost"),
        (["cannot_continue", "no_weights", "cannot_continue"], "no_weights"),
        (["preset_not_asked", "preview_only"], "preview_only"),
        (["preset_not_asked", "preset_not_asked"], "preset_not_asked"),
    ],
)
def test_the_reason_given_is_that_of_the_way_that_was_meant(codes: list[str], told: str) -> None:
    ways = tuple(Dropped(model="m", offer="a/m", code=code, detail=f"because {code}") for code in codes)
    answer = plan_refused(PlanRefused(PLAN.model_copy(update={"dropped": ways})), "m")
    assert answer.code == told
    assert [code for code in set(codes) if f"because {code}" in answer.message] == [told]
    assert len(answer.extra["plan"]["dropped"]) == len(codes)


def test_a_preset_that_is_asked_for_is_what_the_refusal_is_about() -> None:
    ways = (
        Dropped(model="m", offer="a/m", preset="fast", code="preset_not_asked", detail="not asked"),
        Dropped(model="m", offer="a/m", preset="prefix", code="preview_only", detail="serves previews"),
        Dropped(model="n", offer="b/n", code="no_adapter", detail="no adapter"),
    )
    refused = PlanRefused(PLAN.model_copy(update={"dropped": ways, "alternative": None}))
    answer = plan_refused(refused, "auto", "prefix")
    assert (answer.code, answer.param) == ("nothing_fits", "preset")
    assert "(a/m: serves previews)" in answer.message
    answer = plan_refused(refused, "auto", "turbo")
    assert "(none has a preset turbo; there are: fast, prefix; " in answer.message
    assert answer.param == "preset"


def test_when_nothing_fits_and_when_the_budget_is_short() -> None:
    bare = PLAN.model_copy(update={"alternative": None})
    answer = plan_refused(PlanRefused(bare), "auto")
    assert (answer.status, answer.code, answer.param) == (422, "nothing_fits", None)
    assert "POST /v1/videos/plan" in answer.message
    answer = plan_refused(OverBudget(bare), "auto")
    assert (answer.status, answer.type) == (402, "insufficient_quota")
    assert answer.headers["x-should-retry"] == "false"
    assert "plan" in answer.extra
