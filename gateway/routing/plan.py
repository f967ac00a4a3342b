"""Decide how a request is served: pure, synchronous; the dry run, the job and the CLI all run this.

Hard rules first, each exclusion with its reason; then the policy orders what is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.routing.accounts import choose_account
from gateway.routing.excluded import Excluded
from gateway.routing.facts import Facts
from gateway.routing.notes import candidate_notes
from gateway.routing.pairings import paired_output
from gateway.routing.quote import make_quote
from gateway.routing.rules import check_card, check_offer, check_preset
from gateway.spec import (
    Candidate,
    Dropped,
    ModelCard,
    Offer,
    Output,
    Plan,
    PolicyInput,
    Preset,
    ReelgateError,
    VideoRequest,
)

AUTO = "auto"

NO_STAND_IN = Excluded("test_weights", "test weights only serve where nothing else can")


class UnknownModel(ReelgateError):
    """No card has this id or alias."""

    code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no model named {name!r}; leave it out, or say 'auto', to have one chosen")
        self.name = name


def plan(request: VideoRequest, facts: Facts) -> Plan:
    """Choose among all models, or among the named one's own offers.

    Raises:
        UnknownModel: ``request.model`` is neither ``auto`` nor any card's id or alias.
    """
    if request.model == AUTO:
        return _decide(request, facts, facts.cards)
    card = find_card(request.model, facts)
    if card is None:
        raise UnknownModel(request.model)
    decided = _decide(request, facts, (card,))
    if decided.chosen is not None:
        return decided
    return decided.model_copy(update={"alternative": _alternative(request, facts, card)})


def find_card(name: str, facts: Facts) -> ModelCard | None:
    """The card with this id or alias, or None."""
    model = facts.aliases.get(name, name)
    return next((card for card in facts.cards if card.id == model), None)


def _decide(request: VideoRequest, facts: Facts, cards: Sequence[ModelCard]) -> Plan:
    fitting: list[Candidate] = []
    dropped: list[Dropped] = []
    for card in cards:
        for outcome in _consider(request, facts, card):
            if isinstance(outcome, Candidate):
                fitting.append(outcome)
            else:
                dropped.append(outcome)
    ordered = facts.policy.order(_policy_input(request, facts), fitting)
    policy = facts.policy.name
    candidates, stand_ins = _set_stand_ins_apart(ordered.candidates, facts)
    dropped += [NO_STAND_IN.dropped(*_way(candidate)) for candidate in stand_ins]
    chosen_ways = {_way(candidate) for candidate in ordered.candidates}
    passed_over = Excluded("not_in_slot", f"the {ordered.branch} rule of policy {policy} does not list it")
    dropped += [passed_over.dropped(*_way(c)) for c in fitting if _way(c) not in chosen_ways]
    return Plan(
        chosen=candidates[0] if candidates else None,
        candidates=candidates,
        dropped=tuple(dropped),
        notes=ordered.notes,
        policy=policy,
        branch=ordered.branch,
    )


def _set_stand_ins_apart(
    candidates: tuple[Candidate, ...], facts: Facts
) -> tuple[tuple[Candidate, ...], tuple[Candidate, ...]]:
    """Test weights serve where nothing real does; they never follow a real model that failed."""
    stand_in = {card.id for card in facts.cards if card.test_weights}
    real = tuple(candidate for candidate in candidates if candidate.model not in stand_in)
    if not real:
        return candidates, ()
    return real, tuple(candidate for candidate in candidates if candidate.model in stand_in)


def _policy_input(request: VideoRequest, facts: Facts) -> PolicyInput:
    return PolicyInput(
        request=request,
        tier=request.tier or facts.tier,
        tiers=facts.tiers,
        cards={card.id: card for card in facts.cards},
        local_adapters=frozenset(name for name, adapter in facts.adapters.items() if adapter.kind == "local"),
        options=facts.policy_options,
    )


def _way(candidate: Candidate) -> tuple[str, str, str]:
    return candidate.model, candidate.offer, candidate.preset


def _consider(request: VideoRequest, facts: Facts, card: ModelCard) -> Iterator[Candidate | Dropped]:
    """Every way to have this model; a reason that holds for the whole card is given once."""
    try:
        check_card(request, card, facts.today)
        output = paired_output(request, card)
    except Excluded as excluded:
        yield excluded.dropped(card.id)
        return
    for offer in card.offers:
        yield from _consider_offer(request, facts, card, offer, output)


def _consider_offer(
    request: VideoRequest, facts: Facts, card: ModelCard, offer: Offer, output: Output
) -> Iterator[Candidate | Dropped]:
    try:
        check_offer(request, card, offer, facts)
        if offer.narrows:
            output = paired_output(request, card, offer)
    except Excluded as excluded:
        yield excluded.dropped(card.id, offer.id)
        return
    for preset in offer.presets:
        try:
            made = output if not preset.resolutions else _narrowed(request, card, offer, preset)
            yield _candidate(request, facts, card, offer, preset, made)
        except Excluded as excluded:
            yield excluded.dropped(card.id, offer.id, preset.name)


def _narrowed(request: VideoRequest, card: ModelCard, offer: Offer, preset: Preset) -> Output:
    """The clip that a preset makes which does not make all that its offer does."""
    limits = offer.limits.model_copy(update={"resolutions": preset.resolutions})
    return paired_output(request, card, offer.model_copy(update={"limits": limits}))


def _candidate(
    request: VideoRequest, facts: Facts, card: ModelCard, offer: Offer, preset: Preset, output: Output
) -> Candidate:
    check_preset(request, offer, preset, facts)
    account = choose_account(facts.adapters[offer.adapter].accounts, offer.id, continues=request.continues)
    if account is None:
        raise Excluded("no_account", f"{offer.adapter} has no account for {offer.id}")
    quote = make_quote(request, facts, card, offer, preset, output)
    return Candidate(
        model=card.id,
        offer=offer.id,
        adapter=offer.adapter,
        account=account.name,
        preset=preset.name,
        output=output,
        estimate_usd=quote.estimate_usd,
        price_version=quote.price_version,
        eta_ms=quote.eta_ms,
        notes=candidate_notes(request, card, offer, output, facts.today),
    )


def _alternative(request: VideoRequest, facts: Facts, refused: ModelCard) -> str | None:
    """The retired model's successor if that would do, else what ``auto`` would choose, else None."""
    lifecycles = (refused.lifecycle, *(offer.lifecycle for offer in refused.offers))
    names = [life.successor for life in lifecycles if life.successor and life.retired(facts.today)]
    for successor in (find_card(name, facts) for name in names):
        if successor is not None:
            instead = request.model_copy(update={"model": successor.id})
            if _decide(instead, facts, (successor,)).chosen is not None:
                return successor.id
    anyone = _decide(request.model_copy(update={"model": AUTO}), facts, facts.cards)
    return anyone.chosen.model if anyone.chosen is not None else None
