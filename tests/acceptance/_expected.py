"""The fault matrix's two sides, adapters and faults, and how each pair of them has to end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from gateway.kit.cards import load_cards
from gateway.sandbox.faults import ALWAYS, KINDS, Fault
from gateway.spec import Lifecycle, Offer

from ._matrix import Ended

LATE_S = 25
"""The deadline of rows that end with it."""

ADVICE = "Send it again later, or ask for another model."
MEND = "Change the request before you send it again."


@dataclass(frozen=True, kw_only=True)
class Surface:
    """An API of a provider.

    ``asks``: the smallest clip that it makes; ``sounds`` if with sound. ``ways``: offer and preset of each
    candidate, in order. ``finds``: a lost job is looked up there. ``calls``: it calls back, ``signed`` or
    not. ``gave_up``: its code for a job that failed. ``tells``: it tells a late refusal of the content from
    other failures. ``links``: its results lie at addresses that expire. ``hints``: its refusals say
    themselves how long to wait where ``Retry-After`` says nothing: 13 s, so long that the account is then
    left alone. ``aside``: an offer of the same model that is retired beforehand, so that this API is all
    there is. ``whole``: all rows, not only those that are about what differs from its adapter's other API.
    """

    name: str
    adapter: str
    title: str
    asks: Mapping[str, Any]
    ways: Sequence[tuple[str, str]]
    finds: bool = False
    calls: bool = False
    signed: bool = False
    gave_up: str = "gave_up"
    tells: bool = True
    sounds: bool = True
    links: bool = True
    hints: bool = False
    aside: str | None = None
    whole: bool = True


SURFACES = (
    Surface(
        name="dashscope_wan",
        adapter="dashscope_wan",
        title="Model Studio",
        asks={"model": "wan-2.5", "resolution": "480p", "seconds": "5", "audio": True},
        ways=[("dashscope_wan/wan-2.5-t2v/beijing", "standard")],
        finds=True,
    ),
    Surface(
        name="gemini_omni",
        adapter="gemini_omni",
        title="Gemini",
        asks={"model": "gemini-omni-1.1", "resolution": "720p", "seconds": "3"},
        ways=[("gemini_omni/gemini-omni-1.1/gemini-api", "standard")],
        hints=True,
        links=False,
    ),
    Surface(
        name="kling",
        adapter="kling",
        title="Kling",
        asks={"model": "kling-3.0", "resolution": "720p", "seconds": "3", "audio": True},
        ways=[("kling/kling-3.0/singapore", "standard"), ("kling/kling-3.0/singapore-legacy", "standard")],
        finds=True,
        calls=True,
        signed=True,
        tells=False,
    ),
    Surface(
        name="openai_videos (Azure)",
        adapter="openai_videos",
        title="Azure OpenAI",
        asks={"model": "sora-2", "resolution": "720p", "seconds": "4"},
        ways=[("openai_videos/sora-2/azure", "standard")],
        finds=True,
        links=False,
    ),
    Surface(
        name="seedance",
        adapter="seedance",
        title="Seedance",
        asks={"model": "seedance-1.5-pro", "resolution": "480p", "seconds": "4", "audio": True},
        ways=[
            ("seedance/seedance-1.5-pro/ap-southeast", "flex"),
            ("seedance/seedance-1.5-pro/ap-southeast", "standard"),
        ],
        finds=True,
        calls=True,
    ),
    Surface(
        name="veo (Vertex AI)",
        adapter="veo",
        title="Google Veo",
        asks={"model": "veo-3.1-lite", "resolution": "720p", "seconds": "4", "audio": True},
        ways=[("veo/veo-3.1-lite/vertex", "standard")],
        gave_up="unavailable",
        links=False,
    ),
    Surface(
        name="kling (older API)",
        adapter="kling",
        title="Kling",
        asks={"model": "kling-2.5-turbo", "resolution": "720p", "seconds": "5"},
        ways=[("kling/kling-2.5-turbo/singapore-legacy", "standard")],
        finds=True,
        calls=True,
        signed=True,
        tells=False,
        sounds=False,
        aside="kling/kling-2.5-turbo/singapore",
        whole=False,
    ),
    Surface(
        name="openai_videos (OpenAI)",
        adapter="openai_videos",
        title="OpenAI",
        asks={"model": "sora-2-pro", "resolution": "720p", "seconds": "4"},
        ways=[("own/openai_videos/sora-2-pro/openai", "standard")],
        finds=True,
        aside="openai_videos/sora-2-pro/azure",
        whole=False,
        links=False,
    ),
    Surface(
        name="veo (Gemini API)",
        adapter="veo",
        title="Google Veo",
        asks={"model": "veo-3.1-fast", "resolution": "720p", "seconds": "4", "audio": True},
        ways=[("own/veo/veo-3.1-fast/gemini-api", "standard")],
        gave_up="unavailable",
        aside="veo/veo-3.1-fast/vertex",
        whole=False,
        links=False,
    ),
)


def revived() -> list[Offer]:
    """Offers that have ended, as an operator whose account still has them would write them: prices, sources
    and all, under an id of their own."""
    wanted = {way[0].removeprefix("own/") for surface in SURFACES for way in surface.ways}
    found = [offer for name in ("openai_videos", "veo") for offer in load_cards(f"adapters.{name}").offers]
    return [
        offer.model_copy(
            update={
                "id": f"own/{offer.id}",
                "lifecycle": Lifecycle(),
                "prices": tuple(price.model_copy(update={"effective_to": None}) for price in offer.prices),
            }
        )
        for offer in found
        if offer.id in wanted and offer.lifecycle.retired_on is not None
    ]


@dataclass(frozen=True, kw_only=True)
class End:
    """How a row has to end: what the caller sees, and what stands on the bill.

    ``says``: what the message holds besides the provider's name. ``attempts`` of the plan's candidates;
    ``jobs`` that the provider took; ``billed``: those of a video that failed are billed all the same;
    ``open``: nobody knows whether the one attempt was taken. ``trouble``: the operator is told what the last
    attempt met on its way. ``calls``: how calls back are answered.
    """

    status: str = "completed"
    code: str | None = None
    says: Sequence[str] = ()
    note: str | None = None
    attempts: int = 1
    jobs: int = 1
    billed: bool = False
    open: bool = False
    trouble: bool = False
    calls: Mapping[int, int] = field(default_factory=dict)


NEVER_TAKEN = End(
    status="failed",
    code="outcome_unknown",
    says=("may or may not have made", "You were not charged.", "Send it again if you can bear two."),
    jobs=0,
    open=True,
)
"""To the gateway it is the same as the next: it cannot know."""

LOST = replace(NEVER_TAKEN, jobs=1)


def end_of(surface: Surface, fault: Fault | None) -> End:
    """How a video has to end that meets this fault there; None: none."""
    if fault is None:
        return _woken(surface)
    return _at_create(surface, fault) if fault.place == "create" else _later(surface, fault)


def _woken(surface: Surface, **more: Any) -> End:
    """Delivered, and called back once where the provider does that."""
    return End(calls={204: 1} if surface.calls else {}, **more)


def _refused(surface: Surface) -> End:
    says = (surface.title, "You were not charged.", MEND)
    return End(status="failed", code="content_blocked", says=says)


def _gave_up(surface: Surface) -> End:
    """Every candidate was tried, and failed."""
    ways, says = len(surface.ways), (surface.title, "You were not charged.", ADVICE)
    return End(status="failed", code=surface.gave_up, says=says, attempts=ways, jobs=ways)


def _at_create(surface: Surface, fault: Fault) -> End:
    match fault.name:
        case "drop_before_accept" | "server_error_burst":  # a 5xx proves nothing
            return NEVER_TAKEN
        case "drop_after_accept" | "html" | "slow_body":
            return _woken(surface) if surface.finds else LOST
        case "content_refused":
            return replace(_refused(surface), jobs=0)
        case _:
            return _woken(surface)


def _later(surface: Surface, fault: Fault) -> End:
    match fault.name:
        case "content_refused_late" if surface.tells:
            return _refused(surface)
        case "content_refused_late" | "job_failed":
            return _gave_up(surface)
        case "truncated_file" if fault.value == ALWAYS:
            says = ("not a playable video", "You were not charged.", ADVICE)
            return replace(_gave_up(surface), code="broken_result", says=says, billed=True)
        case "wrong_resolution":
            return _woken(surface, note="size_differs")
        case "missing_audio":
            return _woken(surface, note="audio_missing")
        case "callback_forged" if surface.signed:
            return End(calls={401: 1, 204: 1})
        case "callback_duplicate" | "callback_early" | "callback_forged":
            return End(calls={204: 2})
        case "unknown_status" | "status_backwards":
            return _woken(surface)
        case _:
            return _woken(surface, trouble=fault.name != "expired_url" or surface.links)


def rows_of(surface: Surface) -> list[str]:
    """The faults that a surface's videos are to meet side by side, as they are written in a prompt; those
    that end with their deadline come first."""
    rows = ["drop_before_accept", "drop_after_accept", "html@create", "server_error_burst@create=2", ""]
    rows += ["content_refused", "server_error_burst@look=2", "unknown_status", "status_backwards"]
    rows += ["expired_url", "stalled_file=2", "job_failed", "content_refused_late"]
    if surface.whole:
        rows.insert(2, "slow_body@create=1")
        rows += ["rate_limited@look=seconds", "html@look", "slow_body@look=1"]
        rows += ["truncated_file", "truncated_file=always", "wrong_resolution"]
        rows += ["rate_limited@create=seconds", "rate_limited@create=date"]
    if surface.whole and surface.sounds:
        rows += ["missing_audio"]
    if surface.whole and surface.calls:
        rows += [name for name in KINDS if name.startswith("callback_")]
    if surface.whole and not surface.hints:
        rows += ["rate_limited@create=negative", "rate_limited@create=nan", "rate_limited@look=absent"]
    if surface.whole:
        rows += ["rate_limited@create=absent"]
    return rows


ALONE = ("out_of_credit", "model_gone", "rate_limited@create=huge", "rate_limited@look=huge")
"""Faults that close an account, or end an offer, for all jobs: each has its adapter to itself."""


def wrong(surface: Surface, end: End, ended: Ended) -> list[str]:
    """What differs from the end that is expected, in words."""
    seen = {
        "status": (ended.told["status"], end.status),
        "code": (ended.code, end.code),
        "attempts": ([(a.offer, a.preset) for a in ended.attempts], [*surface.ways[: end.attempts]]),
        "jobs": (sum(line is not None for line in ended.lines), 0 if end.open else end.jobs),
        "notes": (
            ended.notes & {"size_differs", "duration_differs", "audio_missing"},
            {*filter(None, [end.note])},
        ),
        "entries": ([_kinds(entries) for entries in ended.entries], _entries(end)),
        "trouble": (end.trouble and ended.attempts[-1].operator_detail is None, False),
        "charge": (ended.money, _charge(end, ended)),
        "told charge": (Decimal(ended.told["gateway"]["charge_usd"]) * 10**6, ended.money.get("charge", 0)),
    }
    told = [f"{what} {found}, not {due}" for what, (found, due) in seen.items() if found != due]
    told += [f"the message lacks {part!r}: {ended.message}" for part in end.says if part not in ended.message]
    if any(ended.calls[status] < times for status, times in end.calls.items()):
        told.append(f"calls back were answered {dict(ended.calls)}, not {end.calls}")
    return told


def _kinds(entries: Mapping[str, int]) -> str:
    return "+".join(sorted(entries))


def _entries(end: End) -> list[str]:
    """The provider's entries of each attempt: billed, void, or open."""
    billed = end.billed or end.status == "completed"
    return ["estimate" if end.open else "actual+estimate" if billed else "estimate+void"] * end.attempts


def _charge(end: End, ended: Ended) -> dict[str, int]:
    """The tenant's entries: what the last attempt cost, at most the hold, or nothing."""
    held = ended.money["hold"]
    if end.status != "completed":
        return {"hold": held, "release": held}
    charge = min(ended.entries[-1].get("actual", 0), held)
    return {"hold": held, "charge": charge, "release": held - charge}
