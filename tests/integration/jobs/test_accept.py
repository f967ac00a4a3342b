"""Accepting: one transaction holds the price, records the plan and enqueues the start."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import events, idempotency_keys, videos
from gateway.jobs.accept import accept, dry_run
from gateway.jobs.errors import (
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


def test_parallel_creates_cannot_share_the_last_of_the_budget(make_world: Callable[..., World]) -> None:
    world = make_world(budget=60_000)
    outcomes: list[str] = []

    def create() -> None:
        try:
            world.accept(seconds="2")
            outcomes.append("accepted")
        except OverBudget:
            outcomes.append("refused")

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["accepted"] * 3 + ["refused"] * 5


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


def test_input_images_lie_under_the_videos_own_key_and_go_with_a_refusal(world: World) -> None:
    image = InputImage(
        role="first_frame", key="ab12", sha256="ab12", media_type="image/png", width=64, height=64, bytes=3
    )
    request = ASK.model_copy(update={"images": (image,)})
    reply = accept(world.runtime, world.caller, request, {"ab12": b"png"}, reply=_reply).reply
    stored = VideoRequest.model_validate(_stored(world, reply["id"]).request).images[0]
    assert stored.key == f"inputs/{reply['id']}/0.png"
    assert world.runtime.store.read(stored.key) == b"png"
    dear = request.model_copy(update={"max_cost": Decimal("0.000001")})
    with pytest.raises(PlanRefused):
        accept(world.runtime, world.caller, dear, {"ab12": b"png"}, reply=_reply)
    kept = list((world.runtime.settings.store_dir / "inputs").rglob("*.png"))
    assert len(kept) == 1
