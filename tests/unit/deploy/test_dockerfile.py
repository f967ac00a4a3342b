"""The Dockerfile passes hadolint, and what it builds from is all that it needs and no more."""

from __future__ import annotations

import fnmatch
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .conftest import DEPLOY, ROOT

DOCKERFILE = DEPLOY / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def lint(file: Path) -> list[str]:
    """The rules that a Dockerfile breaks, the mildest too, as hadolint names them."""
    command = [str(HADOLINT), "--no-color", "--format", "json", "--failure-threshold", "style", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 1), done.stderr
    return [f"{found['code']} line {found['line']}: {found['message']}" for found in json.loads(done.stdout)]


def instructions() -> list[tuple[str, str]]:
    """Instruction and arguments, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def final_stage() -> list[tuple[str, str]]:
    """What makes the image itself."""
    found = instructions()
    last = max(index for index, (word, _) in enumerate(found) if word == "FROM")
    return found[last:]


def copied() -> list[str]:
    """What the stages take from the build's context."""
    return [
        source
        for word, rest in instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]


def in_context(path: str) -> bool:
    """Whether ``.dockerignore`` lets a path through; the last pattern that meets it or its folder decides."""
    parts = path.split("/")
    folders = ["/".join(parts[: count + 1]) for count in range(len(parts))]
    kept = True
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!").removeprefix("**/")
        if not pattern or line.startswith("#"):
            continue
        candidates = parts if "**/" in line else folders
        if any(fnmatch.fnmatchcase(candidate, pattern) for candidate in candidates):
            kept = line.startswith("!")
    return kept


def test_hadolint_finds_nothing() -> None:
    assert lint(DOCKERFILE) == []


@pytest.mark.parametrize(
    ("found", "instead", "rule"),
    [
        ("ARG BASE=python:3.11-slim-trixie\n", "ARG BASE\nFROM python:latest AS other\n", "DL3007"),
        (
            "pip install --no-cache-dir --constraint constraints.txt hatchling",
            "pip install hatchling",
            "DL3013",
        ),
        ("COPY deploy/probe.py", "ADD deploy/probe.py", "DL3020"),
        ('ENTRYPOINT ["reelgate"]', "ENTRYPOINT reelgate", "DL3025"),
        ("USER 10001:10001", "USER root", "DL3002"),
    ],
)
def test_hadolint_would_find_it(found: str, instead: str, rule: str, tmp_path: Path) -> None:
    broken = tmp_path / "Dockerfile"
    text = DOCKERFILE.read_text()
    assert found in text
    broken.write_text(text.replace(found, instead))
    assert rule in " ".join(lint(broken))


def test_the_image_runs_as_a_numbered_user_that_owns_the_data_folder() -> None:
    stage = final_stage()
    assert ("USER", "10001:10001") in stage
    assert ("VOLUME", '["/data"]') in stage
    assert ("ENTRYPOINT", '["reelgate"]') in stage
    made = next(rest for word, rest in stage if word == "RUN")
    assert "--uid 10001" in made
    assert "--owner 10001 --group 10001 --mode 0700 /data" in made


def test_no_secret_is_in_the_image() -> None:
    secret = re.compile(r"(?i)pepper|password|secret|token|database_url|api_?key")
    assert not [rest for word, rest in instructions() if word in ("ARG", "ENV") and secret.search(rest)]


def test_what_is_installed_is_pinned_and_its_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    shown = re.findall(r"--build-arg EXTRAS=(\S+)", DOCKERFILE.read_text())
    assert shown
    for extras in (arguments["EXTRAS"], *shown):
        assert {*extras.split(",")} <= {*project["optional-dependencies"]}
    installs = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert len(installs) == 3
    assert all("constraints.txt" in rest for rest in installs)


def test_the_context_holds_what_is_copied_and_nothing_private() -> None:
    assert len(copied()) > 5
    for source in copied():
        assert (ROOT / source).exists(), source
        assert in_context(source), source
    for private in (
        ".git/config",
        ".venv/bin/python",
        "data/secrets/key_pepper",
        "deploy/.env",
        "tests/conftest.py",
    ):
        assert not in_context(private), private
    assert not in_context("gateway/__pycache__/settings.cpython-311.pyc")


def test_the_context_makes_a_wheel_with_the_migrations_and_without_deploy(tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    for source in copied():
        target = context / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=context, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "gateway/_migrations/env.py" in names
    assert "adapters/wan_local/cards.yaml" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "gateway",
        "adapters",
        "routing_policies",
        "reelgate",
    }
