"""What is no honest picture is refused at once, in little memory; an honest one loses what it carries."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest

from gateway.media import MAX_IMAGE_PIXELS, MAX_WRITTEN_BYTES, BadImage, ImageCode, _pixels, check_image

from ._bombs import PAYLOAD, cleaned, refused

WEIGHED = Path(__file__).with_name("_weighed.py")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a child took for one file; processor time, because a test's machine may be busy."""

    told: dict[str, str]
    wall_s: float
    cpu_s: float
    peak_mb: float


def weigh(files: dict[str, bytes], folder: Path) -> dict[str, Cost]:
    """Decode each in a child of its own, under the gateway's limits."""
    for number, data in enumerate(files.values()):
        (folder / f"{number:03}").write_bytes(data)
    given = [_pixels.__file__, str(folder), str(MAX_IMAGE_PIXELS), str(MAX_WRITTEN_BYTES)]
    done = subprocess.run(
        [sys.executable, str(WEIGHED), *given], capture_output=True, text=True, check=True, timeout=200
    )
    costs = [Cost(**json.loads(line)) for line in done.stdout.splitlines()]
    return dict(zip(files, costs, strict=True))


def show(title: str, files: dict[str, bytes], costs: dict[str, Cost]) -> None:
    print(f"\n{title}: {len(files)} files")
    for name, cost in costs.items():
        said = cost.told.get("code") or cost.told.get("media_type", "killed")
        print(
            f"  {name:45} {len(files[name]) / 1e6:7.3f} MB sent {cost.wall_s * 1000:6.0f} ms "
            f"({cost.cpu_s * 1000:4.0f} of processor) {cost.peak_mb:5.0f} MB  {said}"
        )
    for figure in ("wall_s", "cpu_s", "peak_mb"):
        name = max(costs, key=lambda name: float(getattr(costs[name], figure)))
        print(f"  worst {figure}: {getattr(costs[name], figure):.3f} ({name})")


def test_every_bomb_is_refused_at_once_and_in_little_memory(tmp_path: Path) -> None:
    files = dict(refused())
    assert len(files) >= 60
    costs = weigh(files, tmp_path)
    show("refused", files, costs)
    assert {name for name, cost in costs.items() if cost.told.get("code") not in get_args(ImageCode)} == set()
    assert {name: cost.cpu_s for name, cost in costs.items() if cost.cpu_s >= 1} == {}
    assert {name: cost.peak_mb for name, cost in costs.items() if cost.peak_mb >= 200} == {}
    for name, data in files.items():
        with pytest.raises(BadImage) as caught:
            check_image(data)
        assert caught.value.code == costs[name].told["code"], name


def test_what_an_honest_picture_carries_is_left_behind(tmp_path: Path) -> None:
    files = dict(cleaned())
    assert all(PAYLOAD in data for data in files.values())
    costs = weigh(files, tmp_path)
    show("taken, and written anew", files, costs)
    assert {name: cost.cpu_s for name, cost in costs.items() if cost.cpu_s >= 1} == {}
    assert {name: cost.peak_mb for name, cost in costs.items() if cost.peak_mb >= 200} == {}
    for name, data in files.items():
        written = check_image(data).data
        assert PAYLOAD not in written, name
        assert len(written) < 1_000_000, name
