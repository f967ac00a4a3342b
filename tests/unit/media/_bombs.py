"""Files that are no honest picture, made on the spot: small to send, and costly or confusing to decode."""

from __future__ import annotations

import gzip
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

PNG, IEND = b"\x89PNG\r\n\x1a\n", b"\0\0\0\0IEND\xaeB`\x82"
MIB = 2**20
SIDE = 5_760  # the largest square that is allowed


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = BytesIO()
    noise = np.random.default_rng(3).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    (image or Image.fromarray(noise)).save(out, kind, **options)
    return out.getvalue()


def flat(side: int, mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (side, side))


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def header(width: int, height: int, *, depth: int = 8, colour: int = 2, interlace: int = 0) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace))


def png(*chunks: bytes) -> bytes:
    return PNG + b"".join(chunks) + IEND


@cache
def pixels(count: int) -> bytes:
    """An IDAT of zeros, as many as that."""
    packer = zlib.compressobj(6)
    body = b"".join(packer.compress(bytes(min(MIB, count - at))) for at in range(0, count, MIB))
    return chunk(b"IDAT", body + packer.flush())


def before_pixels(extra: bytes) -> bytes:
    """A whole small PNG with more chunks behind its header."""
    whole = encoded("PNG")
    return whole[:33] + extra + whole[33:]


@cache
def deflated(count: int) -> bytes:
    return zlib.compress(bytes(count), 6)


def segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def after_start(extra: bytes, jpeg: bytes | None = None) -> bytes:
    whole = jpeg or encoded("JPEG")
    return whole[:2] + extra + whole[2:]


def resized(jpeg: bytes, width: int, height: int) -> bytes:
    """The JPEG, whose header now claims another size."""
    at = next(at for at in (jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2")) if at >= 0)
    return jpeg[: at + 5] + struct.pack(">HH", height, width) + jpeg[at + 9 :]


@cache
def progressive(side: int) -> bytes:
    return encoded("JPEG", flat(side), progressive=True)


def scans(side: int, count: int, *, cut: int = 0) -> bytes:
    """A progressive JPEG of one colour whose last scan is repeated."""
    whole = progressive(side)
    last = whole.rindex(b"\xff\xda")
    many = whole[:-2] + whole[last:-2] * count + whole[-2:]
    return many[: len(many) - cut] if cut else many


def tiff(*entries: tuple[int, int, int, int], offset: int = 8) -> bytes:
    """EXIF with one directory: (tag, type, count, value) each, little-endian."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0" + struct.pack("<IH", offset, len(entries)) + packed + struct.pack("<I", 8)


def riff(*chunks: tuple[bytes, bytes], kind: bytes = b"WEBP") -> bytes:
    body = b"".join(
        name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks
    )
    return b"RIFF" + struct.pack("<I", len(body) + 4) + kind + body


def canvas(side: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", struct.pack("<I", flags) + (side - 1).to_bytes(3, "little") * 2


def vp8l(side: int, rest: bytes = b"") -> tuple[bytes, bytes]:
    return b"VP8L", b"\x2f" + struct.pack("<I", (side - 1) | (side - 1) << 14) + rest


def vp8(side: int, rest: bytes = b"") -> tuple[bytes, bytes]:
    return b"VP8 ", b"\x10\0\0\x9d\x01\x2a" + struct.pack("<HH", side, side) + rest


def still(side: int, **options: Any) -> tuple[bytes, bytes]:
    """The one chunk of a simple WebP of one colour."""
    whole = encoded("WEBP", flat(side), **options)
    return whole[12:16], whole[20:]


def animated(kind: str, frames: int) -> bytes:
    return encoded(
        kind, save_all=True, append_images=[Image.new("RGB", (64, 64), (n, n, n)) for n in range(1, frames)]
    )


def refused() -> Iterator[tuple[str, bytes]]:
    """Every file that is to be refused, by name."""
    yield from _pngs()
    yield from _jpegs()
    yield from _webps()
    yield from _strangers()


def _pngs() -> Iterator[tuple[str, bytes]]:
    for side in (60_000, 13_000, SIDE + 1):
        yield f"png of {side} x {side}", png(header(side, side), pixels(3 * MIB))
    yield "png of the widest row", png(header(2**31 - 1, 1), pixels(MIB))
    yield "png of the largest numbers", png(header(2**31 - 1, 2**31 - 1), pixels(MIB))
    yield (
        "png of 60000, 16 bits, interlaced",
        png(header(60_000, 60_000, depth=16, colour=6, interlace=1), pixels(3 * MIB)),
    )
    yield "png of no pixels", png(header(0, 0), pixels(1))
    yield "png whose rows are missing", png(header(SIDE, SIDE), pixels(100_000))
    yield "png whose pixels are missing", png(header(SIDE, SIDE))
    yield "png interlaced, rows missing", png(header(SIDE, SIDE, interlace=1), pixels(100_000))
    yield "png of 16 bits, rows missing", png(header(SIDE, SIDE, depth=16, colour=6), pixels(50 * MIB))
    yield "png with 150 MB of text", before_pixels(chunk(b"zTXt", b"t\0\0" + deflated(150 * MIB)))
    yield (
        "png with 150 MB of international text",
        before_pixels(chunk(b"iTXt", b"t\0\1\0\0\0" + deflated(150 * MIB))),
    )
    yield "png with 200 texts of 1 MB", before_pixels(chunk(b"zTXt", b"t\0\0" + deflated(MIB - 1)) * 200)
    yield "png with a profile of 150 MB", before_pixels(chunk(b"iCCP", b"p\0\0" + deflated(150 * MIB)))
    yield "png of 300,000 chunks", before_pixels(chunk(b"teSt") * 300_000)
    yield "png of 300,000 pieces of pixels", png(header(SIDE, SIDE), chunk(b"IDAT") * 300_000)
    yield "apng", animated("PNG", 3)
    yield "apng of 2^31 frames", before_pixels(chunk(b"acTL", struct.pack(">II", 2**31 - 1, 0)))
    yield "png, a chunk beyond the end", before_pixels(b"\x7f\xff\xff\xffteSt")
    yield "png, a chunk of negative length", before_pixels(b"\xff\xff\xff\xffteSt")
    yield (
        "png, a second header of 60000",
        png(header(8, 8), header(60_000, 60_000), pixels(8 * 25), header(60_000, 60_000)),
    )
    yield "png, no palette", png(header(64, 64, colour=3), pixels(64 * 65))[:-20]
    yield "png of 3 bits", png(header(64, 64, depth=3), pixels(64 * 65))
    yield "png cut in the middle", encoded("PNG")[:5000]
    yield "png without its end", encoded("PNG")[: -len(IEND)]
    yield "png with a wrong checksum", encoded("PNG")[:29] + b"abcd" + encoded("PNG")[33:]


def _jpegs() -> Iterator[tuple[str, bytes]]:
    small = encoded("JPEG")
    yield "jpeg of 65500 x 65500", resized(small, 65_500, 65_500)
    yield "jpeg of 65500 x 65500, progressive", resized(encoded("JPEG", progressive=True), 65_500, 65_500)
    yield "jpeg of height 0", resized(small, 64, 0)
    yield "jpeg of 20,000 scans", scans(64, 20_000)
    yield "jpeg of 33 MP and 101 scans", scans(SIDE, 101)
    yield "jpeg of 33 MP and 60 scans", scans(SIDE, 50)
    yield "jpeg of 33 MP and 29 scans, cut", scans(SIDE, 19, cut=40)
    yield "jpeg cut in the middle", small[: len(small) // 2]
    yield "jpeg without its end", small[:-40]
    yield "jpeg, nothing but a start", b"\xff\xd8\xff" + bytes(1000)
    yield "jpeg of 12 bits", small.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c")
    yield (
        "jpeg of 200 components",
        small.replace(
            b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\x03", b"\xff\xc0\x00\x11\x08\x00\x40\x00\x40\xc8"
        ),
    )
    yield "jpeg with a segment beyond the end", after_start(b"\xff\xe5\xff\xff", small)[:3000]


def _webps() -> Iterator[tuple[str, bytes]]:
    for name, box in (("lossy", vp8), ("lossless", vp8l)):
        yield f"webp of 16383 x 16383, {name}", riff(box(16_383, bytes(1000)))
        yield f"webp whose pixels are missing, {name}", riff(box(SIDE))
        yield f"webp of noise for pixels, {name}", riff(box(SIDE, bytes(range(256)) * 40))
        yield f"webp with a canvas of 16777216, {name}", riff(canvas(2**24), box(64, bytes(1000)))
        yield f"webp larger than its canvas, {name}", riff(canvas(64), box(16_383, bytes(1000)))
    cut = riff(still(SIDE, lossless=True, method=0, quality=0))
    yield "webp of 33 MP, cut", cut[:-2]
    yield "webp of 33 MP, cut, its length mended", riff((cut[12:16], cut[20:-6]))
    lossy = riff(still(SIDE, method=0, quality=0))
    yield "webp of 33 MP, lossy, cut", riff((lossy[12:16], lossy[20 : len(lossy) // 2]))
    yield "animated webp", animated("WEBP", 3)
    yield "animated webp of 300 frames", animated("WEBP", 300)
    yield "animated webp, frames missing", riff(canvas(64, 2), (b"ANIM", bytes(6)))
    yield "webp of 100,000 chunks", riff(canvas(64), *[(b"teSt", b"")] * 100_000)
    yield "webp without pixels", riff(canvas(64), (b"EXIF", bytes(9 * MIB)))
    yield "webp that claims 4 GB", b"RIFF\xff\xff\xff\xffWEBPVP8 \xff\xff\xff\xff" + bytes(1000)
    yield "riff of another kind", riff((b"fmt ", bytes(16)), kind=b"WAVE")


def _strangers() -> Iterator[tuple[str, bytes]]:
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    laughs = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
    archive = BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.png", bytes(50 * MIB))
    yield "nothing", b""
    yield "one byte", b"\x89"
    yield "svg", svg
    yield (
        "svg of a billion laughs",
        b'<?xml version="1.0"?><!DOCTYPE s [<!ENTITY l0 "ha">' + laughs + b"]>" + svg,
    )
    yield "html", b"<!doctype html><script>alert(1)</script>"
    yield "html, then a png", b"<!doctype html>" + encoded("PNG")
    yield "png behind its signature: html", PNG + b"<!doctype html><script>alert(1)</script>"
    yield "gzip of a png", gzip.compress(encoded("PNG"))
    yield "gzip of 30 MB", gzip.compress(bytes(30 * MIB), 6)
    yield "zip of 50 MB", archive.getvalue()
    yield "gif", encoded("GIF")
    yield "gif of 65535 x 65535", b"GIF89a\xff\xff\xff\xff" + encoded("GIF")[10:]
    for kind in ("BMP", "TIFF", "ICO", "JPEG2000", "AVIF", "PPM", "TGA", "PDF", "EPS"):
        yield kind.lower(), encoded(kind)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n"
    yield "mp4", b"\0\0\0\x18ftypmp42\0\0\0\0" + bytes(1000)
    yield "m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://127.0.0.1/x\n"
    yield "zeros", bytes(9 * MIB)


def cleaned() -> Iterator[tuple[str, bytes]]:
    """Honest pictures that carry something; the picture is taken, and ``PAYLOAD`` left behind."""
    loop = tiff((0x010E, 2, 2**31, 8), (0x0112, 3, 1, 6), (0x8769, 4, 1, 8))
    yield "png with html behind its end", encoded("PNG") + PAYLOAD
    yield "png with html in a text", before_pixels(chunk(b"tEXt", b"t\0" + PAYLOAD))
    yield "png with more pixels than it has", png(header(8, 8), pixels(50 * MIB)) + PAYLOAD
    yield "png with 9 MB of exif", before_pixels(chunk(b"eXIf", b"II*\0" + PAYLOAD + bytes(9 * MIB)))
    yield "png that is a zip too", encoded("PNG") + b"PK\x03\x04" + PAYLOAD
    yield "jpeg with html behind its end", encoded("JPEG") + PAYLOAD
    yield "jpeg with html in a comment", after_start(segment(0xFE, PAYLOAD))
    yield "jpeg with 9 MB of comments", after_start(segment(0xFE, PAYLOAD + bytes(65_000)) * 140)
    yield (
        "jpeg with 9 MB of profile",
        after_start(
            b"".join(
                segment(0xE2, b"ICC_PROFILE\0" + bytes([n, 140]) + PAYLOAD + bytes(65_000))
                for n in range(1, 141)
            )
        ),
    )
    yield "jpeg with 9 MB of exif", after_start(segment(0xE1, b"Exif\0\0" + PAYLOAD + bytes(65_000)) * 140)
    yield "jpeg with exif that loops", after_start(segment(0xE1, loop + PAYLOAD))
    yield (
        "jpeg with a picture in its exif",
        after_start(segment(0xE1, b"Exif\0\0II*\0" + encoded("JPEG") + PAYLOAD)),
    )
    yield "webp with html in its exif", riff(canvas(64, 8), still(64), (b"EXIF", tiff() + PAYLOAD))
    yield "webp with 9 MB of profile", riff(canvas(64, 32), (b"ICCP", PAYLOAD + bytes(9 * MIB)), still(64))
    yield "webp with html behind its end", riff(still(64)) + PAYLOAD
    grey = resized(encoded("JPEG"), SIDE, SIDE)  # decoders take what is missing for grey
    yield "jpeg of 33 MP whose pixels are missing", grey + PAYLOAD


PAYLOAD = b"<!doctype html><script>alert('payload')</script>"
