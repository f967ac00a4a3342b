"""The store keeps whole objects or none, and never changes one."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.media import BadKey, KeyTaken, Missing, Store, Stored, StoreError, StoreFull


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def files(store: Store) -> list[str]:
    """Everything on disk, temporary files too."""
    return sorted(str(p.relative_to(store.root)) for p in store.root.rglob("*") if p.is_file())


def test_bytes_and_files_come_back(store: Store, tmp_path: Path) -> None:
    big = tmp_path / "big"
    big.write_bytes(os.urandom((1 << 20) + 17))
    small = store.put("videos/video_1/thumbnail.webp", b"abc")
    large = store.put("videos/video_1/att_1.mp4", big)
    assert small == Stored("videos/video_1/thumbnail.webp", hashlib.sha256(b"abc").hexdigest(), 3)
    assert large.sha256 == hashlib.sha256(big.read_bytes()).hexdigest()
    assert store.read(large.key) == big.read_bytes() == store.path(large.key).read_bytes()
    with store.open(small.key) as file:
        assert file.read() == b"abc"
    assert files(store) == ["videos/video_1/att_1.mp4", "videos/video_1/thumbnail.webp"]
    assert big.exists()


def test_same_bytes_twice_are_fine_and_others_are_not(store: Store) -> None:
    first = store.put("a/b", b"one")
    assert store.put("a/b", b"one") == first
    with pytest.raises(KeyTaken) as caught:
        store.put("a/b", b"two")
    assert "a/b" in caught.value.operator_detail
    assert store.read("a/b") == b"one"
    assert files(store) == ["a/b"]


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
def test_bad_keys_are_refused_everywhere(store: Store, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put(key, b""),
        lambda: store.open(key),
        lambda: store.read(key),
        lambda: store.path(key),
        lambda: store.exists(key),
        lambda: store.delete(key),
    ]
    for call in calls:
        with pytest.raises(BadKey):
            call()
    assert files(store) == []


def test_missing_and_deleted(store: Store) -> None:
    for call in (store.open, store.read, store.path):
        with pytest.raises(Missing):
            call("a/b")
    assert not store.exists("a/b")
    assert not store.delete("a/b")
    store.put("a/b", b"x")
    assert store.exists("a/b")
    assert not store.exists("a")
    with pytest.raises(Missing):
        store.open("a")
    with pytest.raises(Missing):
        store.open("a/b/c")
    assert store.delete("a/b")
    assert not store.exists("a/b")
    assert store.put("a/b", b"y").bytes == 1


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_full_disk_keeps_nothing_and_says_what_to_do(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def full(*args: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreFull) as caught:
            store.put("a/b", b"x" * 5000)
    assert f"no space for files in {store.root}" in caught.value.operator_detail
    assert "enlarge the disk" in caught.value.operator_detail
    assert str(store.root) not in caught.value.caller_detail
    assert files(store) == []
    assert store.put("a/b", b"x").bytes == 1


def test_a_full_disk_after_half_of_the_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write, calls = os.write, iter(range(10))

    def half(descriptor: int, data: Any) -> int:
        if next(calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(StoreFull):
            store.put("a", b"x" * 5000)
    assert files(store) == []


def test_short_writes_are_carried_on(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    data = os.urandom(100)
    store.put("a", data)
    assert store.read("a") == data


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_killed_while_putting_leaves_no_visible_key(
    store: Store, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A kill runs no clean-up: neither may the key be there, nor its bytes stay for ever."""

    def killed(*args: Any) -> int:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, killed)
        patch.setattr(Path, "unlink", lambda *args, **kwargs: None)
        with pytest.raises(SystemExit):
            store.put("a/b", b"x" * 5000)
    assert not store.exists("a/b")
    leftover = files(store)
    assert len(leftover) == 1
    assert leftover[0].startswith(".tmp/")
    assert store.put("a/b", b"y").bytes == 1
    old = time.time() - 7200
    os.utime(store.root / leftover[0], (old, old))
    assert Store(store.root).sweep_temp(older_than_s=3600) == 1
    assert files(store) == ["a/b"]


def test_the_sweep_spares_writers_at_work(store: Store) -> None:
    (store.root / ".tmp" / "busy").write_bytes(b"x")
    assert store.sweep_temp(older_than_s=3600) == 0
    assert files(store) == [".tmp/busy"]


def test_a_source_that_grows_is_not_stored(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "growing"
    source.write_bytes(b"x" * (1 << 20))
    write = os.write

    def grow(descriptor: int, data: Any) -> int:
        with source.open("ab") as file:
            if file.tell() == 1 << 20:
                file.write(b"more")
        return write(descriptor, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", grow)
        with pytest.raises(StoreError, match="not be stored whole"):
            store.put("a", source)
    assert files(store) == []


def test_other_trouble_is_a_store_error_that_names_the_folder(store: Store, tmp_path: Path) -> None:
    store.put("a", b"x")
    with pytest.raises(StoreError) as caught:
        store.put("a/b", b"x")
    assert str(store.root) in caught.value.operator_detail
    assert not isinstance(caught.value, StoreFull)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        Store(tmp_path / "file")


def test_everything_is_on_disk_before_put_returns(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), store.root))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store.put("a/b/c", b"x")
    assert synced[0].startswith(".tmp/")
    assert sorted(synced[1:]) == [".", "a", "a/b"]
