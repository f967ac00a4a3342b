"""Echo: no provider and no model. The teaching example, the test double and the load-test target."""

from __future__ import annotations

from adapters.echo._local import EchoLocal, LocalOptions
from adapters.echo._remote import EchoRemote, RemoteSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, StandIn, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One local and one remote guise."""
    remote = read_settings(context, "echo_remote", RemoteSettings)
    return [
        EchoLocal(read_settings(context, "echo", LocalOptions)),
        EchoRemote(remote, bill=remote.bill or context.data_dir / "echo" / "bill.jsonl"),
    ]


@hookimpl
def register_cards() -> list[Cards]:
    """What both guises offer."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """In test mode both are as ever, with a bill of its own: neither costs anything."""
    return [StandIn(EchoLocal.name), StandIn(EchoRemote.name)]
