"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

PACKAGES = (
    "reelgate",
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "sqlalchemy",
    "psycopg",
    "dbos",
)


def machine() -> dict[str, str | float]:
    """The processor, the memory, the interpreter and the packages that the gateway's speed depends on.

    ``load`` is how many processes wanted a core in the last minute: taken first, it is what others did.
    """
    processor = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": processor[1] if processor else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9),
        "load": round(os.getloadavg()[0], 2),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
    }


def described(facts: Mapping[str, str | float]) -> str:
    """The same as one line."""
    packages = ", ".join(f"{name} {facts[name]}" for name in PACKAGES)
    hardware = f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gb']} GB"
    return (
        f"{hardware}, load {facts['load']} before; Linux {facts['kernel']}, Python {facts['python']}, "
        f"{packages}. The client runs on the same cores."
    )
