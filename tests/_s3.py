"""An S3 in this process, for as long as a context lasts: moto behind a port of this machine.

It serves one request at a time, so that a conditional write is as atomic as S3's own, and it keeps what was
asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from typing_extensions import override
from werkzeug.serving import make_server

BUCKET = "clips"
ACCESS_KEY, SECRET_KEY = "AKIAEXAMPLE", "a-secret-that-nobody-may-see"


@dataclass(frozen=True)
class Request:
    """What was asked: ``sent`` in bytes; the last two as their headers have them."""

    method: str
    path: str
    query: str
    sent: int
    range: str
    if_none_match: str


@dataclass
class S3:
    """A running server with one bucket."""

    endpoint: str
    bucket: str = BUCKET
    requests: list[Request] = field(default_factory=list)
    before: Callable[[Request], None] | None = None
    """Called ahead of each request that is served; it may hold it up."""

    def options(self, **others: str) -> dict[str, str]:
        """Of the store, as the settings have them."""
        return {
            "endpoint": self.endpoint,
            "allow_http": "true",
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            **others,
        }

    def client(self) -> Any:
        """Another view on it than the store's own."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
        )

    def objects(self, prefix: str = "") -> list[str]:
        """Every key, temporary ones too."""
        found = self.client().list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return sorted(item["Key"] for item in found)

    def open_uploads(self) -> list[str]:
        """The keys of uploads in parts that were never completed."""
        found = self.client().list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return sorted(item["Key"] for item in found)


class _Quiet(MotoRequestHandler):
    @override
    def log(self, *args: Any, **kwargs: Any) -> None:
        """Say nothing."""


@contextmanager
def s3_server() -> Iterator[S3]:
    """A server with an empty bucket."""
    app, lock = DomainDispatcherApplication(create_backend_app), threading.Lock()
    held: list[S3] = []

    def serve(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"],
            environ["PATH_INFO"],
            environ.get("QUERY_STRING", ""),
            int(environ.get("CONTENT_LENGTH") or 0),
            environ.get("HTTP_RANGE", ""),
            environ.get("HTTP_IF_NONE_MATCH", ""),
        )
        held[0].requests.append(request)
        if held[0].before is not None:
            held[0].before(request)
        with lock:
            answer: Iterable[bytes] = app(environ, start_response)
            return answer

    server = make_server("127.0.0.1", 0, serve, threaded=True, request_handler=_Quiet)
    held.append(S3(f"http://127.0.0.1:{server.port}"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        held[0].client().create_bucket(Bucket=BUCKET)
        yield held[0]
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()
        assert not thread.is_alive()
