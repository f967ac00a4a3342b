"""What each remote adapter offers, and the test that covers it: ``python -m tests.contract.capabilities``.

What is *offered* is read off the cards (prices that are mere guesses, and so not routed on, left out), off
the protocols that an adapter has, and off its code. It is *tested* only if the test that is named below
exists: ``test_capabilities.py`` sees to it that none is missing and none is left over.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from gateway.registry import SANDBOX, Registry, load_registry
from gateway.spec import (
    LooksUp,
    ModelCard,
    Offer,
    ParsesWebhooks,
    PluginContext,
    PollsMany,
    Price,
    RemoteAdapter,
)

ROOT = Path(__file__).parents[2]
ADAPTERS = ("dashscope_wan", "gemini_omni", "kling", "openai_videos", "seedance", "veo")
MATRIX = "tests/acceptance/test_fault_matrix.py::test_side_by_side"
"""Asserts of every clip that it has the sound that was planned, or a note."""

Ways = Sequence[tuple[ModelCard, Offer]]


def _prices(offer: Offer) -> Sequence[Price]:
    return [price for price in offer.prices if price.source.confidence != "low"]


def _priced_by(differs: Callable[[Price], object]) -> Callable[[RemoteAdapter, Ways], bool]:
    """True if an offer has prices that differ in this."""
    return lambda _, ways: any(len({differs(price) for price in _prices(offer)}) > 1 for _, offer in ways)


def _priced_in(unit: str) -> Callable[[RemoteAdapter, Ways], bool]:
    return lambda _, ways: any(price.unit == unit for _, offer in ways for price in _prices(offer))


def _can_stop(adapter: RemoteAdapter) -> bool:
    """True if its ``cancel`` can answer anything but False."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(type(adapter).cancel)))
    answers = [node.value for node in ast.walk(tree) if isinstance(node, ast.Return)]
    return any(not (isinstance(one, ast.Constant) and one.value is False) for one in answers)


def _tasks(card: ModelCard, offer: Offer) -> Sequence[str]:
    return [task for task in card.tasks if not offer.limits.tasks or task in offer.limits.tasks]


OFFERED: Mapping[str, Callable[[RemoteAdapter, Ways], bool]] = {
    "text to video": lambda _, ways: any("text-to-video" in _tasks(*way) for way in ways),
    "image to video": lambda _, ways: any("image-to-video" in _tasks(*way) for way in ways),
    "first + last frame": lambda _, ways: any(
        card.images.first_frame and card.images.last_frame and "image-to-video" in _tasks(card, offer)
        for card, offer in ways
    ),
    "audio": lambda _, ways: any(card.audio != "never" and not offer.limits.audio for card, offer in ways),
    "cancel": lambda adapter, _: _can_stop(adapter),
    "lookup": lambda adapter, _: isinstance(adapter, LooksUp),
    "webhook": lambda adapter, _: isinstance(adapter, ParsesWebhooks),
    "batch poll": lambda adapter, _: isinstance(adapter, PollsMany),
    "price by second": _priced_in("second"),
    "price by token": _priced_in("token"),
    "price by resolution": _priced_by(lambda price: price.resolutions),
    "price by audio": _priced_by(lambda price: price.audio),
    "price by tier": _priced_by(lambda price: price.presets),
    "price by task": _priced_by(lambda price: price.tasks),
}
"""Each capability, and what shows that an adapter with these models and offers has it."""

COVERED: Mapping[str, Mapping[str, str]] = {
    "dashscope_wan": {
        "text to video": "wire::test_a_create_as_it_leaves",
        "image to video": "wire::test_a_create_as_it_leaves",
        "first + last frame": "wire::test_first_and_last_frame_of_2_2_have_a_path_of_their_own",
        "audio": "wire::test_a_create_as_it_leaves",
        "cancel": "wire::test_cancel",
        "lookup": "wire::test_a_lost_job_is_found_by_what_it_asked_for",
        "price by second": "sandbox::test_what_is_planned_is_what_is_billed",
        "price by resolution": "sandbox::test_what_is_planned_is_what_is_billed",
    },
    "gemini_omni": {
        "text to video": "wire::test_text_to_video_byte_for_byte",
        "image to video": "wire::test_images_go_inside_the_request_with_their_task",
        "first + last frame": "wire::test_the_first_frame_goes_before_the_last",
        "audio": MATRIX,
        "cancel": "wire::test_cancelling_is_answered",
        "price by token": "sandbox::test_what_is_settled_is_the_bill_and_the_plan_is_hardly_above_it",
    },
    "kling": {
        "text to video": "wire::test_a_text_to_video_order_of_2026_byte_for_byte",
        "image to video": "wire::test_frames_of_2026_are_contents_and_set_the_shape",
        "first + last frame": "wire::test_frames_of_2026_are_contents_and_set_the_shape",
        "audio": "wire::test_the_older_modes_and_sound",
        "lookup": "wire::test_a_task_of_2026_is_found_by_our_id",
        "webhook": "wire::test_a_signed_callback_is_the_documented_vector",
        "batch poll": "wire::test_many_are_asked_for_at_once_and_answered_in_order",
        "price by second": "sandbox::test_the_plans_price_is_what_the_double_bills",
        "price by resolution": "sandbox::test_the_plans_price_is_what_the_double_bills",
        "price by audio": "sandbox::test_the_plans_price_is_what_the_double_bills",
    },
    "openai_videos": {
        "text to video": "wire::test_text_to_video_leaves_as_openais_own_sdk_sends_it",
        "image to video": "wire::test_a_first_frame_of_the_right_size_goes_as_it_is",
        "audio": MATRIX,
        "cancel": "wire::test_a_reelgate_cancels_by_a_call",
        "lookup": "wire::test_a_lost_job_is_found_by_all_that_the_list_shows",
        "webhook": "wire::test_a_signed_event_names_its_job",
        "price by second": "sandbox::test_the_plans_price_is_the_bill",
    },
    "seedance": {
        "text to video": "wire::test_what_is_ordered_from_text",
        "image to video": "wire::test_what_is_ordered_from_images",
        "first + last frame": "wire::test_what_is_ordered_from_images",
        "audio": "wire::test_what_is_ordered_from_text",
        "cancel": "wire::test_cancelling_what_waits",
        "lookup": "wire::test_a_lost_job_is_found_by_its_tag_on_any_page",
        "webhook": "wire::test_a_callback_names_its_task_and_is_not_believed",
        "batch poll": "wire::test_many_are_looked_at_by_the_list",
        "price by token": "sandbox::test_what_the_gateway_reckons_is_what_the_fake_bills",
        "price by resolution": "sandbox::test_what_the_gateway_reckons_is_what_the_fake_bills",
        "price by audio": "sandbox::test_what_the_gateway_reckons_is_what_the_fake_bills",
        "price by tier": "sandbox::test_what_the_gateway_reckons_is_what_the_fake_bills",
    },
    "veo": {
        "text to video": "wire::test_text_to_video",
        "image to video": "wire::test_first_and_last_frame",
        "first + last frame": "wire::test_first_and_last_frame",
        "audio": "wire::test_sound",
        "price by second": "sandbox::test_the_plan_and_the_bill_agree",
        "price by resolution": "sandbox::test_the_plan_and_the_bill_agree",
    },
}
"""By adapter and capability: the test; ``wire`` and ``sandbox`` are files of the adapter's own."""


def offered() -> Iterator[tuple[str, str, bool]]:
    """Adapter, capability, and whether the adapter offers it."""
    with tempfile.TemporaryDirectory() as folder:
        registry = load_registry(
            PluginContext(settings={}, data_dir=Path(folder)),
            enabled=ADAPTERS,
            sandbox_url="http://127.0.0.1:9",
        )
    for name in ADAPTERS:
        adapter, ways = registry.remote(name, SANDBOX), _ways(registry, name)
        yield from ((name, what, has(adapter, ways)) for what, has in OFFERED.items())


def address(adapter: str, test: str) -> str:
    """A test as pytest takes it: its file, two colons, its name."""
    file, _, name = test.partition("::")
    return f"tests/unit/{adapter}/test_{file}.py::{name}" if file in ("wire", "sandbox") else test


def exists(test: str) -> bool:
    """True if there is a test with this address."""
    path, _, name = test.partition("::")
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    if not (ROOT / path).is_file():
        return False
    tree = ast.parse((ROOT / path).read_text())
    return any(isinstance(node, functions) and node.name == name for node in ast.walk(tree))


def _ways(registry: Registry, adapter: str) -> Ways:
    return [
        (card, offer) for card in registry.catalog.cards for offer in card.offers if offer.adapter == adapter
    ]


def main() -> None:
    """Print the table, and below it the tests."""
    table = {(name, what): has for name, what, has in offered()}
    wide = max(map(len, OFFERED))
    print(" ".join([" " * wide, *(f"{name:13}" for name in ADAPTERS)]))
    for what in OFFERED:
        cells = (_cell(name, what, has=table[name, what]) for name in ADAPTERS)
        print(" ".join([f"{what:{wide}}", *(f"{cell:13}" for cell in cells)]).rstrip())
    if "--tests" in sys.argv:
        for name, tests in COVERED.items():
            for what, test in tests.items():
                print(f"{name}: {what}: {address(name, test)}")


def _cell(adapter: str, what: str, *, has: bool) -> str:
    test = COVERED[adapter].get(what)
    if not has:
        return "not offered"
    return "tested" if test is not None and exists(address(adapter, test)) else "NOT TESTED"


if __name__ == "__main__":
    main()
