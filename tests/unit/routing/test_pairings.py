"""What goes together only so is known when it is planned: refused with what it needs, or made to fit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.kit.cards import load_cards
from gateway.routing import plan
from gateway.routing.excluded import Excluded
from gateway.routing.pairings import paired_output
from gateway.spec import ModelCard, Output, Pairing, VideoRequest

CARDS = {
    card.id: card
    for adapter in ("veo", "kling", "seedance", "dashscope_wan", "gemini_omni")
    for card in load_cards(f"adapters.{adapter}").models
}
FIRST, LAST, REFERENCE = ["first_frame"], ["last_frame"], ["reference"]
BOTH = [*FIRST, *LAST]

REFUSED = [
    ("veo-3.1", {"resolution": "1080p", "seconds": "4"}, [], "veo-3.1 at 1080p needs 8 s, not 4 s"),
    ("veo-3.1", {"size": "2160x3840", "seconds": "6"}, [], "veo-3.1 at 4k needs 8 s, not 6 s"),
    ("veo-3.1-fast", {"seconds": "4"}, REFERENCE, "veo-3.1-fast with a reference image needs 8 s, not 4 s"),
    ("veo-3.1-lite", {"resolution": "1080p", "seconds": "4"}, [], "veo-3.1-lite at 1080p needs 8 s, not 4 s"),
    (
        "kling-2.6",
        {"audio": "required", "resolution": "720p"},
        [],
        "kling-2.6 with sound needs 1080p, not 720p",
    ),
    ("kling-2.6", {"audio": "required"}, BOTH, "kling-2.6 with a last frame needs no sound"),
    (
        "kling-2.6",
        {"resolution": "720p"},
        LAST,
        "kling-2.6 with a last frame needs 1080p, not 720p and a first frame",
    ),
    (
        "kling-2.5-turbo",
        {"resolution": "720p"},
        BOTH,
        "kling-2.5-turbo with a last frame needs 1080p, not 720p",
    ),
    ("kling-3.0", {}, LAST, "kling-3.0 with a last frame needs a first frame"),
    ("seedance-1.5-pro", {}, LAST, "seedance-1.5-pro with a last frame needs a first frame"),
    (
        "seedance-2.5",
        {},
        [*BOTH, *REFERENCE],
        "seedance-2.5 with a reference image needs no first frame and no last frame",
    ),
    (
        "seedance-1.0-lite",
        {"resolution": "1080p"},
        REFERENCE,
        "seedance-1.0-lite with a reference image needs 720p or 480p, not 1080p",
    ),
    ("wan-2.2-kf2v-flash", {}, FIRST, "wan-2.2-kf2v-flash with a first frame needs a last frame"),
    ("wan-2.7", {}, LAST, "wan-2.7 with a last frame needs a first frame"),
    ("wan-3.0", {}, [*FIRST, *REFERENCE], "wan-3.0 with a reference image needs no first frame"),
    (
        "gemini-omni-1.1",
        {},
        [*FIRST, *REFERENCE],
        "gemini-omni-1.1 with a reference image needs no first frame",
    ),
]

MADE = [
    ("veo-3.1", {"resolution": "1080p"}, [], "1920x1080 8 True"),
    ("veo-3.1", {"resolution": "720p", "seconds": "4"}, BOTH, "1280x720 4 True"),
    ("kling-2.6", {"audio": "required"}, [], "1920x1080 5 True"),
    ("kling-2.6", {"audio": True, "resolution": "720p"}, [], "1280x720 5 False"),
    ("kling-2.6", {"audio": True}, BOTH, "1920x1080 5 False"),
    ("kling-2.5-turbo", {}, BOTH, "1920x1080 5 False"),
    ("kling-3.0-omni", {"audio": True, "resolution": "720p"}, [*BOTH, *REFERENCE], "1280x720 5 True"),
    ("seedance-1.0-lite", {}, REFERENCE, "1248x704 5 False"),
    ("seedance-2.5", {}, BOTH, "1280x720 5 False"),
    ("wan-2.2-kf2v-flash", {}, BOTH, "1280x720 5 False"),
]


def _request(world: Any, asked: dict[str, Any], roles: list[str]) -> VideoRequest:
    return world.request(**asked, images=[world.image(role, width=1280, height=720) for role in roles])


@pytest.mark.parametrize(("model", "asked", "roles", "said"), REFUSED)
def test_what_a_real_card_refuses_together(world, model, asked, roles, said):
    request = _request(world, asked, roles).model_copy(update={"model": model})
    decided = plan(request, world.facts(CARDS[model].model_copy(update={"offers": (world.offer(model),)})))
    assert decided.chosen is None
    (dropped,) = decided.dropped
    assert (dropped.code, dropped.offer, dropped.detail) == ("pairing_unsupported", None, said)


@pytest.mark.parametrize(("model", "asked", "roles", "made"), MADE)
def test_what_a_real_card_makes_of_what_was_left_open(world, model, asked, roles, made):
    output = paired_output(_request(world, asked, roles), CARDS[model])
    assert f"{output.size} {output.seconds} {output.audio}" == made


def test_every_model_that_takes_a_last_frame_or_references_says_what_they_need():
    """All but Veo's, whose last frame needs none and whose references go with frames."""
    for card in CARDS.values():
        rules = {role: rule.needs for rule in card.pairings for role in rule.when.images}
        if card.images.last_frame and not card.id.startswith("veo"):
            assert "first_frame" in rules["last_frame"].images, card.id
        if card.images.references and not card.id.startswith(("veo", "kling")):
            assert any(rule.needs.without for rule in card.pairings if "reference" in rule.when.images), (
                card.id
            )


def test_a_wish_that_gives_way_is_a_note_and_a_condition_another_way(world):
    card = CARDS["kling-2.6"].model_copy(update={"offers": (world.offer("kling-2.6"),)})
    (way,) = plan(_request(world, {"audio": True, "model": card.id}, BOTH), world.facts(card)).candidates
    assert [(note.code, note.detail) for note in way.notes if note.code.startswith("audio")] == [
        (
            "audio_dropped",
            "kling-2.6 makes no sound with what else was asked for; ask for audio: required to insist",
        )
    ]


def test_an_offers_pairing_is_its_own_and_what_was_left_open_is_set_within_its_limits(world):
    rule = {"when": {"resolutions": ["720p"]}, "needs": {"seconds": ["9", "4"]}}
    limits = {"durations": {"values": ["4", "5"], "default": "5"}}
    plain, tied = world.offer("one"), world.offer("one", id="tied", pairings=[rule], limits=limits)
    facts = world.facts(world.card("one", plain, tied))

    def seconds(**asked: Any) -> dict[str, Decimal]:
        decided = plan(world.request(model="one", **asked), facts)
        return {way.offer: way.output.seconds for way in decided.candidates}

    assert seconds(resolution="480p") == {"kling/one": 5, "tied": 5}
    assert seconds(resolution="720p") == {"kling/one": 5, "tied": 4}
    decided = plan(world.request(model="one", resolution="720p", seconds="5"), facts)
    (dropped,) = decided.dropped
    assert (dropped.offer, dropped.preset, dropped.code) == ("tied", None, "pairing_unsupported")
    assert dropped.detail == "tied at 720p needs 9 or 4 s, not 5 s"


def test_a_size_left_open_is_raised_to_what_is_needed_within_what_a_preset_makes(world):
    rule = {"when": {"audio": True}, "needs": {"resolutions": ["720p"]}}
    presets = [{**world.preset("any"), "resolutions": []}, {**world.preset("draft"), "resolutions": ["480p"]}]
    card = world.card("one", world.offer("one", presets=presets), audio="optional", pairings=[rule])
    decided = plan(world.request(model="one", audio="required", aspect_ratio="9:16"), world.facts(card))
    assert [(way.preset, way.output.size) for way in decided.candidates] == [("any", "720x1280")]
    (dropped,) = decided.dropped
    assert (dropped.preset, dropped.code) == ("draft", "pairing_unsupported")
    decided = plan(world.request(model="one", audio=True, aspect_ratio="9:16"), world.facts(card))
    assert [(way.preset, way.output.size, way.output.audio) for way in decided.candidates] == [
        ("any", "720x1280", True),
        ("draft", "480x832", False),
    ]


@pytest.mark.parametrize("half", [{"needs": {"seconds": ["8"]}}, {"when": {"audio": True}}])
def test_half_a_pairing_is_none(half):
    with pytest.raises(ValueError, match="something in when and something in needs"):
        Pairing.model_validate({"when": {}, "needs": {}, **half})


SECONDS, RESOLUTIONS, ROLES = ("4", "8"), ("480p", "720p"), ("first_frame", "last_frame", "reference")
subsets = st.lists(st.sampled_from(ROLES), max_size=2, unique=True)
pairings = st.fixed_dictionaries(
    {
        "when": st.fixed_dictionaries(
            {
                "resolutions": st.lists(st.sampled_from(RESOLUTIONS), max_size=1),
                "audio": st.sampled_from([None, True]),
                "images": subsets,
            }
        ).filter(lambda when: any(when.values())),
        "needs": st.fixed_dictionaries(
            {
                "seconds": st.lists(st.sampled_from(SECONDS), max_size=1),
                "resolutions": st.lists(st.sampled_from(RESOLUTIONS), max_size=1),
                "audio": st.sampled_from([None, False]),
                "images": subsets,
                "without": subsets,
            }
        ).filter(lambda needs: needs["audio"] is False or any(needs.values())),
    }
).map(Pairing.model_validate)
wishes = st.fixed_dictionaries(
    {
        "seconds": st.sampled_from([None, *SECONDS]),
        "resolution": st.sampled_from([None, *RESOLUTIONS]),
        "audio": st.sampled_from([None, False, True, "required"]),
    }
)


def _kept(rule: Pairing, card: ModelCard, roles: list[str], output: Output) -> bool:
    """What a pairing says, written once more."""
    resolution = card.resolution_of(output.size)
    when, needs = rule.when, rule.needs
    if when.resolutions and resolution not in when.resolutions:
        return True
    if (when.audio and not output.audio) or (when.images and not set(when.images) & set(roles)):
        return True
    return (
        (not needs.seconds or output.seconds in needs.seconds)
        and (not needs.resolutions or resolution in needs.resolutions)
        and not (needs.audio is False and output.audio)
        and set(needs.images) <= set(roles)
        and not set(needs.without) & set(roles)
    )


def _made(request: VideoRequest, card: ModelCard) -> Output | None:
    try:
        return paired_output(request, card)
    except Excluded as excluded:
        if excluded.code != "pairing_unsupported":
            raise
        return None


def _open(asked: dict[str, Any], card: ModelCard, rules: list[Pairing]) -> list[Output]:
    """All that the caller's words allow: for what they left open the usual, or what a pairing names."""
    resolutions = {"480p", *(name for rule in rules for name in rule.needs.resolutions)}
    seconds = {Decimal(4), *(value for rule in rules for value in rule.needs.seconds)}
    audio = {None: [False], False: [False], True: [True, False], "required": [True]}
    return [
        Output(size=card.sizes[name][0], seconds=value, fps=16, audio=sound)
        for name in ([asked["resolution"]] if asked["resolution"] else resolutions)
        for value in ([Decimal(asked["seconds"])] if asked["seconds"] else seconds)
        for sound in audio[asked["audio"]]
    ]


@settings(max_examples=400, deadline=None, derandomize=True)
@given(rules=st.lists(pairings, min_size=1, max_size=2), asked=wishes, roles=subsets)
def test_what_is_made_keeps_every_pairing_and_one_alone_refuses_only_what_cannot_be(
    world, rules, asked, roles
):
    every = {"first_frame": True, "last_frame": True, "references": 3}
    durations = {"values": SECONDS, "default": "4"}
    card = world.card(
        "one",
        audio="optional",
        durations=durations,
        images=every,
        pairings=[rule.model_dump() for rule in rules],
    )
    request = _request(world, asked, roles)
    made = _made(request, card)
    if made is None:
        assert len(rules) > 1 or not any(
            _kept(rules[0], card, roles, one) for one in _open(asked, card, rules)
        )
    else:
        assert all(_kept(rule, card, roles, made) for rule in rules)
        assert made in _open(asked, card, rules)
