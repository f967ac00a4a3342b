"""The join: every model has one owner, every offer stands under its model, every fault is told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from typing import Self

from gateway.catalog.problem import Problem
from gateway.spec import Cards, ModelCard, Offer

OPERATOR = "settings"
"""The origin of the operator's own offers."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """All models, each with its offers, in the order in which they were brought.

    ``problems`` is what was left out: it is reported, never routed.
    """

    cards: tuple[ModelCard, ...] = ()
    problems: tuple[Problem, ...] = ()

    @classmethod
    def join(cls, plugins: Sequence[tuple[str, Cards]], operator_offers: Sequence[Offer] = ()) -> Self:
        """Join what the plugins (name, cards) and the operator brought. Of two that clash the later loses.

        An id beats an alias, whoever comes first: a plugin cannot take a model's name with an alias.
        """
        join = _Join()
        for plugin, cards in plugins:
            for card in cards.models:
                join.add_model(plugin, card)
        join.settle_aliases()
        for plugin, cards in plugins:
            for offer in cards.offers:
                join.add_offer(plugin, offer)
        for offer in operator_offers:
            join.add_offer(OPERATOR, offer)
        return cls(cards=tuple(join.joined()), problems=tuple(join.problems))

    def find(self, name: str) -> ModelCard | None:
        """The card with this id or alias."""
        return self._names.get(name)

    def offer(self, offer_id: str) -> tuple[ModelCard, Offer] | None:
        """The offer with this id, and its model's card."""
        return self._offers.get(offer_id)

    def nearest(self, name: str) -> str | None:
        """The id of the model whose id or alias looks most like ``name``, for messages; None if none does."""
        close = get_close_matches(name.lower(), self._names, n=1)
        return self._names[close[0]].id if close else None

    @cached_property
    def _names(self) -> Mapping[str, ModelCard]:
        return {name: card for card in self.cards for name in (card.id, *card.aliases)}

    @cached_property
    def _offers(self) -> Mapping[str, tuple[ModelCard, Offer]]:
        return {offer.id: (card, offer) for card in self.cards for offer in card.offers}


@dataclass
class _Join:
    """The join under way. ``owners`` maps each name that is taken, id or alias, to its model and plugin."""

    models: dict[str, ModelCard] = field(default_factory=dict)
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def add_model(self, plugin: str, card: ModelCard) -> None:
        if card.id in self.owners:
            self._leave_out(
                plugin, "duplicate_model", f"model {card.id}: plugin {self.owners[card.id][1]} owns it"
            )
            return
        if card.offers:
            self._leave_out(
                plugin, "misplaced_offer", f"model {card.id}: its offers belong under the key offers"
            )
            card = card.model_copy(update={"offers": ()})
        self.owners[card.id] = (card.id, plugin)
        self.models[card.id] = card

    def settle_aliases(self) -> None:
        """Keep each card's aliases that are still free, once every id is known."""
        for card in list(self.models.values()):
            kept = tuple(alias for alias in card.aliases if self._claim(alias, card))
            self.models[card.id] = card.model_copy(update={"aliases": kept})

    def _claim(self, alias: str, card: ModelCard) -> bool:
        plugin = self.owners[card.id][1]
        if alias in self.owners:
            model, owner = self.owners[alias]
            self._leave_out(
                plugin, "duplicate_alias", f"alias {alias} of {card.id}: it means {model} of plugin {owner}"
            )
            return False
        self.owners[alias] = (card.id, plugin)
        return True

    def add_offer(self, origin: str, offer: Offer) -> None:
        if offer.model not in self.models:
            self._leave_out(origin, "unknown_model", f"offer {offer.id}: {self._unknown(offer.model)}")
        elif offer.id in self.offers:
            self._leave_out(origin, "duplicate_offer", f"offer {offer.id}: the id is taken; give it another")
        else:
            self.offers[offer.id] = offer

    def _unknown(self, name: str) -> str:
        if name in self.owners:
            return f"{name} is an alias; an offer names its model by id, {self.owners[name][0]}"
        return f"no installed plugin has a card for {name}"

    def joined(self) -> Iterator[ModelCard]:
        for card in self.models.values():
            own = tuple(offer for offer in self.offers.values() if offer.model == card.id)
            yield card.model_copy(update={"offers": own})

    def _leave_out(self, origin: str, code: str, detail: str) -> None:
        self.problems.append(Problem(origin=origin, code=code, detail=detail))
