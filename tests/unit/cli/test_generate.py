"""``generate`` against a server that plays a script: what is sent, what is shown, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gateway.cli import _deliver
from gateway.cli._follow import details, stage

VIDEO_ID = "video_01m7wdgk45e3frkwy2tjesdw58"
KEY = "rg_live_test"


def video(status: str, progress: int = 0, **about: Any) -> dict[str, Any]:
    """A video object in this state."""
    charge = {"completed": "0.25", "failed": "0"}.get(status)
    return {
        "id": VIDEO_ID,
        "status": status,
        "progress": progress,
        "model": "echo",
        "created_at": 4_000_000_000,
        "seconds": "2",
        "size": "64x64",
        "error": {"code": "render_failed", "message": "it broke"} if status == "failed" else None,
        "gateway": {
            "adapter": "echo",
            "queue_place": None,
            "charge_usd": charge,
            "estimate_usd": "0.5",
            "eta_ms": 9000,
            "latency": {"queued_ms": None, "total_ms": 1234},
            "notes": [],
            "continuable": False,
            "attempts": [],
            **about,
        },
    }


class Script:
    """Answers each request with the next of its states; what was sent is kept."""

    def __init__(self) -> None:
        self.states = [video("queued"), video("in_progress", 50), video("completed", 100)]
        self.sent: list[tuple[str, str, Any, dict[str, str]]] = []
        self.refuse: tuple[int, Any] | None = None
        self.replayed = False
        self.looked = threading.Event()

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, bytes]:
        self.sent.append((method, path, body, headers))
        if self.refuse is not None:
            status, refusal = self.refuse
            return status, json.dumps(refusal).encode()
        if path.endswith("/content"):
            return 200, b"an mp4"
        if path.endswith("/cancel"):
            self.states = [video("failed")]
        if method == "GET":
            self.looked.set()
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return 200, json.dumps(state).encode()


class _Server(ThreadingHTTPServer):
    script: Script


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        told = {name.lower(): value for name, value in self.headers.items()}
        status, reply = self.server.script.answer(
            self.command, self.path, json.loads(body) if body else None, told
        )
        self.send_response(status)
        self.send_header("content-length", str(len(reply)))
        self.send_header("openai-poll-after-ms", "10")
        if self.server.script.replayed and self.command == "POST":
            self.send_header("idempotent-replayed", "true")
        self.end_headers()
        self.wfile.write(reply)

    do_GET = do_POST = _serve

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    server = _Server(("127.0.0.1", 0), _Handler)
    server.script = script
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def made(cli: Any, url: str) -> Callable[..., Any]:
    return lambda *args: cli("generate", *args, REELGATE_URL=url, REELGATE_API_KEY=KEY)


def test_it_asks_follows_and_saves(made: Any, script: Script, tmp_path: Path):
    ran = made("a cat", "-o", tmp_path / "cat.mp4", "--preview", "--seconds", "2.5", "--max-cost", "0.5")
    assert ran.code == 0
    assert (tmp_path / "cat.mp4").read_bytes() == b"an mp4"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["cat.mp4"]
    method, path, body, headers = script.sent[0]
    assert (method, path) == ("POST", "/v1/videos")
    assert body == {"prompt": "a cat", "mode": "preview", "seconds": "2.5", "max_cost": "0.5"}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["idempotency-key"]
    assert [line.split(" · ")[1] for line in ran.err.splitlines()] == ["queued", "in progress", "completed"]
    assert "$0.25" in ran.out


def test_json_is_the_final_video_and_nothing_else(made: Any, tmp_path: Path):
    ran = made("a cat", "-o", tmp_path / "cat.mp4", "--json")
    assert ran.json == video("completed", 100)


def test_an_image_travels_as_a_data_url(made: Any, script: Script, tmp_path: Path):
    Image.new("RGB", (8, 8)).save(tmp_path / "first.png")
    made("a cat", "--image", tmp_path / "first.png", "-o", tmp_path / "cat.mp4")
    assert script.sent[0][2]["input_reference"].startswith("data:image/png;base64,iVBOR")


def test_a_failed_video_is_exit_code_1(made: Any, script: Script, tmp_path: Path):
    script.states = [video("failed")]
    ran = made("a cat", "-o", tmp_path / "cat.mp4", "--json")
    assert ran.code == 1
    assert ran.json["error"]["code"] == "render_failed"
    assert "it broke" in ran.err
    assert not (tmp_path / "cat.mp4").exists()


def test_a_video_can_be_resumed(made: Any, script: Script, tmp_path: Path):
    assert made("--resume", VIDEO_ID, "-o", tmp_path / "cat.mp4").code == 0
    assert script.sent[0][:2] == ("GET", f"/v1/videos/{VIDEO_ID}")
    assert made("--resume", "../keys").code == 2
    assert made("a cat", "--resume", VIDEO_ID).code == 2
    assert made().code == 2


def test_a_prefix_preview_says_how_to_go_on(made: Any, script: Script, tmp_path: Path):
    script.states = [video("completed", 100, continuable=True)]
    ran = made("a cat", "--preview", "--preset", "prefix", "-o", tmp_path / "a.mp4")
    assert script.sent[0][2] == {"prompt": "a cat", "mode": "preview", "preset": "prefix"}
    assert ran.out.splitlines()[-1].startswith(f"`reelgate generate --continue {VIDEO_ID}` makes ")
    assert "--continue" not in made("a cat", "-o", tmp_path / "a.mp4", "--json").out


def test_a_preview_can_be_continued(made: Any, script: Script, tmp_path: Path):
    ran = made("--continue", VIDEO_ID, "--max-cost", "0.5", "-o", tmp_path / "b.mp4")
    assert ran.code == 0
    assert (tmp_path / "b.mp4").read_bytes() == b"an mp4"
    method, path, body, headers = script.sent[0]
    assert (method, path, body) == ("POST", f"/v1/videos/{VIDEO_ID}/continue", {"max_cost": "0.5"})
    assert headers["idempotency-key"]
    assert "--continue" not in ran.out
    assert made("--continue", "../keys").code == 2
    assert made("a cat", "--continue", VIDEO_ID).code == 2
    assert made("--resume", VIDEO_ID, "--continue", VIDEO_ID).code == 2


@pytest.mark.parametrize(
    ("status", "code"), [(400, 2), (401, 6), (402, 5), (403, 6), (404, 4), (422, 5), (429, 7), (500, 7)]
)
def test_a_refusal_is_told_in_the_servers_words(made: Any, script: Script, status: int, code: int):
    refusal = {"error": {"code": "some_code", "message": "Do this instead."}, "plan": {"chosen": None}}
    script.refuse = (status, refusal)
    ran = made("a cat", "--json")
    assert ran.code == code
    assert ran.json == refusal
    assert ran.err == "error: Do this instead.\n"
    assert len(script.sent) == 1


def test_what_is_no_gateway_is_said_to_be_none(made: Any, script: Script):
    script.refuse = (404, ["hello"])
    ran = made("a cat")
    assert ran.code == 4
    assert "no answer of a gateway" in ran.err


def test_no_server_no_key_no_folder(cli: Any, tmp_path: Path):
    nobody = cli("generate", "a cat", REELGATE_URL="http://127.0.0.1:9", REELGATE_API_KEY=KEY)
    assert nobody.code == 4
    assert "reelgate serve" in nobody.err
    assert cli("generate", "a cat").code == 6
    assert cli("generate", "a cat", REELGATE_API_KEY="клю́ч").code == 6
    assert cli("generate", "a cat", "-o", tmp_path / "none" / "cat.mp4", REELGATE_API_KEY=KEY).code == 2


def test_it_finds_the_port_of_its_data_folder(cli: Any, data_dir: Path):
    (data_dir / "config.yaml").write_text("host: 0.0.0.0\nport: 9\n")
    assert "http://127.0.0.1:9 " in cli("generate", "a cat", REELGATE_API_KEY=KEY).err


def test_ctrl_c_cancels_if_that_is_the_answer(made: Any, script: Script, monkeypatch: Any, tmp_path: Path):
    interrupted = iter([True])

    def follow(server: Any, state: Any, show: Any) -> Any:
        if next(interrupted, False):
            raise KeyboardInterrupt
        return state

    monkeypatch.setattr(_deliver, "follow", follow)
    monkeypatch.setattr(_deliver, "_answer", lambda screen: "cancel")
    assert made("a cat").code == 1
    assert script.sent[-1][:2] == ("POST", f"/v1/videos/{VIDEO_ID}/cancel")


def test_ctrl_c_without_a_terminal_detaches(script: Script, url: str, tmp_path: Path):
    script.states = [video("queued")]
    command = [sys.executable, "-m", "gateway.cli.main", "generate", "a cat", "--json"]
    environment = {**os.environ, "REELGATE_URL": url, "REELGATE_API_KEY": KEY}
    with subprocess.Popen(
        command,
        env=environment,
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=-1,
        stderr=-1,
        text=True,
        # a suite that runs in the background has Ctrl-C ignored, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert script.looked.wait(30)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out)["id"] == VIDEO_ID
    assert f"reelgate generate --resume {VIDEO_ID}" in err
    assert "Traceback" not in err
    assert not any(path.endswith("/cancel") for _, path, _, _ in script.sent)


def test_what_is_shown_of_a_state():
    waiting = video("queued", queue_place=2)
    assert stage(waiting) == "queued"
    assert details(waiting)[:3] == ["echo by echo", "2 before it", "about $0.5"]
    assert details(waiting)[3].endswith(" s left")
    working = video("in_progress", 40, attempts=[{"stage": "denoise"}])
    assert stage(working) == "denoise"
    working["created_at"] = time.time() - 4
    assert details(working)[-1] == "6 s left"
    assert details(video("completed", 100)) == ["echo by echo", "$0.25"]


@pytest.mark.parametrize("replayed", [False, True])
def test_a_final_that_is_no_new_one_is_told_as_such(
    cli: Any, url: str, script: Script, tmp_path: Path, replayed: bool
):
    script.replayed = replayed
    to = tmp_path / "final.mp4"
    asked = ("finalize", VIDEO_ID, "--model", "other", "-o", to)
    ran = cli(*asked, REELGATE_URL=url, REELGATE_API_KEY=KEY)
    assert ran.code == 0
    assert ("asked for before" in ran.err) is replayed


@pytest.mark.parametrize(("difference", "told"), [("0.36", "$0.36 more"), ("-0.060761", "$0.060761 less")])
def test_a_dry_final_says_what_more_or_less_it_costs(
    cli: Any, url: str, script: Script, difference: str, told: str
):
    plan = cli("route", "a cat", "--json").json
    script.states = [
        {
            "continuity": "same_seed",
            "preview_charge_usd": "0.1",
            "estimate_usd": "0.5",
            "difference_usd": difference,
            "plan": plan,
        }
    ]
    ran = cli("finalize", VIDEO_ID, "--dry-run", REELGATE_URL=url, REELGATE_API_KEY=KEY)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith(f": {told}")
