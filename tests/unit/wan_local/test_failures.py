"""What goes wrong, in whose words, and that the next job does not notice."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.wan_local._adapter import WanLocal
from adapters.wan_local.engine.transformer import PromptedExpert
from adapters.wan_local.tiny import Variant
from gateway.kit.testing import FakeControl
from gateway.spec import BadRequest, BrokenModel, Cancelled, Device, Job, OutOfMemory, RenderError

CPU = Device(pool="cpu", slot=0, kind="cpu")
T2V, I2V, TI2V = "wan-2.2-t2v-a14b-tiny", "wan-2.2-i2v-a14b-tiny", "wan-2.2-ti2v-5b-tiny"
Makes = Callable[..., WanLocal]
Jobs = Callable[..., Job]
Controls = Callable[..., FakeControl]
Renders = Callable[[WanLocal, Job], bytes]


@pytest.mark.parametrize(("stage", "reports"), [("denoise", 2), ("decode", 1)])
@pytest.mark.parametrize("model", [T2V, TI2V])
def test_after_a_cancelled_render_the_next_equals_a_fresh_one(
    make: Makes, job: Jobs, control: Controls, bytes_of: Renders, model: str, stage: str, reports: int
) -> None:
    def stop(seen: FakeControl) -> bool:
        return sum(report[0] == stage for report in seen.reports) >= reports

    adapter = make()
    stopped = control(cancel_when=stop)
    with pytest.raises(Cancelled):
        adapter.render(job(model, seed=1), CPU, stopped)
    assert stopped.reports[-1][0] == stage
    assert list(stopped.folder.iterdir()) == []
    assert bytes_of(adapter, job(model)) == bytes_of(make(), job(model))


def test_a_damaged_folder_fails_its_job_and_the_next_folder_renders(
    make: Makes,
    job: Jobs,
    control: Controls,
    bytes_of: Renders,
    folder: Callable[[Variant], Path],
    tmp_path: Path,
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(folder("ti2v"), damaged)
    weights = damaged / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    t2v, ti2v = "wan-2.2-t2v-a14b", "wan-2.2-ti2v-5b"
    adapter = make(folders={ti2v: str(damaged), t2v: str(folder("t2v"))})
    two_steps = {"options": {"steps": 2}}
    bytes_of(adapter, job(t2v, **two_steps))
    with pytest.raises(BrokenModel) as caught:
        adapter.render(job(ti2v, **two_steps), CPU, control())
    assert str(tmp_path) not in caught.value.caller_detail
    assert str(weights) in caught.value.operator_detail
    assert bytes_of(adapter, job(t2v, **two_steps))


def test_another_models_folder_is_refused(
    make: Makes, job: Jobs, control: Controls, folder: Callable[[Variant], Path]
) -> None:
    adapter = make(folders={"wan-2.2-t2v-a14b": str(folder("ti2v"))})
    with pytest.raises(BrokenModel) as caught:
        adapter.render(job("wan-2.2-t2v-a14b"), CPU, control())
    assert "holds a ti2v model" in caught.value.operator_detail


def test_weights_that_vanish_after_planning_fail_the_job(make: Makes, job: Jobs, control: Controls) -> None:
    with pytest.raises(BrokenModel, match="cannot run on this gateway"):
        make().render(job("wan-2.2-t2v-a14b"), CPU, control())


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["device", "host"]
)
def test_out_of_memory_says_what_to_ask_for_and_spares_the_next_job(
    make: Makes,
    job: Jobs,
    control: Controls,
    bytes_of: Renders,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:
    def full(*given: Any) -> torch.Tensor:
        raise error

    adapter = make()
    expected = bytes_of(adapter, job(T2V))
    with monkeypatch.context() as patched:
        patched.setattr(PromptedExpert, "velocities", full)
        with pytest.raises(OutOfMemory, match="a smaller size or fewer seconds"):
            adapter.render(job(T2V), CPU, control())
    assert bytes_of(adapter, job(T2V)) == expected


def test_a_device_that_is_not_there_is_the_operators_to_mend(
    make: Makes, job: Jobs, control: Controls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RenderError) as caught:
        make().render(job(T2V), Device(pool="gpu", slot=0, kind="cuda:0"), control())
    assert "sees no GPU" in caught.value.operator_detail


@pytest.mark.parametrize(
    ("model", "given", "says"),
    [
        (I2V, {}, "needs a first frame"),
        (T2V, {"first_frame": True}, "text-to-video only"),
        (TI2V, {"last_frame": True}, "last frame"),
        (TI2V, {"size": "48x64"}, "multiple of 32"),
    ],
    ids=["no image", "unwanted image", "unwanted last frame", "size"],
)
def test_what_the_model_cannot_do_is_a_bad_request(
    make: Makes,
    job: Jobs,
    control: Controls,
    png: Callable[..., bytes],
    model: str,
    given: dict[str, Any],
    says: str,
) -> None:
    images = {name: png() for name in given if name != "size"}
    with pytest.raises(BadRequest, match=says):
        make().render(job(model, **{**given, **images}), CPU, control())


def test_a_broken_picture_is_a_bad_request(
    make: Makes, job: Jobs, control: Controls, png: Callable[..., bytes]
) -> None:
    whole = png()
    broken = dataclasses.replace(job(I2V, first_frame=whole), read_image=lambda image: whole[:80])
    with pytest.raises(BadRequest, match="first_frame cannot be decoded"):
        make().render(broken, CPU, control())


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 10_000}, "at most 4"),
        ({"steps": 5}, "at most 4"),
        ({"steps": 0}, "steps"),
        ({"steps": "two"}, "steps"),
        ({"guidance_high": 0.5}, "guidance_high"),
        ({"guidance_low": 21}, "guidance_low"),
        ({"guidance_low": float("nan")}, "guidance_low"),
        ({"shift": 0}, "shift"),
        ({"shift": float("inf")}, "shift"),
        ({"sampler": "euler"}, "sampler"),
    ],
)
def test_options_have_bounds(
    make: Makes, job: Jobs, control: Controls, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(BadRequest, match=says):
        make().render(job(T2V, options=options), CPU, control())


def test_options_move_the_picture(make: Makes, job: Jobs, bytes_of: Renders) -> None:
    adapter = make()
    every: list[dict[str, Any]] = [
        {},
        {"steps": 2},
        {"guidance_high": 8},
        {"guidance_low": 9.5},
        {"shift": 3},
    ]
    assert len({bytes_of(adapter, job(T2V, options=options)) for options in every}) == len(every)


def test_guidance_is_refused_on_a_preset_without(
    make: Makes, job: Jobs, control: Controls, folder: Callable[[Variant], Path]
) -> None:
    real = "wan-2.2-t2v-a14b"
    adapter = make(distilled={real: str(folder("t2v"))})
    with pytest.raises(BadRequest, match="without guidance"):
        adapter.render(job(real, preset="fast", options={"guidance_high": 4}), CPU, control())


def test_a_cards_wrong_params_are_the_operators_to_mend(make: Makes, job: Jobs, control: Controls) -> None:
    made = job(T2V)
    made = dataclasses.replace(made, preset=made.preset.model_copy(update={"params": {"stepz": 3}}))
    with pytest.raises(RenderError) as caught:
        make().render(made, CPU, control())
    assert "stepz" in caught.value.operator_detail
