"""Kill the worker of a Wan render at random steps, again and again: ``python -m tests.campaigns.resume``.

A real gateway with a real worker process renders clips of 200 steps on random test weights. The process is
killed (SIGKILL) after a random number of steps, started again by the gateway, and goes on from the newest
checkpoint, until so many kills are done. Each clip is compared with the same request rendered undisturbed.
How many steps are done twice is read off the newest checkpoint at each kill.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import mean
from typing import Any

import av
import httpx
import numpy as np
from PIL import Image

from adapters.wan_local.engine import Checkpoint

STEPS = 200
CHECKPOINT_EVERY_S = 0.2
FEWEST, MOST = 12, 90
"""Steps between two kills: enough for a checkpoint, which is what keeps a job from counting as hopeless."""
MOST_A_CLIP = 4
WITHIN_S = 180.0
HOOK = Path(__file__).resolve().parent / "hook"
POINT = ("step", "adapters.wan_local.engine.denoise:Denoising._step", "after")
VARIANTS = {
    "t2v": "wan-2.2-t2v-a14b-tiny",
    "i2v": "wan-2.2-i2v-a14b-tiny",
    "ti2v": "wan-2.2-ti2v-5b-tiny",
}
SOURCE = {"text": "made up for the campaign", "date": "2026-01-01", "confidence": "high"}


@dataclass
class Kill:
    """One death of the worker: the step it came after, and the one that the newest checkpoint stands at."""

    case: str
    step: int
    kept: int

    @property
    def lost(self) -> int:
        """Steps that are done again."""
        return self.step - self.kept


@dataclass
class Gateway:
    """``reelgate serve`` on a data folder, with the crash hook in its worker."""

    folder: Path
    kills: list[Kill] = field(default_factory=list)
    url: str = ""
    key: str = ""

    def create(self, body: dict[str, Any]) -> str:
        """Accept a video; its id."""
        reply = httpx.post(f"{self.url}/v1/videos", json=body, headers=self._headers, timeout=30)
        if reply.is_error:
            raise RuntimeError(f"the create was answered {reply.status_code}: {reply.text[:2000]}")
        return str(reply.json()["id"])

    def video(self, video_id: str) -> dict[str, Any]:
        """The video as it stands."""
        reply = httpx.get(f"{self.url}/v1/videos/{video_id}", headers=self._headers, timeout=30)
        found: dict[str, Any] = reply.raise_for_status().json()
        return found

    def content(self, video_id: str) -> bytes:
        """The finished clip."""
        reply = httpx.get(f"{self.url}/v1/videos/{video_id}/content", headers=self._headers, timeout=30)
        return reply.raise_for_status().content

    def kept(self, video_id: str) -> int:
        """The step of the newest checkpoint; 0 without one."""
        with closing(sqlite3.connect(self.folder / "data" / "reelgate.db", timeout=30)) as connection:
            query = "SELECT checkpoints FROM attempts WHERE video_id = ? ORDER BY number DESC"
            (told,) = connection.execute(query, (video_id,)).fetchone()
        if not told or told == "null":
            return 0
        data = (self.folder / "data" / "store" / json.loads(told)[0]["key"]).read_bytes()
        return Checkpoint.from_bytes(data).step

    def arm(self, steps: int) -> None:
        """Have the worker die after so many more steps."""
        unfinished = self.folder / "crash" / "arming"
        unfinished.mkdir()
        for token in range(1, steps + 1):
            (unfinished / str(token)).touch()
        unfinished.rename(self.folder / "crash" / POINT[0])

    @property
    def fired(self) -> bool:
        """True once the point that was armed has killed, and been taken away."""
        armed = self.folder / "crash" / POINT[0]
        if armed.exists() and not any(armed.iterdir()):
            armed.rmdir()
            return True
        return False

    def disarm(self) -> None:
        """Let the worker live."""
        armed = self.folder / "crash" / POINT[0]
        if armed.exists():
            for token in armed.iterdir():
                token.unlink(missing_ok=True)
            armed.rmdir()

    @property
    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}"}


@contextmanager
def running(folder: Path) -> Iterator[Gateway]:
    """A gateway on a fresh data folder."""
    gateway = Gateway(folder)
    data = folder / "data"
    data.mkdir()
    (folder / "crash").mkdir()
    (data / "config.yaml").write_text(json.dumps(configuration()))
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(HOOK), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "CRASH_DIR": str(folder / "crash"),
        "CRASH_POINTS": json.dumps([POINT]),
        "OMP_NUM_THREADS": "1",
    }
    command = [
        sys.executable,
        "-m",
        "gateway.cli.main",
        "serve",
        "--json",
        "--port",
        "0",
        "--data-dir",
        str(data),
    ]
    with (folder / "serve.log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert process.stdout is not None
        greeting = json.loads(process.stdout.readline())
        gateway.url, gateway.key = greeting["url"], greeting["key"]
        yield gateway
    finally:
        process.terminate()
        process.wait(timeout=60)


def configuration() -> dict[str, Any]:
    """One CPU slot, checkpoints often, and offers whose preset takes many steps."""
    preset = {
        "name": "long",
        "params": {"steps": STEPS, "sampler": "unipc"},
        "times": [{"clip_seconds": "1", "seconds": "10", "source": SOURCE}],
    }
    offers = [
        {
            "model": model,
            "adapter": "wan_local",
            "upstream": model,
            "id": f"campaign/{model}",
            "pool": "cpu",
            "presets": [preset],
            "prices": [{"unit": "device_second", "effective_from": "2026-01-01", "source": SOURCE}],
        }
        for model in VARIANTS.values()
    ]
    return {
        "enabled_plugins": ["policies", "wan_local"],
        "checkpoint_every_s": CHECKPOINT_EVERY_S,
        "preview_every_s": 0,
        "offers": offers,
    }


def request(variant: str, seed: int) -> dict[str, Any]:
    """A clip of a variant, the same for a seed."""
    body: dict[str, Any] = {
        "model": VARIANTS[variant],
        "preset": "long",
        "prompt": "a paper boat on a quiet pond",
        "size": "64x64",
        "seconds": "1",
        "seed": seed,
    }
    if variant == "i2v":
        buffer = BytesIO()
        Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(buffer, "PNG")
        body["input_reference"] = f"data:image/png;base64,{b64encode(buffer.getvalue()).decode()}"
    return body


def disturbed(
    gateway: Gateway, case: str, body: dict[str, Any], kills: int, dice: random.Random
) -> dict[str, Any]:
    """Make a clip whose worker is killed at most so many times; the video when it has ended."""
    stood, step = 0, dice.randint(FEWEST, MOST)
    gateway.arm(step)
    video_id = gateway.create(body)
    until = time.monotonic() + WITHIN_S * (kills + 1)
    killed = 0
    while time.monotonic() < until:
        video = gateway.video(video_id)
        if video["status"] in ("completed", "failed"):
            gateway.disarm()
            return video
        if gateway.fired:
            kept = gateway.kept(video_id)
            gateway.kills.append(Kill(case, stood + step, kept))
            killed, stood = killed + 1, kept
            if killed < kills and STEPS - stood > 2 * FEWEST:
                step = dice.randint(FEWEST, min(MOST, STEPS - stood - FEWEST))
                gateway.arm(step)
        time.sleep(0.05)
    raise TimeoutError(f"{video_id} did not end")


def frames_of(clip: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Every frame, decoded."""
    with av.open(BytesIO(clip), format="mp4") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill the worker of Wan renders at random steps.")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    given = parser.parse_args()
    dice = random.Random(given.seed)
    print(f"seed {given.seed}, {STEPS} steps a clip, checkpoints every {CHECKPOINT_EVERY_S} s\n")
    print("| clip | killed after step | resumed at | steps done twice | ended | bytes equal | worst pixel |")
    print("|---|---|---|--:|---|---|--:|")
    broken = 0
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as gateway:
        for number in itertools.count():
            before = len(gateway.kills)
            if before >= given.kills:
                break
            variant = list(VARIANTS)[number % len(VARIANTS)]
            body = request(variant, 100 + number)
            plain = undisturbed(gateway, body)
            video = disturbed(gateway, variant, body, min(given.kills - before, MOST_A_CLIP), dice)
            broken += not report(
                gateway, f"{variant}, seed {body['seed']}", video, gateway.kills[before:], plain
            )
        lost = [kill.lost for kill in gateway.kills]
    print(
        f"\n{len(lost)} kills; steps done twice a kill: mean {mean(lost):.1f}, most {max(lost)}; "
        f"{broken} clips unfinished or other than undisturbed"
    )
    raise SystemExit(1 if broken else 0)


def report(gateway: Gateway, name: str, video: dict[str, Any], kills: list[Kill], plain: bytes) -> bool:
    """Print a clip's row; True if it is what it would have been undisturbed, and went on where it stood."""
    whole = video["status"] == "completed"
    clip = gateway.content(video["id"]) if whole else b""
    worst = int(np.abs(frames_of(clip).astype(int) - frames_of(plain)).max()) if whole else "-"
    cells = (
        name,
        ", ".join(str(kill.step) for kill in kills),
        ", ".join(str(kill.kept) for kill in kills),
        sum(kill.lost for kill in kills),
        video["status"],
        "yes" if clip == plain else "no",
        worst,
    )
    print(f"| {' | '.join(map(str, cells))} |", flush=True)
    notes = [note["detail"] for note in video["gateway"]["notes"] if note["code"] == "resumed"]
    stood = (
        [f"went on after step {kills[-1].kept} of {STEPS} of an interrupted run"] if kills[-1].kept else []
    )
    return clip == plain and notes == stood


def undisturbed(gateway: Gateway, body: dict[str, Any]) -> bytes:
    """The same clip, in peace."""
    video_id = gateway.create(body)
    until = time.monotonic() + WITHIN_S
    while (video := gateway.video(video_id))["status"] not in ("completed", "failed"):
        if time.monotonic() > until:
            raise TimeoutError(f"{video_id} did not end")
        time.sleep(0.05)
    assert video["status"] == "completed", video["error"]
    return gateway.content(video_id)


if __name__ == "__main__":
    main()
