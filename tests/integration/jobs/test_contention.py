"""Everybody at one video at once, and two watchers at the same rows: on Postgres they truly run together."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from gateway.db import now
from gateway.jobs.adoption import adopt_found
from gateway.jobs.attempts import load
from gateway.jobs.control import cancel_video, stop_video
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.jobs.watch import Watcher
from gateway.spec import Failed, OutcomeUnknown, Running, Stopped, Succeeded, Ticket

from .conftest import World

ROUNDS = 6


@pytest.fixture
def crowded(make_world: Callable[..., World]) -> World:
    """A gateway with a database connection for everybody."""
    return make_world(database_connections=12)


def _together(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    """Let them all go at the same moment; what they return. What one raises is raised."""
    start = threading.Barrier(len(acts))

    def run(act: Callable[[], Any]) -> Any:
        start.wait(timeout=30)
        return act()

    with ThreadPoolExecutor(len(acts)) as pool:
        return [done.result(timeout=60) for done in [pool.submit(run, act) for act in acts]]


def _stop(world: World, video_id: str) -> None:
    with world.runtime.db.write() as connection:
        stop_video(connection, world.runtime, video_id, "deadline")


@pytest.mark.parametrize("end", [Succeeded(), Stopped(), Failed(code="broke", message="It broke.")])
def test_whoever_comes_first_the_books_are_closed_once(crowded: World, end: Any) -> None:
    seed = int(os.environ.get("SEED", random.randrange(2**32)))
    print(f"seed {seed}")
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        video_id = crowded.accept(options={"echo_remote": {"latency_ms": 60_000}})
        attempt_id = crowded.attempt(video_id).id
        submit(crowded.runtime, attempt_id)
        look = partial(observe, crowded.runtime, attempt_id)
        acts: list[Callable[[], Any]] = [
            partial(look, Running(progress=dice.randrange(1, 50))),
            partial(look, Running(progress=dice.randrange(50, 99))),
            partial(look, end),
            partial(look, end),
            partial(cancel_video, crowded.runtime, crowded.caller, video_id),
            partial(_stop, crowded, video_id),
            partial(settle, crowded.runtime, attempt_id),
            partial(settle, crowded.runtime, attempt_id),
        ]
        dice.shuffle(acts)
        _together(acts)
        _together([partial(settle, crowded.runtime, attempt_id)] * 2)
        video, money = crowded.video(video_id), crowded.money(video_id)
        assert video.terminal
        assert money["hold"] == money.get("charge", 0) + money["release"]
        assert crowded.problems() == []


def test_two_watchers_never_look_at_the_same_row(crowded: World) -> None:
    due = now() - timedelta(seconds=1)
    made = [crowded.attempt(crowded.accept()).id for _ in range(12)]
    for number, attempt_id in enumerate(made):
        crowded.update(attempt_id, state="submitted", next_poll_at=due - timedelta(seconds=number))
    watchers = [Watcher(crowded.runtime) for _ in range(4)]
    claimed = _together([watcher._claim_due for watcher in watchers])
    assert sorted(row.id for rows in claimed for row in rows) == sorted(made)


def test_of_all_that_find_the_same_job_at_once_one_has_it(crowded: World) -> None:
    def find(attempt_id: str, ticket: Ticket) -> bool:
        try:
            with crowded.runtime.db.write() as connection:
                row = load(connection, attempt_id)
                return adopt_found(connection, row, ticket, fence=row.fence)
        except OutcomeUnknown:
            return False

    for round_ in range(ROUNDS):
        lost = [crowded.attempt(crowded.accept()).id for _ in range(4)]
        for attempt_id in lost:
            crowded.update(attempt_id, state="outcome_unknown")
        ticket = Ticket(id=f"echo-{round_}")
        found = _together([partial(find, attempt_id, ticket) for attempt_id in lost])
        assert sorted(found) == [False, False, False, True]
