"""The slots of the opening rule: preference lists, keyed by task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from gateway.spec import Name, Task, Value

SlotName = Literal["preview", "basic", "audio", "premium", "default"]


class Entry(Value):
    """A place in a slot; without a preset it means every preset, in the card's order."""

    model: Name
    preset: Name | None = None


class Options(Value):
    """The operator's section: each list given replaces the built-in one of that slot and task."""

    slots: dict[SlotName, dict[Task, tuple[Entry, ...]]] = Field(default_factory=dict)

    def entries(self, slot: SlotName, task: Task) -> tuple[Entry, ...]:
        """The list of this slot for this task."""
        own = self.slots.get(slot, {}).get(task)
        return BUILT_IN[slot].get(task, ()) if own is None else own


def _entries(*places: str) -> tuple[Entry, ...]:
    split = (place.partition("@") for place in places)
    return tuple(Entry(model=model, preset=preset or None) for model, _, preset in split)


_QUICK: Mapping[Task, tuple[Entry, ...]] = {
    "text-to-video": _entries(
        "wan-2.2-t2v-a14b@fast",
        "wan-2.2-ti2v-5b@fast",
        "wan-2.2-ti2v-5b@prefix",
        "wan-2.2-t2v-a14b@prefix",
        "wan-2.2-ti2v-5b@official",
        "wan-2.2-t2v-a14b@official",
        "wan-2.2-nano-t2v",
        "wan-2.2-nano-ti2v",
        "wan-2.2-t2v-a14b-tiny",
        "wan-2.2-ti2v-5b-tiny",
    ),
    "image-to-video": _entries(
        "wan-2.2-i2v-a14b@fast",
        "wan-2.2-ti2v-5b@fast",
        "wan-2.2-ti2v-5b@prefix",
        "wan-2.2-i2v-a14b@prefix",
        "wan-2.2-ti2v-5b@official",
        "wan-2.2-i2v-a14b@official",
        "wan-2.2-nano-i2v",
        "wan-2.2-nano-ti2v",
        "wan-2.2-i2v-a14b-tiny",
        "wan-2.2-ti2v-5b-tiny",
    ),
}

_AUDIO = _entries("veo-3.1", "gemini-omni-1.1", "kling-3.0-omni", "seedance-1.5-pro")
_PREMIUM = _entries("kling-3.0-omni", "kling-3.0", "veo-3.1")

BUILT_IN: Mapping[SlotName, Mapping[Task, tuple[Entry, ...]]] = {
    "preview": _QUICK,
    "basic": _QUICK,
    "audio": {"text-to-video": _AUDIO, "image-to-video": _AUDIO},
    "premium": {"text-to-video": _PREMIUM, "image-to-video": _PREMIUM},
    "default": {
        "text-to-video": _entries(
            "wan-2.2-t2v-a14b@official",
            "wan-2.2-t2v-a14b@fast",
            "wan-2.2-ti2v-5b@official",
            "wan-2.2-t2v-plus",
            "wan-2.2-nano-t2v",
            "wan-2.2-nano-ti2v",
            "wan-2.2-t2v-a14b-tiny",
            "wan-2.2-ti2v-5b-tiny",
        ),
        "image-to-video": _entries(
            "wan-2.2-i2v-a14b@official",
            "wan-2.2-i2v-a14b@fast",
            "wan-2.2-ti2v-5b@official",
            "wan-2.2-i2v-plus",
            "wan-2.2-nano-i2v",
            "wan-2.2-nano-ti2v",
            "wan-2.2-i2v-a14b-tiny",
            "wan-2.2-ti2v-5b-tiny",
        ),
    },
}
"""Preview, basic and the default meet local models first. The small models that come along follow, and random
weights for sizes and lengths that those do not make, so that a fresh start has a working path."""
