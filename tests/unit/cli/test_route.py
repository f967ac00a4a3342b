"""``route`` is the dry run, no more and no less."""

from __future__ import annotations

from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gateway.cli._open import opened_runtime, operator
from gateway.jobs.accept import dry_run
from gateway.spec import VideoRequest


@pytest.fixture
def picture(tmp_path: Any) -> Any:
    out = BytesIO()
    Image.new("RGB", (64, 32), "teal").save(out, "PNG")
    path = tmp_path / "first.png"
    path.write_bytes(out.getvalue())
    return path


def test_its_json_is_the_dry_runs_plan(cli: Any, data_dir: Any):
    ran = cli(
        *("route", "a cat", "--preview", "--tier", "pro", "--quality", "premium", "--seconds", "2.5"),
        *("--size", "64x32", "--fps", 12, "--seed", 7, "--audio", "yes", "--negative-prompt", "dogs"),
        *("--max-cost", "0.5", "--deadline", 600, "--json"),
    )
    assert ran.code == 0
    request = VideoRequest(
        prompt="a cat",
        mode="preview",
        tier="pro",
        quality="premium",
        seconds=Decimal("2.5"),
        size="64x32",
        fps=12,
        seed=7,
        audio=True,
        negative_prompt="dogs",
        max_cost=Decimal("0.5"),
        deadline=600,
    )
    with opened_runtime(data_dir) as runtime:
        assert ran.json == dry_run(runtime, operator(runtime), request).model_dump(mode="json")


def test_an_image_makes_it_image_to_video(cli: Any, picture: Any):
    shown = cli("route", "a cat", "--image", picture, "--json").json
    assert shown["chosen"]["model"].startswith("echo")
    refused = cli("route", "a cat", "--image", picture, "--last-frame", picture, "--json")
    assert refused.code == 5
    assert {way["code"] for way in refused.json["dropped"]} == {"image_role_unsupported"}


def test_for_people_it_shows_the_choice_and_what_was_left_out(cli: Any):
    ran = cli("route", "a cat", "--max-cost", "0.001")
    assert ran.code == 0
    assert "echo by echo, about $" in ran.out
    assert "over_max_cost" in ran.out
    none = cli("route", "a cat", "--seconds", "61")
    assert none.code == 5
    assert "Nothing can serve this" in none.out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("a cat", "--model", "veo-9"), 4),
        (("a cat", "--tier", "gold"), 6),
        (("a cat", "--seconds", "soon"), 2),
        (("a cat", "--seconds", "0"), 2),
        (("a cat", "--audio", "loud"), 2),
        (("a cat", "--preview", "--mode", "final"), 2),
        ((), 2),
    ],
)
def test_what_cannot_be_planned(cli: Any, options: tuple[str, ...], code: int):
    ran = cli("route", *options)
    assert ran.code == code
    assert ran.out == ""
    assert ran.err


def test_a_text_file_is_no_image(cli: Any, tmp_path: Any):
    (tmp_path / "notes.txt").write_text("not an image")
    ran = cli("route", "a cat", "--image", tmp_path / "notes.txt")
    assert ran.code == 2
    assert "is not a PNG, JPEG or WebP image" in ran.err


def test_nothing_is_made(cli: Any):
    cli("route", "a cat")
    assert cli("ledger", "verify", "--json").json["videos"] == 0
