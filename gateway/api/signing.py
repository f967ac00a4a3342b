"""The token of a signed file URL: which file, until when, and a proof that this gateway said so."""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass

from gateway.db.keys import derived_key

PURPOSE = b"reelgate signed file url, version 1"
MAX_TOKEN = 300


class BadToken(Exception):
    """Not a token that this gateway made."""


class ExpiredToken(Exception):
    """It was one, and its time is over."""


@dataclass(frozen=True)
class SignedFile:
    """What a token stands for; ``expires_at`` in seconds since 1970."""

    video_id: str
    variant: str
    expires_at: int


def sign(pepper: bytes, file: SignedFile) -> str:
    """The token: what it says in base64url, a dot, and its HMAC-SHA256 in base64url."""
    said = _encoded(f"{file.video_id} {file.variant} {file.expires_at}".encode())
    return f"{said}.{_proof(pepper, said)}"


def read_token(pepper: bytes, token: str, at: float) -> SignedFile:
    """What the token says, at this moment (in seconds since 1970).

    Raises:
        BadToken: any character of it is not as :func:`sign` wrote it, or it was signed for another purpose.
        ExpiredToken: its time is over.
    """
    said, _, proof = token.partition(".")
    if len(token) > MAX_TOKEN or not token.isascii() or not hmac.compare_digest(proof, _proof(pepper, said)):
        raise BadToken
    plain = base64.urlsafe_b64decode(said + "=" * (-len(said) % 4)).decode()
    video_id, variant, expires_at = plain.split()
    file = SignedFile(video_id, variant, int(expires_at))
    if at >= file.expires_at:
        raise ExpiredToken
    return file


def _proof(pepper: bytes, said: str) -> str:
    """Over the text as it stands, so that no second spelling of the same bytes passes."""
    return _encoded(hmac.digest(derived_key(pepper, PURPOSE), said.encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
