"""Kling's models as its documentation has them: whose API, and which wishes go together (spec A.3.1, A.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

LastFrame = Literal["never", "any", "1080p", "silent 1080p"]


@dataclass(frozen=True, kw_only=True)
class Model:
    """What an upstream id stands for.

    ``legacy``: the older API, which takes an access key, too. ``sound``: has a parameter for it.
    ``sound_at``: the resolutions that can have it, all if empty. ``multi_shot``: has a parameter for it.
    ``negative_prompt``: its card says that it takes one. ``last_frame``: beside a first one, and at what.
    ``prompt``: the most characters, where that is told.
    """

    legacy: bool = False
    omni: bool = False
    sound: bool = False
    sound_at: tuple[str, ...] = ()
    multi_shot: bool = False
    negative_prompt: bool = False
    last_frame: LastFrame = "never"
    prompt: int | None = 2500


MODELS: Mapping[str, Model] = {
    "kling-v2-master": Model(legacy=True, negative_prompt=True),
    "kling-v2-1": Model(legacy=True, negative_prompt=True),
    "kling-v2-5-turbo": Model(legacy=True, last_frame="1080p"),
    "kling-v2-6": Model(legacy=True, sound=True, sound_at=("1080p",), last_frame="silent 1080p"),
    "kling-v3": Model(legacy=True, sound=True, last_frame="any"),
    "kling-2.5-turbo": Model(last_frame="1080p"),
    "kling-2.6": Model(sound=True, sound_at=("1080p",), last_frame="silent 1080p"),
    "kling-3.0": Model(sound=True, multi_shot=True, last_frame="any", prompt=3072),
    "kling-3.0-turbo": Model(prompt=3072),
    "kling-3.0-omni": Model(omni=True, sound=True, last_frame="any", prompt=None),
}
"""By upstream id. The rules for a last frame are those of the API of 2026, taken to hold in the older one."""
