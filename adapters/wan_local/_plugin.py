"""What the plugin registers. What needs torch is imported when a slot starts, not here."""

from __future__ import annotations

from typing import Any

from adapters.wan_local import _checks
from adapters.wan_local._adapter import WanLocal
from adapters.wan_local._settings import WanSettings
from gateway.kit.options import read_settings
from gateway.spec import Check, Command, PluginContext


def make_adapter(context: PluginContext) -> WanLocal:
    """The adapter with the operator's settings.

    Raises:
        ValueError: a setting is unknown or wrong.
    """
    return WanLocal(read_settings(context, WanLocal.name, WanSettings), context.data_dir)


def make_checks(context: PluginContext) -> list[Check]:
    """Doctor's checks of the libraries and of the configured folders.

    Raises: as :func:`make_adapter`.
    """
    return _checks.make_checks(read_settings(context, WanLocal.name, WanSettings))


def _load_commands() -> Any:
    from adapters.wan_local._commands import app

    return app


COMMAND = Command(name="wan", help="Folders of Wan 2.2 weights.", load=_load_commands)
