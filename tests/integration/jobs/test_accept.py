"""Accepting: one transaction holds the price, records the plan and enqueues the start."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import events, idempotency_keys, videos
from gateway.jobs.accept import accept, dry_run
from gateway.jobs.errors import (
    AcceptUnknown,
    IdempotencyInFlight,
    IdempotencyMismatch,
    OverBudget,
    PlanRefused,
    PromptRefused,
    TierTooHigh,
    UnknownOptions,
)
from gateway.jobs.idempotency import Idempotency
from gateway.jobs.records import Decision
from gateway.routing import UnknownModel
from gateway.spec import InputImage, Plan, Screen, VideoRequest

from .conftest import World

ASK = VideoRequest(prompt="a red circle", model="echo-remote")


def _reply(record: Any) -> dict[str, Any]:
    return {"id": record.id, "status": record.status}


def _count(world: World, table: sa.Table) -> int:
    with world.runtime.db.read() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def test_a_create_leaves_a_hold_a_planned_attempt_an_event_and_a_queued_start(world: World) -> None:
    video_id = world.accept(seconds="3")
    attempt = world.attempt(video_id)
    assert world.video(video_id).status == "queued"
    assert attempt.state == "planned"
    assert world.money(video_id) == {"hold": 30_000, "estimate": 30_000}
    assert world.enqueued() == [f"start:{attempt.id}:0"]
    assert _count(world, events) == 1
    assert world.problems() == []


def test_what_fails_in_the_transaction_leaves_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(world.runtime.enqueuer, "enqueue", broken)
    with pytest.raises(OSError, match="disk"):
        world.accept()
    assert _count(world, videos) == 0
    assert world.enqueued() == []


def test_a_dry_run_is_the_plan_of_the_create_and_stores_nothing(world: World) -> None:
    planned = dry_run(world.runtime, world.caller, ASK)
    assert _count(world, videos) == 0
    video_id = world.accept()
    assert Plan.model_validate(_stored(world, video_id).plan) == planned
    assert world.video(video_id).decision == Decision.of(planned)


def test_nothing_fits_is_refused_with_the_plan(world: World) -> None:
    with pytest.raises(PlanRefused) as refused:
        world.accept(max_cost="0.000001")
    assert [dropped.code for dropped in refused.value.plan.dropped] == ["over_max_cost"]
    assert _count(world, videos) == 0


def test_an_unknown_model_is_named(world: World) -> None:
    with pytest.raises(UnknownModel):
        world.accept(model="nothing-like-it")


def test_options_for_an_adapter_that_nobody_installed_are_refused(world: World) -> None:
    with pytest.raises(UnknownOptions, match=r"'ecko'; options may be given for: echo, echo_remote"):
        world.accept(options={"ecko": {"latency_ms": 1}})
    assert _count(world, videos) == 0


def test_a_tenant_may_lower_its_tier_and_not_raise_it(make_world: Callable[..., World]) -> None:
    world = make_world(tier="pro")
    assert world.runtime.settings.tiers == ("basic", "pro", "enterprise")
    video_id = world.accept(tier="basic")
    assert _stored(world, video_id).tier == "basic"
    assert _stored(world, world.accept()).tier == "pro"
    with pytest.raises(TierTooHigh) as refused:
        world.accept(tier="enterprise")
    assert refused.value.allowed == ("basic", "pro")


def _stored(world: World, video_id: str) -> sa.Row[Any]:
    with world.runtime.db.read() as connection:
        return connection.execute(sa.select(videos).where(videos.c.id == video_id)).one()


def test_the_budget_of_the_month_is_never_overdrawn(make_world: Callable[..., World]) -> None:
    world = make_world(budget=50_000)
    for _ in range(2):
        world.accept(seconds="2")
    with pytest.raises(OverBudget):
        world.accept(seconds="2")
    assert world.accept(seconds="1")


def test_of_200_parallel_creates_a_budget_for_10_takes_10(make_world: Callable[..., World]) -> None:
    world = make_world(budget=100_000)

    def create(_: int) -> str:
        try:
            world.accept(seconds="1")
        except OverBudget:
            return "refused"
        return "accepted"

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(create, range(200)))
    assert (outcomes.count("accepted"), outcomes.count("refused")) == (10, 190)
    assert world.problems() == []


def test_creates_of_a_tenant_without_a_budget_do_not_wait_for_each_other(world: World) -> None:
    if world.runtime.db.is_sqlite:
        pytest.skip("SQLite has one writer at a time")
    during: list[str] = []

    def reply_while_another_is_accepted(record: Any) -> dict[str, Any]:
        with ThreadPoolExecutor(1) as pool:
            during.append(pool.submit(world.accept).result(timeout=10))
        return _reply(record)

    accept(world.runtime, world.caller, ASK, {}, reply=reply_while_another_is_accepted)
    assert len(during) == 1


def test_the_reply_to_a_create_is_what_a_read_then_finds(world: World) -> None:
    replies: list[Any] = []

    def reply(record: Any) -> dict[str, Any]:
        replies.append(record)
        return _reply(record)

    ask = ASK.model_copy(update={"prompt": '日本 \\ "quoted" 🎈', "seed": 7, "mode": "preview"})
    video_id = accept(world.runtime, world.caller, ask, {}, reply=reply).reply["id"]
    found = world.video(video_id)
    (attempt,) = found.attempts
    assert replies == [replace(found, attempts=(replace(attempt, pool=None, priority=0),))]


def test_an_estimated_time_of_many_weeks_can_be_read(world: World) -> None:
    video_id = world.accept()
    plan = Plan.model_validate(_stored(world, video_id).plan)
    assert plan.chosen is not None
    slow = plan.model_copy(update={"chosen": plan.chosen.model_copy(update={"eta_ms": 2**40})})
    world.update_video(video_id, plan=slow.model_dump(mode="json"))
    assert world.video(video_id).decision.eta_ms == 2**40


def test_a_screen_refuses_a_prompt(world: World) -> None:
    def no_red(prompt: str) -> str | None:
        return "it is about red" if "red" in prompt else None

    screen = Screen(name="no-red", prompt=no_red)
    object.__setattr__(world.runtime.registry, "screens", (screen,))
    with pytest.raises(PromptRefused, match=r"no-red.*about red"):
        world.accept()
    assert world.accept(prompt="a blue circle")


def test_the_same_key_replays_the_stored_reply(world: World) -> None:
    key = Idempotency(key="order-1", fingerprint="aa")
    first = accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=key)
    again = accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=key)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.reply == again.reply
    assert _count(world, videos) == 1


def test_the_same_key_with_another_body_is_refused(world: World) -> None:
    first = Idempotency(key="order-1", fingerprint="aa")
    accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=first)
    other = Idempotency(key="order-1", fingerprint="bb")
    with pytest.raises(IdempotencyMismatch):
        accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=other)


def test_a_key_is_free_again_after_a_day(world: World) -> None:
    key = Idempotency(key="order-1", fingerprint="aa")
    accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=key)
    with world.runtime.db.write() as connection:
        connection.execute(idempotency_keys.update().values(created_at=now() - timedelta(hours=25)))
    again = accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=key)
    assert not again.replayed
    assert _count(world, videos) == 2


def test_a_key_in_flight_is_refused(world: World) -> None:
    key = Idempotency(key="order-1", fingerprint="aa")

    def reply_while_another_comes(record: Any) -> dict[str, Any]:
        with pytest.raises(IdempotencyInFlight):
            accept(world.runtime, world.caller, ASK, {}, reply=_reply, idempotency=key)
        return _reply(record)

    accept(world.runtime, world.caller, ASK, {}, reply=reply_while_another_comes, idempotency=key)
    assert _count(world, videos) == 1


IMAGE = InputImage(
    role="first_frame", key="ab12", sha256="ab12", media_type="image/png", width=64, height=64, bytes=3
)


def test_an_accept_that_may_have_happened_keeps_its_images(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = sa.engine.RootTransaction.commit

    def commit_and_lose_the_connection(transaction: sa.engine.RootTransaction) -> None:
        really(transaction)
        raise sa.exc.OperationalError("COMMIT", None, ConnectionError("the server closed the connection"))

    request = ASK.model_copy(update={"images": (IMAGE,)})
    key = Idempotency(key="order-1", fingerprint="aa")
    ask = partial(accept, world.runtime, world.caller, request, {"ab12": b"png"}, reply=_reply)
    with monkeypatch.context() as patched:
        patched.setattr(sa.engine.RootTransaction, "commit", commit_and_lose_the_connection)
        with pytest.raises(AcceptUnknown) as unknown:
            ask(idempotency=key)
    assert world.runtime.store.read(f"inputs/{unknown.value.video_id}/0.png") == b"png"
    again = ask(idempotency=key)
    assert (again.replayed, again.reply["id"]) == (True, unknown.value.video_id)


def test_input_images_lie_under_the_videos_own_key_and_go_with_a_refusal(world: World) -> None:
    request = ASK.model_copy(update={"images": (IMAGE,)})
    reply = accept(world.runtime, world.caller, request, {"ab12": b"png"}, reply=_reply).reply
    stored = VideoRequest.model_validate(_stored(world, reply["id"]).request).images[0]
    assert stored.key == f"inputs/{reply['id']}/0.png"
    assert world.runtime.store.read(stored.key) == b"png"
    dear = request.model_copy(update={"max_cost": Decimal("0.000001")})
    with pytest.raises(PlanRefused):
        accept(world.runtime, world.caller, dear, {"ab12": b"png"}, reply=_reply)
    kept = list((world.runtime.settings.store_dir / "inputs").rglob("*.png"))
    assert len(kept) == 1
