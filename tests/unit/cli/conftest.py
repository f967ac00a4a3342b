"""The command line in this process, on a data folder of its own with echo as its only model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gateway.cli.main import app


@dataclass(frozen=True, kw_only=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """All of stdout as one JSON value: nothing else may stand there."""
        return json.loads(self.out)


Cli = Callable[..., Ran]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """A folder with settings and nothing else."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "config.yaml").write_text("enabled_plugins: [echo, policies]\npolicy: cheapest\n")
    return folder


@pytest.fixture
def cli(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line; it finds the data folder by the environment."""
    for name in ("REELGATE_URL", "REELGATE_API_KEY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("REELGATE_DATA_DIR", str(data_dir))

    def run(*args: object, **env: str) -> Ran:
        result = CliRunner().invoke(app, [str(arg) for arg in args], env=env)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Ran(code=result.exit_code, out=result.stdout, err=result.stderr)

    return run
