"""What can be ordered to go wrong, and for whom.

A fault is written ``name``, ``name=value`` or ``name@place=value``: in a prompt as ``[[sandbox:…]]``, on the
command line and over HTTP as a standing order, with a probability. Standing orders are drawn from a seeded
generator once for every create; what concerns the job later goes with the job.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from typing_extensions import override

Place = Literal["create", "look", "file", "clip", "end", "callback"]
"""What a fault disturbs: the create, looks at the job, the file, the clip itself, the end, callbacks."""

RETRY_AFTER = ("seconds", "date", "absent", "negative", "nan", "huge")
"""The forms of Retry-After that a ``rate_limited`` answer can have."""

ALWAYS = "always"
_MARKER = re.compile(rb"\[\[sandbox:([^\[\]]{1,200})\]\]")
_BOUNDARY = re.compile(rb"boundary=\"?([^\";]+)")


@dataclass(frozen=True)
class Kind:
    """A fault's places, the first being the default, and what its value means; no default: it takes none."""

    does: str
    places: tuple[Place, ...]
    value: Literal["none", "times", "seconds", "form"] = "none"
    default: str = ""


KINDS: Mapping[str, Kind] = {
    "drop_before_accept": Kind("closes the connection; nothing is taken", ("create",), "times", "1"),
    "drop_after_accept": Kind("takes the job, then closes the connection", ("create",), "times", "1"),
    "rate_limited": Kind("429 with this form of Retry-After, once", ("create", "look"), "form", "seconds"),
    "server_error_burst": Kind("5xx, so many times", ("create", "look"), "times", "3"),
    "html": Kind("200 with a page of HTML; a create is taken", ("look", "create"), "times", "1"),
    "slow_body": Kind(
        "drips for so long, then closes; a create is taken", ("look", "create"), "seconds", "10"
    ),
    "out_of_credit": Kind("refuses the create: no credit", ("create",)),
    "content_refused": Kind("refuses the create: content rules", ("create",)),
    "model_gone": Kind("refuses the create: no such model any more", ("create",)),
    "unknown_status": Kind("a status word that nobody knows", ("look",), "times", "1"),
    "status_backwards": Kind("running, then queued, then the truth", ("look",)),
    "expired_url": Kind("result URLs that have expired already", ("look",), "times", "1"),
    "stalled_file": Kind("half the file, then nothing for so long, once", ("file",), "seconds", "10"),
    "truncated_file": Kind("half the file, as if it were whole", ("file",), "times", "1"),
    "wrong_resolution": Kind("a clip of half the sides", ("clip",)),
    "missing_audio": Kind("a clip without its sound", ("clip",)),
    "job_failed": Kind("the job fails, unbilled", ("end",)),
    "content_refused_late": Kind("the job fails for its content, unbilled", ("end",)),
    "callback_duplicate": Kind("the callback comes twice", ("callback",)),
    "callback_forged": Kind("a callback whose signature is wrong comes first", ("callback",)),
    "callback_early": Kind("a callback comes before the job is over", ("callback",)),
}
"""Every fault; a value of ``times`` may be ``always``."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    name: str
    place: Place
    value: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``name[@place][=value]``.

        Raises:
            ValueError: what is wrong with it, for the tester.
        """
        head, _, value = text.strip().partition("=")
        name, _, place = head.partition("@")
        kind = KINDS.get(name)
        if kind is None:
            raise ValueError(f"there is no fault {name!r}; there are: {', '.join(KINDS)}")
        found = next((one for one in kind.places if one == place), None) if place else kind.places[0]
        if found is None:
            raise ValueError(f"{name} acts at {' or '.join(kind.places)}, not at {place!r}")
        return cls(name, found, _checked(name, kind, value or kind.default))

    @property
    def times(self) -> float:
        """How often it strikes: infinity where it is a property of the job."""
        kind = KINDS[self.name]
        if kind.value == "none" or self.value == ALWAYS:
            return float("inf")
        return int(self.value) if kind.value == "times" else 1

    @override
    def __str__(self) -> str:
        return f"{self.name}@{self.place}" + (f"={self.value}" if self.value else "")


def _checked(name: str, kind: Kind, value: str) -> str:
    match kind.value:
        case "none" if value:
            raise ValueError(f"{name} takes no value")
        case "times" if value != ALWAYS and not (value.isdecimal() and int(value) > 0):
            raise ValueError(f"{name}={value}: give how many times, or {ALWAYS}")
        case "seconds" if not re.fullmatch(r"\d{1,3}(\.\d+)?", value):
            raise ValueError(f"{name}={value}: give seconds below 1000")
        case "form" if value not in RETRY_AFTER:
            raise ValueError(f"{name}={value}: give one of {', '.join(RETRY_AFTER)}")
    return value


class Disturbance(Exception):
    """Ends the handling of a call: its answer is what the fault makes of it."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


@dataclass
class Order:
    """A standing order: this share of the provider's creates (None: of all), so many in all if given."""

    fault: Fault
    provider: str | None = None
    probability: float = 1.0
    times: int | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``provider:fault[=probability]``; the provider ``*`` is every one.

        Raises:
            ValueError: what is wrong with it, for the tester.
        """
        provider, colon, rest = text.partition(":")
        if not (provider and colon):
            raise ValueError(f"{text!r} is not PROVIDER:FAULT=PROBABILITY")
        fault, _, share = rest.rpartition("=") if "=" in rest else (rest, "", "1")
        if not re.fullmatch(r"0?\.\d+|[01](\.0*)?", share):
            raise ValueError(f"{text!r} does not end with a probability, =0 to =1")
        return cls(Fault.parse(fault), None if provider == "*" else provider, float(share))


@dataclass
class Strikes:
    """Counts how often faults struck one job."""

    _struck: dict[Fault, int] = field(default_factory=dict)

    def count(self, fault: Fault) -> int:
        """How many chances the fault had before this one."""
        so_far = self._struck.get(fault, 0)
        self._struck[fault] = so_far + 1
        return so_far

    def strikes(self, fault: Fault) -> bool:
        """True as long as the fault has not struck as often as it should."""
        return self.count(fault) < fault.times


class Orders:
    """The standing orders, the dice, and what is still to strike."""

    def __init__(self, seed: int, standing: Sequence[Order] = ()) -> None:
        self._dice = random.Random(seed)  # noqa: S311  # faults to be repeated with the seed, no secrets
        self._left: dict[tuple[str, Fault, bytes], float] = {}
        self.standing = list(standing)

    def uniform(self, low: float, high: float) -> float:
        """A number of the seeded generator, for whoever else leaves things to chance."""
        return self._dice.uniform(low, high)

    def draw(self, provider: str, body: bytes, content_type: str = "") -> list[Fault]:
        """What goes wrong with this create: its own markers, then the standing orders that hit it.

        A fault that strikes several times, or once, counts creates with the same body.

        Raises:
            ValueError: a marker is none.
        """
        marked = [Fault.parse(found.decode("utf-8", "replace")) for found in _MARKER.findall(body)]
        if not marked and not self.standing:
            return []
        print_of = _fingerprint(body, content_type)
        struck = [fault for fault in marked if self._strikes(provider, fault, print_of, marked=True)]
        return struck + [
            order.fault
            for order in self.standing
            if order.provider in (None, provider) and self._hits(order, provider, print_of)
        ]

    def _strikes(self, provider: str, fault: Fault, print_of: bytes, *, marked: bool) -> bool:
        """True if the fault has strikes left for this body; one that comes later goes with the job."""
        if fault.place != "create":
            return marked
        key = (provider, fault, print_of)
        left = self._left.get(key, fault.times if marked else 0)
        if left > 0:
            self._left[key] = left - 1
        return left > 0

    def _hits(self, order: Order, provider: str, print_of: bytes) -> bool:
        fault = order.fault
        if self._strikes(provider, fault, print_of, marked=False):  # the rest of a burst
            return True
        if order.times == 0 or self._dice.random() >= order.probability:
            return False
        if order.times is not None:
            order.times -= 1
        if fault.place == "create" and 1 < fault.times < float("inf"):
            self._left[provider, fault, print_of] = fault.times - 1
        return True


def _fingerprint(body: bytes, content_type: str) -> bytes:
    """The same for a create that is sent again: a form's boundary is new each time."""
    boundary = _BOUNDARY.search(content_type.encode())
    return hashlib.sha256(body.replace(boundary[1], b"") if boundary else body).digest()
