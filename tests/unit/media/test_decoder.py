"""The children that decode images: what bounds them, and what becomes of the process they come from."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from gateway.media import BadImage, _decoder, _pixels, check_image, images
from gateway.media._decoder import Decoder, Died

MISCHIEF = """
import importlib.util, os, signal, socket, sys, time
spec = importlib.util.spec_from_file_location("_pixels", {script!r})
pixels = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pixels)
pixels.CPU_S, pixels.WALL_S = 1, 2


def mischief(data, max_pixels, max_written):
    kind = data.decode()
    try:
        if kind == "spin":
            while True:
                pass
        if kind == "wait":
            signal.pause()
        if kind == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if kind == "memory":
            held = bytearray(2 * 1024**3)
        if kind == "read":
            open({script!r})
        if kind == "write":
            os.write(2, b"x")
        if kind == "connect":
            socket.socket()
        if kind == "environment":
            return {{"found": sorted(os.environ)}}, b""
        if kind == "pid":
            return {{"found": [os.getpid(), os.getppid()]}}, b""
        if kind == "flood":
            return {{}}, bytes(20_000_000)
        if kind == "limits":
            return {{"found": [max_pixels, max_written]}}, b""
    except (OSError, MemoryError) as error:
        return {{"found": type(error).__name__}}, b""
    return {{"found": "nothing"}}, b"file"


pixels.written_anew = mischief
pixels._load_decoders = lambda: None
with socket.socket(fileno=0) as control:
    pixels.serve(control)
"""


@pytest.fixture
def decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decoder]:
    """Its children do what the picture says, under the real limits but for shorter times."""
    script = tmp_path / "mischief.py"
    script.write_text(MISCHIEF.format(script=_pixels.__file__))
    monkeypatch.setattr(_decoder, "_SCRIPT", script)
    found = Decoder()
    yield found
    found.close()


def ask(decoder: Decoder, kind: str) -> object:
    return decoder.decode(kind.encode(), max_pixels=7, max_written=9)[0]["found"]


@pytest.mark.parametrize("kind", ["spin", "wait", "crash", "flood"])
def test_a_child_that_does_not_come_back_ends_and_takes_nobody_with_it(decoder: Decoder, kind: str) -> None:
    with pytest.raises(Died):
        ask(decoder, kind)
    assert ask(decoder, "none") == "nothing"


@pytest.mark.parametrize(
    ("kind", "error"), [("memory", "MemoryError"), ("read", "OSError"), ("connect", "OSError")]
)
def test_a_child_can_take_no_more_memory_and_open_nothing(decoder: Decoder, kind: str, error: str) -> None:
    assert ask(decoder, kind) == error


def test_a_child_gets_the_limits_and_none_of_our_secrets(
    decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REELGATE_KEY_PEPPER", "canary")
    assert ask(decoder, "limits") == [7, 9]
    assert set(ask(decoder, "environment")) <= {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LC_CTYPE"}  # type: ignore[call-overload]  # a list


def test_each_picture_has_a_child_of_its_own(decoder: Decoder) -> None:
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: ask(decoder, "pid"), range(12)))
    pids, parents = zip(*found, strict=True)
    assert len(set(pids)) == 12
    assert len(set(parents)) == 1
    assert os.getpid() not in {*pids, *parents}


def test_the_process_they_come_from_is_started_again_when_it_is_killed(decoder: Decoder) -> None:
    _, parent = ask(decoder, "pid")  # type: ignore[misc]  # a list
    os.kill(parent, signal.SIGKILL)
    _, another = ask(decoder, "pid")  # type: ignore[misc]  # a list
    assert another != parent


def test_a_process_that_hangs_is_replaced(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decoder, "_START_WITHIN_S", 2)
    _, parent = ask(decoder, "pid")  # type: ignore[misc]  # a list
    os.kill(parent, signal.SIGSTOP)
    _, another = ask(decoder, "pid")  # type: ignore[misc]  # a list
    assert another != parent


def test_it_ends_with_the_decoder_and_may_be_started_again(decoder: Decoder) -> None:
    _, parent = ask(decoder, "pid")  # type: ignore[misc]  # a list
    decoder.close()
    with pytest.raises(ProcessLookupError):
        os.kill(parent, 0)
    assert ask(decoder, "none") == "nothing"


def test_it_ends_in_silence_when_its_gateway_is_killed() -> None:
    control, theirs = socket.socketpair()
    ours, handed = socket.socketpair()
    with theirs:
        command = [sys.executable, "-P", _pixels.__file__]
        process = subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.PIPE)
    with control, ours, handed:
        socket.send_fds(control, [b"+"], [handed.fileno()])
        assert select.select([control], [], [], 20)[0]  # it has answered, and nobody reads it any more
    _, said = process.communicate(timeout=20)
    assert (process.returncode, said) == (0, b"")


def test_one_that_ends_at_once_is_no_fault_of_the_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "ends.py"
    script.write_text("")
    monkeypatch.setattr(_decoder, "_SCRIPT", script)
    with pytest.raises(ChildProcessError, match="ends as soon as it is started"):
        ask(Decoder(), "none")


def test_that_there_can_be_no_child_now_is_no_fault_of_the_picture(
    tmp_path: Path, decoder: Decoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "crowded.py"
    crowded = "import os\ndef fork():\n    raise BlockingIOError\nos.fork = fork\n"
    script.write_text(crowded + _decoder._SCRIPT.read_text())
    monkeypatch.setattr(_decoder, "_SCRIPT", script)
    for _ in range(2):
        with pytest.raises(BlockingIOError, match="at its limits"):
            ask(decoder, "none")


def test_a_picture_that_kills_its_child_is_refused(monkeypatch: pytest.MonkeyPatch, decoder: Decoder) -> None:
    monkeypatch.setattr(images, "_DECODER", decoder)
    with pytest.raises(BadImage, match="cannot be decoded within") as caught:
        check_image(b"crash")
    assert caught.value.code == "image_broken"


def test_what_is_written_anew_is_bounded() -> None:
    picture = BytesIO()
    Image.effect_noise((200, 200), 90).save(picture, "WEBP", quality=1)
    whole = check_image(picture.getvalue())
    assert len(whole.data) > 20_000 > len(picture.getvalue())
    with pytest.raises(BadImage, match="written anew") as caught:
        check_image(picture.getvalue(), max_written=20_000)
    assert caught.value.code == "image_too_large"


def test_many_pictures_at_once() -> None:
    pictures = []
    for shade in range(24):
        out = BytesIO()
        Image.new("L", (30 + shade, 20), shade).save(out, "PNG")
        pictures.append(out.getvalue())
    threads_before = threading.active_count()
    with ThreadPoolExecutor(8) as threads:
        widths = [checked.width for checked in threads.map(check_image, pictures)]
    assert widths == [30 + shade for shade in range(24)]
    assert threading.active_count() == threads_before
