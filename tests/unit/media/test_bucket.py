"""A bucket keeps the store's promises by S3's own means: conditional writes, parts, and windows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.media import Missing, Store, StoreError, _bucket, open_store
from gateway.settings import Settings, SettingsError

BIG = 3 * _bucket.PART + 17

UPLOAD = """
import json, sys, time
from pathlib import Path
from gateway.media import Store, _bucket

def stalled(self, read=_bucket._Counted.__iter__):
    for number, chunk in enumerate(read(self)):
        yield chunk
        if number == 20:
            print("half", flush=True)
            time.sleep(60)

_bucket._Counted.__iter__ = stalled
url, options, source = sys.argv[1:]
Store.at(url, json.loads(options)).put("a/b", Path(source))
"""


@pytest.fixture
def prefix() -> str:
    return uuid.uuid4().hex


@pytest.fixture
def store(s3: Any, prefix: str) -> Iterator[Store]:
    yield Store.at(f"s3://{s3.bucket}/{prefix}", s3.options())
    s3.before = None


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big"
    path.write_bytes(os.urandom(BIG))
    return path


def test_keys_lie_below_the_prefix(store: Store, s3: Any, prefix: str) -> None:
    store.put("videos/v/a", b"x")
    assert s3.objects(prefix) == [f"{prefix}/videos/v/a"]
    beside = Store.at(f"s3://{s3.bucket}/", s3.options())
    assert beside.read(f"{prefix}/videos/v/a") == b"x"


def test_a_small_object_is_one_conditional_put(store: Store, s3: Any) -> None:
    s3.requests.clear()
    store.put("a/b", b"x" * 1000)
    assert [(r.method, r.query, r.if_none_match) for r in s3.requests] == [("PUT", "", "*")]


def test_a_big_file_goes_up_in_parts_and_takes_its_key_at_once(store: Store, s3: Any, big: Path) -> None:
    s3.requests.clear()
    store.put("a/b", big)
    sent = [request.sent for request in s3.requests]
    assert max(sent) <= _bucket.PART, "a part is all that needs to be in memory"
    assert sum(sent) > BIG
    written = [r for r in s3.requests if r.path.endswith("/a/b") and r.method in ("PUT", "POST")]
    assert all(r.sent < 2000 for r in written), "the bytes themselves go to a temporary key"
    assert written[-1].if_none_match == "*"
    assert s3.open_uploads() == []


def test_nobody_sees_an_upload_before_its_end(store: Store, s3: Any, prefix: str, big: Path) -> None:
    seen: list[list[str]] = []

    def look(request: Any) -> None:
        s3.before = None  # what the look itself asks
        seen.append([key for key in s3.objects(prefix) if "/.tmp/" not in key])
        s3.before = look

    s3.before = look
    store.put("a/b", big)
    s3.before = None
    assert len(seen) > 6
    assert not any(seen[:-1]), "all requests but the last one, which removes the temporary object"
    assert s3.objects(prefix) == [f"{prefix}/a/b"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, OSError])
def test_a_source_that_breaks_off_leaves_nothing(
    store: Store, s3: Any, prefix: str, big: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    read = _bucket._Counted.__iter__

    def broken(self: Any) -> Iterator[bytes]:
        for number, chunk in enumerate(read(self)):
            if number == 20:
                raise error("boom")
            yield chunk

    with monkeypatch.context() as patch:
        patch.setattr(_bucket._Counted, "__iter__", broken)
        with pytest.raises(StoreError if error is OSError else error):
            store.put("a/b", big)
    assert (s3.objects(prefix), s3.open_uploads()) == ([], [])
    assert store.put("a/b", big).bytes == BIG


def test_killed_in_mid_upload_leaves_no_visible_key(store: Store, s3: Any, prefix: str, big: Path) -> None:
    """Only a rule of the bucket finds the parts of such an upload: the docs tell the operator to set one."""
    arguments = [f"s3://{s3.bucket}/{prefix}", json.dumps(s3.options()), str(big)]
    with subprocess.Popen([sys.executable, "-c", UPLOAD, *arguments], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"half\n"
        writer.kill()
    assert not store.exists("a/b")
    assert s3.objects(prefix) == []
    assert store.put("a/b", big).bytes == BIG
    assert s3.objects(prefix) == [f"{prefix}/a/b"]
    for upload in s3.open_uploads():
        assert upload.startswith(f"{prefix}/.tmp/")


def test_killed_between_upload_and_copy_leaves_what_the_sweep_finds(
    store: Store, s3: Any, prefix: str, big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: Any, **kwargs: Any) -> None:
        raise SystemExit(137)

    with monkeypatch.context() as patch:
        patch.setattr(_bucket.obstore, "copy", killed)
        patch.setattr(_bucket.obstore, "delete", lambda *args: None)
        with pytest.raises(SystemExit):
            store.put("a/b", big)
    assert not store.exists("a/b")
    (left,) = s3.objects(prefix)
    assert left.startswith(f"{prefix}/.tmp/")
    assert store.sweep_temp(older_than_s=3600) == 0, "a writer at work"
    assert store.sweep_temp(older_than_s=-60) == 1
    assert s3.objects(prefix) == []


def test_a_source_that_grows_is_not_stored(
    store: Store, s3: Any, prefix: str, big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = _bucket._Counted.__iter__

    def growing(self: Any) -> Iterator[bytes]:
        with big.open("ab") as file:
            file.write(b"more")
        yield from read(self)

    monkeypatch.setattr(_bucket._Counted, "__iter__", growing)
    with pytest.raises(StoreError, match="not be stored whole"):
        store.put("a/b", big)
    assert s3.objects(prefix) == []


async def test_reading_asks_for_a_window_at_a_time(store: Store, s3: Any, big: Path) -> None:
    store.put("a/b", big)
    s3.requests.clear()
    lengths = [len(chunk) async for chunk in store.stream("a/b", 5, BIG)]
    assert (sum(lengths), max(lengths)) == (BIG - 5, 1 << 20)
    asked = [tuple(map(int, r.range.removeprefix("bytes=").split("-"))) for r in s3.requests]
    assert [end - start + 1 for start, end in asked[:-1]] == [
        _bucket._FIRST_WINDOW,
        *[_bucket.WINDOW] * (len(asked) - 2),
    ]
    assert (asked[0][0], asked[-1][1]) == (5, BIG - 1)


async def test_an_object_that_is_deleted_while_it_is_read_ends_with_an_error(store: Store, big: Path) -> None:
    store.put("a/b", big)
    chunks = store.stream("a/b", 0, BIG)
    await anext(aiter(chunks))
    store.delete("a/b")
    with pytest.raises(Missing):
        _ = [chunk async for chunk in chunks]


def test_no_secret_is_told(s3: Any, caplog: pytest.LogCaptureFixture) -> None:
    secret = s3.options()["secret_access_key"]
    store = Store.at("s3://no-such-bucket", s3.options())
    for call in (
        lambda: store.put("a", b"x"),
        lambda: store.read("a"),
        store.check,
        lambda: store.sweep_temp(0),
    ):
        with pytest.raises(StoreError) as caught:
            call()
        assert not isinstance(caught.value, Missing)
        assert "s3://no-such-bucket" in caught.value.operator_detail
        told = f"{caught.value!r} {caught.value.operator_detail} {caught.value.__cause__!r} {vars(store)!r}"
        assert secret not in told
        assert "no-such-bucket" not in caught.value.caller_detail
    assert store._shelf._told(ValueError(f"with {secret}\nand more")) == "with ***"  # type: ignore[attr-defined]
    assert secret not in caplog.text


def test_a_server_that_does_not_answer_is_a_store_error(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_bucket, "_RETRY", {"max_retries": 0})
    store = Store.at("s3://clips", s3.options(endpoint="http://127.0.0.1:1"))
    with pytest.raises(StoreError, match="storage failed") as caught:
        store.read("a")
    assert not isinstance(caught.value, Missing)


@pytest.mark.parametrize("url", ["clips", "http://clips", "s3://", "s3://key:secret@clips", "s3://clips?x=1"])
def test_another_kind_of_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(SettingsError, match="s3://bucket") as caught:
        Store.at(url, {})
    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="secret_acces_key") as caught:
        Store.at("s3://clips", {"secret_acces_key": "hush-hush"})
    assert "hush-hush" not in str(caught.value)


def test_the_settings_say_which_store(s3: Any, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    open_store(settings).put("a", b"x")
    assert (tmp_path / "store" / "a").read_bytes() == b"x"
    key = f"{uuid.uuid4().hex}/a"
    url = f"s3://{s3.bucket}/{key.split('/')[0]}"
    there = Settings.model_validate({"data_dir": tmp_path, "store_url": url, "store_options": s3.options()})
    open_store(there).put("a", b"y")
    assert s3.objects(key) == [key]
    assert s3.options()["secret_access_key"] not in repr(there)
