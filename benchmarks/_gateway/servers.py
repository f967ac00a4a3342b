"""What is measured: this gateway on each database, an app that returns a constant, and LiteLLM's proxy."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from benchmarks._gateway.client import Answer, BadAnswer, Call, ask, call
from benchmarks._gateway.processes import await_line, free_port, running

MODEL = "echo-remote"
FIELDS = {"model": MODEL, "prompt": "A paper boat on a quiet pond", "seconds": "2", "size": "320x180"}
_READY = r"Uvicorn running on http://127\.0\.0\.1:(\d+)"
_BOUNDARY = "reelgate-benchmark"
_FINISH_S = 60

REELGATE = (sys.executable, "-m", "gateway.cli.main")
API_ALONE = ("--role", "api")
"""What makes a server the API alone; without it, it also makes videos."""

_CONFIG = {"plugins": {"echo_remote": {"latency_ms": 86_400_000}}}


@dataclass(frozen=True)
class Target:
    """A running server and what to ask of it.

    ``clip`` is the file behind ``content``; ``serve_instead`` puts another in its place.
    """

    name: str
    pid: int
    create: Call
    status: Call
    content: Call
    clip: Path
    serve_instead: Callable[[Path], None]


@contextmanager
def serving(
    data: Path, env: Mapping[str, str], options: Sequence[str] = ()
) -> Iterator[tuple[int, str, str]]:
    """``reelgate serve`` on a data folder: its pid, its address, and the key that a first start makes."""
    log = data / "serve.log"
    command = [*REELGATE, "serve", "--host", "127.0.0.1", "--port", "0", "--json"]
    command += ["--data-dir", str(data), *options]
    with running(command, log=log, cwd=data, env=env) as process:
        greeting = json.loads(await_line(process, log, r'^\{"url": .*\}$')[0])
        yield process.pid, greeting["url"], greeting["key"]


@contextmanager
def working(data: Path, env: Mapping[str, str]) -> Iterator[None]:
    """``reelgate worker`` on a data folder, with every queue and slot."""
    log = data / "worker.log"
    command = [*REELGATE, "worker", "--json", "--data-dir", str(data)]
    with running(command, log=log, cwd=data, env=env) as process:
        await_line(process, log, r'^\{"queues": .*\}$')
        yield


def new_key(data: Path, env: Mapping[str, str], tenant: str) -> str:
    """The key of a tenant that is made with it."""
    command = [*REELGATE, "keys", "create", "--json", "--data-dir", str(data), "--tenant", tenant]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True, env={**os.environ, **env})
    return str(json.loads(done.stdout)["key"])


def bearer(key: str) -> dict[str, str]:
    """The header that carries a key."""
    return {"authorization": f"Bearer {key}"}


async def ask_json(asked: Call) -> dict[str, Any]:
    """One request on a connection of its own, answered by an object of at most 64 KiB."""
    answer: Answer = await ask(asked)
    body: dict[str, Any] = json.loads(answer.body)
    return body


@contextmanager
def constant(name: str, folder: Path, clip: Path) -> Iterator[Target]:
    """The yardstick: one uvicorn worker that returns constants, ``clip`` being every video's content."""
    with _upstream(folder, name, clip) as (url, pid):
        video = f"{url}/v1/videos/video_constant"
        yield Target(
            name=name,
            pid=pid,
            create=_create(url, {}),
            status=call("GET", video),
            content=call("GET", f"{video}/content"),
            clip=clip,
            serve_instead=lambda other: _replace(clip, other),
        )


@contextmanager
def reelgate(name: str, folder: Path, database_url: str | None) -> Iterator[Target]:
    """This gateway with a data folder of its own, one finished video and one that is queued."""
    data = folder / name.replace(" ", "-")
    data.mkdir()
    env = {} if database_url is None else {"REELGATE_DATABASE_URL": database_url}
    # JSON is YAML; a day's latency, so that no video of the benchmark is ever made while it measures
    (data / "config.yaml").write_text(json.dumps(_CONFIG))
    with serving(data, env) as (_, url, key):
        auth = bearer(key)
        finished = asyncio.run(_finish(url, auth))
    engine = sa.create_engine(database_url or f"sqlite:///{data / 'reelgate.db'}")
    clip = data / "store" / _stored_key(engine, finished)
    with serving(data, env, API_ALONE) as (pid, url, _):
        queued = asyncio.run(ask_json(_create(url, auth)))["id"]
        yield Target(
            name=name,
            pid=pid,
            create=_create(url, auth),
            status=call("GET", f"{url}/v1/videos/{queued}", auth),
            content=call("GET", f"{url}/v1/videos/{finished}/content", auth),
            clip=clip,
            serve_instead=lambda other: _restore(engine, finished, clip, other),
        )
    engine.dispose()


@contextmanager
def litellm(name: str, folder: Path, program: Path, clip: Path) -> Iterator[Target]:
    """LiteLLM's proxy: one worker, no database, no access log, a master key; upstream is a constant app."""
    master = bearer("sk-benchmark")
    with _upstream(folder, f"{name} upstream", clip) as (upstream_url, _):
        config = {
            "model_list": [
                {
                    "model_name": MODEL,
                    "litellm_params": {
                        "model": f"openai/{MODEL}",
                        "api_base": f"{upstream_url}/v1",
                        "api_key": "none",
                    },
                }
            ],
            "general_settings": {"master_key": "sk-benchmark"},
            "litellm_settings": {"telemetry": False},
        }
        file, logging, log = (folder / f"litellm.{kind}" for kind in ("yaml", "log.json", "log"))
        file.write_text(json.dumps(config))
        logging.write_text(json.dumps(_QUIET))
        port = free_port()
        command = [str(program), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
        command += ["--num_workers", "1", "--log_config", str(logging)]
        env = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "NO_PROXY": "127.0.0.1"}
        with running(command, log=log, cwd=folder, env=env) as process:
            await_line(process, log, _READY)
            url = f"http://127.0.0.1:{port}"
            video = (asyncio.run(ask_json(_create(url, master))))["id"]
            yield Target(
                name=name,
                pid=process.pid,
                create=_create(url, master),
                status=call("GET", f"{url}/v1/videos/{video}", master),
                content=call("GET", f"{url}/v1/videos/{video}/content", master),
                clip=clip,
                serve_instead=lambda other: _replace(clip, other),
            )


_QUIET: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"out": {"class": "logging.StreamHandler"}},
    "loggers": {
        "uvicorn.error": {"handlers": ["out"], "level": "INFO", "propagate": False},
        "uvicorn.access": {"level": "ERROR", "propagate": False},
    },
}


@contextmanager
def _upstream(folder: Path, name: str, clip: Path) -> Iterator[tuple[str, int]]:
    log = folder / f"{name.replace(' ', '-')}.log"
    command = [sys.executable, "-m", "uvicorn", "upstream:app", "--app-dir", str(Path(__file__).parent)]
    command += ["--host", "127.0.0.1", "--port", "0", "--no-access-log"]
    with running(command, log=log, cwd=folder, env={"BENCH_CLIP": str(clip)}) as process:
        yield f"http://127.0.0.1:{await_line(process, log, _READY)[1]}", process.pid


async def _finish(url: str, auth: dict[str, str]) -> str:
    """The id of one video that was made and can be downloaded."""
    body = {**FIELDS, "options": {"echo_remote": {"latency_ms": 0}}}
    asked = call("POST", f"{url}/v1/videos", auth, json.dumps(body).encode(), "application/json")
    video = await ask_json(asked)
    until = time.monotonic() + _FINISH_S
    while video["status"] != "completed":
        if video["status"] == "failed" or time.monotonic() > until:
            raise BadAnswer(f"the video to download was not made: {video}")
        await asyncio.sleep(0.2)
        video = await ask_json(call("GET", f"{url}/v1/videos/{video['id']}", auth))
    return str(video["id"])


def _create(url: str, headers: dict[str, str]) -> Call:
    """A create as OpenAI's client sends it: always as a form."""
    parts = [
        f'--{_BOUNDARY}\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in FIELDS.items()
    ]
    body = "".join([*parts, f"--{_BOUNDARY}--\r\n"]).encode()
    return call("POST", f"{url}/v1/videos", headers, body, f"multipart/form-data; boundary={_BOUNDARY}")


def _stored_key(engine: sa.Engine, video_id: str) -> str:
    query = sa.text("SELECT key FROM artefacts WHERE video_id = :video AND variant = 'video'")
    with engine.connect() as connection:
        return str(connection.execute(query, {"video": video_id}).scalar_one())


def _restore(engine: sa.Engine, video_id: str, clip: Path, other: Path) -> None:
    """Put other bytes in the stored clip's place, and its row right."""
    _replace(clip, other)
    query = (
        "UPDATE artefacts SET bytes = :bytes, sha256 = :sha256 WHERE video_id = :video AND variant = 'video'"
    )
    with other.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    with engine.begin() as connection:
        values = {"bytes": os.path.getsize(other), "sha256": sha256, "video": video_id}
        connection.execute(sa.text(query), values)


def _replace(clip: Path, other: Path) -> None:
    fresh = clip.with_name(f"{clip.name}.fresh")
    shutil.copyfile(other, fresh)
    fresh.replace(clip)
