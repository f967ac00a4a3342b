"""What the remote campaign asks the providers for, and what goes wrong with it: jobs and faults, as data."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from .load import Kind, png

PICTURE = png(640, 360)
UPRIGHT = png(496, 864)

FIRST: Mapping[str, Any] = {"input_reference": PICTURE}
BOTH: Mapping[str, Any] = {**FIRST, "last_frame": PICTURE}
REFERENCES: Mapping[str, Any] = {"images": [{"role": "reference", "image_url": PICTURE}] * 2}

JOBS: Sequence[Mapping[str, Any]] = (
    {"model": "sora-2", "seconds": "4", "size": "1280x720"},
    {"model": "sora-2", "seconds": "4", "size": "1280x720", **FIRST},
    {"model": "sora-2", "seconds": "4", "size": "720x1280"},
    {"model": "veo-3.1", "seconds": "4", "size": "1280x720"},
    {"model": "veo-3.1", "seconds": "8", "size": "1280x720", **REFERENCES},
    {"model": "veo-3.1-fast", "seconds": "4", "size": "720x1280", "negative_prompt": "rain", "seed": 7},
    {"model": "veo-3.1-fast", "seconds": "4", "size": "1280x720", **BOTH},
    {"model": "veo-3.1-lite", "seconds": "4", "size": "1280x720", **FIRST},
    {"model": "gemini-omni-1.1", "seconds": "3", "size": "1280x720"},
    {"model": "gemini-omni-1.1", "seconds": "3", "size": "1280x720", **FIRST},
    {"model": "gemini-omni-1.1", "seconds": "3", "size": "1280x720", **BOTH},
    {"model": "kling-3.0", "seconds": "3", "size": "1280x720", "audio": False},
    {"model": "kling-3.0", "seconds": "3", "size": "1280x720", "audio": "required"},
    {"model": "kling-3.0", "seconds": "3", "size": "1280x720", "audio": False, **BOTH},
    {"model": "kling-3.0-omni", "seconds": "3", "size": "1280x720", "audio": True, **FIRST},
    {"model": "kling-3.0-turbo", "seconds": "3", "size": "1280x720"},
    {"model": "kling-2.5-turbo", "seconds": "5", "size": "1280x720"},
    {"model": "kling-2.1", "seconds": "5", "size": "1280x720", **FIRST},
    {"model": "wan-2.2-t2v-plus", "size": "832x480"},
    {"model": "wan-2.2-i2v-flash", "size": "832x480", **FIRST},
    {"model": "wan-2.5", "seconds": "5", "size": "832x480", "audio": True},
    {"model": "wan-2.6", "seconds": "2", "size": "1280x720", "audio": "required"},
    {"model": "wan-2.6", "seconds": "2", "size": "1280x720", "audio": False, **FIRST},
    {"model": "wan-2.7", "seconds": "2", "size": "1280x720"},
    {"model": "seedance-1.0-pro", "seconds": "2", "resolution": "480p"},
    {"model": "seedance-1.0-pro", "seconds": "2", "resolution": "480p", "preset": "flex"},
    {"model": "seedance-1.0-pro-fast", "seconds": "2", "resolution": "480p", **FIRST},
    {"model": "seedance-1.0-lite", "seconds": "2", "resolution": "480p", "seed": 11},
    {"model": "seedance-1.5-pro", "seconds": "4", "resolution": "480p", "audio": "required"},
    {"model": "seedance-1.5-pro", "seconds": "4", "resolution": "480p", "audio": False, **BOTH},
    {"model": "seedance-2.0", "seconds": "4", "size": "496x864", "input_reference": UPRIGHT},
    {"seconds": "5"},
    {"seconds": "5", "audio": "required", "tier": "pro"},
    {"seconds": "5", "mode": "preview"},
    {"seconds": "5", "quality": "premium", **FIRST},
)
"""Every provider, with and without pictures and sound, the cheapest sizes; the last leave the choice open."""


class Fault(NamedTuple):
    """What is ordered of the sandbox, how often beside the others, and the ends it may bring besides."""

    order: str
    ends: frozenset[str] = frozenset()
    weight: int = 10


ALWAYS_POSSIBLE = frozenset({"completed", "failed outcome_unknown", "failed account_open"})
"""The killed gateway may have been about to submit; a fault of another job may have stopped the account."""

REFUSED = frozenset({"failed content_blocked"})
GAVE_UP = frozenset({"failed gave_up", "failed unavailable"})

FAULTS: Sequence[Fault] = (
    Fault("drop_before_accept"),
    Fault("drop_after_accept"),
    Fault("html@create"),
    Fault("slow_body@create=2"),
    Fault("rate_limited=seconds"),
    Fault("rate_limited=date"),
    Fault("rate_limited=absent"),
    Fault("rate_limited=negative"),
    Fault("rate_limited=nan"),
    Fault("rate_limited@look=seconds"),
    Fault("server_error_burst=2"),
    Fault("server_error_burst@look=2"),
    Fault("content_refused", REFUSED),
    Fault("html"),
    Fault("slow_body=2"),
    Fault("unknown_status"),
    Fault("status_backwards"),
    Fault("expired_url"),
    Fault("stalled_file=2"),
    Fault("truncated_file"),
    Fault("truncated_file=always", frozenset({"failed broken_result"})),
    Fault("wrong_resolution"),
    Fault("missing_audio"),
    Fault("job_failed", GAVE_UP),
    Fault("content_refused_late", REFUSED | GAVE_UP),
    Fault("callback_duplicate"),
    Fault("callback_forged"),
    Fault("callback_early"),
    Fault("rate_limited=huge", weight=1),
    Fault("out_of_credit", frozenset({"failed out_of_credit"}), weight=1),
    Fault("model_gone", frozenset({"failed model_gone"}), weight=1),
)
"""The last three stop an account or retire an offer until the operator acts: rare."""

STOPPED_SHARE = 0.04
"""So many of the sound jobs are cancelled by their client."""


def kinds(share: float) -> Sequence[Kind]:
    """The kinds of job of a campaign in which this share has a fault."""
    total = sum(fault.weight for fault in FAULTS)
    sound = round(total * (1 - share) / share) if share else 1
    faulty = [_kind(fault.weight, fault.ends, marker=f"[[sandbox:{fault.order}]]") for fault in FAULTS]
    return (
        _kind(round(sound * (1 - STOPPED_SHARE))),
        _kind(round(sound * STOPPED_SHARE), {"failed cancelled"}, stopped=True),
        *(faulty if share else ()),
    )


def _kind(weight: int, ends: Iterable[str] = (), *, marker: str = "", stopped: bool = False) -> Kind:
    def body(dice: random.Random) -> dict[str, Any]:
        return {**dice.choice(JOBS), "prompt": marker}

    return Kind(weight, body, ALWAYS_POSSIBLE.union(ends), stopped=stopped, remote=True)
