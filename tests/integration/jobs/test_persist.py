"""A database that fails at the worst moment: no answer of a provider and no render is lost or doubled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

from gateway.db import CommitUnknown
from gateway.jobs import persist as persist_module
from gateway.jobs.render import render
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.spec import Device

from .conftest import World

SLOT = Device(pool="cpu", slot=0, kind="cpu")


class Failing:
    """Lets chosen write transactions of a world fail: ``{2: "lost"}`` is the second from now on."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self._write = world.runtime.db.write
        self.plan: dict[int, str] = {}
        self.count = 0
        monkeypatch.setattr(world.runtime.db, "write", self._failing)
        monkeypatch.setattr(persist_module, "FIRST_WAIT_S", 0.001)

    def next(self, plan: dict[int, str]) -> None:
        self.plan, self.count = plan, 0

    @contextmanager
    def _failing(self) -> Iterator[sa.Connection]:
        self.count += 1
        how = self.plan.get(self.count)
        if how == "down":
            raise sa.exc.OperationalError("BEGIN", {}, Exception("the server is starting up"))
        with self._write() as connection:
            yield connection
        if how == "no word":  # it lasted, and the connection broke before the database could say so
            raise CommitUnknown("COMMIT", {}, Exception("connection lost"))


@pytest.fixture
def failing(world: World, monkeypatch: pytest.MonkeyPatch) -> Failing:
    return Failing(world, monkeypatch)


def _submits(world: World) -> int:
    return sum(line["event"] == "submit" for line in world.bill())


@pytest.mark.parametrize("how", ["down", "no word"])
def test_a_providers_ticket_is_recorded_once_the_database_is_back(
    world: World, failing: Failing, how: str
) -> None:
    video_id = world.accept()
    failing.next({2: how, 3: "down", 4: how})
    submit(world.runtime, world.attempt(video_id).id)
    attempt = world.attempt(video_id)
    assert (attempt.state, attempt.ticket is not None, _submits(world)) == ("submitted", True, 1)


def test_a_claim_of_which_no_word_came_is_the_claim(world: World, failing: Failing) -> None:
    video_id = world.accept()
    failing.next({1: "no word"})
    submit(world.runtime, world.attempt(video_id).id)
    attempt = world.attempt(video_id)
    assert (attempt.state, attempt.fence, _submits(world)) == ("submitted", 1, 1), "nobody need look it up"


@pytest.mark.parametrize("how", ["down", "no word"])
def test_a_clip_is_kept_though_its_record_came_late_or_twice(
    world: World, failing: Failing, how: str
) -> None:
    video_id = world.accept(model="echo")
    attempt = world.attempt(video_id)
    writes = _writes_of_a_render(world, failing)
    failing.next({writes: how, writes + 1: "down"})
    render(world.runtime, attempt.id, SLOT)
    failing.next({})
    after = world.attempt(video_id)
    assert (after.state, after.fence, after.deaths) == ("fetching", 1, 0)
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    assert world.problems() == []


def _writes_of_a_render(world: World, failing: Failing) -> int:
    """How many write transactions a render takes, the last of which records its end."""
    other = world.accept(model="echo")
    failing.next({})
    render(world.runtime, world.attempt(other).id, SLOT)
    return failing.count
