"""What the operator sets, and what a caller may ask for besides the usual."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, model_validator

from adapters.veo._tokens import ServiceAccount
from gateway.spec import Name, Value

Surface = Literal["vertex", "gemini_api"]
PersonGeneration = Literal["allow_adult", "dont_allow", "allow_all"]


class Account(Value):
    """One account at Google: what the offers in use need, each of its own surface.

    Vertex AI takes a service account, the Gemini API (closed on 2026-10-22) a key. ``service_account`` is
    the JSON of its key, ``service_account_file`` the path to it.
    """

    service_account: ServiceAccount | None = None
    service_account_file: Path | None = None
    api_key: SecretStr | None = None
    project: str | None = Field(
        default=None, pattern=r"^[a-z0-9][a-z0-9.:-]*$", description="default: the service account's own"
    )
    location: Name | None = Field(default=None, description="of Vertex AI, instead of the offer's region")
    storage_uri: str | None = Field(
        default=None,
        pattern=r"^gs://[a-z0-9][a-z0-9._-]+/(.+/)?$",
        description="where Vertex AI writes its results, a folder for each attempt; else they come inline",
    )
    base_url: str | None = Field(
        default=None,
        pattern=r"^https?://\S+[^/\s]$",
        description="instead of Google's own hosts, all of them",
    )
    concurrent: int | None = Field(default=None, ge=1)
    submits_per_s: float | None = Field(default=50 / 60, gt=0, description="the documented quota of a model")

    @model_validator(mode="before")
    @classmethod
    def _read_file(cls, data: Any) -> Any:
        path = data.get("service_account_file") if isinstance(data, Mapping) else None
        if path is None:
            return data
        if data.get("service_account") is not None:
            raise ValueError("give service_account or service_account_file, not both")
        try:
            return {**data, "service_account": Path(path).read_text("utf-8")}
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ValueError(f"service_account_file cannot be read: {why}") from None

    @model_validator(mode="after")
    def _project_known(self) -> Self:
        if self.service_account is not None and self.project_id is None:
            raise ValueError("set project: the service account's key names none")
        return self

    @property
    def surfaces(self) -> frozenset[Surface]:
        """Those that it has a credential for."""
        held: dict[Surface, object] = {"vertex": self.service_account, "gemini_api": self.api_key}
        return frozenset(surface for surface, credential in held.items() if credential is not None)

    @property
    def project_id(self) -> str | None:
        """The project that pays."""
        own = self.service_account.project_id if self.service_account is not None else None
        return self.project or own


class VeoSettings(Value):
    """The operator's section ``veo``."""

    accounts: dict[Name, Account] = Field(default_factory=dict)


class VeoOptions(Value):
    """A caller's ``options.veo``; all but ``person_generation`` on Vertex AI only."""

    person_generation: PersonGeneration | None = None
    enhance_prompt: bool | None = None
    resize_mode: Literal["crop", "pad"] | None = None


class VeoParams(Value):
    """The ``params`` of an offer's preset: by which of Google's two surfaces the model is reached."""

    surface: Surface = "vertex"
