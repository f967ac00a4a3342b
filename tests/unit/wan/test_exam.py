"""The exam: what is asked, who takes which steps, what the answers add up to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from adapters.wan_local._commands import app
from adapters.wan_local.engine import UnsupportedJob, WanEngine, WanJob
from adapters.wan_local.evaluation.arms import ablated_arms, usual_arms
from adapters.wan_local.evaluation.exam import ask
from adapters.wan_local.evaluation.oracle import Verdict, judge
from adapters.wan_local.evaluation.score import Share, add_up
from adapters.wan_local.evaluation.sitting import Arm, Sitting, copy_out, sit
from adapters.wan_local.tiny import Variant
from adapters.wan_local.training.scenes import is_held_out

Engines = Callable[[Variant], WanEngine]
JOB = WanJob(prompt="", width=64, height=64, frames=9, steps=4, seed=5)


def sitting(engine: WanEngine, arm: Arm, count: int = 1) -> Sitting:
    return sit(engine, JOB, ask(count, 0, 64, 9), arm, lambda done, total: None)


def test_questions_are_seeded_held_out_and_answered_by_their_films() -> None:
    questions = ask(6, 1, 64, 9)
    assert all(is_held_out(question.scene.actors[0]) for question in questions)
    assert all(judge(question.film, question.scene).all for question in questions)
    assert {question.film.shape for question in questions} == {(9, 64, 64, 3)}
    again, others = ask(3, 1, 64, 9), ask(6, 2, 64, 9)
    assert [one.prompt for one in again] == [one.prompt for one in questions[:3]], "more ask the same first"
    assert [one.prompt for one in others] != [one.prompt for one in questions]


@pytest.mark.parametrize(
    ("experts", "forwards"), [("right", "hl"), ("swapped", "lh"), ("high", "hh"), ("low", "ll")]
)
def test_each_arm_has_its_steps_taken_by_whom_it_says(
    engine: Engines, monkeypatch: pytest.MonkeyPatch, experts: Any, forwards: str
) -> None:
    model = engine("t2v").model
    assert model.transformer_2 is not None
    names = {id(model.transformer): "h", id(model.transformer_2): "l"}
    taken: list[str] = []
    from adapters.wan_local.engine import denoise

    real = denoise.PromptedExpert

    def note(transformer: Any, *given: Any, **more: Any) -> Any:
        taken.append(names[id(transformer)])
        return real(transformer, *given, **more)

    monkeypatch.setattr(denoise, "PromptedExpert", note)
    sitting(engine("t2v"), Arm(name="x", experts=experts))
    assert "".join(taken) == forwards
    assert engine("t2v").model is model


def test_a_boundary_moves_steps_and_an_answer_is_the_engines_own_clip(engine: Engines) -> None:
    (question,) = ask(1, 0, 64, 9)
    moved = sitting(engine("t2v"), Arm(name="x", boundary=0.0)).answers[0].clip
    job = WanJob(prompt=question.prompt, width=64, height=64, frames=9, steps=4, seed=5, boundary=0.0)
    assert np.array_equal(moved, np.stack(list(engine("t2v").run(job).frames)))
    assert not np.array_equal(moved, sitting(engine("t2v"), Arm(name="y")).answers[0].clip)


def test_a_model_with_one_expert_cannot_swap(engine: Engines) -> None:
    with pytest.raises(UnsupportedJob, match="one expert"):
        sitting(engine("ti2v"), Arm(name="x", experts="swapped"))


def test_a_first_frame_is_given_where_the_arm_says_so(engine: Engines) -> None:
    asked = sitting(engine("i2v"), usual_arms("i2v")[0], count=2)
    assert asked.kept is not None
    assert [answer.kept for answer in asked.answers].count(None) == 0
    assert sitting(engine("t2v"), usual_arms("t2v")[0]).kept is None
    assert [arm.image for arm in usual_arms("ti2v")] == [False, True]
    assert {arm.image for arm in ablated_arms("i2v")} == {True}


def test_a_copy_is_the_film_through_the_vae(engine: Engines) -> None:
    questions = ask(1, 0, 64, 9)
    (copy,) = copy_out(engine("ti2v"), questions)
    assert (copy.shape, copy.dtype) == (questions[0].film.shape, np.uint8)
    assert np.array_equal(copy, copy_out(engine("ti2v"), questions)[0])


def test_shares_and_their_intervals() -> None:
    right = Verdict(colour=True, shape=True, motion=True, background=True)
    wrong = Verdict(colour=True, shape=False, motion=True, background=True)
    shares = add_up([right, right, right, wrong])
    assert (shares["colour"], shares["shape"], shares["all"]) == (Share(4, 4), Share(3, 4), Share(3, 4))
    low, high = Share(8, 10).interval  # Wilson's, as the textbooks have it
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Share(200, 200).interval == pytest.approx((0.981, 1), abs=1e-3)
    assert Share(0, 200).interval == pytest.approx((0, 0.019), abs=1e-3)


def test_the_command_examines_a_folder(tiny: Callable[[Variant], Path], tmp_path: Path) -> None:
    def run(*options: str) -> Any:
        folder = str(tiny("t2v"))
        return CliRunner().invoke(app, ["eval", folder, "--prompts", "1", "--steps", "2", *options])

    done = run("--json", "--sheet", str(tmp_path / "sheet.png"))
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["prompts"], told["combinations"]) == (1, 1)
    assert [arm["arm"] for arm in told["arms"]] == ["from text"]
    assert told["vae"]["oracle"]["all"]["right"] == 1
    assert told["vae"]["psnr_db"] > 0
    assert told["arms"][0]["seconds"] > 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 5 * 64
        assert len(sheet.convert("RGB").getcolors() or ()) > 20
    table = run("--ablation").stdout
    assert all(
        name in table for name in ("true clips", "both right", "swapped", "high alone", "boundary 0.95")
    )


@pytest.mark.parametrize(("option", "value"), [("--boundary", "2.0"), ("--size", "50"), ("--frames", "7")])
def test_what_the_engine_refuses_is_said(tiny: Callable[[Variant], Path], option: str, value: str) -> None:
    refused = CliRunner().invoke(app, ["eval", str(tiny("t2v")), "--prompts", "1", option, value])
    assert refused.exit_code == 1
    assert value in refused.stderr


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("t2v", ["--ablation", "--experts", "swapped"], "leave --experts and --boundary out"),
        ("t2v", ["--ablation", "--boundary", "0.5"], "leave --experts and --boundary out"),
        ("ti2v", ["--ablation"], "one transformer"),
        ("t2v", ["--sheet", "missing/sheet.png"], "missing is no folder"),
        (None, [], "neither a folder nor a nano model"),
    ],
)
def test_what_cannot_be_examined_is_refused_before_any_clip(
    tiny: Callable[[Variant], Path],
    monkeypatch: pytest.MonkeyPatch,
    model: Variant | None,
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(WanEngine, "run", lambda *given: pytest.fail("rendered"))
    folder = str(tiny(model)) if model else "nano-9"
    refused = CliRunner().invoke(app, ["eval", folder, "--prompts", "1", *options])
    assert refused.exit_code == 1
    assert said in refused.stderr
