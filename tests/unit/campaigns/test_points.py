"""The named crash points are there, and an armed one kills exactly whom it is to kill."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.campaigns import points
from tests.campaigns.points import CONSTANTS, POINTS, Point

HOOK = Path(points.__file__).parent / "hook"


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point.name)
def test_a_point_names_a_function_of_the_gateway(point: Point) -> None:
    module, _, path = point.target.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    assert inspect.isfunction(found)
    assert not inspect.isgeneratorfunction(inspect.unwrap(found)), "it would be passed before it runs"


def test_names_are_unique_and_special_ones_exist() -> None:
    names = [point.name for point in POINTS]
    assert len(names) == len(set(names)) >= 20
    assert set(names) >= points.ON_TERMINATION | points.ON_DEATH | points.ON_EXPIRY


@pytest.mark.parametrize(("target", "value"), CONSTANTS)
def test_a_constant_that_is_set_exists(target: str, value: float) -> None:
    module, _, name = target.partition(":")
    assert isinstance(getattr(import_module(module), name), type(value))


def run(folder: Path, when: str, code: str) -> int:
    """Run ``code``, in whose process ``json.dumps`` is the point ``here``."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(HOOK),
        "CRASH_DIR": str(folder),
        "CRASH_POINTS": json.dumps([["here", "fractions:Fraction.limit_denominator", when]]),
        "CRASH_SET": json.dumps([["fractions:ADDED", 7]]),
    }
    command = [
        sys.executable,
        "-c",
        f"from fractions import Fraction\nuse = Fraction(1).limit_denominator\n{code}",
    ]
    return subprocess.run(command, env=environment, capture_output=True, timeout=30, check=False).returncode


def arm(folder: Path, tokens: int) -> Path:
    """Arm the point for the passage of this number."""
    here = folder / "here"
    here.mkdir()
    for token in range(1, tokens + 1):
        (here / str(token)).touch()
    return here


def test_a_point_that_is_not_armed_is_passed(tmp_path: Path) -> None:
    assert run(tmp_path, "before", "use()") == 0


def test_the_nth_passage_kills_and_says_so_and_the_point_fires_once(tmp_path: Path) -> None:
    here = arm(tmp_path, 3)
    assert run(tmp_path, "before", "use(); use()") == 0
    assert run(tmp_path, "before", "use()") == -signal.SIGKILL
    assert list(here.iterdir()) == []
    assert json.loads((tmp_path / "log").read_text())["point"] == "here"
    assert run(tmp_path, "before", "use()") == 0


def test_after_means_that_the_call_was_made(tmp_path: Path) -> None:
    arm(tmp_path, 1)
    assert run(tmp_path, "after", "try:\n    use('no number')\nexcept TypeError:\n    pass") == 0
    assert run(tmp_path, "after", "use()") == -signal.SIGKILL


def test_constants_are_set_when_their_module_is_imported(tmp_path: Path) -> None:
    assert run(tmp_path, "before", "import fractions\nassert fractions.ADDED == 7") == 0
