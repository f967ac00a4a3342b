"""The image's health check: right about a gateway that is well, one that is not, and none at all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typing_extensions import override

from .conftest import DEPLOY


class Draining(BaseHTTPRequestHandler):
    """A gateway that lives and takes no more work."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 503)
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def port() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), Draining) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def probe(path: str, port: int) -> subprocess.CompletedProcess[str]:
    """Run as the image runs it, behind a proxy that must not be asked."""
    nowhere = {"REELGATE_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    command = [sys.executable, str(DEPLOY / "probe.py"), path]
    return subprocess.run(
        command, env={**os.environ, **nowhere}, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_path_that_answers_200_is_well(port: int) -> None:
    assert probe("/livez", port).returncode == 0


def test_a_path_that_answers_503_is_not(port: int) -> None:
    assert probe("/readyz", port).returncode == 1


def test_nobody_there_is_said_in_one_line() -> None:
    with HTTPServer(("127.0.0.1", 0), Draining) as server:
        free = server.server_port
    done = probe("/livez", free)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{free}/livez" in done.stderr
