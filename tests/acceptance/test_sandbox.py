"""The sandbox as a process: by the command line, and inside another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.sandbox.inside import serve_inside
from gateway.settings import Settings

ROOT = Path(__file__).parents[2]
REELGATE = [sys.executable, "-m", "gateway.cli.main"]
PATIENCE_S = 60
PLUGIN = """
from gateway.spec import hookimpl

@hookimpl
def register_sandbox():
    from tests.unit.sandbox.toy._sandbox import FakeToy
    return [FakeToy()]
"""


@pytest.fixture(autouse=True)
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy provider as an installed plugin."""
    site = tmp_path / "site"
    about = site / "toy_plugin-1.dist-info"
    about.mkdir(parents=True)
    (site / "toy_plugin.py").write_text(PLUGIN)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-plugin\nVersion: 1\n")
    (about / "entry_points.txt").write_text("[reelgate.plugins]\ntoy = toy_plugin\n")
    for name in [name for name in os.environ if name.startswith("REELGATE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "config.yaml").write_text("enabled_plugins: [toy]\n")
    return folder


@contextmanager
def sandbox(data_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    command = [*REELGATE, "sandbox", "--json", "--port", "0", "--data-dir", str(data_dir), *options]
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def bill(data_dir: Path) -> Any:
    command = [*REELGATE, "sandbox", "bill", "--json", "--data-dir", str(data_dir)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def create(section: dict[str, Any], prompt: str) -> httpx.Response:
    order = {"prompt": prompt, "width": 64, "height": 48, "seconds": "2", "fps": 8, "tag": "att_1"}
    headers = {"Authorization": f"Bearer {section['api_key']}"}
    return httpx.post(f"{section['base_url']}/jobs", json=order, headers=headers)


def test_it_serves_keeps_its_bill_when_killed_and_goes_on(data_dir: Path) -> None:
    with sandbox(data_dir, "--speed", "1000000") as (process, first):
        assert first["plugins"]["toy"]["base_url"] == f"{first['url']}/toy"
        id = create(first["plugins"]["toy"], "a fox").json()["id"]
        process.kill()
        process.wait(PATIENCE_S)
    assert [line["job_id"] for line in bill(data_dir)["lines"]] == [id]
    with sandbox(data_dir, "--fault", "toy:out_of_credit=1") as (process, second):
        section = second["plugins"]["toy"]
        headers = {"Authorization": f"Bearer {section['api_key']}"}
        told = httpx.get(f"{section['base_url']}/jobs/{id}", headers=headers).json()
        assert told["state"] == "succeeded"
        assert create(section, "a fox").status_code == 402
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=PATIENCE_S)
        assert (process.returncode, out, err) == (0, "", "stopped\n")
    assert bill(data_dir)["billed_usd"] == "0.10"


def test_it_says_what_is_wrong_with_an_order(data_dir: Path) -> None:
    for wrong, said in (("toy:thunder=1", "no fault 'thunder'"), ("sky:html=1", "no provider 'sky'")):
        command = [*REELGATE, "sandbox", "--port", "0", "--data-dir", str(data_dir), "--fault", wrong]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        assert ran.returncode == 2
        assert said in ran.stderr


def test_inside_another_process_it_ends_with_it(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, enabled_plugins=("toy",))
    with serve_inside(settings, faults=["toy:model_gone=1"]) as inside:
        sections = httpx.get(f"{inside.url}/sandbox/settings").json()["plugins"]
        assert create(sections["toy"], "a fox").status_code == 404
        assert inside.alive()
    assert not inside.alive()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{inside.url}/sandbox/health")


def test_one_that_does_not_start_is_told(data_dir: Path) -> None:
    settings = Settings(data_dir=data_dir, enabled_plugins=("toy",))
    with pytest.raises(OSError, match="did not start"):
        serve_inside(settings, faults=["sky:html=1"])
