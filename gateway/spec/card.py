"""Model cards and offers: facts about models, and where each can be had at what price."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gateway.spec._value import Money, Name, Resolution, Size, Source, Task, Value, parse_size
from gateway.spec.request import ImageRole


class SizeBounds(Value):
    """Every WxH whose sides lie in [min, max] pixels and are multiples of ``step``."""

    min: int = Field(ge=8)
    max: int
    step: int = Field(ge=1)

    def allows(self, size: str) -> bool:
        """True if both sides fit."""
        return all(self.min <= side <= self.max and side % self.step == 0 for side in parse_size(size))


class Durations(Value):
    """The seconds a model makes: a list, or bounds (any value between, both ends included)."""

    values: tuple[Decimal, ...] = ()
    min: Decimal | None = None
    max: Decimal | None = None
    default: Decimal

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        bounds = self.min is not None and self.max is not None
        if bool(self.values) == bounds:
            raise ValueError("give either values or both min and max")
        if not self.allows(self.default):
            raise ValueError(f"the default of {self.default} s is not allowed by its own rule")
        return self

    def allows(self, seconds: Decimal) -> bool:
        """True if the model can make exactly this many seconds."""
        if self.min is not None and self.max is not None:
            return self.min <= seconds <= self.max
        return seconds in self.values

    def describe(self) -> str:
        """The allowed seconds in words, for messages."""
        if self.values:
            return "one of " + ", ".join(f"{v.normalize():f}" for v in self.values) + " s"
        return f"{self.min} to {self.max} s"


class Fps(Value):
    """Frames per second: the default, and the range a caller may choose from."""

    default: int = Field(ge=1)
    min: int = Field(ge=1)
    max: int

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        if not self.min <= self.default <= self.max:
            raise ValueError(f"fps default {self.default} lies outside {self.min} to {self.max}")
        return self


class Images(Value):
    """Which images a model takes, and in what shape.

    ``min_side`` and ``max_side`` in pixels; ``max_ratio``: the longer side by the shorter, at most;
    ``max_bytes`` of the encoded file. None where there is no limit, or none is known.
    """

    first_frame: bool = False
    last_frame: bool = False
    references: int = Field(default=0, ge=0)
    min_side: int | None = Field(default=None, ge=1)
    max_side: int | None = Field(default=None, ge=1)
    max_ratio: Decimal | None = Field(default=None, ge=1)
    max_bytes: int | None = Field(default=None, ge=1)


class PairingWhen(Value):
    """All of it: the clip has one of ``resolutions``, it has sound, an image has one of these roles."""

    resolutions: tuple[Resolution, ...] = ()
    audio: Literal[True] | None = None
    images: tuple[ImageRole, ...] = ()


class PairingNeeds(Value):
    """One of ``seconds``, one of ``resolutions``, no sound, every one of ``images``, none of ``without``."""

    seconds: tuple[Decimal, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    audio: Literal[False] | None = None
    images: tuple[ImageRole, ...] = ()
    without: tuple[ImageRole, ...] = ()


class Pairing(Value):
    """What is had together only: a clip that fits ``when`` has everything in ``needs``, or is not made."""

    when: PairingWhen
    needs: PairingNeeds

    @model_validator(mode="after")
    def _both_said(self) -> Self:
        if self.when == PairingWhen() or self.needs == PairingNeeds():
            raise ValueError("a pairing says something in when and something in needs")
        return self


class Lifecycle(Value):
    """A model's or an offer's life; dates are UTC days.

    ``retires_not_before`` is announced and still routed, with a note; from ``retired_on`` on it is excluded.
    """

    announced: date | None = None
    deprecated: date | None = None
    retires_not_before: date | None = None
    retired_on: date | None = None
    successor: Name | None = None
    source: Source | None = None

    def retired(self, today: date) -> bool:
        """True from the day of retirement on."""
        return self.retired_on is not None and today >= self.retired_on


class QualityScore(Value):
    """A published score, higher is better; only scores on the same ``scale`` compare."""

    score: Decimal
    scale: str
    source: Source


class PromptLimit(Value):
    """The longest prompt a model reads; longer ones are cut by the model and noted, never silently.

    ``refused``: one of more ``characters`` is refused, so that it is not planned for.
    """

    tokens: int | None = None
    characters: int | None = None
    refused: bool = False


class Price(Value):
    """One line of a price list, valid where its conditions match and between its dates.

    ``usd`` is per ``per`` units. ``device_second`` lines carry no amount: the rate is the device slot's.
    ``token`` lines state ``tokens_per_second_divisor``: tokens = width·height·(fps·seconds + extra_frames) /
    divisor.
    """

    unit: Literal["second", "clip", "token", "device_second"]
    usd: Money | None = Field(default=None, gt=0)
    per: int = Field(default=1, ge=1)
    resolutions: tuple[Resolution, ...] = ()
    audio: bool | None = None
    presets: tuple[Name, ...] = ()
    tasks: tuple[Task, ...] = ()
    tokens_per_second_divisor: int | None = None
    extra_frames: int = Field(default=0, ge=0)
    effective_from: date
    effective_to: date | None = None
    source: Source

    @model_validator(mode="after")
    def _amounts(self) -> Self:
        if (self.usd is None) != (self.unit == "device_second"):
            raise ValueError("usd belongs on every unit but device_second")
        if (self.tokens_per_second_divisor is None) == (self.unit == "token"):
            raise ValueError("tokens_per_second_divisor belongs on token prices, and only there")
        return self

    def in_force(self, today: date) -> bool:
        """True on the days this line is valid."""
        return self.effective_from <= today and (self.effective_to is None or today < self.effective_to)


class ReferenceTime(Value):
    """Seconds one clip takes at a resolution, measured or published; scaled by the clip's seconds.

    For local presets these are device-seconds, the estimate of the cost until the slot has its own figures.
    """

    resolution: Resolution | None = None
    clip_seconds: Decimal = Field(gt=0)
    seconds: Decimal = Field(gt=0)
    source: Source


class Preset(Value):
    """A named way to run an offer: ``params`` go to the adapter as they are.

    One with ``finished_by`` is for previews: its render stops early and keeps its state, and a render with
    the preset named there goes on from it. One with ``resolutions`` makes those alone.
    """

    name: Name
    fast: bool = False
    finished_by: Name | None = None
    resolutions: tuple[Resolution, ...] = ()
    params: dict[str, Any] = Field(default_factory=dict)
    times: tuple[ReferenceTime, ...] = ()


class OfferLimits(Value):
    """What this offer does not pass on of what its model can do."""

    tasks: tuple[Task, ...] = ()
    resolutions: tuple[Resolution, ...] = ()
    durations: Durations | None = None
    audio: Literal["never"] | None = None


SubmitPolicy = Literal["idempotency_key", "lookup", "none"]


class Offer(Value):
    """Where a model can be had: an adapter, its id upstream, presets, prices and limits."""

    model: Name
    adapter: Name
    upstream: str
    id: str = ""
    region: Name | None = None
    pool: Name | None = Field(default=None, description="local offers: the device pool that runs them")
    presets: tuple[Preset, ...] = (Preset(name="standard"),)
    prices: tuple[Price, ...] = ()
    limits: OfferLimits = OfferLimits()
    pairings: tuple[Pairing, ...] = ()
    lifecycle: Lifecycle = Lifecycle()
    submit_policy: SubmitPolicy = "none"
    sources: tuple[Source, ...] = ()
    remarks: str = ""

    @model_validator(mode="before")
    @classmethod
    def _default_id(cls, data: Any) -> Any:
        if isinstance(data, Mapping) and not data.get("id"):
            region = f"/{data['region']}" if data.get("region") else ""
            return {**data, "id": f"{data.get('adapter')}/{data.get('model')}{region}"}
        return data

    @model_validator(mode="after")
    def _finishing_presets(self) -> Self:
        whole = {preset.name for preset in self.presets if preset.finished_by is None}
        for preset in self.presets:
            if preset.finished_by is not None and preset.finished_by not in whole:
                raise ValueError(
                    f"preset {preset.name} is finished_by {preset.finished_by}, which is no other preset of"
                    f" this offer that runs to its end; there are: {', '.join(sorted(whole)) or 'none'}"
                )
        return self

    @cached_property
    def narrows(self) -> bool:
        """True if the offer passes on less than its model can do."""
        return self.limits != OfferLimits() or bool(self.pairings)

    def preset(self, name: str) -> Preset | None:
        """The preset of this name, or None."""
        return next((preset for preset in self.presets if preset.name == name), None)


class ModelCard(Value):
    """Facts about a model, and (after the catalog's join) every offer of it."""

    id: Name
    name: str
    aliases: tuple[Name, ...] = ()
    tasks: tuple[Task, ...] = Field(min_length=1)
    sizes: dict[Resolution, tuple[Size, ...]] | SizeBounds
    default_size: Size
    durations: Durations
    fps: Fps
    audio: Literal["never", "optional", "always"] = "never"
    seed: bool = False
    negative_prompt: bool = False
    images: Images = Images()
    pairings: tuple[Pairing, ...] = ()
    native_draft: bool = False
    prompt_limit: PromptLimit = PromptLimit()
    lifecycle: Lifecycle = Lifecycle()
    quality: QualityScore | None = None
    test_weights: bool = Field(
        default=False, description="stand-ins for real weights: they serve only where nothing real can"
    )
    sources: tuple[Source, ...] = ()
    offers: tuple[Offer, ...] = ()

    @model_validator(mode="after")
    def _default_size_allowed(self) -> Self:
        if not self.allows_size(self.default_size):
            raise ValueError(f"default_size {self.default_size} is not among the card's sizes")
        return self

    def allows_size(self, size: str) -> bool:
        """True if the model makes exactly this size."""
        if isinstance(self.sizes, SizeBounds):
            return self.sizes.allows(size)
        return any(size in sizes for sizes in self.sizes.values())

    def resolution_of(self, size: str) -> Resolution | None:
        """The named set that holds this size, or None where the card has bounds."""
        return self._resolutions.get(size)

    @cached_property
    def _resolutions(self) -> dict[str, Resolution]:
        if isinstance(self.sizes, SizeBounds):
            return {}
        return {size: name for name, sizes in reversed(self.sizes.items()) for size in sizes}
