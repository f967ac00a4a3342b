"""Decoding outside of this process; :mod:`gateway.media._pixels` is what runs there."""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gateway.media import _pixels

_SCRIPT = Path(_pixels.__file__)
_ENVIRONMENT = ("PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")
"""All that it gets of ours: no secret is where a picture might come to."""

_PIECE = 1 << 20
_WORDS = 1 << 16
_START_WITHIN_S = 20
_PATIENCE_S = _pixels.WALL_S + 5


class Died(Exception):
    """The child ended without an answer: it met its limits, or a fault in a decoder."""


class Decoder:
    """Children for images, one each, forked from one process that is started with the first.

    Threads may share it. The process ends with this one, or by :meth:`close`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def decode(self, data: bytes, *, max_pixels: int, max_written: int) -> tuple[dict[str, Any], bytes]:
        """What a child answers for one image: its words, and the new file.

        Raises:
            Died: it did not answer.  OSError: no process can be started now.
        """
        until = time.monotonic() + _PATIENCE_S
        limits = {"max_pixels": max_pixels, "max_written": max_written}
        with self._child() as connection:
            try:
                connection.settimeout(_PATIENCE_S)
                connection.sendall(json.dumps(limits).encode() + b"\n")
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                words, _, written = _everything(connection, until, _WORDS + max_written).partition(b"\n")
                told: dict[str, Any] = json.loads(words)
            except (BrokenPipeError, ConnectionResetError, TimeoutError, ValueError) as error:
                raise Died from error
        return told, bytes(written)

    def close(self) -> None:
        """End the process; children that are at work finish on their own."""
        with self._lock:
            self._end()

    def _child(self) -> socket.socket:
        """A connection to a new child."""
        ours, theirs = socket.socketpair()
        try:
            with theirs, self._lock:
                if not self._handed_over(theirs):
                    self._end()  # it was killed, or hangs: once more, with a new one
                    if not self._handed_over(theirs):
                        raise ChildProcessError(
                            "the process that decodes images ends as soon as it is started"
                        )
        except BaseException:
            ours.close()
            raise
        return ours

    def _handed_over(self, connection: socket.socket) -> bool:
        """True once a child has it; False if there is nobody to give it one."""
        control = self._control or self._start()
        try:
            socket.send_fds(control, [b"+"], [connection.fileno()])
            answer = control.recv(1)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            return False
        if answer == b"-":
            raise BlockingIOError("no process can be started to decode an image: the system is at its limits")
        return answer == b"+"

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self._control = ours
        ours.settimeout(_START_WITHIN_S)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  # our own script
                [sys.executable, "-P", str(_SCRIPT)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
                process_group=0,  # a terminal's Ctrl-C is for this process, which closes that one
            )
        atexit.register(self.close)
        return ours

    def _end(self) -> None:
        atexit.unregister(self.close)
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


def _everything(connection: socket.socket, until: float, most: int) -> bytearray:
    """What comes up to the end of the stream; the child is not trusted to end it.

    Raises:
        TimeoutError: the end did not come in time, nor within so many bytes.
    """
    held = bytearray()
    while piece := connection.recv(_PIECE):
        held += piece
        left = until - time.monotonic()
        if left <= 0 or len(held) > most:
            raise TimeoutError
        connection.settimeout(left)
    return held
