"""The plan of one request: what runs where and why, and why nothing else does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from gateway.spec._value import Money, Name, Note, Value
from gateway.spec.card import ModelCard
from gateway.spec.job import Output
from gateway.spec.request import VideoRequest


class Candidate(Value):
    """A way to serve the request that no hard rule excludes; ``reason`` says why it stands where it does."""

    model: Name
    offer: str
    adapter: Name
    account: str
    preset: Name
    output: Output
    estimate_usd: Money
    price_version: str
    eta_ms: int | None = None
    reason: str = ""
    notes: tuple[Note, ...] = ()


class Dropped(Value):
    """A way that was left out, with its reason."""

    model: str
    offer: str | None = None
    preset: str | None = None
    code: Name
    detail: str


class Plan(Value):
    """The decision on one request; the same JSON in a dry run, a refusal and the record.

    ``candidates`` are in the order in which they are tried, ``chosen`` is the first of them or None.
    ``branch`` names the policy's rule that applied. ``alternative`` is the nearest model when a named one
    was refused.
    """

    chosen: Candidate | None
    candidates: tuple[Candidate, ...]
    dropped: tuple[Dropped, ...]
    notes: tuple[Note, ...] = ()
    policy: Name
    branch: Name
    alternative: str | None = None


@dataclass(frozen=True, kw_only=True)
class PolicyInput:
    """What a policy may look at: values only.

    ``tier`` is the request's tier with the tenant's default filled in, ``tiers`` runs from the lowest up,
    ``options`` is the operator's section for this policy.
    """

    request: VideoRequest
    tier: str
    tiers: tuple[str, ...]
    cards: Mapping[str, ModelCard]
    local_adapters: frozenset[str]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ordered:
    """A policy's answer: candidates in the order to try them, each with its reason filled in."""

    candidates: tuple[Candidate, ...]
    branch: str
    notes: tuple[Note, ...] = ()


class Policy(Protocol):
    """Orders what the hard rules left. Pure: no I/O, no clock, no randomness but its input's."""

    name: ClassVar[str]

    def order(self, given: PolicyInput, candidates: Sequence[Candidate]) -> Ordered:
        """Return those of ``candidates`` to be tried, best first; what is missing is reported as left out."""
        ...

    def validate(self, options: Mapping[str, Any], models: frozenset[str]) -> Sequence[str]:
        """Problems with the operator's section, in words; empty when it is sound."""
        ...
