"""Media: input images checked, results fetched, probed, pictured and stored."""

from __future__ import annotations

from gateway.media._decode import BrokenVideo, Limits
from gateway.media._shelf import Entry, Stored
from gateway.media.errors import (
    BadKey,
    KeyTaken,
    Missing,
    StoreError,
    StoreFull,
    of_full_disk,
    store_errors,
)
from gateway.media.fetch import MAX_RESULT_BYTES, fetch_image, fetch_result
from gateway.media.frames import end_frames
from gateway.media.guard import PublicOnly, is_public
from gateway.media.images import (
    MAX_IMAGE_BYTES,
    MAX_IMAGE_PIXELS,
    MAX_WRITTEN_BYTES,
    BadImage,
    CheckedImage,
    ImageCode,
    check_image,
    decode_data_url,
)
from gateway.media.pictures import spritesheet, thumbnail
from gateway.media.probe import Probe, probe
from gateway.media.store import Store, open_store

__all__ = [
    "BadImage",
    "BadKey",
    "BrokenVideo",
    "CheckedImage",
    "Entry",
    "ImageCode",
    "KeyTaken",
    "Limits",
    "MAX_IMAGE_BYTES",
    "MAX_IMAGE_PIXELS",
    "MAX_RESULT_BYTES",
    "MAX_WRITTEN_BYTES",
    "Missing",
    "Probe",
    "PublicOnly",
    "Store",
    "StoreError",
    "StoreFull",
    "Stored",
    "check_image",
    "decode_data_url",
    "end_frames",
    "fetch_image",
    "fetch_result",
    "is_public",
    "open_store",
    "probe",
    "spritesheet",
    "of_full_disk",
    "store_errors",
    "thumbnail",
]
