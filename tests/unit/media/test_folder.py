"""A folder keeps its promises when the disk is full, the writer is killed or the power goes."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.media import Store, StoreError, StoreFull


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def store(root: Path) -> Store:
    return Store(root)


def files(root: Path) -> list[str]:
    """Everything on disk, temporary files too."""
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_a_full_disk_keeps_nothing_and_says_what_to_do(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def full(*args: Any) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, full)
        with pytest.raises(StoreFull) as caught:
            store.put("a/b", b"x" * 5000)
    assert f"no space for files in {root}" in caught.value.operator_detail
    assert "enlarge the disk" in caught.value.operator_detail
    assert str(root) not in caught.value.caller_detail
    assert files(root) == []
    assert store.put("a/b", b"x").bytes == 1


def test_a_full_disk_after_half_of_the_bytes(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = os.write, iter(range(10))

    def half(descriptor: int, data: Any) -> int:
        if next(calls):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data[: len(data) // 2])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", half)
        with pytest.raises(StoreFull):
            store.put("a", b"x" * 5000)
    assert files(root) == []


def test_short_writes_are_carried_on(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:7]))
    data = os.urandom(100)
    store.put("a", data)
    assert store.read("a") == data


@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_killed_while_putting_leaves_no_visible_key(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
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
    leftover = files(root)
    assert len(leftover) == 1
    assert leftover[0].startswith(".tmp/")
    assert store.put("a/b", b"y").bytes == 1
    old = time.time() - 7200
    os.utime(root / leftover[0], (old, old))
    assert Store(root).sweep_temp(older_than_s=3600) == 1
    assert files(root) == ["a/b"]


def test_the_sweep_spares_writers_at_work(store: Store, root: Path) -> None:
    (root / ".tmp" / "busy").write_bytes(b"x")
    assert store.sweep_temp(older_than_s=3600) == 0
    assert files(root) == [".tmp/busy"]


def test_a_source_that_grows_is_not_stored(
    store: Store, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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
    assert files(root) == []


def test_other_trouble_is_a_store_error_that_names_the_folder(
    store: Store, root: Path, tmp_path: Path
) -> None:
    store.put("a", b"x")
    with pytest.raises(StoreError) as caught:
        store.put("a/b", b"x")
    assert str(root) in caught.value.operator_detail
    assert not isinstance(caught.value, StoreFull)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        Store(tmp_path / "file")


def test_everything_is_on_disk_before_put_returns(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        synced.append(os.path.relpath(os.readlink(f"/proc/self/fd/{descriptor}"), root))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    store.put("a/b/c", b"x")
    assert synced[0].startswith(".tmp/")
    assert sorted(synced[1:]) == [".", "a", "a/b"]


async def test_a_file_that_was_cut_is_not_streamed_as_if_it_were_whole(store: Store, root: Path) -> None:
    store.put("a", b"x" * 100)
    os.truncate(root / "a", 60)
    with pytest.raises(StoreError, match="stored whole"):
        _ = [chunk async for chunk in store.stream("a", 0, 100)]


def test_foreign_files_are_not_listed(store: Store, root: Path) -> None:
    store.put("a", b"x")
    (root / "Notes.txt").write_text("of the operator")
    assert [entry.key for entry in store.keys("")] == ["a"]


def test_a_folder_that_cannot_be_written_fails_the_check(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", broken)
    with pytest.raises(StoreError) as caught:
        store.check()
    assert "Read-only" in caught.value.operator_detail
