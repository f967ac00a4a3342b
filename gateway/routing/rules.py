"""The hard rules, in the order in which they are asked; the first that fails is the reason given.

After a card's or an offer's rules comes what :mod:`gateway.routing.output` cannot resolve (size, duration)
and what :mod:`gateway.routing.pairings` does not find together, after a preset's what
:mod:`gateway.routing.quote` cannot price or does not find within the limits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from gateway.routing.accounts import choose_account, serving, why_none
from gateway.routing.excluded import Excluded
from gateway.routing.facts import Facts
from gateway.routing.output import makes_audio
from gateway.spec import Images, InputImage, Lifecycle, ModelCard, Offer, Preset, VideoRequest

CardRule = Callable[[VideoRequest, ModelCard, date], None]
OfferRule = Callable[[VideoRequest, ModelCard, Offer, Facts], None]
PresetRule = Callable[[VideoRequest, Offer, Preset, Facts], None]


def check_card(request: VideoRequest, card: ModelCard, today: date) -> None:
    """Can this model serve the request, wherever it runs?

    Raises:
        Excluded: it cannot; the reason holds for every offer.
    """
    for rule in CARD_RULES:
        rule(request, card, today)


def check_offer(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    """Can this offer serve the request, under any preset?

    Raises:
        Excluded: it cannot; the reason holds for every preset.
    """
    for rule in OFFER_RULES:
        rule(request, card, offer, facts)


def check_preset(request: VideoRequest, offer: Offer, preset: Preset, facts: Facts) -> None:
    """Can this preset serve the request, as the gateway is configured now?

    Raises:
        Excluded: it cannot.
    """
    for rule in PRESET_RULES:
        rule(request, offer, preset, facts)


def _refuse_retired(who: str, lifecycle: Lifecycle, today: date) -> None:
    if lifecycle.retired(today):
        successor = f"; its successor is {lifecycle.successor}" if lifecycle.successor else ""
        raise Excluded("retired", f"{who} was retired on {lifecycle.retired_on}{successor}")


def _card_alive(request: VideoRequest, card: ModelCard, today: date) -> None:
    _refuse_retired(card.id, card.lifecycle, today)


def _card_task(request: VideoRequest, card: ModelCard, today: date) -> None:
    if request.task not in card.tasks:
        raise Excluded("task_unsupported", f"{card.id} does {', '.join(card.tasks)}, not {request.task}")


def _card_images(request: VideoRequest, card: ModelCard, today: date) -> None:
    if not request.images:
        return
    takes = card.images
    allowed = {
        "first_frame": int(takes.first_frame),
        "last_frame": int(takes.last_frame),
        "reference": takes.references,
    }
    for role, most in allowed.items():
        given = sum(image.role == role for image in request.images)
        if given > most:
            can = ", ".join(f"{n} {name}" for name, n in allowed.items() if n) or "no image"
            raise Excluded("image_role_unsupported", f"{card.id} takes {can}; {given} {role} was given")


def _card_image_shapes(request: VideoRequest, card: ModelCard, today: date) -> None:
    for image in request.images:
        unsuitable = _shape_refused(image, card.images)
        if unsuitable:
            raise Excluded("image_unsuitable", f"{card.id} takes images {unsuitable}")


def _shape_refused(image: InputImage, takes: Images) -> str | None:
    """The limit that the image does not keep, with its own figure, or None."""
    width, height = image.width, image.height
    sides = f"the {image.role} has {width}x{height}"
    short, long = sorted((width, height))
    if takes.min_side is not None and short < takes.min_side:
        return f"of at least {takes.min_side} px a side; {sides}"
    if takes.max_side is not None and long > takes.max_side:
        return f"of at most {takes.max_side} px a side; {sides}"
    if takes.max_ratio is not None and long > takes.max_ratio * short:
        return f"of at most {takes.max_ratio.normalize():f}:1; {sides}, which is {long / short:.2f}:1"
    if takes.max_bytes is not None and image.bytes > takes.max_bytes:
        return f"of at most {takes.max_bytes:,} bytes; the {image.role}, written anew, has {image.bytes:,}"
    return None


def _card_prompt(request: VideoRequest, card: ModelCard, today: date) -> None:
    limit = card.prompt_limit
    if limit.refused and limit.characters is not None and len(request.prompt) > limit.characters:
        raise Excluded(
            "prompt_too_long",
            f"{card.id} takes prompts of at most {limit.characters:,} characters; this one has"
            f" {len(request.prompt):,}",
        )


def _card_audio(request: VideoRequest, card: ModelCard, today: date) -> None:
    if request.audio == "required" and not makes_audio(card):
        raise Excluded("audio_unsupported", f"{card.id} makes no sound, and audio is required")


def _card_offered(request: VideoRequest, card: ModelCard, today: date) -> None:
    if not card.offers:
        raise Excluded("no_offer", f"no plugin and no setting offers {card.id} anywhere")


def _offer_alive(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    _refuse_retired(offer.id, offer.lifecycle, facts.today)


def _offer_there(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    gone = facts.gone.get(offer.id)
    if gone is not None:
        raise Excluded(
            "retired",
            f"{offer.id}: its provider said on {gone.since:%Y-%m-%d} that the model is gone: {gone.said} "
            f"If it is back, the operator runs `reelgate offers restore {offer.id}`.",
        )


def _offer_adapter(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    if offer.adapter not in facts.adapters and facts.sandboxed:
        raise Excluded("no_stand_in", f"the adapter {offer.adapter!r} has no stand-in for test mode")
    if offer.adapter not in facts.adapters:
        raise Excluded("no_adapter", f"no adapter named {offer.adapter!r} is installed")


def _offer_account(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    accounts = serving(facts.adapters[offer.adapter].accounts, offer.id)
    if accounts and choose_account(accounts, offer.id) is None:
        raise Excluded("account_open", f"{offer.id}: {why_none(offer.adapter, accounts)}")


def _offer_task(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    if offer.limits.tasks and request.task not in offer.limits.tasks:
        can = ", ".join(offer.limits.tasks)
        raise Excluded("task_unsupported", f"{offer.id} does {can}, not {request.task}")


def _offer_audio(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    if request.audio == "required" and not makes_audio(card, offer):
        raise Excluded("audio_unsupported", f"{offer.id} passes no sound on, and audio is required")


def _offer_slot(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    if facts.adapters[offer.adapter].kind == "remote":
        return
    pool = facts.pools.get(offer.pool) if offer.pool is not None else None
    if pool is None or pool.slots < 1:
        configured = ", ".join(sorted(name for name, pool in facts.pools.items() if pool.slots)) or "none"
        raise Excluded(
            "no_device_slot", f"device pool {offer.pool or '(unnamed)'} has no slot; pools: {configured}"
        )


def _offer_continues(request: VideoRequest, card: ModelCard, offer: Offer, facts: Facts) -> None:
    done = request.continues
    if done is not None and offer.id != done.offer:
        raise Excluded("cannot_continue", f"the preview that is continued was made by {done.offer}")


def _preset_continues(request: VideoRequest, offer: Offer, preset: Preset, facts: Facts) -> None:
    done = request.continues
    if done is None:
        return
    begun = offer.preset(done.done_preset)
    if begun is None or begun.finished_by != preset.name:
        raise Excluded("cannot_continue", f"{preset.name} does not go on from {done.done_preset}")


def _preset_asked(request: VideoRequest, offer: Offer, preset: Preset, facts: Facts) -> None:
    if request.preset not in (None, preset.name):
        raise Excluded("preset_not_asked", f"the preset asked for is {request.preset}")


def _preset_mode(request: VideoRequest, offer: Offer, preset: Preset, facts: Facts) -> None:
    if preset.finished_by is not None and request.mode != "preview":
        raise Excluded("preview_only", f"{preset.name} stops early: it serves mode preview, and nothing else")


def _preset_ready(request: VideoRequest, offer: Offer, preset: Preset, facts: Facts) -> None:
    unready = facts.unready.get((offer.id, preset.name))
    if unready is not None:
        raise Excluded(unready.code, unready.detail)


CARD_RULES: tuple[CardRule, ...] = (
    _card_alive,
    _card_task,
    _card_images,
    _card_image_shapes,
    _card_prompt,
    _card_audio,
    _card_offered,
)

OFFER_RULES: tuple[OfferRule, ...] = (
    _offer_continues,
    _offer_alive,
    _offer_there,
    _offer_adapter,
    _offer_account,
    _offer_task,
    _offer_audio,
    _offer_slot,
)

PRESET_RULES: tuple[PresetRule, ...] = (
    _preset_continues,
    _preset_asked,
    _preset_mode,
    _preset_ready,
)
