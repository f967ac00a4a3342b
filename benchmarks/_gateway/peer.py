"""LiteLLM in a throw-away environment: a peer to measure, never a dependency."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

VERSION = "1.109.1"
INSTALL_S = 240

LOOSE = ("certifi", "litellm-proxy-extras", "litellm-enterprise")
"""Pinned by LiteLLM to releases that not every mirror has. Root certificates, the schema of a database that
is not used, paid features that are off: none is on the measured path, so any version of them will do."""


class NotInstalled(Exception):
    """The peer could not be installed; the text says why."""


def install(folder: Path) -> Path:
    """Install LiteLLM's proxy under ``folder``, caches too; returns the program.

    Raises:
        NotInstalled: the package index could not be reached, or did not have it all, or it took too long.
    """
    environment, loose = folder / "litellm", folder / "loose.txt"
    loose.write_text("\n".join(LOOSE))
    python = environment / "bin" / "python"
    _run([sys.executable, "-m", "venv", str(environment)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--no-cache-dir", "uv"])
    to_it = ["--python", str(python), "--override", str(loose), f"litellm[proxy]=={VERSION}"]
    _run([str(python), "-m", "uv", "pip", "install", *to_it], UV_CACHE_DIR=str(folder / "uv"))
    return environment / "bin" / "litellm"


def versions(program: Path) -> dict[str, str]:
    """The packages of the peer's environment that its speed depends on, and those installed loosely."""
    names = ("litellm", "fastapi", "starlette", "uvicorn", "uvloop", "httptools", "httpx", "aiohttp", *LOOSE)
    script = (
        "import json, sys; from importlib.metadata import distributions as all_;"
        "found = {one.name.lower(): one.version for one in all_()};"
        "print(json.dumps({name: found.get(name, 'absent') for name in sys.argv[1:]}))"
    )
    python = program.with_name("python")
    done = subprocess.run([str(python), "-c", script, *names], capture_output=True, timeout=60, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def _run(command: list[str], **env: str) -> None:
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=INSTALL_S, env={**os.environ, **env}, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"`{' '.join(command[-3:])}` took longer than {INSTALL_S} s") from None
    if done.returncode:
        tail = " ".join(done.stderr.decode(errors="replace").split("\n")[-4:])
        raise NotInstalled(f"`{' '.join(command[-3:])}` failed: {tail[-500:]}")
