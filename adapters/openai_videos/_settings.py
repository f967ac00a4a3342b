"""What the operator says about servers of the Videos API, and what a caller may say to one."""

from __future__ import annotations

from typing import Self

from pydantic import Field, SecretStr, model_validator
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from adapters.openai_videos._wire import DIALECTS, Flavour
from gateway.spec import Name, Value


class Account(Value):
    """A server and a key for it. Offers find it by their ``region``: its name, or its flavour."""

    flavour: Flavour = "openai"
    base_url: str = Field(default="", description="up to /v1; needed for all but OpenAI itself")
    api_key: SecretStr | None = None
    webhook_secret: SecretStr | None = Field(default=None, description="whsec_…, of a webhook endpoint there")
    concurrent: int | None = Field(default=None, ge=1)
    submits_per_s: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not self.address:
            raise ValueError(f"a server of flavour {self.flavour} needs its base_url")
        if self.webhook_secret is not None:
            try:
                self.webhook()
            except (ValueError, EmptyWebhookSecretError):
                raise ValueError("webhook_secret is not whsec_ and base64") from None
        return self

    @property
    def address(self) -> str:
        """Where the API is, without a slash at the end."""
        return (self.base_url or DIALECTS[self.flavour].base_url or "").rstrip("/")

    def webhook(self) -> Webhook | None:
        """What verifies this account's webhooks, if it has any."""
        secret = self.webhook_secret
        return None if secret is None else Webhook(secret.get_secret_value())


class OpenAIVideosSettings(Value):
    """The operator's section ``openai_videos``."""

    accounts: dict[Name, Account] = Field(default_factory=dict)


class OpenAIVideosOptions(Value):
    """A caller's ``options.openai_videos``: knobs of servers of one's own (SGLang has the first two)."""

    num_inference_steps: int | None = Field(default=None, ge=1, le=200)
    guidance_scale: float | None = Field(default=None, ge=0, le=20)
    guidance_scale_2: float | None = Field(default=None, ge=0, le=20)
    boundary_ratio: float | None = Field(default=None, ge=0, le=1)
    flow_shift: float | None = None
