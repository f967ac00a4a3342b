"""The command line as a user has it: a server process, a video from it, and its end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.media import probe

REELGATE = [sys.executable, "-m", "gateway.cli.main"]
PATIENCE_S = 60


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "config.yaml").write_text("enabled_plugins: [echo, policies]\npolicy: cheapest\n")
    return folder


def environment(**own: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("REELGATE_")} | own


def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    """A command, to its end."""
    return subprocess.run(
        [*REELGATE, *map(str, args)],
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


@contextmanager
def serving(data_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A server and what it says of itself; killed if the test leaves it running."""
    command = [*REELGATE, "serve", "--json", "--port", "0", "--data-dir", str(data_dir), *options]
    with subprocess.Popen(command, env=environment(), stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def stopped(process: subprocess.Popen[str], number: signal.Signals) -> tuple[str, str]:
    """Send a signal; the rest of what the server said on stdout and stderr."""
    process.send_signal(number)
    return process.communicate(timeout=PATIENCE_S)


def test_from_the_first_start_to_a_saved_video_and_the_second_start(data_dir: Path, tmp_path: Path):
    with serving(data_dir) as (process, first):
        assert first["key"].startswith("rg_live_")
        assert first["data_dir"] == str(data_dir)
        mine = {"REELGATE_URL": first["url"], "REELGATE_API_KEY": first["key"]}
        asked = ("--model", "echo", "--size", "64x36", "--fps", "12", "--seconds", "1")
        made = run("generate", "a cat", *asked, "-o", tmp_path / "cat.mp4", "--json", **mine)
        assert made.returncode == 0, made.stderr
        assert json.loads(made.stdout)["status"] == "completed"
        decoded = probe(tmp_path / "cat.mp4")
        assert (decoded.width, decoded.height, decoded.fps) == (64, 36, 12)
        planned = run("route", "a cat", "--seconds", "2", "--json", "--data-dir", data_dir)
        body = {"prompt": "a cat", "seconds": "2"}
        headers = {"authorization": f"Bearer {first['key']}"}
        plan = httpx.post(f"{first['url']}/v1/videos/plan", json=body, headers=headers, timeout=PATIENCE_S)
        assert json.loads(planned.stdout) == plan.json()
        out, err = stopped(process, signal.SIGTERM)
        assert process.returncode == 0, err
        assert first["key"] not in out + err
        assert "Traceback" not in err
    with serving(data_dir) as (process, second):
        assert second["key"] is None
        assert stopped(process, signal.SIGINT)[0] == ""
        assert process.returncode == 0
    assert run("ledger", "verify", "--data-dir", data_dir).returncode == 0


def test_for_people_the_first_start_shows_a_call_that_works(data_dir: Path):
    command = [*REELGATE, "serve", "--port", "0", "--isolation", "none", "--data-dir", str(data_dir)]
    with subprocess.Popen(command, env=environment(), stdout=-1, stderr=-1, text=True) as process:
        assert process.stdout is not None
        shown = ""
        while "mode=preview" not in shown:
            line = process.stdout.readline()
            assert line, process.stderr
            shown += line
        curl = shown[shown.index("curl ") :].replace("\\\n", " ")
        called = subprocess.run(
            ["bash", "-c", curl], capture_output=True, text=True, timeout=PATIENCE_S, check=True
        )
        assert json.loads(called.stdout)["status"] == "queued"
        stopped(process, signal.SIGTERM)
        assert process.returncode == 0


def test_a_taken_port_is_told_before_anything_is_made(data_dir: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ran = run("serve", "--port", taken.getsockname()[1], "--data-dir", data_dir)
    assert ran.returncode == 3
    assert "give another --port" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert not (data_dir / "reelgate.db").exists()
