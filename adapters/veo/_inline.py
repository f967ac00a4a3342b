"""Takes the clip out of an answer that holds it as base64 text, while the answer arrives.

A clip of 4k is tens of megabytes, in one JSON string. It is never held whole.
"""

from __future__ import annotations

import base64
import binascii
import json
import re

from gateway.spec import UnexpectedReply

_OPENING = re.compile(rb'"bytesBase64Encoded"\s*:\s*"')
_LONGEST_REST = 1024 * 1024
_ESCAPE = 6  # characters of JSON's longest, \u003d


class InlineClip:
    """Splits an answer into the first clip in it and the JSON in front of that."""

    def __init__(self) -> None:
        self.found = False
        """A clip has begun."""
        self.complete = False
        """It has ended, too."""
        self.rest = b""
        """What came in front of it; without a clip, the whole answer."""
        self._text = ""  # base64 that waits for its group of four
        self._raw = b""  # JSON that may end within an escape

    def feed(self, chunk: bytes) -> bytes:
        """Take the answer's next bytes; returns those of the clip that are in them.

        Raises:
            UnexpectedReply: the clip is no base64, or an answer without one does not end.
        """
        if self.complete:
            return b""
        if not self.found:
            self.rest += chunk
            opening = _OPENING.search(self.rest)
            if opening is None:
                if len(self.rest) > _LONGEST_REST:
                    raise UnexpectedReply("Google Veo's answer is too long to be one, and holds no clip.")
                return b""
            self.found = True
            chunk, self.rest = self.rest[opening.end() :], self.rest[: opening.start()]
        return self._decode(chunk)

    def _decode(self, chunk: bytes) -> bytes:
        raw, end, _ = (self._raw + chunk).partition(b'"')
        self.complete = bool(end)
        escape = -1 if end else raw.rfind(b"\\", max(0, len(raw) - _ESCAPE + 1))
        raw, self._raw = (raw, b"") if escape < 0 else (raw[:escape], raw[escape:])
        try:
            text = self._text + json.loads(b'"' + raw + b'"')
            whole = len(text) if end else len(text) // 4 * 4
            self._text = text[whole:]
            return base64.b64decode(text[:whole], validate=True)
        except (binascii.Error, ValueError):
            raise UnexpectedReply("Google Veo's answer holds a clip that is no base64.") from None
