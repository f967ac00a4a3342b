"""The reference cannot drift: what the code has, its page names."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
import typer.main
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from adapters.dashscope_wan._adapter import StudioAccount, StudioSettings
from adapters.dashscope_wan._order import StudioOptions
from adapters.echo._local import LocalOptions
from adapters.echo._remote import RemoteSettings
from adapters.kling._settings import AccountSettings, KlingOptions, KlingSettings
from adapters.wan_local._options import CallerOptions
from adapters.wan_local._settings import RealModel, WanSettings
from gateway.api.app import create_app
from gateway.api.errors import HANDLERS
from gateway.api.invalid import FIELDS
from gateway.api.video_object import AttemptSummary, GatewayPart, PlanSummary, Video
from gateway.api.wire import _LATER
from gateway.cli.exits import ExitCode
from gateway.cli.main import app as cli
from gateway.db.tables import ATTEMPT_STATES, VIDEO_STATUSES, metadata
from gateway.jobs.events import EventType
from gateway.jobs.records import LATENCY_PARTS
from gateway.jobs.runtime import open_registry
from gateway.media import ImageCode
from gateway.registry import GROUP, Registry
from gateway.settings import Settings
from gateway.spec import (
    Candidate,
    Dropped,
    Images,
    Lifecycle,
    ModelCard,
    Offer,
    OfferLimits,
    Plan,
    Preset,
    Price,
    PromptLimit,
    hooks,
)
from routing_policies._slots import BUILT_IN
from routing_policies.weighted import Weights

from ._codes import codes_in
from .conftest import reference

OURS = "reelgate"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """Every plugin of this distribution, as they are without settings."""
    names = [entry.name for entry in entry_points(group=GROUP) if entry.dist and entry.dist.name == OURS]
    return open_registry(Settings(data_dir=tmp_path_factory.mktemp("docs"), enabled_plugins=tuple(names)))


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a group that does something, with the words that call it."""
    context = typer.Context(group)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        if getattr(command, "invoke_without_command", False):
            yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


def test_every_setting_is_in_the_settings_page() -> None:
    page = reference("settings")
    assert not page.lacks({*Settings.model_fields})
    for section in (WanSettings, LocalOptions, RemoteSettings, CallerOptions):
        assert not page.lacks({*section.model_fields})
    for section in (KlingSettings, AccountSettings, KlingOptions):
        assert not page.lacks({*section.model_fields})
    for section in (StudioSettings, StudioAccount, StudioOptions):
        assert not page.lacks({*section.model_fields})
    assert not page.lacks({*get_args(RealModel)})


def test_every_plugin_and_adapter_is_in_the_settings_page(registry: Registry) -> None:
    assert not [plugin for plugin in registry.plugins if plugin.problem]
    page = reference("settings")
    assert not page.lacks(
        {*(plugin.name for plugin in registry.plugins)} - {"policies"} - {*registry.adapters}
    )
    assert not [name for name in registry.adapters if f"### {name}\n" not in page.text]


def test_every_policy_its_options_and_its_slots_are_in_the_policies_page(registry: Registry) -> None:
    page = reference("policies")
    assert not page.lacks({*registry.policies, *Weights.model_fields, *BUILT_IN})
    listed = {entry.model for lists in BUILT_IN.values() for entries in lists.values() for entry in entries}
    assert not page.lacks({model for model in listed if not model.endswith("-tiny")})


def test_every_command_and_option_is_in_the_cli_page(registry: Registry) -> None:
    page = reference("cli")
    found = list(commands(typer.main.get_command(cli)))
    found += [
        ((command.name, *words), leaf)
        for command in registry.commands
        for words, leaf in commands(typer.main.get_group(command.load()))
    ]
    assert ("keys", "create") in dict(found)
    assert ("wan", "tiny") in dict(found)
    for words, command in found:
        line = " ".join(("reelgate", *words))
        assert f"`{line}" in page.text, f"{line} is missing"
        options = {max(p.opts, key=len) for p in command.params if p.opts[0].startswith("-")}
        assert not page.lacks({*options}), line


def test_every_exit_code_is_in_the_cli_page() -> None:
    text = reference("cli").text
    assert not [code.name for code in ExitCode if f"| {code.value} | {code.name} |" not in text]


def test_every_hook_is_in_the_hooks_page() -> None:
    specs = {name for name, value in vars(hooks).items() if getattr(value, "reelgate_spec", None) is not None}
    assert specs
    page = reference("hooks")
    assert not page.lacks(specs)
    shown = {word for word in page.named if word.startswith("register_") and word.isidentifier()}
    assert shown == specs, "the page has one too many"


def test_every_route_is_in_the_api_page() -> None:
    settings = SimpleNamespace(max_body_bytes=1, metrics_public=False)
    app = create_app(SimpleNamespace(settings=settings))  # type: ignore[arg-type]  # nothing is asked of it
    routes = {
        f"{method} {route.path}"
        for route in iter_route_contexts(app.routes)
        for method in route.methods or ()
    }
    routes -= {"HEAD /openapi.json"}  # what the framework adds to its GET
    assert "POST /v1/videos" in routes
    assert not reference("api").lacks(routes)


def test_every_field_in_and_out_is_in_the_api_page() -> None:
    page = reference("api")
    assert not page.lacks({*FIELDS, *_LATER, "n"})
    for value in (Video, GatewayPart, AttemptSummary, PlanSummary, Plan, Candidate, Dropped):
        assert not page.lacks({*value.model_fields}), value.__name__
    assert not page.lacks({*VIDEO_STATUSES, *LATENCY_PARTS, *get_args(EventType)})


def test_every_code_of_a_refused_request_is_in_the_errors_page() -> None:
    told = HANDLERS[HTTPException]
    request: Any = SimpleNamespace(method="GET", url=SimpleNamespace(path="/"))
    codes = {told(HTTPException(status), request).code for status in (400, 404, 405)}
    codes |= codes_in("gateway/api") | {*get_args(ImageCode)}
    assert {"invalid_value", "nothing_fits", "unknown_url", "image_broken", "storage_full"} <= codes
    assert not reference("errors").lacks(codes)


def test_every_code_of_a_failed_video_is_in_the_errors_page() -> None:
    codes = codes_in("gateway/jobs", "gateway/spec/errors.py", "gateway/media/errors.py", "gateway/kit/http")
    codes |= codes_in("adapters", calls=["Failed"])
    assert {"worker_lost", "out_of_memory", "gave_up", "deadline_exceeded", "outcome_unknown"} <= codes
    assert not reference("errors").lacks(codes)


def test_every_reason_and_note_is_in_the_errors_page() -> None:
    codes = codes_in("gateway/routing", "routing_policies") | codes_in("adapters", calls=["Unready", "Note"])
    codes |= codes_in("adapters/wan_local/_weights.py") | codes_in("gateway/jobs", calls=["Note"])
    assert {"no_adapter", "over_budget", "no_weights", "audio_dropped", "seed_used", "test_weights"} <= codes
    assert not reference("errors").lacks(codes)


def test_every_field_of_a_card_and_fault_of_the_join_is_in_the_cards_page() -> None:
    page = reference("cards")
    for value in (ModelCard, Images, PromptLimit, Lifecycle, Offer, OfferLimits, Preset, Price):
        assert not page.lacks({*value.model_fields}), value.__name__
    faults = codes_in("gateway/catalog/catalog.py")
    assert "duplicate_model" in faults
    assert not page.lacks(faults)


def test_the_card_on_the_cards_page_is_the_fixtures() -> None:
    fixture = Path(__file__).parents[2] / "fixtures" / "reelgate-comet" / "reelgate_comet" / "cards.yaml"
    assert fixture.read_text() in reference("cards").text


def test_every_table_column_and_state_is_in_the_tables_page() -> None:
    page = reference("tables")
    assert not page.lacks({*metadata.tables, *ATTEMPT_STATES})
    for table in metadata.tables.values():
        line = next(part for part in page.text.split("\n- ") if part.startswith(f"`{table.name}`:"))
        assert not [column.name for column in table.columns if f"`{column.name}`" not in line], table.name
