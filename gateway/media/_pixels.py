"""The script that decodes images, run as a process of its own: Pillow, and nothing of the gateway.

It waits for connections on the socket that is its standard input, and forks a child for each: one image, one
child, with limits that the kernel keeps, so that neither a picture that is a bomb nor one that finds a fault
in a decoder reaches the gateway or the next picture. Forked from a process that has Pillow loaded, a child
costs a few milliseconds.

A connection carries one image: ``{"max_pixels": …, "max_written": …}`` and a line feed, then the file up to
the end of the stream; back come a line of JSON and, if that says ``media_type``, the new file.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
import warnings
from contextlib import suppress
from io import BytesIO
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

MEMORY = 1024**3
CPU_S = 20
WALL_S = 30

_FORMATS = ("PNG", "JPEG", "WEBP")
_JPEGS = {"JPEG", "MPO"}  # a phone's MPO is a JPEG with more pictures behind it: the first is the photograph
_PNG = b"\x89PNG\r\n\x1a\n"
_SIGNATURES = (_PNG, b"\xff\xd8\xff", b"RIFF")
_START_OF_SCAN = b"\xff\xda"
# each scan of a progressive JPEG costs a pass over all its pixels; cameras write about ten
_MAX_SCANS = 100
_MAX_SCANNED = 1_000_000_000
_MAX_CHUNKS = 20_000  # of a PNG; the smallest pieces that encoders write are 4 KiB
_JPEG_MODES = {"L", "RGB"}
_PNG_LEVEL = 3  # a third of the time that zlib's default takes, for a tenth more bytes


class Refused(Exception):
    """The image cannot be used: a code of :data:`gateway.media.ImageCode`, and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def written_anew(data: bytes, max_pixels: int, max_written: int) -> tuple[dict[str, Any], bytes]:
    """Decode in full, turn upright and encode again: what it is, and the new file.

    Raises:
        Refused: it cannot be used.
    """
    try:
        _refuse_many_chunks(data)
        image = Image.open(BytesIO(data), formats=_FORMATS)
        _refuse_costly(image, data, max_pixels)
        if image.format == "PNG":
            _refuse_cut_png(data)
        image.load()
        ImageOps.exif_transpose(image, in_place=True)
        return _encode(image, max_written)
    except Refused:
        raise
    except Image.DecompressionBombError:
        raise _too_many_pixels(max_pixels) from None
    except MemoryError:
        raise Refused("image_dimensions", "it takes too much memory to decode: scale it down") from None
    except UnidentifiedImageError:
        if data.startswith(_SIGNATURES):
            raise _broken("its header cannot be read") from None
        raise Refused(
            "image_format_unsupported", "the file is not a PNG, JPEG or WebP image: send one of these"
        ) from None
    except Exception as error:  # decoders raise a dozen unrelated types on damaged input
        raise _broken(str(error)) from error


def _refuse_many_chunks(data: bytes) -> None:
    """Of a PNG: each is read by itself, and half a million fit into what may be sent."""
    at, found = len(_PNG), 0
    while data.startswith(_PNG) and at < len(data):
        at += 12 + int.from_bytes(data[at : at + 4], "big")
        found += 1
        if found > _MAX_CHUNKS:
            raise _broken(f"a PNG of more than {_MAX_CHUNKS} chunks")


def _refuse_costly(image: Image.Image, data: bytes, max_pixels: int) -> None:
    """What the header alone forbids, before any pixel is decoded."""
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(max_pixels, image.size)
    if image.format in _JPEGS:
        scans = data.count(_START_OF_SCAN)
        if scans > _MAX_SCANS or scans * image.width * image.height > _MAX_SCANNED:
            raise _broken(f"a JPEG of {scans} scans")
    elif getattr(image, "is_animated", False):
        raise Refused("image_format_unsupported", "the image is animated: send a single still picture")


def _refuse_cut_png(data: bytes) -> None:
    """Check every chunk to the last: loading stops, content, once it has all pixels."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        image.verify()


def _encode(image: Image.Image, max_written: int) -> tuple[dict[str, Any], bytes]:
    """Write the pixels, and of all else only a palette's transparency."""
    out = BytesIO()
    is_jpeg = image.format in _JPEGS
    image.info = {key: value for key, value in image.info.items() if key == "transparency"}
    if is_jpeg:
        upright = image if image.mode in _JPEG_MODES else image.convert("RGB")
        upright.save(out, "JPEG", quality=95)
    else:
        image.save(out, "PNG", compress_level=_PNG_LEVEL)
    if out.tell() > max_written:
        raise Refused(
            "image_too_large",
            f"written anew the image takes more than {max_written / 2**20:.3g} MiB: scale it down",
        )
    media_type = "image/jpeg" if is_jpeg else "image/png"
    return {"media_type": media_type, "width": image.width, "height": image.height}, out.getvalue()


def _broken(why: str) -> Refused:
    return Refused(
        "image_broken", f"the image is damaged or cut short ({why}): export it again and resend it"
    )


def _too_many_pixels(max_pixels: int, size: tuple[int, int] | None = None) -> Refused:
    found = f"{size[0]}x{size[1]} pixels are" if size else "its pixels are"
    return Refused(
        "image_dimensions",
        f"the image is too large, {found} over {max_pixels / 1e6:.1f} megapixels: scale it down",
    )


def limit() -> None:
    """Bound this process for good: memory, processor time, wall time; no file, no connection, no core.

    macOS does not keep a limit of memory: there the pixels alone bound it.
    """
    signal.setitimer(signal.ITIMER_REAL, WALL_S)  # its signal ends the process
    if sys.platform != "darwin":
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    for none in (resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE, resource.RLIMIT_CORE):
        resource.setrlimit(none, (0, 0))


def answer(connection: socket.socket) -> None:
    """Do one image, under limits."""
    limit()
    with connection.makefile("rb") as sent:
        limits = json.loads(sent.readline())
        try:
            told, data = written_anew(sent.read(), limits["max_pixels"], limits["max_written"])
        except Refused as refused:
            told, data = {"code": refused.code, "message": refused.message}, b""
    connection.sendall(json.dumps(told).encode() + b"\n")
    connection.sendall(data)


def serve(control: socket.socket) -> None:
    """Fork a child for every connection that is handed over, until the gateway is gone.

    Each is acknowledged with a byte: ``+``, or ``-`` if there could be no child.
    """
    warnings.simplefilter("ignore")  # strangers' files are not to write to the gateway's log
    _load_decoders()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system buries the children
    while True:
        _, handed, _, _ = socket.recv_fds(control, 1, 1)
        if not handed:
            return
        with socket.socket(fileno=handed[0]) as connection:
            control.sendall(b"+" if _fork(control, connection) else b"-")


def _fork(control: socket.socket, connection: socket.socket) -> bool:
    try:
        is_child = os.fork() == 0
    except OSError:
        return False
    if is_child:
        try:
            control.close()
            answer(connection)
        finally:
            os._exit(0)
    return True


def _load_decoders() -> None:
    """Have loaded what Pillow loads late: a child can open no file."""
    for kind in ("PNG", "JPEG", "WEBP"):
        drawn = BytesIO()
        Image.new("RGB", (8, 8)).save(drawn, kind, exif=Image.Exif())
        written_anew(drawn.getvalue(), 64, 10_000)


if __name__ == "__main__":
    # an end of the gateway that nobody planned may break the connection off
    with socket.socket(fileno=0) as handed_over, suppress(ConnectionResetError, BrokenPipeError):
        serve(handed_over)
