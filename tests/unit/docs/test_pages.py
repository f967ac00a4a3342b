"""What holds for every page: links resolve, examples are sound, and nothing names a machine."""

from __future__ import annotations

import re
import shlex
import types
from decimal import Decimal
from pathlib import Path
from typing import Any

import typer.main
import yaml

from gateway.cli.main import app as cli
from gateway.jobs.runtime import open_registry
from gateway.settings import Settings
from gateway.spec import Candidate, Output, Policy, PolicyInput, VideoRequest

from .conftest import ROOT, Page

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
ADDRESS = re.compile(r"https?://([^\s/`'\")|<>:]+)")
DOCUMENTED_HOSTS = {"127.0.0.1", "10.0.0.5"}

MACHINE_PATH = re.compile(r"(?<![\w./~:])/(?:home|root|tmp|work|Users|mnt|opt|var|usr)\b")
PACKAGE_INDEX = re.compile(
    r"\b[\w.-]*(?:pypi|pythonhosted|anaconda|artifactory|devpi|nexus)[\w-]*\.[a-z]{2,}"
)


def anchors(page: Page) -> set[str]:
    """The anchors that a page's headings make."""
    titles = re.findall(r"^#+ (.+)$", page.prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_relative_links_resolve(page: Page) -> None:
    for link in LINK.findall(page.prose):
        if link.startswith(("http:", "https:")):
            continue
        where, _, anchor = link.partition("#")
        target = (page.path.parent / where).resolve() if where else page.path
        assert target.exists(), f"{link} leads nowhere"
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        if anchor:
            assert anchor in anchors(Page(target)), f"{link} names no heading"


def test_no_page_names_a_machine_path_or_a_package_index(page: Page) -> None:
    assert not MACHINE_PATH.findall(page.text)
    assert not PACKAGE_INDEX.findall(page.text)
    if page.path.parent != ROOT:
        assert set(ADDRESS.findall(page.text)) <= DOCUMENTED_HOSTS


def test_no_page_shows_a_whole_key(page: Page) -> None:
    assert not re.findall(r"rg_live_\w", page.text)


def test_every_page_is_reached_from_the_map(page: Page) -> None:
    index = ROOT / "docs" / "index.md"
    if page.path.parent == ROOT or page.path == index:
        return
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(Page(index).prose)}
    assert page.path in linked, "docs/index.md does not link it"


def test_commands_on_the_page_exist_with_their_options(page: Page) -> None:
    for line in (line for block in page.blocks("sh") for line in block.replace("\\\n", " ").splitlines()):
        words = shlex.split(line.partition(";")[0].replace("…", ""), comments=True)
        if words[:1] != ["reelgate"]:
            continue
        command: Any = typer.main.get_command(cli)
        while hasattr(command, "commands") and not words[1].startswith("-"):
            words = words[1:]
            context = typer.Context(command)
            _, command, _ = command.resolve_command(context, [words[0]])
            assert command is not None, line
        known = {name for parameter in command.params for name in parameter.opts}
        used = {word for word in words if word.startswith("-")}
        assert used <= known, f"{line}: {used - known}"


def test_python_on_the_page_compiles(page: Page) -> None:
    for block in page.blocks("python"):
        compile(block, str(page), "exec")


def test_configurations_on_the_page_are_accepted(page: Page, tmp_path: Path) -> None:
    for block in page.blocks("yaml"):
        if not block.startswith("# config.yaml\n"):
            continue
        settings = Settings(data_dir=tmp_path, **yaml.safe_load(block))
        registry = open_registry(settings)
        assert not [plugin.problem for plugin in registry.plugins if plugin.problem]
        options = settings.policies.get(settings.policy, {})
        models = frozenset(card.id for card in registry.catalog.cards)
        assert not registry.policies[settings.policy].validate(options, models)


def test_the_policy_of_the_how_to_orders_local_first() -> None:
    (source, *_) = Page(ROOT / "docs" / "howto" / "write-a-policy.md").blocks("python")
    module = types.ModuleType("local_first")
    exec(compile(source, "local_first", "exec"), vars(module))
    (policy,) = module.register_policies()
    remote, local = candidate("far", "0.01"), candidate("near", "0.02")
    ordered = order(policy, [remote, local], local_adapters=frozenset({"near"}))
    assert [one.adapter for one in ordered] == ["near", "far"]
    assert all(one.reason for one in ordered)
    assert policy.validate({"x": 1}, frozenset())


def order(policy: Policy, given: list[Candidate], **facts: Any) -> tuple[Candidate, ...]:
    request = VideoRequest(prompt="a test")
    known = PolicyInput(request=request, tier="pro", tiers=("basic", "pro"), cards={}, **facts)
    return policy.order(known, given).candidates


def candidate(adapter: str, usd: str) -> Candidate:
    return Candidate(
        model="m",
        offer=f"{adapter}/m",
        adapter=adapter,
        account="default",
        preset="standard",
        output=Output(size="64x64", seconds=Decimal(1), fps=8, audio=False),
        estimate_usd=Decimal(usd),
        price_version="1",
    )


def test_the_hooks_in_contributing_are_the_fixtures() -> None:
    folder = ROOT / "tests" / "fixtures" / "reelgate-comet" / "reelgate_comet"
    hooks = re.sub(r'\n    """.*?"""', "", (folder / "__init__.py").read_text())
    shown = Page(ROOT / "CONTRIBUTING.md").blocks("python")[0]
    assert shown in hooks
