"""OpenAI's Videos API, closed at OpenAI on 2026-09-24, and whatever else still speaks that protocol."""

from __future__ import annotations

from adapters.openai_videos._adapter import OpenAIVideos
from adapters.openai_videos._settings import OpenAIVideosSettings
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.spec import Adapter, Cards, PluginContext, Sandboxed, hookimpl


@hookimpl
def register_adapters(context: PluginContext) -> list[Adapter]:
    """One adapter for all servers; each account names one."""
    return [OpenAIVideos(read_settings(context, "openai_videos", OpenAIVideosSettings))]


@hookimpl
def register_cards() -> list[Cards]:
    """Sora 2 and Sora 2 Pro, at OpenAI and at Azure."""
    return [load_cards(__name__)]


@hookimpl
def register_sandbox() -> list[Sandboxed]:
    """OpenAI's and Azure's doubles for test mode."""
    from adapters.openai_videos._sandbox import (
        OpenAIVideosSandbox,
    )  # starlette and Pillow: for test mode alone

    return [OpenAIVideosSandbox()]
