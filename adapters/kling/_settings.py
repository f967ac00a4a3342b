"""The operator's section ``kling``, and a caller's ``options.kling``."""

from __future__ import annotations

import base64
from typing import Self

from pydantic import Field, SecretStr, field_validator, model_validator

from gateway.spec import Name, Value

SINGAPORE = "https://api-singapore.klingai.com"


class AccountSettings(Value):
    """One account at Kling: an API key, or the older pair of an access key and its secret (spec A.2)."""

    api_key: SecretStr | None = Field(default=None, description="works with both APIs")
    access_key: SecretStr | None = Field(default=None, description="with secret_key: the older API only")
    secret_key: SecretStr | None = Field(default=None, description="signs the older API's tokens")
    base_url: str = Field(default=SINGAPORE, description="a key of one site is not known at another")
    concurrent: int | None = Field(
        default=None, ge=1, description="jobs at once: your pack's number, which Kling does not publish"
    )
    webhook_secret: SecretStr | None = Field(
        default=None,
        description="whsec_…: callbacks have to be signed with it; for every account or for none",
    )

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        pair = (self.access_key is not None, self.secret_key is not None)
        if pair not in ((True, True), (False, False)) or (self.api_key is not None) == all(pair):
            raise ValueError("give either api_key, or access_key and secret_key")
        return self

    @field_validator("webhook_secret")
    @classmethod
    def _decodes(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None:
            return None
        try:
            key = base64.b64decode(secret.get_secret_value().removeprefix("whsec_"), validate=True)
        except ValueError:
            key = b""
        if not key:  # anybody signs with an empty one
            raise ValueError("is not whsec_ and base64")
        return secret


class KlingSettings(Value):
    """All accounts, in the order in which they are preferred, and what is off until somebody has tried it."""

    accounts: dict[Name, AccountSettings] = Field(default_factory=dict)
    failure_words: bool = Field(
        default=False, description="a failed task whose free text speaks of content is the caller's fault"
    )
    omni_multi_shot: bool = Field(
        default=False, description="send multi_shot to the omni endpoint, too; only 3.0 is known to take it"
    )

    @model_validator(mode="after")
    def _signed_or_not(self) -> Self:
        if len({account.webhook_secret is None for account in self.accounts.values()}) > 1:
            raise ValueError("set webhook_secret for every account or for none")
        return self


class KlingOptions(Value):
    """A caller's ``options.kling``."""

    multi_shot: bool = Field(default=False, description="Kling 3.0: may cut between shots")
