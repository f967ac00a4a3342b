"""Finds plugins by entry point, asks what they offer, isolates and names the broken ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from gateway.catalog import Catalog
from gateway.spec import (
    Adapter,
    Cards,
    Check,
    Command,
    LocalAdapter,
    Offer,
    PluginContext,
    Policy,
    RemoteAdapter,
    Sandboxed,
    Screen,
)
from gateway.spec import hooks as hookspecs

GROUP = "reelgate.plugins"
SANDBOX = "sandbox"
"""The account of every adapter's stand-in: what it is asked for runs in test mode."""

log = logging.getLogger(__name__)


def retired_as(offer: str, *, sandboxed: bool) -> str:
    """The name under which an offer is on record as gone: in test mode one of its own."""
    return f"{offer}@{SANDBOX}" if sandboxed else offer


KINDS: Mapping[str, tuple[type, ...]] = {
    "register_adapters": (RemoteAdapter, LocalAdapter),
    "register_cards": (Cards,),
    "register_policies": (object,),  # a protocol: its name is asked for, its methods when they are called
    "register_commands": (Command,),
    "register_checks": (Check,),
    "register_sandbox": (Sandboxed,),
    "register_screens": (Screen,),
}
"""What each hook's list holds; anything else would break the gateway where nobody knows whose it was."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin that was found: where it comes from, and what is wrong with it ('' if nothing)."""

    name: str
    distribution: str
    version: str
    adapters: tuple[str, ...] = ()
    policies: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Registry:
    """What all sound plugins brought; ``stand_ins`` are the adapters of test mode, none without a sandbox."""

    plugins: tuple[Plugin, ...]
    catalog: Catalog
    adapters: Mapping[str, Adapter]
    policies: Mapping[str, Policy]
    commands: tuple[Command, ...] = ()
    checks: tuple[Check, ...] = ()
    sandbox: Mapping[str, Sandboxed] = field(default_factory=dict)
    stand_ins: Mapping[str, Adapter] = field(default_factory=dict)
    screens: tuple[Screen, ...] = ()

    def find(self, name: str, account: str) -> Adapter | None:
        """The adapter that serves this account: the stand-in for :data:`SANDBOX`, else the real one."""
        return (self.stand_ins if account == SANDBOX else self.adapters).get(name)

    def remote(self, name: str, account: str) -> RemoteAdapter:
        """The remote adapter of this name and account.

        Raises:
            KeyError: it is not installed, or has no stand-in.
        """
        adapter = self.find(name, account)
        if not isinstance(adapter, RemoteAdapter):
            raise KeyError(f"{name} ({account})")
        return adapter

    def local(self, name: str, account: str) -> LocalAdapter:
        """The local adapter of this name and account.

        Raises:
            KeyError: it is not installed, or has no stand-in.
        """
        adapter = self.find(name, account)
        if not isinstance(adapter, LocalAdapter):
            raise KeyError(f"{name} ({account})")
        return adapter

    def own_account(self, offer: Offer, account: str) -> str:
        """What the offer's adapter itself calls this account: a stand-in's are the sandbox's, of which the
        first is taken that has the offer."""
        adapter = self.find(offer.adapter, account)
        if account == SANDBOX and isinstance(adapter, RemoteAdapter):
            names = adapter.accounts
            return next((name for name in names if adapter.serves(offer, name)), names[0])
        return account

    def every_adapter(self) -> Iterator[Adapter]:
        """All adapters, the stand-ins too."""
        yield from self.adapters.values()
        yield from self.stand_ins.values()


@dataclass
class _Loader:
    """Collects contributions plugin by plugin, so that one plugin's fault stays its own."""

    context: PluginContext
    sandbox_url: str
    adapters: dict[str, Adapter] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)
    cards: list[tuple[str, Cards]] = field(default_factory=list)
    commands: dict[str, Command] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    sandbox: dict[str, Sandboxed] = field(default_factory=dict)
    stand_ins: dict[str, Adapter] = field(default_factory=dict)
    screens: list[Screen] = field(default_factory=list)

    def load(self, entry: EntryPoint) -> Plugin:
        """Ask one plugin for everything; whatever it raises becomes its ``problem``."""
        about = Plugin(
            name=entry.name,
            distribution=entry.dist.name if entry.dist else "",
            version=entry.dist.version if entry.dist else "",
        )
        try:
            manager = _manager(entry)
            brought = self._ask(manager)
            self._accept(entry.name, brought)
        except (Exception, SystemExit) as error:  # a stranger's code may do anything; the rest must load
            log.warning("plugin %s is broken: %s", entry.name, error)
            log.debug("plugin %s: trace", entry.name, exc_info=True)
            return replace(about, problem=f"{type(error).__name__}: {error}")
        try:
            self.stand_ins |= self._stand_ins(manager, brought["register_sandbox"])
        except Exception as error:
            log.exception("plugin %s has no stand-in for test mode", entry.name)
            about = replace(about, problem=f"its stand-in for test mode: {type(error).__name__}: {error}")
        return replace(
            about,
            adapters=tuple(adapter.name for adapter in brought["register_adapters"]),
            policies=tuple(policy.name for policy in brought["register_policies"]),
        )

    def _stand_ins(self, manager: pluggy.PluginManager, sandbox: list[Sandboxed]) -> dict[str, Adapter]:
        """The plugin's adapters once more, with the settings of test mode and a folder of their own."""
        if not self.sandbox_url or not sandbox:
            return {}
        sections = {one.name: one.settings(f"{self.sandbox_url}/{one.name}") for one in sandbox}
        context = PluginContext(settings=sections, data_dir=self.context.data_dir / SANDBOX)
        built: list[list[Adapter]] = manager.hook.register_adapters(context=context)
        return {adapter.name: adapter for found in built for adapter in found if adapter.name in sections}

    def _ask(self, manager: pluggy.PluginManager) -> dict[str, list[Any]]:
        calls: dict[str, Callable[[], list[list[Any]]]] = {
            "register_adapters": lambda: manager.hook.register_adapters(context=self.context),
            "register_cards": lambda: manager.hook.register_cards(),
            "register_policies": lambda: manager.hook.register_policies(),
            "register_commands": lambda: manager.hook.register_commands(),
            "register_checks": lambda: manager.hook.register_checks(context=self.context),
            "register_sandbox": lambda: manager.hook.register_sandbox(),
            "register_screens": lambda: manager.hook.register_screens(),
        }
        brought = {name: [item for items in call() for item in items] for name, call in calls.items()}
        for name, items in brought.items():
            for item in items:
                if not isinstance(item, KINDS[name]):
                    kinds = " or ".join(kind.__name__ for kind in KINDS[name])
                    raise TypeError(f"{name} must return a list of {kinds}, not of {type(item).__name__}")
        return brought

    def _accept(self, plugin: str, brought: Mapping[str, list[Any]]) -> None:
        adapters = _named("adapter", brought["register_adapters"], self.adapters)
        for adapter in adapters.values():
            if isinstance(adapter, RemoteAdapter) and SANDBOX in adapter.accounts:
                raise ValueError(f"no account may be named {SANDBOX!r}, which means test mode")
        policies = _named("policy", brought["register_policies"], self.policies)
        commands = _named("command", brought["register_commands"], self.commands)
        sandbox = _named("sandbox", brought["register_sandbox"], self.sandbox)
        self.adapters |= adapters
        self.policies |= policies
        self.commands |= commands
        self.cards += [(plugin, cards) for cards in brought["register_cards"]]
        self.checks += brought["register_checks"]
        self.sandbox |= sandbox
        self.screens += brought["register_screens"]


def _manager(entry: EntryPoint) -> pluggy.PluginManager:
    manager = pluggy.PluginManager("reelgate")
    manager.add_hookspecs(hookspecs)
    manager.register(entry.load(), name=entry.name)
    manager.check_pending()
    return manager


def _named(kind: str, items: Iterable[Any], taken: Mapping[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    for item in items:
        if item.name in taken or item.name in named:
            raise ValueError(f"{kind} {item.name!r} is already registered; two may not share a name")
        named[item.name] = item
    return named


def load_registry(
    context: PluginContext,
    *,
    enabled: tuple[str, ...] | None = None,
    offers: tuple[Offer, ...] = (),
    sandbox_url: str = "",
) -> Registry:
    """Load every plugin of the entry-point group, or exactly those named in ``enabled``.

    ``offers`` are the operator's own; ``sandbox_url`` is where the fake providers are served. Plugins load in
    the order of their names, so that which of two duplicates is refused does not depend on the machine.
    """
    loader = _Loader(context, sandbox_url)
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    plugins = [loader.load(entry) for entry in found if enabled is None or entry.name in enabled]
    missing = set(enabled or ()) - {entry.name for entry in found}
    plugins += [
        Plugin(name=name, distribution="", version="", problem="not installed") for name in sorted(missing)
    ]
    return Registry(
        plugins=tuple(plugins),
        catalog=Catalog.join(loader.cards, offers),
        adapters=loader.adapters,
        policies=loader.policies,
        commands=tuple(loader.commands.values()),
        checks=tuple(loader.checks),
        sandbox=loader.sandbox,
        stand_ins=loader.stand_ins,
        screens=tuple(loader.screens),
    )
