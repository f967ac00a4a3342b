"""Credentials show nowhere: every provider's key is a canary, and all that the gateway says is searched."""

from __future__ import annotations

import base64
import io
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import sqlalchemy as sa

from gateway.db.tables import metadata
from gateway.jobs.runtime import Runtime
from gateway.registry import load_registry
from gateway.sandbox.app import Sandbox
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Orders
from gateway.sandbox.inside import fakes_of
from gateway.sandbox.server import InThread, listen, url_of
from gateway.spec import PluginContext
from tests.integration.conftest import Server, running

PROVIDERS = ("dashscope_wan", "gemini_omni", "kling", "openai_videos", "seedance", "veo")
MODELS = {
    "wan-2.2-t2v-plus": {"resolution": "480p"},
    "gemini-omni-1.1": {},
    "kling-2.5-turbo": {},
    "seedance-1.0-pro-fast": {},
    "veo-3.1-lite": {"seconds": "4"},
}
FAULTS = ("", "content_refused", "drop_after_accept", "job_failed", "server_error_burst@look=1", "html@look")
SECRET_NAMES = ("key", "secret", "token")
NO_SECRETS = ("private_key_id", "token_uri", "key_header")


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sandbox")
    registry = load_registry(PluginContext(settings={}, data_dir=folder), enabled=PROVIDERS)
    listening = listen("127.0.0.1", 0)
    pace = Pace(queue_s=0.05, render_s=0.1)
    sandbox = Sandbox(fakes_of(registry), folder, url=url_of(listening), pace=pace, orders=Orders(7))
    with InThread(sandbox, listening):
        yield sandbox
    sandbox.close()


def _secrets(section: Any, name: str = "") -> Iterator[str]:
    """Whatever is named as a secret in a settings section."""
    if isinstance(section, Mapping):
        for key, value in section.items():
            yield from _secrets(value, key)
    elif name not in NO_SECRETS and any(word in name for word in SECRET_NAMES):
        yield str(section)


def _forms(secret: str) -> set[str]:
    """As it is, as it may be encoded, and its end, by which people know keys."""
    plain = secret.strip()
    line = plain.splitlines()[1] if plain.startswith("-----") else plain
    return {line, base64.b64encode(line.encode()).decode(), quote(line, safe=""), line[-12:]}


def test_no_credential_shows_in_logs_answers_or_sql(
    sandbox: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sections = sandbox.settings()
    canaries = {form for one in _secrets(sections) for form in _forms(one)}
    assert len(canaries) >= 4 * len(PROVIDERS)
    said = io.StringIO()
    caplog.set_level(logging.DEBUG)
    with running(
        f"sqlite:///{tmp_path / 'reelgate.db'}",
        tmp_path,
        plugins=PROVIDERS,
        plugin_settings=sections,
        result_origins=(sandbox.url, sandbox.file_origin),
    ) as server:
        said.write(repr(server.runtime.registry) + repr(server.runtime.settings))
        videos = list(_asked(server, said))
        _wait(server, videos, said)
        for path in (
            "/v1/videos?limit=100",
            "/v1/videos/models",
            "/v1/accounts",
            "/v1/reconcile",
            "/metrics",
        ):
            with server.client() as client:
                said.write(client.get(path).text)
        said.write(_dump(server.runtime))
    said.write(caplog.text)
    told = said.getvalue()
    assert len(told) > 50_000
    assert [canary[:4] + "…" for canary in sorted(canaries) if canary in told] == []


def _asked(server: Server, said: io.StringIO) -> Iterator[str]:
    with server.client() as client:
        for model, fields in MODELS.items():
            for fault in FAULTS:
                marker = f" [[sandbox:{fault}]]" if fault else ""
                body = {"model": model, "prompt": f"{model} {fault}{marker}", "deadline": 60, **fields}
                reply = client.post("/v1/videos", json=body)
                said.write(reply.text)
                if reply.status_code == 200:
                    yield reply.json()["id"]


def _wait(server: Server, videos: list[str], said: io.StringIO) -> None:
    assert len(videos) >= len(MODELS) * (len(FAULTS) - 1)
    until, tick = time.monotonic() + 100, threading.Event()
    with server.client() as client:
        for video_id in videos:
            while (video := _video(client, video_id))["status"] not in ("completed", "failed"):
                if _open(video) or time.monotonic() > until:
                    break
                tick.wait(0.1)
            said.write(str(video))
            said.write(client.get(f"/v1/videos/{video_id}").text)


def _video(client: httpx.Client, video_id: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/v1/videos/{video_id}").json()
    return found


def _open(video: Mapping[str, Any]) -> bool:
    """True of what waits for a person's word until its deadline."""
    return bool(video["gateway"]["attempts"][-1]["state"] == "outcome_unknown")


def _dump(runtime: Runtime) -> str:
    with runtime.db.read() as connection:
        return "".join(
            str(tuple(row))
            for table in metadata.sorted_tables
            for row in connection.execute(sa.select(table))
        )
