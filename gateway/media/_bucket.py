"""Objects in an S3 bucket, through obstore.

What S3 guarantees, and what that makes of the store's promise:

* A single PUT is atomic, and with ``If-None-Match: *`` only one of several writers wins. Files up to
  ``SINGLE_PUT`` bytes go this way: nothing temporary, nothing to clean up after a kill.
* A larger file is uploaded in parts to a temporary key, its length compared with the source's, and then
  copied to its key inside S3. The copy is completed with ``If-None-Match: *`` too, so it is as atomic. A
  writer that is killed can leave a temporary object, which :meth:`Bucket.sweep_temp` finds, or the parts of
  an upload that was never completed, which no listing of objects shows and obstore cannot list: a lifecycle
  rule of the bucket must end those (docs/howto/store-on-s3.md).
* Every request is signed over the sha256 of its body, so S3 refuses what was changed on the way (unless the
  option ``unsigned_payload`` turns that off). The sha256 of the whole is taken of the bytes as they leave.

A service that ignores ``If-None-Match`` would overwrite: keys name their attempt, and mostly their content,
so that two writers of one key are a crash and its repetition.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import S3Store

from gateway.media._shelf import Entry, Stored
from gateway.media.errors import Missing, StoreError, missing, not_whole, store_errors
from gateway.settings import SettingsError

PART = 8 << 20
PARTS_AT_ONCE = 2
SINGLE_PUT = 2 * PART
"""In bytes. A single PUT is in memory whole; an upload in parts holds about PARTS_AT_ONCE + 1 of them."""

WINDOW = 2 << 20
"""A stream is made of requests of this size: a slow reader neither fills the memory nor keeps S3 waiting."""

_FIRST_WINDOW = 256 << 10
_CHUNK = 1 << 20
_TEMP = ".tmp"
_DEFAULTS = {"copy_if_not_exists": "multipart", "timeout": "300s", "connect_timeout": "5s"}
_RETRY: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
_SECRET_WORDS = ("key", "secret", "token", "proxy", "password")
_SECRET_VARIABLES = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_TOKEN")


class Bucket:
    """A shelf: the objects of a bucket below a prefix. Any number of processes may share it."""

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        """``url`` is ``s3://bucket/prefix``; credentials in ``options`` or in AWS_* variables.

        Nothing is asked of the network yet.

        Raises:
            SettingsError: another kind of URL, or an unknown option.
        """
        at = urlsplit(url)
        if at.scheme != "s3" or not at.netloc or "@" in at.netloc or at.query or at.fragment:
            raise SettingsError(
                "store_url must be s3://bucket or s3://bucket/prefix, without credentials in it"
            )
        self.url = f"s3://{at.netloc}{at.path.rstrip('/')}"
        self._secrets = _secrets(options)
        config: Any = {**_DEFAULTS, **options}
        try:
            self._objects = S3Store(
                at.netloc, prefix=at.path.strip("/") or None, config=config, retry_config=_RETRY
            )
        except (BaseError, ValueError) as error:
            raise SettingsError(f"store_options: {self._told(error)}") from None

    def create(self, key: str, source: Path | bytes) -> tuple[Stored, bool]:
        """One conditional PUT, or an upload in parts and a conditional copy."""
        if isinstance(source, bytes):
            return self._put(key, source)
        with store_errors(source.parent), source.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > SINGLE_PUT:
                return self._upload(key, _Counted(file), size)
            data = file.read(size + 1)
        if len(data) != size:
            raise not_whole(key, f"{size} bytes at first, {len(data)} or more read")
        return self._put(key, data)

    def read(self, key: str) -> bytes:
        """One GET."""
        with self._errors(key):
            data: bytes = obstore.get(self._objects, key).bytes().to_bytes()
        return data

    def describe(self, key: str) -> Stored:
        """Read once through the object."""
        digest, length = hashlib.sha256(), 0
        for chunk in self._chunks(key):
            digest.update(chunk)
            length += len(chunk)
        return Stored(key, digest.hexdigest(), length)

    def stat(self, key: str) -> Entry:
        """One HEAD."""
        with self._errors(key):
            found = obstore.head(self._objects, key)
        return Entry(key, found["size"], found["last_modified"])

    def as_file(self, key: str, folder: Path) -> tuple[Path, Stored]:
        """A copy, hashed on its way."""
        path, digest, length = folder / key.rsplit("/", 1)[-1], hashlib.sha256(), 0
        with store_errors(folder), path.open("wb") as file:
            for chunk in self._chunks(key):
                digest.update(chunk)
                length += file.write(chunk)
        return path, Stored(key, digest.hexdigest(), length)

    async def stream(self, key: str, start: int, end: int) -> AsyncIterator[bytes]:
        """A small first window, so that it comes soon, and then full ones."""
        window = _FIRST_WINDOW
        while start < end:
            with self._errors(key):
                stop = min(start + window, end)
                data = await obstore.get_range_async(self._objects, key, start=start, end=stop)
            if len(data) != stop - start:
                raise not_whole(key, f"{len(data)} bytes at {start}, not {stop - start}")
            view = memoryview(data)
            for at in range(
                0, len(view), _CHUNK
            ):  # a server copies what it is given, so it gets it in slices
                yield bytes(view[at : at + _CHUNK])
            start, window = stop, WINDOW

    def delete(self, key: str) -> bool:
        """Asked first, because S3 deletes what is not there without a word."""
        try:
            self.stat(key)
        except Missing:
            return False
        with self._errors():
            obstore.delete(self._objects, key)
        return True

    def entries(self, prefix: str) -> Iterator[Entry]:
        """A listing, page by page."""
        with self._errors():
            for page in obstore.list(self._objects, prefix or None):
                for found in page:
                    yield Entry(found["path"], found["size"], found["last_modified"])

    def sweep_temp(self, older_than_s: float) -> int:
        """By the age of the temporary objects."""
        before = datetime.now(UTC) - timedelta(seconds=older_than_s)
        old = [entry.key for entry in self.entries(_TEMP) if entry.modified_at < before]
        return sum(self.delete(key) for key in old)

    def check(self) -> None:
        """List one object: the bucket is there and the credentials are good. Nothing is written."""
        with self._errors(_TEMP):
            next(iter(obstore.list(self._objects, _TEMP, chunk_size=1)), None)

    def _put(self, key: str, data: bytes) -> tuple[Stored, bool]:
        stored = Stored(key, hashlib.sha256(data).hexdigest(), len(data))
        with self._errors():
            try:
                obstore.put(self._objects, key, data, mode="create")
            except AlreadyExistsError:
                return stored, False
        return stored, True

    def _upload(self, key: str, source: _Counted, size: int) -> tuple[Stored, bool]:
        temp = f"{_TEMP}/{uuid.uuid4().hex}"
        with self._errors():
            obstore.put(
                self._objects,
                temp,
                source,
                chunk_size=PART,
                max_concurrency=PARTS_AT_ONCE,
                use_multipart=True,
            )
            try:
                there = obstore.head(self._objects, temp)["size"]
                if not size == source.length == there:
                    raise not_whole(
                        key, f"{size} bytes at first, {source.length} read, {there} in the bucket"
                    )
                obstore.copy(self._objects, temp, key, overwrite=False)
                created = True
            except AlreadyExistsError:
                created = False
            finally:
                obstore.delete(self._objects, temp)
        return Stored(key, source.digest.hexdigest(), size), created

    def _chunks(self, key: str) -> Iterator[bytes]:
        """All bytes, a part at a time."""
        size = self.stat(key).bytes
        for start in range(0, size, PART):
            with self._errors(key):
                end = min(start + PART, size)
                data = obstore.get_range(self._objects, key, start=start, end=end)
            if len(data) != end - start:
                raise not_whole(key, f"{len(data)} bytes at {start}, not {end - start}")
            yield data.to_bytes()

    @contextmanager
    def _errors(self, reading: str | None = None) -> Iterator[None]:
        """Name the trouble; the original is not chained, for its text holds what was asked and answered."""
        try:
            yield
        except FileNotFoundError as error:  # also said of a bucket that does not exist
            if reading is None or "NoSuchBucket" in str(error):
                raise self._failed(error) from None
            raise missing(reading, self.url) from None
        except (BaseError, TimeoutError, ValueError) as error:
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> StoreError:
        return StoreError(
            "the gateway's storage failed: nothing was changed, try again later",
            operator_detail=f"storage in {self.url} failed: {self._told(error)}. Check that the bucket is "
            "there, the endpoint answers and the credentials may read, write, list and delete",
        )

    def _told(self, error: Exception) -> str:
        """The first line of the library's text, without any secret it may hold."""
        text = str(error).split("\n", 1)[0]
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


class _Counted:
    """A file read to its end in chunks, counted and hashed as it goes."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.length = 0

    def __iter__(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK):
            self.digest.update(chunk)
            self.length += len(chunk)
            yield chunk


def _secrets(options: Mapping[str, str]) -> list[str]:
    given = [value for name, value in options.items() if any(w in name.lower() for w in _SECRET_WORDS)]
    known = [os.environ.get(name, "") for name in _SECRET_VARIABLES]
    return [secret for secret in (*given, *known) if len(secret) > len("false")]
