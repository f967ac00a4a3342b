"""``reelgate demo`` from an empty folder: four previews and a final, as asked for, and the record of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gateway.media import probe

CLIPS = ("text-to-video", "image-to-video", "ti2v-from-text", "ti2v-from-image")


def test_four_previews_a_final_five_routes_and_a_balanced_record(tmp_path: Path):
    strange = {"REELGATE_DATABASE_URL": "sqlite:////nowhere/reelgate.db", "REELGATE_POLICY": "nobody's"}
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "demo", "--json"],
        cwd=tmp_path,
        env={**os.environ, **strange, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    print(f"the demo took {told['seconds']} s")
    assert list(tmp_path.glob("reelgate-*")) == []  # its data folder is gone
    assert {path.stem for path in (tmp_path / "demo-out").iterdir()} == {*CLIPS, "final"}
    for name in CLIPS:
        found = probe(tmp_path / "demo-out" / f"{name}.mp4")
        assert (found.frames, found.width, found.height, found.fps) == (9, 64, 64, 8)
        assert (found.codec, found.pix_fmt) == ("h264", "yuv420p")
    final = told["videos"][-1]
    assert (final["model"], final["gateway"]["charge_usd"]) == ("kling-3.0-omni", "0.42")
    assert final["finalized_from_video_id"] == told["videos"][0]["id"]
    made = probe(tmp_path / "demo-out" / "final.mp4")
    assert (made.width, made.height, made.duration_ms) == (1280, 720, 5000)
    models = [video["model"] for video in told["videos"][:-1]]
    assert models == [f"wan-2.2-nano-{kind}" for kind in ("t2v", "i2v", "ti2v", "ti2v")], "each path is taken"
    branches = [plan["branch"] for plan in told["routes"].values()]
    assert branches == ["preview", "basic", "audio", "premium", "default"]
    assert all(plan["chosen"]["reason"] for plan in told["routes"].values())
    assert [row["state"] for row in told["record"]] == ["succeeded"] * 5
    assert all(float(row["cost_usd"]) > 0 and row["latency"]["render_ms"] > 0 for row in told["record"])
    assert told["ledger_problems"] == []


def test_without_the_weights_code_it_says_what_failed(tmp_path: Path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "config.yaml").write_text("enabled_plugins: [echo, policies]\n")
    ran = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "demo", "--data-dir", "data"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ran.returncode == 1
    assert "the demo needs the built-in test weights" in ran.stderr
    assert "Traceback" not in ran.stderr
