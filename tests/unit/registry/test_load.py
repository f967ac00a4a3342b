"""A broken plugin is named with its fault, brings nothing, and harms no other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from typing_extensions import override

from gateway import registry as module
from gateway.registry import GROUP, SANDBOX, Registry, load_registry
from gateway.spec import (
    Asset,
    Candidate,
    Cards,
    Check,
    Command,
    Control,
    Device,
    Job,
    LocalAdapter,
    Offer,
    Ordered,
    PluginContext,
    PolicyInput,
    Screen,
    hookimpl,
)
from tests._hand import Hand

Load = Callable[..., Registry]


@dataclass(frozen=True)
class Entry:
    """An installed entry point: loading it gives the plugin, or raises what its import raises."""

    name: str
    plugin: object
    dist: Any = None

    def load(self) -> object:
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


def adapter(named: str) -> LocalAdapter:
    class Sketch(LocalAdapter):
        name: ClassVar[str] = named

        @override
        def render(self, job: Job, device: Device, control: Control) -> Asset:
            raise NotImplementedError

    return Sketch()


class Alphabetical:
    """A policy."""

    name: ClassVar[str] = "alphabetical"

    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        return Ordered(candidates=tuple(candidates), branch="all")

    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        return []


def cards(model: str, adapter_name: str = "a") -> Cards:
    return Cards.model_validate(
        {
            "models": [
                {
                    "id": model,
                    "name": model,
                    "tasks": ["text-to-video"],
                    "sizes": {"480p": ["832x480"]},
                    "default_size": "832x480",
                    "durations": {"values": ["5"], "default": "5"},
                    "fps": {"default": 16, "min": 16, "max": 16},
                }
            ],
            "offers": [{"model": model, "adapter": adapter_name, "upstream": "u"}],
        }
    )


def plugin(**hooks: Callable[..., object]) -> SimpleNamespace:
    """A plugin with these hooks."""
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def bringing(name: str) -> SimpleNamespace:
    """A sound plugin: one adapter and one model, both called ``name``."""
    return plugin(
        register_adapters=lambda context: [adapter(name)], register_cards=lambda: [cards(name, name)]
    )


def _raise() -> list[Any]:
    raise OSError("no disc in drive A")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Loads these plugins, as if they and no others were installed."""

    def run(*entries: Entry, **given: Any) -> Registry:
        def installed(*, group: str) -> Sequence[Entry]:
            assert group == GROUP
            return entries

        monkeypatch.setattr(module, "entry_points", installed)
        context = PluginContext(settings=given.pop("settings", {}), data_dir=tmp_path)
        return load_registry(context, **given)

    return run


def _problems(registry: Registry) -> dict[str, str]:
    return {one.name: one.problem for one in registry.plugins if one.problem}


def test_a_sound_plugin_brings_all_that_its_hooks_return(load: Load) -> None:
    everything = plugin(
        register_adapters=lambda context: [adapter("a")],
        register_cards=lambda: [cards("m")],
        register_policies=lambda: [Alphabetical()],
        register_commands=lambda: [Command(name="tool", help="A tool.", load=list)],
        register_checks=lambda context: [Check(name="disc", run=lambda: None)],
        register_screens=lambda: [Screen(name="polite", prompt=lambda prompt: None)],
    )
    found = load(Entry("all", everything, SimpleNamespace(name="reelgate-all", version="1.2")))
    (about,) = found.plugins
    assert (about.name, about.distribution, about.version) == ("all", "reelgate-all", "1.2")
    assert (about.adapters, about.policies, about.problem) == (("a",), ("alphabetical",), "")
    assert found.local("a", "local").name == "a"
    assert list(found.policies) == ["alphabetical"]
    assert [card.id for card in found.catalog.cards] == ["m"]
    brought = (found.commands[0].name, found.checks[0].name, found.screens[0].name)
    assert brought == ("tool", "disc", "polite")


def test_a_plugin_is_given_the_operators_sections(load: Load) -> None:
    seen: list[Mapping[str, Any]] = []

    def look(context: PluginContext) -> list[LocalAdapter]:
        seen.append(context.section("mine"))
        return []

    load(Entry("mine", plugin(register_adapters=look)), settings={"mine": {"colour": "red"}})
    assert seen == [{"colour": "red"}]


BROKEN: dict[str, tuple[object, str]] = {
    "raises at import": (ImportError("No module named 'torch'"), "ImportError: No module named 'torch'"),
    "raises in a hook": (plugin(register_policies=_raise), "OSError: no disc in drive A"),
    "has a hook that there is none of": (plugin(register_adaptors=lambda context: []), "register_adaptors"),
    "has a hook with an argument too many": (plugin(register_cards=lambda context: []), "register_cards"),
    "returns no list": (plugin(register_cards=lambda: 7), "TypeError"),
    "returns an adapter that is none": (plugin(register_adapters=lambda context: [1]), "register_adapters"),
    "returns a policy without a name": (plugin(register_policies=lambda: [object()]), "attribute 'name'"),
    "returns two adapters of one name": (
        plugin(register_adapters=lambda context: [adapter("twin"), adapter("twin")]),
        "adapter 'twin' is already registered",
    ),
    "returns its cards without a list around them": (
        plugin(register_adapters=lambda context: [adapter("lost")], register_cards=lambda: cards("lost")),
        "register_cards",
    ),
    "returns its cards unread": (
        plugin(register_cards=lambda: [{"models": [], "offers": []}]),
        "register_cards",
    ),
    "returns a check that is none": (
        plugin(register_checks=lambda context: ["all is well"]),
        "register_checks",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_plugin_is_named_with_its_fault_and_the_rest_load(load: Load, fault: str) -> None:
    broken, words = BROKEN[fault]
    found = load(Entry("zulu", bringing("z")), Entry("mike", broken), Entry("alfa", bringing("a")))
    problems = _problems(found)
    assert list(problems) == ["mike"]
    assert words in problems["mike"]
    assert list(found.adapters) == ["a", "z"], "the broken one brings nothing, not even what was sound in it"
    assert [card.id for card in found.catalog.cards] == ["a", "z"]
    assert found.catalog.problems == ()


@pytest.mark.parametrize("order", [("alfa", "zulu"), ("zulu", "alfa")])
def test_of_two_that_share_an_adapters_name_the_later_in_the_alphabet_is_refused(
    load: Load, order: tuple[str, str]
) -> None:
    found = load(*(Entry(name, bringing("same")) for name in order))
    assert _problems(found) == {
        "zulu": "ValueError: adapter 'same' is already registered; two may not share a name"
    }
    assert found.catalog.problems == (), "the refused one's cards are not brought in either"


def test_of_two_that_share_a_policys_name_the_later_is_refused(load: Load) -> None:
    found = load(*(Entry(name, plugin(register_policies=lambda: [Alphabetical()])) for name in ("p", "q")))
    assert _problems(found) == {
        "q": "ValueError: policy 'alphabetical' is already registered; two may not share a name"
    }


def test_the_cards_of_a_plugin_without_its_adapter_are_still_listed(load: Load) -> None:
    found = load(Entry("cards", plugin(register_cards=lambda: [cards("m", "not-yet")])))
    assert found.adapters == {}
    assert [card.id for card in found.catalog.cards] == ["m"]


def test_exactly_the_enabled_ones_load(load: Load) -> None:
    entries = [Entry(name, bringing(name)) for name in ("a", "b", "c")]
    assert list(load(*entries).adapters) == ["a", "b", "c"]
    found = load(*entries, enabled=("c", "a"))
    assert list(found.adapters) == ["a", "c"]
    assert [one.name for one in found.plugins] == ["a", "c"]
    assert load(*entries, enabled=()).plugins == ()


def test_an_enabled_one_that_is_missing_is_reported(load: Load) -> None:
    found = load(Entry("a", bringing("a")), enabled=("a", "nowhere"))
    assert _problems(found) == {"nowhere": "not installed"}
    assert list(found.adapters) == ["a"]


def test_a_plugin_that_is_not_enabled_is_not_even_imported(load: Load) -> None:
    found = load(Entry("bad", ImportError("boom")), Entry("a", bringing("a")), enabled=("a",))
    assert _problems(found) == {}


def test_the_operators_offers_join_the_plugins_models(load: Load) -> None:
    offer = Offer(model="a", adapter="a", upstream="u2", id="mine")
    found = load(Entry("a", bringing("a")), offers=(offer,))
    assert found.catalog.offer("mine") is not None


def test_the_built_in_plugins_come_by_the_same_door(tmp_path: Path) -> None:
    context = PluginContext(settings={}, data_dir=tmp_path)
    found = load_registry(context, enabled=("echo", "policies"))
    assert _problems(found) == {}
    assert {"echo", "echo_remote"} <= set(found.adapters)
    assert set(found.policies) >= {"tiered", "cheapest"}


def test_a_stand_in_is_asked_with_that_account_of_the_sandboxs_that_has_the_offer(tmp_path: Path) -> None:
    context = PluginContext(settings={}, data_dir=tmp_path)
    registry = load_registry(context, enabled=("dashscope_wan",), sandbox_url="http://127.0.0.1:1")
    offers = [offer for card in registry.catalog.cards for offer in card.offers]
    regions = {offer.region: registry.own_account(offer, SANDBOX) for offer in offers}
    assert (regions["singapore"], regions["beijing"]) == ("default", "beijing")
    assert registry.own_account(offers[0], "theirs") == "theirs"


def test_no_account_may_have_the_name_that_means_test_mode(load: Load) -> None:
    hand = Hand()
    hand.accounts = ("default", "sandbox")
    found = load(Entry("hand", plugin(register_adapters=lambda context: [hand])))
    assert "sandbox" in _problems(found)["hand"]
    assert not found.adapters


def test_a_plugin_whose_stand_in_is_broken_serves_all_the_same(load: Load) -> None:
    class Broken:
        name = "a"

        def settings(self, url: str) -> Mapping[str, Any]:
            raise OSError("no disc in drive A")

    sound = plugin(register_adapters=lambda context: [adapter("a")], register_sandbox=lambda: [Broken()])
    found = load(Entry("one", sound), sandbox_url="http://127.0.0.1:9")
    assert list(found.adapters) == ["a"]
    assert not found.stand_ins
    assert "stand-in" in _problems(found)["one"]
