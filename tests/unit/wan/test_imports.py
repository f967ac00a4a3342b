"""The engine stands alone, and the plugin's side of this folder does not load torch."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        (
            "adapters.wan_local.engine",
            ["gateway", "routing_policies", "sqlalchemy", "fastapi", "starlette", "pluggy"],
        ),
        ("adapters.wan_local.tiny", ["torch", "diffusers", "transformers", "numpy", "gateway"]),
    ],
)
def test_importing_brings_nothing_unwanted(module: str, unwanted: list[str]) -> None:
    script = (
        f"import sys, {module}; "
        f"print(sorted({{name.split('.')[0] for name in sys.modules}} & set({unwanted!r})))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_importing_the_engine_switches_remote_code_off() -> None:
    script = (
        "import adapters.wan_local.engine; from diffusers.utils import constants; "
        "assert constants.DIFFUSERS_DISABLE_REMOTE_CODE is True"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
