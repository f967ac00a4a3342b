"""Flags in a prompt: the older form of the API reads them, and they would change what a clip costs."""

from __future__ import annotations

import re

from gateway.spec import Note

_FLAG = re.compile(
    r"""
    (?<!\S) -{2,} [^\W\d][\w-]*         # --word
    (?: =\S* | \s+ (?!-{2,}[^\W\d])\S+ )?  # its value: what stands next, unless that is a flag too
    """,
    re.VERBOSE,
)
_DASH = re.compile(r"(?<!-)-{2,}(?=[^\W\d])")  # from a run's start alone, or a long one takes its square
_GAP = re.compile(r"[ \t]{2,}")


def without_flags(prompt: str) -> tuple[str, tuple[Note, ...]]:
    """The prompt without any ``--word value``, known to the API or not, and a note of what was removed.

    Hyphens that join two words (``red--bright red--fox``) are meant as a dash, and become one.
    """
    found = [" ".join(flag.split()) for flag in _FLAG.findall(prompt)]
    rest = _DASH.sub("—", _FLAG.sub(" ", prompt))
    if not found:
        return rest, ()
    detail = f"removed from the prompt, because a flag there may change the price: {', '.join(found)}"
    return _GAP.sub(" ", rest).strip(), (Note(code="prompt_flags_removed", detail=detail),)
