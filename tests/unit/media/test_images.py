"""An image that a caller sends is decoded in full, or refused with what to do."""

from __future__ import annotations

import base64
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.media import BadImage, check_image, decode_data_url

NOISE = np.random.default_rng(3).integers(0, 255, (40, 60, 3), dtype=np.uint8)
ORIENTATION = 0x0112


def encoded(kind: str, image: Image.Image | None = None, **options: Any) -> bytes:
    out = BytesIO()
    (image or Image.fromarray(NOISE)).save(out, kind, **options)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def refusal(data: bytes, **limits: int) -> BadImage:
    with pytest.raises(BadImage) as caught:
        check_image(data, **limits)
    assert caught.value.message == str(caught.value)
    return caught.value


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "1", "P", "I;16"])
def test_a_png_keeps_its_pixels(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(NOISE[:, :, 0].astype(np.uint16) * 257)
    else:
        image = Image.fromarray(np.dstack([NOISE, NOISE[:, :, 0]]), "RGBA").convert(mode)
    checked = check_image(encoded("PNG", image))
    assert (checked.media_type, checked.width, checked.height) == ("image/png", 60, 40)
    result = opened(checked.data)
    assert result.mode == mode
    assert result.convert("RGBA").tobytes() == image.convert("RGBA").tobytes()


def test_a_palette_keeps_its_transparency() -> None:
    image = Image.fromarray(NOISE).convert("P", palette=Image.Palette.ADAPTIVE, colors=8)
    checked = check_image(encoded("PNG", image, transparency=3))
    alpha = np.asarray(opened(checked.data).convert("RGBA"))[:, :, 3]
    assert np.array_equal(alpha == 0, np.asarray(image) == 3)


@pytest.mark.parametrize("options", [{"lossless": True}, {"quality": 80}])
def test_a_webp_becomes_a_png_with_the_same_pixels(options: dict[str, Any]) -> None:
    data = encoded("WEBP", **options)
    checked = check_image(data)
    assert checked.media_type == "image/png"
    assert opened(checked.data).convert("RGB").tobytes() == opened(data).convert("RGB").tobytes()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_stays_one(mode: str) -> None:
    smooth = Image.linear_gradient("L").resize((60, 40)).convert("RGB").convert(mode)
    checked = check_image(encoded("JPEG", smooth, quality=95))
    assert (checked.media_type, checked.width, checked.height) == ("image/jpeg", 60, 40)
    result = opened(checked.data)
    assert result.mode in {"RGB", "L"}
    difference = np.asarray(result.convert("RGB"), np.int16) - np.asarray(smooth.convert("RGB"), np.int16)
    assert np.abs(difference).max() <= 12


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_it_is_turned_upright(kind: str) -> None:
    half = np.zeros((40, 60, 3), np.uint8)
    half[:, :30] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was held so that the picture's left is now its top
    checked = check_image(encoded(kind, Image.fromarray(half), exif=exif))
    assert (checked.width, checked.height) == (40, 60)
    shown = np.asarray(opened(checked.data).convert("L"))
    assert shown.shape == (60, 40)
    assert shown[:28].min() > 240
    assert shown[32:].max() < 15


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_metadata_stays_behind(kind: str) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    exif[0x010E] = "at home, 52.1 N"
    options: dict[str, Any] = {"exif": exif, "icc_profile": b"profile" * 20, "xmp": b"<x>secret</x>"}
    if kind == "JPEG":
        options["comment"] = "secret comment"
    checked = check_image(encoded(kind, **options))
    assert not [word for word in (b"home", b"profile", b"secret", b"Exif", b"eXIf") if word in checked.data]
    assert not dict(opened(checked.data).getexif())


@pytest.mark.parametrize(("kind", "loops"), [("PNG", 2), ("WEBP", 2)])
def test_animations_are_refused(kind: str, loops: int) -> None:
    more = [Image.fromarray(255 - NOISE) for _ in range(loops)]
    found = refusal(encoded(kind, save_all=True, append_images=more))
    assert found.code == "image_format_unsupported"
    assert "still picture" in found.message


def test_a_phones_multi_picture_jpeg_is_a_photograph() -> None:
    data = encoded("MPO", save_all=True, append_images=[Image.fromarray(255 - NOISE)])
    checked = check_image(data)
    assert checked.media_type == "image/jpeg"
    assert len(checked.data) < len(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_other_formats_are_refused(kind: str) -> None:
    found = refusal(encoded(kind))
    assert found.code == "image_format_unsupported"
    assert "PNG, JPEG or WebP" in found.message


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"<svg/>", b"%PDF-1.7", bytes(100)])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    assert refusal(data).code == "image_format_unsupported"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_cut_anywhere_it_is_broken(kind: str) -> None:
    whole = encoded(kind)
    for length in [30, *(len(whole) * i // 9 for i in range(1, 9)), len(whole) - 8]:
        found = refusal(whole[:length])
        assert found.code == "image_broken", length
        assert "again" in found.message
        assert "0x" not in found.message


def test_a_png_with_wrong_bytes_is_broken() -> None:
    whole = bytearray(encoded("PNG"))
    for at in range(60, len(whole) - 20, len(whole) // 15):
        damaged = bytearray(whole)
        damaged[at] ^= 4
        assert refusal(bytes(damaged)).code == "image_broken", at


def test_bytes_and_pixels_are_limited() -> None:
    data = encoded("PNG")
    assert refusal(data, max_bytes=len(data) - 1).code == "image_too_large"
    assert refusal(data, max_pixels=60 * 40 - 1).code == "image_dimensions"
    assert check_image(data, max_bytes=len(data), max_pixels=60 * 40).width == 60
    assert "20 MiB" in refusal(bytes(20 * 2**20 + 1)).message


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_bomb(side: int) -> bytes:
    """A square PNG of one colour, whose few bytes claim ``side`` squared pixels."""
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000)) * 3
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


MEASURE = """
import sys, time
from gateway.media import BadImage, check_image
data = sys.stdin.buffer.read()
def peak_kb():
    # not ru_maxrss, which a child inherits from its parent
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
before, start = peak_kb(), time.perf_counter()
try:
    check_image(data)
except BadImage as error:
    peak = peak_kb()
    print(error.code, time.perf_counter() - start, (peak - before) / 1024, peak / 1024)
"""


def test_a_bomb_is_refused_by_its_header() -> None:
    """In a process of its own, whose peak memory says what the check took."""
    run = [sys.executable, "-c", MEASURE]
    said = subprocess.run(run, input=png_bomb(60_000), capture_output=True, check=True, timeout=60)
    code, seconds, grown_mb, peak_mb = said.stdout.split()
    print(said.stdout)
    assert code == b"image_dimensions"
    assert float(seconds) < 1
    assert float(grown_mb) < 20
    assert float(peak_mb) < 200


@pytest.mark.parametrize("side", [6_000, 9_700, 60_000])
def test_bombs_of_every_size_are_refused(side: int) -> None:
    found = refusal(png_bomb(side))
    assert found.code == "image_dimensions"
    assert "scale it down" in found.message


def test_a_webp_that_claims_the_largest_size_is_refused() -> None:
    data = bytearray(encoded("WEBP", lossless=True))
    assert data[12:16] == b"VP8L"
    sides = 16_382 | 16_382 << 14
    data[21:25] = (int.from_bytes(data[21:25], "little") & ~0xFFFFFFF | sides).to_bytes(4, "little")
    assert refusal(bytes(data)).code == "image_dimensions"


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    whole = encoded("JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    assert check_image(whole).width == 60
    assert "scans" in refusal(whole[:-2] + whole[last:-2] * 200 + whole[-2:]).message


def test_a_data_url_is_decoded() -> None:
    data = encoded("PNG")
    text = base64.b64encode(data).decode()
    assert decode_data_url(f"data:image/png;base64,{text}", max_bytes=len(data)) == data
    assert check_image(decode_data_url("data:image/jpeg;base64," + text)).media_type == "image/png"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "image_format_unsupported"),
        ("https://example.com/a.png", "image_format_unsupported"),
        ("data:text/html;base64,AAAA", "image_format_unsupported"),
        ("data:image/png,AAAA", "image_format_unsupported"),
        (" data:image/png;base64,AAAA", "image_format_unsupported"),
        ("data:image/png;charset=x;base64,AAAA", "image_format_unsupported"),
        ("data:image/png;base64,AAA", "image_broken"),
        ("data:image/png;base64,AA AA", "image_broken"),
        ("data:image/png;base64,AAAA\n", "image_broken"),
        ("data:image/png;base64,AA==AA==", "image_broken"),
        ("data:image/png;base64,_-AA", "image_broken"),
        ("data:image/png;base64,ÄAAA", "image_broken"),
        ("data:image/png;base64," + "A" * 4000, "image_too_large"),
    ],
)
def test_other_urls_are_refused(url: str, code: str) -> None:
    with pytest.raises(BadImage) as caught:
        decode_data_url(url, max_bytes=2000)
    assert caught.value.code == code
