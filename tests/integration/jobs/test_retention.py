"""What is kept no longer goes, and nothing else does."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.tables import artefacts, idempotency_keys
from gateway.jobs import retention
from gateway.jobs.accept import Idempotency, accept
from gateway.jobs.looks import observe
from gateway.jobs.records import VideoRecord
from gateway.jobs.retention import sweep_idempotency_keys, sweep_orphans, sweep_videos
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.spec import Succeeded, VideoRequest

from .conftest import World

GO_ON = threading.Event()


def _completed(world: World) -> str:
    video_id = world.accept()
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    observe(world.runtime, attempt.id, Succeeded())
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    return video_id


def _keys(world: World, video_id: str) -> list[str]:
    query = sa.select(artefacts.c.key).where(artefacts.c.video_id == video_id)
    with world.runtime.db.read() as connection:
        return list(connection.execute(query).scalars())


def _there(world: World, keys: list[str]) -> list[bool]:
    return [world.runtime.store.exists(key) for key in keys]


def test_without_a_limit_nothing_expires(world: World) -> None:
    video_id = _completed(world)
    assert sweep_videos(world.runtime, GO_ON) == 0
    assert all(_there(world, _keys(world, video_id)))


def test_an_expired_videos_files_go_and_its_record_stays(make_world: Any) -> None:
    world: World = make_world(keep_videos_days=30)
    old, young = _completed(world), _completed(world)
    world.update_video(old, expires_at=now() - timedelta(seconds=1))
    assert sweep_videos(world.runtime, GO_ON) == 1
    assert not any(_there(world, _keys(world, old)))
    assert all(_there(world, _keys(world, young)))
    assert world.video(old).charge_micro_usd == world.video(young).charge_micro_usd > 0
    assert world.problems() == []
    assert sweep_videos(world.runtime, GO_ON) == 0, "once"


def test_a_sweep_that_died_after_the_row_leaves_orphans_that_the_next_one_takes(
    make_world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world: World = make_world(keep_videos_days=30)
    video_id = _completed(world)
    keys = _keys(world, video_id)
    world.update_video(video_id, expires_at=now() - timedelta(seconds=1))
    with monkeypatch.context() as dying:
        dying.setattr(world.runtime.store, "delete", _dies)
        with pytest.raises(KeyboardInterrupt):
            sweep_videos(world.runtime, GO_ON)
    monkeypatch.setattr(retention, "ORPHAN_AFTER", timedelta(seconds=-60))
    assert sweep_orphans(world.runtime, GO_ON) == len(keys)
    assert not any(_there(world, keys))


def _dies(key: str) -> bool:
    raise KeyboardInterrupt


def test_orphans_go_once_they_are_a_day_old(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    video_id, unfinished = _completed(world), world.accept()
    orphans = [f"videos/{video_id}/att_x-1.mp4", "inputs/video_gone/0.png", "videos/video_gone/1.mp4"]
    wanted = [f"videos/{unfinished}/att_y-1.mp4", *_keys(world, video_id)]
    for key in (*orphans, wanted[0]):
        world.runtime.store.put(key, b"x")
    assert sweep_orphans(world.runtime, GO_ON) == 0, "they may belong to what is just being done"
    monkeypatch.setattr(retention, "ORPHAN_AFTER", timedelta(seconds=-60))
    assert sweep_orphans(world.runtime, GO_ON) == len(orphans)
    assert not any(_there(world, orphans))
    assert all(_there(world, wanted))


def test_a_key_goes_once_it_is_not_replayed_any_more(world: World) -> None:
    for name, age in (("old", timedelta(days=3)), ("young", timedelta(hours=1))):
        request = VideoRequest(prompt="x", model="echo-remote")
        idempotency = Idempotency(key=name, fingerprint="f")
        accept(world.runtime, world.caller, request, {}, reply=_id, idempotency=idempotency)
        with world.runtime.db.write() as connection:
            mine = idempotency_keys.update().where(idempotency_keys.c.key == name)
            connection.execute(mine.values(created_at=now() - age))
    assert sweep_idempotency_keys(world.runtime, GO_ON) == 1
    with world.runtime.db.read() as connection:
        assert list(connection.execute(sa.select(idempotency_keys.c.key)).scalars()) == ["young"]


def _id(record: VideoRecord) -> dict[str, Any]:
    return {"id": record.id}
