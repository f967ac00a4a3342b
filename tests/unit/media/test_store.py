"""The store keeps whole objects or none, and never changes one: in a folder and in a bucket alike."""

from __future__ import annotations

import hashlib
import os
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.media import BadKey, Entry, KeyTaken, Missing, Store, Stored, _bucket

BIG = _bucket.SINGLE_PUT + (1 << 20) + 17
"""In bytes: a bucket takes it in parts."""


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "folder":
        return Store(tmp_path / "store")
    s3 = request.getfixturevalue("s3")
    return Store.at(f"s3://{s3.bucket}/{uuid.uuid4().hex}", s3.options())


def held(store: Store) -> list[str]:
    return sorted(entry.key for entry in store.keys(""))


async def streamed(store: Store, key: str, start: int, end: int) -> list[bytes]:
    return [chunk async for chunk in store.stream(key, start, end)]


def test_bytes_and_files_come_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "clip"
    source.write_bytes(os.urandom((1 << 20) + 17))
    small = store.put("videos/video_1/thumbnail.webp", b"abc")
    large = store.put("videos/video_1/att_1.mp4", source)
    assert small == Stored("videos/video_1/thumbnail.webp", hashlib.sha256(b"abc").hexdigest(), 3)
    assert large.sha256 == hashlib.sha256(source.read_bytes()).hexdigest()
    assert store.read(large.key) == source.read_bytes()
    assert store.read(small.key) == b"abc"
    assert store.put("videos/video_1/empty", b"").bytes == 0
    assert store.read("videos/video_1/empty") == b""
    assert source.exists()


def test_an_object_can_be_had_as_a_local_file(store: Store, tmp_path: Path) -> None:
    stored = store.put("videos/video_1/att_1.mp4", os.urandom((4 << 20) + 5))
    folder = tmp_path / "scratch"
    folder.mkdir()
    path, found = store.as_file(stored.key, folder)
    assert found == stored
    assert path.read_bytes() == store.read(stored.key)


def test_same_bytes_twice_are_fine_and_others_are_not(store: Store) -> None:
    first = store.put("a/b", b"one")
    assert store.put("a/b", b"one") == first
    with pytest.raises(KeyTaken) as caught:
        store.put("a/b", b"two")
    assert "a/b" in caught.value.operator_detail
    assert store.read("a/b") == b"one"
    assert held(store) == ["a/b"]


def test_a_big_file_is_stored_once_too(store: Store, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(os.urandom(BIG))
    two.write_bytes(os.urandom(BIG))
    stored = store.put("a/big", one)
    assert stored == Stored("a/big", hashlib.sha256(one.read_bytes()).hexdigest(), BIG)
    assert store.put("a/big", one) == stored
    with pytest.raises(KeyTaken):
        store.put("a/big", two)
    assert store.read("a/big") == one.read_bytes()
    assert held(store) == ["a/big"]
    assert store.sweep_temp(older_than_s=-60) == 0, "something temporary was left"


@pytest.mark.parametrize("size", [100, BIG])
def test_of_two_writers_with_other_bytes_one_wins(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    sources = [tmp_path / "one", tmp_path / "two"]
    for source in sources:
        source.write_bytes(os.urandom(size))
    meet = threading.Barrier(2, timeout=20)
    shelf = type(store._shelf)
    create = shelf.create

    def together(self: object, key: str, source: Path | bytes) -> object:
        meet.wait()
        return create(self, key, source)  # type: ignore[arg-type]  # either kind, each with its own method

    monkeypatch.setattr(shelf, "create", together)
    ends: dict[Path, str] = {}

    def write(source: Path) -> None:
        try:
            ends[source] = store.put("a/b", source).sha256
        except KeyTaken:
            ends[source] = "taken"

    threads = [threading.Thread(target=write, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    (winner,) = [source for source in sources if ends[source] != "taken"]
    assert store.read("a/b") == winner.read_bytes()
    assert held(store) == ["a/b"]


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "a/../b",
        "a//b",
        "a/",
        "a/./b",
        "..",
        ".tmp/x",
        "A",
        "a b",
        "a\n",
        "a\0",
        "ä",
        "a" * 202,
        "a..b",
    ],
)
def test_bad_keys_are_refused_everywhere(store: Store, tmp_path: Path, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.read(key),
        lambda: store.stat(key),
        lambda: store.as_file(key, tmp_path),
        lambda: store.stream(key, 0, 1),
        lambda: store.exists(key),
        lambda: store.delete(key),
        lambda: store.keys(key or "/"),
    ]
    for call in calls:
        with pytest.raises(BadKey):
            call()
    assert held(store) == []


async def test_missing_and_deleted(store: Store, tmp_path: Path) -> None:
    for call in (store.read, store.stat, lambda key: store.as_file(key, tmp_path)):
        with pytest.raises(Missing):
            call("a/b")
    with pytest.raises(Missing):
        await streamed(store, "a/b", 0, 1)
    assert not store.exists("a/b")
    assert not store.delete("a/b")
    store.put("a/b", b"x")
    assert store.exists("a/b")
    assert not store.exists("a")
    for key in ("a", "a/b/c"):
        with pytest.raises(Missing):
            store.read(key)
        assert not store.delete(key)
    assert store.delete("a/b")
    assert not store.exists("a/b")
    assert store.put("a/b", b"y").bytes == 1


async def test_any_part_of_an_object_is_streamed(store: Store) -> None:
    data = os.urandom((5 << 20) + 3)
    store.put("a", data)
    for start, end in ((0, len(data)), (0, 1), (7, 9), (1 << 20, (1 << 20) + 1), (len(data) - 2, len(data))):
        chunks = await streamed(store, "a", start, end)
        assert b"".join(chunks) == data[start:end]
        assert max(map(len, chunks)) <= 1 << 20
    assert await streamed(store, "a", 0, 0) == []


def test_the_listing_shows_what_is_below_a_folder_with_its_length_and_age(store: Store) -> None:
    for key, data in (
        ("videos/v1/a", b"1"),
        ("videos/v1/b", b"22"),
        ("videos/v10/a", b"3"),
        ("inputs/v1/0", b""),
    ):
        store.put(key, data)
    assert sorted((e.key, e.bytes) for e in store.keys("videos/v1")) == [
        ("videos/v1/a", 1),
        ("videos/v1/b", 2),
    ]
    assert held(store) == ["inputs/v1/0", "videos/v1/a", "videos/v1/b", "videos/v10/a"]
    assert list(store.keys("elsewhere")) == []
    entry = store.stat("videos/v1/b")
    assert entry in list(store.keys("videos"))
    assert isinstance(entry, Entry)
    assert abs(datetime.now(UTC) - entry.modified_at) < timedelta(minutes=1)


def test_what_is_deleted_while_it_is_listed_is_passed_over(store: Store) -> None:
    for key in ("a/1", "a/2", "a/3"):
        store.put(key, b"x")
    for entry in store.keys("a"):
        store.delete(entry.key)
    assert held(store) == []


def test_a_place_that_is_there_passes_the_check(store: Store) -> None:
    store.check()
    assert held(store) == []
