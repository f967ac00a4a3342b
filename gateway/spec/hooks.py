"""What a plugin may register; each hook returns a list. pluggy is for start-up only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pluggy

from gateway.spec._value import Value
from gateway.spec.adapter import Adapter
from gateway.spec.card import ModelCard, Offer
from gateway.spec.plan import Policy

hookspec = pluggy.HookspecMarker("reelgate")
hookimpl = pluggy.HookimplMarker("reelgate")


@dataclass(frozen=True, kw_only=True)
class PluginContext:
    """What a plugin is built with: its raw settings sections by adapter name, and a folder of its own."""

    settings: Mapping[str, Mapping[str, Any]] = field(repr=False)
    data_dir: Path

    def section(self, name: str) -> Mapping[str, Any]:
        """The operator's section for ``name``, raw; the plugin validates it."""
        return self.settings.get(name, {})


class Cards(Value):
    """A plugin's ``cards.yaml``: facts about models it owns, and offers of any plugin's models."""

    models: tuple[ModelCard, ...] = ()
    offers: tuple[Offer, ...] = ()


@runtime_checkable
class Sandboxed(Protocol):
    """An adapter's stand-in for test mode. One with a server is a :class:`gateway.kit.sandbox.FakeProvider`.

    A local adapter brings a :class:`StandIn`: its settings name weights that cost next to nothing to run.
    """

    @property
    def name(self) -> str:
        """The adapter's name."""
        ...

    def settings(self, url: str) -> Mapping[str, Any]:
        """The adapter's settings section for test mode; ``url`` is where its fake provider is served."""
        ...


@dataclass(frozen=True)
class StandIn:
    """A stand-in that needs no server: the adapter itself, with this section."""

    name: str
    section: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, url: str) -> Mapping[str, Any]:
        """The section."""
        return self.section


@dataclass(frozen=True, kw_only=True)
class Check:
    """One line of ``reelgate doctor``: ``run`` returns what is wrong and how to mend it, or None."""

    name: str
    run: Callable[[], str | None]


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A content screen: ``prompt`` returns why a prompt is refused, or None."""

    name: str
    prompt: Callable[[str], str | None]


@dataclass(frozen=True, kw_only=True)
class Command:
    """A CLI sub-app, for example ``reelgate wan``; ``load`` imports and returns its ``typer.Typer``."""

    name: str
    help: str
    load: Callable[[], Any] = field(repr=False)


@hookspec
def register_adapters(context: PluginContext) -> list[Adapter]:  # type: ignore[empty-body]  # a specification
    """Adapters, built with the operator's settings."""


@hookspec
def register_cards() -> list[Cards]:  # type: ignore[empty-body]  # a specification
    """Model cards and offers."""


@hookspec
def register_policies() -> list[Policy]:  # type: ignore[empty-body]  # a specification
    """Routing policies."""


@hookspec
def register_commands() -> list[Command]:  # type: ignore[empty-body]  # a specification
    """Sub-commands of the CLI."""


@hookspec
def register_checks(context: PluginContext) -> list[Check]:  # type: ignore[empty-body]  # a specification
    """Checks for doctor."""


@hookspec
def register_sandbox() -> list[Sandboxed]:  # type: ignore[empty-body]  # a specification
    """Stand-ins of the plugin's adapters for test mode, with their providers' fake routes."""


@hookspec
def register_screens() -> list[Screen]:  # type: ignore[empty-body]  # a specification
    """Prompt screens."""
