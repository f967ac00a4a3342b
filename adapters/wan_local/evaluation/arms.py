"""Which arms a model is examined in."""

from __future__ import annotations

from adapters.wan_local.engine import Family
from adapters.wan_local.evaluation.sitting import Arm, Experts

_BOUNDARIES = (0.5, 0.75, 0.95, 0.98)
_ABLATED: tuple[tuple[str, Experts], ...] = (
    ("swapped", "swapped"),
    ("high alone", "high"),
    ("low alone", "low"),
)


def usual_arms(family: Family, experts: Experts = "right", boundary: float | None = None) -> list[Arm]:
    """What the family is for: from text, from an image, or each."""
    ways = {"t2v": (False,), "i2v": (True,), "ti2v": (False, True)}[family]
    return [
        Arm(name="from an image" if image else "from text", experts=experts, boundary=boundary, image=image)
        for image in ways
    ]


def ablated_arms(family: Family) -> list[Arm]:
    """Both experts right, then what shows whether each is needed, and where they had better change over."""
    image = family == "i2v"
    return [
        Arm(name="both right", image=image),
        *(Arm(name=name, experts=experts, image=image) for name, experts in _ABLATED),
        *(Arm(name=f"boundary {value}", boundary=value, image=image) for value in _BOUNDARIES),
    ]
