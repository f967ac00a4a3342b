"""What only admin keys may do: see and reset provider accounts, reconcile attempts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.db.keys import create_key
from gateway.jobs.settle import settle
from gateway.spec import AccountLimits, NotAuthorised, OutcomeUnknown

from ..._hand import Hand, hand_offer  # noqa: TID252  # shared with the tests of jobs
from .conftest import World


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def world(make_world: Callable[..., World], hand: Hand) -> World:
    world = make_world(offers=(hand_offer(),), policy="cheapest")
    world.install(hand)
    return world


@pytest.fixture
def clients(world: World) -> Iterator[dict[str, TestClient]]:
    """By whose key they have: an admin's, a tenant's."""
    app = create_app(world.runtime)
    made = {}
    for who in ("admin", "tenant"):
        with world.runtime.db.write() as connection:
            tenant_id = world.caller.tenant_id
            key = create_key(connection, world.runtime.pepper, tenant_id, name=who, admin=who == "admin")
        made[who] = TestClient(app, headers={"authorization": f"Bearer {key.secret}"})
    yield made
    for client in made.values():
        client.close()


@pytest.fixture
def admin(clients: dict[str, TestClient]) -> TestClient:
    return clients["admin"]


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", "/v1/accounts", None),
    ("POST", "/v1/accounts/hand/first/reset", None),
    ("GET", "/v1/reconcile", None),
    ("POST", "/v1/reconcile/att_1", {"action": "release"}),
]


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_a_tenants_key_is_refused(clients: dict[str, TestClient], method: str, path: str, body: Any) -> None:
    answer = clients["tenant"].request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "admin_only")


def test_an_account_that_was_stopped_is_shown_and_reset(
    world: World, hand: Hand, admin: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    hand.trouble["first"] = NotAuthorised("bad key", operator_detail="Hand: HTTP 401")
    hand.allowed["second"] = AccountLimits(concurrent=3, submits_per_s=0.5)
    attempt = world.submitted(world.accept(seconds="2"))
    settle(world.runtime, attempt.id)
    world.submitted(attempt.video_id, 2)
    listed = {(one["adapter"], one["account"]): one for one in admin.get("/v1/accounts").json()["data"]}
    assert set(listed) == {("echo_remote", "default"), ("hand", "first"), ("hand", "second")}
    first, second = listed["hand", "first"], listed["hand", "second"]
    assert (first["state"], first["reason"], first["detail"], first["jobs"]) == (
        "stopped",
        "not_authorised",
        "Hand: HTTP 401",
        0,
    )
    assert first["since"] is not None
    assert (second["state"], second["jobs"], second["limits"]) == (
        "closed",
        1,
        {"concurrent": 3, "submits_per_s": 0.5},
    )
    ready = admin.get("/v1/models").json()["data"]
    assert "echo-remote" in {model["id"] for model in ready}
    reset = admin.post("/v1/accounts/hand/first/reset")
    assert (reset.status_code, reset.json()["state"]) == (200, "closed")
    assert "account first of hand, which was stopped, is reset by key_" in caplog.text
    assert world.attempt(world.accept(seconds="2")).account == "first"


def test_an_account_that_nobody_has_is_404(admin: TestClient) -> None:
    answer = admin.post("/v1/accounts/hand/third/reset")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "account_not_found")


def test_the_catalogue_says_what_keeps_an_offer_from_running(
    world: World, hand: Hand, admin: TestClient
) -> None:
    hand.accounts = ("first",)
    hand.trouble["first"] = NotAuthorised("bad key")
    world.submitted(world.accept(seconds="2"))
    models = {model["id"]: model for model in admin.get("/v1/videos/models").json()["data"]}
    offers = {offer["id"]: offer for offer in models["echo-remote"]["offers"]}
    unready = offers["hand/echo-remote"]["presets"][0]["unready"]
    assert unready["code"] == "account_open"
    assert "reelgate accounts reset hand first" in unready["detail"]
    assert offers["echo_remote/echo-remote"]["ready"]


def test_an_attempt_of_unknown_outcome_is_shown_and_settled(
    world: World, hand: Hand, admin: TestClient
) -> None:
    hand.trouble["first"] = OutcomeUnknown("lost", operator_detail="Hand: ReadTimeout at POST /jobs")
    attempt = world.submitted(world.accept(seconds="2"))
    (shown,) = admin.get("/v1/reconcile").json()["data"]
    assert shown | {"submitted_at": None, "deadline_at": None} == {
        "object": "unknown_attempt",
        "attempt_id": attempt.id,
        "video_id": attempt.video_id,
        "tenant_id": world.caller.tenant_id,
        "adapter": "hand",
        "account": "first",
        "offer": "hand/echo-remote",
        "submitted_at": None,
        "estimate_usd": "0.002",
        "detail": "Hand: ReadTimeout at POST /jobs",
        "video_status": "in_progress",
        "deadline_at": None,
        "actions": ["adopt", "release", "resubmit"],
    }
    path = f"/v1/reconcile/{attempt.id}"
    for body in ({"action": "adopt"}, {"action": "release", "upstream_id": "up-1"}, {"action": "forget"}):
        assert admin.post(path, json=body).status_code == 400, body
    done = admin.post(path, json={"action": "adopt", "upstream_id": "up-9"})
    assert (done.status_code, done.json()["action"]) == (200, "adopt")
    assert world.attempt(attempt.video_id).upstream_id == "up-9"
    again = admin.post(path, json={"action": "release"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "not_reconcilable")
    missing = admin.post("/v1/reconcile/att_gone", json={"action": "release"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "attempt_not_found")
