"""The operator's section ``seedance``, a caller's ``options.seedance``, and the params of our presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from adapters.seedance._wire import Tier
from gateway.spec import AccountLimits, Name, Value

Region = Literal["ap-southeast", "cn-beijing"]

HOSTS: dict[Region, str] = {
    "ap-southeast": "https://ark.ap-southeast.bytepluses.com/api/v3",
    "cn-beijing": "https://ark.cn-beijing.volces.com/api/v3",
}


class Account(Value):
    """A key, which is good for one region only."""

    api_key: SecretStr = Field(description="the key of the region's console")
    region: Region = Field(
        default="ap-southeast", description="ap-southeast: BytePlus ModelArk; cn-beijing: Volcengine Ark"
    )
    base_url: str | None = Field(default=None, description="default: the region's documented host")
    concurrent: int | None = Field(default=None, ge=1, description="jobs at a time; default: unlimited")
    submits_per_s: float | None = Field(
        default=None, gt=0, description="submits a second; default: unlimited"
    )

    @property
    def url(self) -> str:
        """Where its API is."""
        return self.base_url or HOSTS[self.region]

    @property
    def limits(self) -> AccountLimits:
        """As configured: the providers' own figures are not confirmed."""
        return AccountLimits(concurrent=self.concurrent, submits_per_s=self.submits_per_s)


class SeedanceSettings(Value):
    """The operator's section ``seedance``."""

    accounts: dict[Name, Account] = Field(default_factory=dict, description="accounts by a name of your own")
    unconfirmed_drafts: bool = Field(
        default=False, description="offer the drafts of Seedance 2.5, which one weak source speaks of"
    )


class SeedanceOptions(Value):
    """A caller's ``options.seedance``."""

    camera_fixed: bool | None = Field(default=None, description="keep the camera still; 1.0 and 1.5 only")
    watermark: bool = Field(default=False, description="the provider's mark in the picture")
    return_last_frame: bool = Field(default=False, description="a note has the address of the last frame")


class PresetParams(Value):
    """What a preset of our cards says about its model and the way to run it.

    ``holds_camera``: it has ``camera_fixed``. ``takes_sound``: it has ``generate_audio``, which is then
    always sent, since left out it means yes. ``frame_sets_ratio``: it refuses a ratio beside a first frame.
    ``unconfirmed``: only where the operator allows it.
    """

    service_tier: Tier | None = None
    draft: bool = False
    holds_camera: bool = False
    takes_sound: bool = False
    frame_sets_ratio: bool = False
    unconfirmed: bool = False
