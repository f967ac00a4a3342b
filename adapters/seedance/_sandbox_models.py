"""The models of the fake Ark: sizes, limits and its own price list, typed in from the documentation."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

_RATIOS = ("16:9", "4:3", "1:1", "21:9")
_UPRIGHT = {"9:16": "16:9", "3:4": "4:3"}

_SIZES: Mapping[str, Mapping[str, str]] = {
    "1.0": {
        "480p": "864x480 736x544 640x640 960x416",
        "720p": "1248x704 1120x832 960x960 1504x640",
        "1080p": "1920x1088 1664x1248 1440x1440 2176x928",
    },
    "1.5": {
        "480p": "864x496 752x560 640x640 992x432",
        "720p": "1280x720 1112x834 960x960 1470x630",
        "1080p": "1920x1080 1664x1248 1440x1440 2206x946",
        "4k": "3840x2160",
    },
    "2.5": {
        "480p": "854x480 752x560 640x640 992x432",
        "720p": "1280x720 1112x834 960x960 1470x630",
        "1080p": "1920x1080 1664x1248 1440x1440 2206x946",
    },
}
_TEXT, _FIRST, _BOTH, _REFERENCES = "text", "first_frame", "first_frame last_frame", "references"


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model: what it makes of what, and dollars for a million tokens.

    ``rates`` are by resolution, or ``sound`` and ``silent``. ``old``: 1.x, which has flags in the prompt, a
    flex tier and a camera that can be held still.
    """

    sizes: str
    rates: Mapping[str, str]
    usual: str
    seconds: tuple[int, int]
    takes: tuple[str, ...]
    references: int = 0
    old: bool = False
    sound: bool = False
    drafts: bool = False
    frame_sets_ratio: bool = False

    @property
    def resolutions(self) -> tuple[str, ...]:
        """What it makes."""
        return ("480p", "720p", "1080p") if "sound" in self.rates else tuple(self.rates)

    def size(self, resolution: str, ratio: str) -> tuple[int, int] | None:
        """Width and height; None if the documentation has none."""
        listed = dict(zip(_RATIOS, _SIZES[self.sizes][resolution].split(), strict=False))
        size = listed.get(_UPRIGHT.get(ratio, ratio))
        if size is None:
            return None
        wide, high = map(int, size.split("x"))
        return (high, wide) if ratio in _UPRIGHT else (wide, high)

    def usd(self, tokens: int, resolution: str, *, sound: bool, flex: bool) -> Decimal:
        """What so many tokens cost; the flex tier is half the price."""
        rate = self.rates.get(resolution) or self.rates["sound" if sound else "silent"]
        return Decimal(rate) * tokens / 1_000_000 / (2 if flex else 1)


def tokens_of(width: int, height: int, seconds: int) -> int:
    """What a clip counts: one frame more than its seconds have, rounded up."""
    return math.ceil(Decimal(width * height * (24 * seconds + 1)) / 1024)


def _first(usd: str, usual: str, *takes: str, references: int = 0) -> Model:
    return Model(
        sizes="1.0",
        rates={"480p": usd, "720p": usd, "1080p": usd},
        usual=usual,
        seconds=(2, 12),
        takes=takes,
        references=references,
        old=True,
    )


def _second(rates: Mapping[str, str]) -> Model:
    return Model(
        sizes="1.5",
        rates=rates,
        usual="720p",
        seconds=(4, 15),
        takes=(_TEXT, _FIRST, _BOTH, _REFERENCES),
        references=9,
        sound=True,
    )


MODELS: Mapping[str, Model] = {
    "seedance-1-0-lite-t2v-250428": _first("1.8", "720p", _TEXT),
    "seedance-1-0-lite-i2v-250428": _first("1.8", "720p", _FIRST, _BOTH, _REFERENCES, references=4),
    "seedance-1-0-pro-250528": _first("2.5", "1080p", _TEXT, _FIRST, _BOTH),
    "seedance-1-0-pro-fast-251015": _first("1.0", "1080p", _TEXT, _FIRST),
    "seedance-1-5-pro-251215": Model(
        sizes="1.5",
        rates={"sound": "2.4", "silent": "1.2"},
        usual="720p",
        seconds=(4, 12),
        takes=(_TEXT, _FIRST, _BOTH),
        old=True,
        sound=True,
        drafts=True,
    ),
    "dreamina-seedance-2-0-260128": _second({"480p": "7.0", "720p": "7.0", "1080p": "7.7", "4k": "4.0"}),
    "dreamina-seedance-2-0-fast-260128": _second({"480p": "5.6", "720p": "5.6"}),
    "dreamina-seedance-2-0-mini-260615": _second({"480p": "3.5", "720p": "3.5"}),
    "dreamina-seedance-2-5-260628": Model(
        sizes="2.5",
        rates={"480p": "10.7", "720p": "10.7", "1080p": "10.7"},
        usual="720p",
        seconds=(4, 30),
        takes=(_TEXT, _FIRST, _BOTH, _REFERENCES),
        references=30,
        sound=True,
        frame_sets_ratio=True,
    ),
}
"""By the ids of BytePlus ModelArk, which the fake is."""
