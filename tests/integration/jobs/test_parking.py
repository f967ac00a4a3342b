"""A tenant's videos under way at once: the rest is accepted, held for, and waits."""

from __future__ import annotations

import threading

import pytest

from gateway.api.video_object import video_object
from gateway.db.tables import tenants
from gateway.jobs.control import cancel_video
from gateway.jobs.parking import release_parked
from gateway.jobs.settle import settle

from .conftest import World


@pytest.fixture
def two_at_once(world: World) -> World:
    _limit(world, 2)
    return world


def _limit(world: World, limit: int | None) -> None:
    with world.runtime.db.write() as connection:
        connection.execute(tenants.update().values(max_active=limit))


def _started(world: World, video_id: str) -> bool:
    return f"start:{world.attempt(video_id).id}:0" in world.enqueued()


def test_what_is_over_the_limit_is_accepted_and_waits_for_room(two_at_once: World) -> None:
    world = two_at_once
    first, second, third, fourth = (world.accept() for _ in range(4))
    assert [_started(world, video) for video in (first, second, third, fourth)] == [True, True, False, False]
    assert world.money(third)["hold"] > 0, "accepted means held"
    assert [video_object(world.video(video))["gateway"]["parked"] for video in (second, third)] == [
        False,
        True,
    ]
    release_parked(world.runtime)
    assert not _started(world, third)
    cancel_video(world.runtime, world.caller, first)
    settle(world.runtime, world.attempt(first).id)
    release_parked(world.runtime)
    assert (_started(world, third), _started(world, fourth)) == (True, False), "the oldest first"


def test_interactive_work_is_released_before_batch(two_at_once: World) -> None:
    world = two_at_once
    under_way = [world.accept() for _ in range(2)]
    batch, interactive = world.accept(priority="batch"), world.accept()
    cancel_video(world.runtime, world.caller, under_way[0])
    settle(world.runtime, world.attempt(under_way[0]).id)
    release_parked(world.runtime)
    assert (_started(world, batch), _started(world, interactive)) == (False, True)


def test_a_limit_that_is_lifted_releases_all(two_at_once: World) -> None:
    videos = [two_at_once.accept() for _ in range(5)]
    _limit(two_at_once, None)
    release_parked(two_at_once.runtime)
    assert all(_started(two_at_once, video) for video in videos)


def test_a_parked_video_can_be_cancelled_and_is_not_started_then(two_at_once: World) -> None:
    world = two_at_once
    videos = [world.accept() for _ in range(3)]
    cancel_video(world.runtime, world.caller, videos[2])
    settle(world.runtime, world.attempt(videos[2]).id)
    _limit(world, None)
    release_parked(world.runtime)
    assert not _started(world, videos[2])
    assert world.video(videos[2]).error_code == "cancelled"
    assert world.problems() == []


def test_a_local_job_takes_its_place_in_the_pool_when_it_is_released(two_at_once: World) -> None:
    world = two_at_once
    videos = [world.accept(model="echo") for _ in range(3)]
    before = [world.attempt(video).priority for video in videos]
    cancel_video(world.runtime, world.caller, videos[0])
    settle(world.runtime, world.attempt(videos[0]).id)
    release_parked(world.runtime)
    assert before[0] < before[1], "each behind the one before"
    assert world.attempt(videos[2]).priority > before[1]


def test_racing_creates_do_not_exceed_the_limit(two_at_once: World) -> None:
    world, videos = two_at_once, list[str]()
    threads = [threading.Thread(target=lambda: videos.append(world.accept())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(_started(world, video) for video in videos) == 2
