"""The nano models behind the whole gateway: the clip that comes out shows what the prompt says."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from adapters.wan_local.evaluation.oracle import first_frame_psnr, judge
from adapters.wan_local.evaluation.sight import Clip
from adapters.wan_local.training.captions import plain
from adapters.wan_local.training.scenes import Actor, Scene, film

from .conftest import Server, running

SEED = 7
RED = Scene((Actor("circle", "red", "right"),), "black")


@pytest.fixture(scope="module")
def server(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(module_database_url, folder, plugins=("wan_local",)) as server:
        yield server


def rendered(server: Server, path: str = "", **body: Any) -> tuple[dict[str, Any], Clip]:
    """The finished video and its frames, uint8 [F, H, W, 3]."""
    with server.client() as client:
        response = client.post(f"/v1/videos{path}", json=body)
        assert response.status_code == 200, response.text
        video = server.finished(response.json()["id"])
        assert video["status"] == "completed", video["error"]
        content = client.get(f"/v1/videos/{video['id']}/content").raise_for_status().content
    with av.open(io.BytesIO(content), format="mp4") as opened:
        return video, np.stack([frame.to_ndarray(format="rgb24") for frame in opened.decode(video=0)])


def as_data_url(picture: Clip) -> str:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def test_the_red_circle_moves_right(server: Server) -> None:
    assert plain(RED) == "a red circle moving right on a black background"
    body = {"model": "wan-2.2-nano-t2v", "prompt": plain(RED), "size": "64x64", "seconds": "1", "seed": SEED}
    video, clip = rendered(server, **body)
    assert judge(clip, RED).all
    assert [note["code"] for note in video["gateway"]["notes"]] == ["test_weights"]


@pytest.mark.parametrize("model", ["wan-2.2-nano-i2v", "wan-2.2-nano-ti2v"])
def test_the_picture_is_the_first_frame_and_moves_as_told(server: Server, model: str) -> None:
    scene = Scene((Actor("square", "yellow", "up"),), "navy")
    picture = film(scene, np.random.default_rng(SEED))[0]
    body = {"model": model, "prompt": plain(scene), "size": "64x64", "seconds": "1", "seed": SEED}
    _, clip = rendered(server, **body, input_reference=as_data_url(picture))
    assert first_frame_psnr(clip, picture) > 20, "H.264 halves the colours of so small a picture"
    verdict = judge(clip, scene)
    assert (verdict.colour, verdict.motion) == (True, True)


def test_a_prefix_preview_shows_the_scene_that_its_continuation_finishes(server: Server) -> None:
    body = {"model": "wan-2.2-nano-t2v", "prompt": plain(RED), "size": "64x64", "seconds": "1", "seed": SEED}
    shown, early = rendered(server, **body, mode="preview", preset="prefix")
    final, late = rendered(server, f"/{shown['id']}/continue")
    assert "resumed" in {note["code"] for note in final["gateway"]["notes"]}
    assert judge(late, RED).all
    assert judge(early, RED).colour
    assert judge(early, RED).motion
    assert early.shape == late.shape
