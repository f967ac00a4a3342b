"""Providers that call back: a good call wakes the look at its job, and no call does anything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from gateway.api.app import create_app
from gateway.api.hooks import MAX_BODY
from gateway.api.signing import SignedFile, sign
from gateway.db import now
from gateway.db.tables import attempts, events, ledger_entries, videos
from gateway.jobs.callbacks import account_url, attempt_url
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.spec import Failed, OutcomeUnknown, Succeeded, UnexpectedReply

from ..._hand import Hand, hand_offer  # noqa: TID252  # shared with the tests of jobs
from .conftest import World

PUBLIC = "https://gateway.example/"
GOOD = {"x-hand-signature": "good"}
LATER = timedelta(minutes=1)


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def world(make_world: Callable[..., World], hand: Hand) -> World:
    world = make_world(offers=(hand_offer(),), policy="cheapest", public_url=PUBLIC)
    world.install(hand)
    return world


@pytest.fixture
def client(world: World) -> Iterator[TestClient]:
    with TestClient(create_app(world.runtime), base_url=PUBLIC, raise_server_exceptions=False) as client:
        yield client


def _at_provider(world: World, **fields: Any) -> Any:
    """An attempt that the provider has, to be looked at much later."""
    attempt = world.submitted(world.accept(seconds="2", **fields))
    world.update(attempt.id, next_poll_at=now() + LATER)
    return world.attempt(attempt.video_id)


def _url(world: World, attempt: Any) -> str:
    url = attempt_url(world.runtime, attempt)
    assert url is not None
    return url


def _woken(world: World, attempt: Any) -> bool:
    return bool(world.attempt(attempt.video_id).next_poll_at < now() + LATER / 2)


def _call(client: TestClient, url: str, *ids: str, headers: dict[str, str] = GOOD) -> int:
    return client.post(url, content=json.dumps({"ids": ids}), headers=headers).status_code


def _everything(world: World) -> dict[str, list[Any]]:
    """All that is on record of jobs and money."""
    with world.runtime.db.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))
            ]
            for table in (videos, attempts, events, ledger_entries)
        }


def test_a_job_is_told_where_its_provider_may_call_back(world: World, hand: Hand) -> None:
    attempt = _at_provider(world)
    (url,) = hand.callbacks
    assert url == _url(world, attempt)
    assert url.startswith(f"https://gateway.example/hooks/hand/{attempt.id}.")


def test_without_a_public_address_there_is_none(make_world: Callable[..., World], hand: Hand) -> None:
    world = make_world(offers=(hand_offer(),), policy="cheapest")
    world.install(hand)
    world.submitted(world.accept(seconds="2"))
    assert hand.callbacks == [None]
    assert account_url(world.runtime, "hand", "first") is None


def test_a_good_call_has_the_watcher_look_at_once(world: World, hand: Hand, client: TestClient) -> None:
    attempt = _at_provider(world)
    hand.jobs[attempt.upstream_id] = Succeeded()
    assert not _woken(world, attempt)
    assert _call(client, _url(world, attempt), attempt.upstream_id) == 204
    assert _woken(world, attempt)
    world.look(attempt.id)
    assert world.attempt(attempt.video_id).state == "fetching"


def test_what_it_says_is_not_believed_but_looked_up(world: World, client: TestClient) -> None:
    attempt = _at_provider(world)
    _call(client, _url(world, attempt), attempt.upstream_id)
    world.look(attempt.id)
    assert world.attempt(attempt.video_id).state == "running", "the provider itself says so"


def test_a_call_for_an_account_wakes_the_jobs_it_names_and_no_others(
    world: World, client: TestClient
) -> None:
    named, also, unnamed = [_at_provider(world) for _ in range(3)]
    assert (named.account, also.account, unnamed.account) == ("first", "second", "first")
    url = account_url(world.runtime, "hand", "first")
    assert url is not None
    assert _call(client, url, named.upstream_id, also.upstream_id, "up-nobody's") == 204
    assert [_woken(world, one) for one in (named, also, unnamed)] == [True, False, False]


def test_a_call_for_a_job_whose_submit_was_lost_has_it_looked_up(
    world: World, hand: Hand, client: TestClient
) -> None:
    hand.trouble["first"] = OutcomeUnknown("lost")
    attempt = _at_provider(world)
    assert attempt.state == "outcome_unknown"
    assert _call(client, _url(world, attempt), "up-1") == 204
    assert _woken(world, attempt)


# --- bad ones: nothing at all comes of them


@pytest.mark.parametrize("headers", [{}, {"x-hand-signature": "forged"}])
def test_a_forged_one_is_401(world: World, client: TestClient, headers: dict[str, str]) -> None:
    attempt = _at_provider(world)
    before = _everything(world)
    answer = client.post(_url(world, attempt), content='{"ids": []}', headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_signature")
    assert _everything(world) == before


def test_a_token_that_is_not_ours_is_404_before_the_body_is_looked_at(
    world: World, hand: Hand, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hand, "parse_webhook", None)
    attempt, other = _at_provider(world), _at_provider(world)
    url = _url(world, attempt)
    proof = url.rpartition(".")[2]
    before = _everything(world)
    for bad in (
        url[:-1],
        url[:-1] + ("A" if url[-1] != "A" else "B"),
        url + "A",
        url.replace(attempt.id, other.id),
        url.replace("/hand/", "/echo_remote/"),
        f"/hooks/hand/.{proof}",
        f"/hooks/hand/{proof}",
        "/hooks/hand/%C3%A9.x",
        "/hooks/hand/" + "a" * 400,
        "/hooks/nobody/x.y",
    ):
        answer = client.post(bad, content="{}", headers=GOOD)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "hook_not_found"), bad
    assert _everything(world) == before


def test_a_file_urls_token_is_no_hooks(world: World, client: TestClient) -> None:
    token = sign(world.runtime.pepper, SignedFile("video_1", "video", 2**31))
    assert _call(client, f"/hooks/hand/{token}") == 404


def test_one_that_is_too_long_is_413(world: World, client: TestClient) -> None:
    attempt = _at_provider(world)
    before = _everything(world)
    answer = client.post(_url(world, attempt), content=b"x" * (MAX_BODY + 1), headers=GOOD)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")
    assert _everything(world) == before


def test_one_that_cannot_be_read_is_400(
    world: World, hand: Hand, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreadable(headers: Any, body: bytes) -> Any:
        raise UnexpectedReply("not as documented", operator_detail="no field id")

    monkeypatch.setattr(hand, "parse_webhook", unreadable)
    attempt = _at_provider(world)
    before = _everything(world)
    assert _call(client, _url(world, attempt)) == 400
    assert _everything(world) == before


def test_only_posts_are_taken(world: World, client: TestClient) -> None:
    assert client.get(_url(world, _at_provider(world))).status_code == 405


# --- good ones at a bad time


def test_a_duplicate_changes_nothing_but_when_the_next_look_is(world: World, client: TestClient) -> None:
    attempt = _at_provider(world)
    for _ in range(3):
        assert _call(client, _url(world, attempt), attempt.upstream_id) == 204
    after = world.attempt(attempt.video_id)._asdict()
    assert after | {"next_poll_at": None} == attempt._asdict() | {"next_poll_at": None}


@pytest.mark.parametrize("state", ["planned", "submitting"])
def test_one_that_comes_before_the_answer_to_the_submit_changes_nothing(
    world: World, hand: Hand, client: TestClient, state: str
) -> None:
    attempt = world.attempt(world.accept(seconds="2"))
    world.update(attempt.id, state=state)
    before = _everything(world)
    assert _call(client, _url(world, attempt), "up-1") == 204
    assert _everything(world) == before
    assert hand.sent == []


def test_one_that_comes_after_the_end_changes_nothing(world: World, client: TestClient) -> None:
    attempt = _at_provider(world)
    observe(world.runtime, attempt.id, Failed(code="gave_up", message="no", user_fault=True))
    for settled in (False, True):
        if settled:
            settle(world.runtime, attempt.id)
        before = _everything(world)
        assert _call(client, _url(world, attempt), attempt.upstream_id) == 204
        assert _everything(world) == before
    assert world.video(attempt.video_id).status == "failed"
    assert world.problems() == []


def test_one_for_a_job_that_was_given_up_in_doubt_changes_nothing(
    world: World, hand: Hand, client: TestClient
) -> None:
    hand.trouble["first"] = OutcomeUnknown("lost")
    attempt = _at_provider(world)
    world.update_video(attempt.video_id, deadline_at=now() - timedelta(seconds=1))
    world.look(attempt.id)
    world.look(attempt.id)
    assert world.video(attempt.video_id).error_code == "outcome_unknown"
    before = _everything(world)
    assert _call(client, _url(world, attempt), "up-1") == 204
    assert _everything(world) == before, "its books are closed: a person reconciles it"


def test_a_provider_that_signs_nothing_has_the_token_alone(world: World, client: TestClient) -> None:
    attempt = world.submitted(world.accept(seconds="2", options={"echo_remote": {"latency_ms": 60_000}}))
    assert attempt.adapter == "hand"
    moved = dict(attempt._mapping) | {"adapter": "echo_remote"}
    world.update(attempt.id, adapter="echo_remote", next_poll_at=now() + LATER)
    url = attempt_url(world.runtime, world.attempt(attempt.video_id))
    assert url is not None
    assert moved["id"] in url
    assert client.post(url, content=b"anything").status_code == 204
    assert _woken(world, attempt)
    assert account_url(world.runtime, "echo_remote", "default") is None
