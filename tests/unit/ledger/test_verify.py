"""Each rule of the ledger, broken by a row that was tampered with, is named with its video and alone."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.db.tables import artefacts, videos
from gateway.ledger.entries import Parties
from gateway.ledger.verify import verify_ledger

from .conftest import Books

Tamper = Callable[[Books, Parties], None]


def _problems(books: Books) -> list[str]:
    with books.db.read() as connection:
        return verify_ledger(connection)


def _unstore(books: Books, parties: Parties) -> None:
    with books.db.write() as connection:
        connection.execute(artefacts.delete().where(artefacts.c.video_id == parties.video_id))


@pytest.fixture
def sound(books: Books) -> Books:
    """Books with a video in every state, all of them sound."""
    books.video(status="queued")
    books.video(status="in_progress")
    books.complete(books.video(), 40)
    books.complete(books.video(), 400)
    books.complete(books.video(held=0), 0)
    books.fail(books.video())
    return books


def test_sound_books_have_no_problem(sound: Books) -> None:
    assert _problems(sound) == []


COMPLETED: dict[str, tuple[Tamper, str]] = {
    "no hold": (lambda books, one: books.remove(one, "hold"), "0 holds instead of one"),
    "a second hold": (
        lambda books, one: books.tamper(one, "estimate", account="tenant", kind="hold", amount_micro_usd=0),
        "2 holds instead of one",
    ),
    "another hold than the video's": (
        lambda books, one: books.tamper(one, "hold", amount_micro_usd=101),
        "hold 101 differs from the video's 100",
    ),
    "a charge too high": (
        lambda books, one: books.tamper(one, "charge", amount_micro_usd=41),
        "hold 100 is not charge 41 + release 60",
    ),
    "a release too low": (
        lambda books, one: books.tamper(one, "release", amount_micro_usd=59),
        "hold 100 is not charge 40 + release 59",
    ),
    "no release": (
        lambda books, one: books.remove(one, "release"),
        "hold 100 is not charge 40 + release 0",
    ),
    "neither charge nor release": (
        lambda books, one: books.remove(one, "charge", "release"),
        "hold 100 is not charge 0 + release 0",
    ),
    "nothing stored": (_unstore, "charged 40 without a stored video"),
    "only a thumbnail stored": (
        lambda books, one: _unstore_the_video(books, one),
        "charged 40 without a stored video",
    ),
    "charged before its end": (
        lambda books, one: books.update(videos, one.video_id, status="in_progress"),
        "charged or released before its end",
    ),
    "another charge than the video's": (
        lambda books, one: books.update(videos, one.video_id, charge_micro_usd=39),
        "charged 40, but the video says 39",
    ),
    "no charge on the video": (
        lambda books, one: books.update(videos, one.video_id, charge_micro_usd=None),
        "charged 40, but the video says None",
    ),
    "failed, yet charged": (
        lambda books, one: books.update(videos, one.video_id, status="failed"),
        "failed, yet charged 40",
    ),
    "an entry of another tenant": (
        lambda books, one: books.tamper(one, "charge", tenant_id=books.tenant("mallory")),
        "does not own the video",
    ),
    "a provider's entry of another tenant": (
        lambda books, one: books.tamper(one, "actual", tenant_id=books.tenant("mallory")),
        "does not own the video",
    ),
}


def _unstore_the_video(books: Books, parties: Parties) -> None:
    with books.db.write() as connection:
        mine = artefacts.update().where(artefacts.c.video_id == parties.video_id)
        connection.execute(mine.values(variant="thumbnail"))


@pytest.mark.parametrize("case", COMPLETED)
def test_a_completed_videos_broken_rule_is_named(sound: Books, case: str) -> None:
    tamper, words = COMPLETED[case]
    victim = sound.video()
    sound.complete(victim, 40)
    tamper(sound, victim)
    problems = _problems(sound)
    assert any(words in problem for problem in problems), problems
    assert all(problem.startswith(f"{victim.video_id}: ") for problem in problems), problems


UNFINISHED: dict[str, tuple[Tamper, str]] = {
    "no hold": (lambda books, one: books.remove(one, "hold"), "0 holds instead of one"),
    "released before its end": (
        lambda books, one: books.tamper(one, "estimate", account="tenant", kind="release"),
        "charged or released before its end",
    ),
    "charged nothing before its end": (
        lambda books, one: books.tamper(one, "estimate", account="tenant", kind="charge", amount_micro_usd=0),
        "charged or released before its end",
    ),
}


@pytest.mark.parametrize("case", UNFINISHED)
def test_an_unfinished_videos_broken_rule_is_named(sound: Books, case: str) -> None:
    tamper, words = UNFINISHED[case]
    victim = sound.video(status="in_progress")
    tamper(sound, victim)
    problems = _problems(sound)
    assert any(words in problem for problem in problems), problems
    assert all(problem.startswith(f"{victim.video_id}: ") for problem in problems), problems
