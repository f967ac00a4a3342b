"""Deployment settings: environment over ``config.yaml`` in the data folder over defaults.

:func:`load_settings` reads both, once; :class:`Settings` itself is what came of it and reads nothing.

A plugin's section (``plugins.<name>``) is kept raw here and validated by the plugin that owns it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable
from typing_extensions import override

from gateway.spec import Money, Name, Offer

A100_HOURLY_USD = Decimal("1.64")
"""The default rate of a CUDA slot: an A100 80 GB by the hour (see docs/reference/settings.md)."""

CPU_HOURLY_USD = Decimal("0.10")
"""The default rate of a CPU slot: an assumption to be replaced by the operator's own figure."""


PREFIX = "REELGATE_"

NO_SETTINGS = frozenset({"config", "url", "api_key"})
"""Variables that are no settings: where the file is, and what a client of a running gateway needs."""


class SettingsError(Exception):
    """The configuration cannot be used; the text says which part and what to do."""


class Pool(BaseModel):
    """A device pool: one slot per device (torch's names, for example ``cuda:0``), all at one hourly rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    devices: tuple[str, ...] = Field(min_length=1)
    hourly_usd: Money = Field(gt=0)

    @model_validator(mode="before")
    @classmethod
    def _default_rate(cls, data: Any) -> Any:
        if isinstance(data, dict) and "hourly_usd" not in data:
            cuda = str((data.get("devices") or ["cpu"])[0]).startswith("cuda")
            return {**data, "hourly_usd": A100_HOURLY_USD if cuda else CPU_HOURLY_USD}
        return data


def _check_origin(text: str) -> str:
    try:
        parts = urlsplit(text)
        named = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        named = False
    if not named or not set("@*").isdisjoint(text) or any((parts.path, parts.query, parts.fragment)):
        raise ValueError(f"{text!r} is no exact origin: write scheme, host and port, as http://10.0.0.5:9000")
    return text


Origin = Annotated[str, AfterValidator(_check_origin)]
"""Scheme, host and perhaps a port, and nothing behind them."""


class Settings(BaseSettings):
    """How this deployment runs."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path
    database_url: str = Field(default="", repr=False)
    database_connections: int = Field(default=3, ge=2, le=100)
    store_url: str = ""
    store_options: dict[str, SecretStr] = Field(default_factory=dict)
    public_url: str = ""
    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=0, le=65535)
    isolation: Literal["process", "none"] = "process"
    pools: dict[Name, Pool] = Field(
        default_factory=lambda: {"cpu": Pool(devices=("cpu",), hourly_usd=CPU_HOURLY_USD)}
    )
    tiers: tuple[Name, ...] = Field(default=("basic", "pro", "enterprise"), min_length=1)
    policy: Name = "tiered"
    policies: dict[str, dict[str, Any]] = Field(default_factory=dict)
    plugins: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)
    enabled_plugins: tuple[str, ...] | None = Field(
        default=None, description="load exactly these; all if unset"
    )
    offers: tuple[Offer, ...] = ()
    result_origins: tuple[Origin, ...] = Field(
        default=(), description="exact origins a result may be fetched from though they are not public https"
    )
    image_origins: tuple[Origin, ...] = Field(
        default=(), description="the same for the input images that callers name by address"
    )
    sandbox_url: Origin | Literal[""] = Field(
        default="", description="where `reelgate sandbox` is served; no test mode if unset"
    )
    sandbox_only: bool = Field(default=False, description="remote offers go to the sandbox for live keys too")
    max_image_bytes: int = Field(default=10 * 1024**2, ge=1)
    max_body_bytes: int = Field(default=32 * 1024**2, ge=1)
    default_deadline_s: int = Field(default=24 * 3600, ge=1)
    drain_s: float = Field(default=30, ge=0, le=24 * 3600)
    drain_notice_s: float = Field(default=0, ge=0, le=600)
    checkpoint_every_s: float = Field(default=30, ge=0)
    preview_every_s: float = Field(default=2, ge=0, description="no previews if 0")
    keep_videos_days: int | None = Field(default=None, ge=1, description="never removed if unset")
    keep_history_days: int = Field(default=7, ge=1)
    metrics_public: bool = False
    key_pepper: SecretStr | None = None

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what is given and no more: a worker must run on the settings it was handed."""
        return (init_settings,)

    @model_validator(mode="after")
    def _default_database(self) -> Self:
        if not self.database_url:
            object.__setattr__(self, "database_url", f"sqlite:///{self.data_dir / 'reelgate.db'}")
        return self

    @property
    def sandbox_origins(self) -> tuple[str, ...]:
        """Where the sandbox serves from: its files lie on another name of the same machine."""
        origin = "/".join(self.sandbox_url.split("/")[:3])
        return (origin, origin.replace("//127.0.0.1:", "//localhost:")) if origin else ()

    @property
    def store_dir(self) -> Path:
        """Where videos and input images lie."""
        return self.data_dir / "store"

    @property
    def run_dir(self) -> Path:
        """Where living processes keep their locks and scratch folders."""
        return self.data_dir / "run"


def default_data_dir() -> Path:
    """``REELGATE_DATA_DIR``, else ``~/.reelgate``."""
    return Path(os.environ.get("REELGATE_DATA_DIR") or Path.home() / ".reelgate")


def load_settings(data_dir: Path | None = None, **overrides: Any) -> Settings:
    """Read ``config.yaml`` of the data folder (if there is one) and the environment; ``overrides`` win.

    Raises:
        SettingsError: the file is not YAML, or a value is unknown or out of range.
    """
    folder = (data_dir or default_data_dir()).expanduser().absolute()
    file = Path(os.environ.get("REELGATE_CONFIG") or folder / "config.yaml")
    try:
        values = yaml.safe_load(file.read_text()) if file.exists() else {}
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read {file}: {error}") from error
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"{file} must hold a mapping of settings")
    _refuse_unknown_variables()
    try:
        given = _over(values or {}, EnvSettingsSource(Settings)())
        return Settings(**{**given, "data_dir": folder, **overrides})
    except UnreadableVariable as error:
        raise SettingsError(f"a REELGATE_* variable that holds JSON: {error}") from None
    except ValidationError as error:
        lines = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise SettingsError(f"settings ({file} and REELGATE_* variables): {lines}") from None


def _refuse_unknown_variables() -> None:
    """A misspelt variable must not pass as a default."""
    for name in os.environ:
        if name.startswith(PREFIX):
            field = name.removeprefix(PREFIX).lower().split("__")[0]
            if field not in Settings.model_fields and field not in NO_SETTINGS:
                raise SettingsError(f"the variable {name} names no setting; see docs/reference/settings.md")


def _over(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """``high`` over ``low``, section by section."""
    merged = dict(low)
    for name, value in high.items():
        below = low.get(name)
        merged[name] = _over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
