"""Where a provider may call back: the addresses, and the token in each that this gateway has signed.

A token is of one attempt, or of one account where a provider calls one address for all of its jobs.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any

import sqlalchemy as sa

from gateway.db.keys import derived_key
from gateway.jobs.resources import Resources
from gateway.spec import ParsesWebhooks

PURPOSE = b"reelgate provider callback, version 1"
MAX_TOKEN = 300
PATH = "/hooks/{adapter}/{token}"

_ACCOUNT = "account"
_SEPARATOR = "."


class BadToken(Exception):
    """Not a token that this gateway made for this adapter."""


def attempt_url(resources: Resources, row: sa.Row[Any]) -> str | None:
    """Where the provider of this attempt may call back; None where the gateway has no public address."""
    return _url(resources, row.adapter, row.id)


def account_url(resources: Resources, adapter: str, account: str) -> str | None:
    """Where a provider may call back for all jobs of an account; None without a public address, or if the
    adapter cannot tell of which job a call speaks."""
    if not isinstance(resources.registry.find(adapter, account), ParsesWebhooks):
        return None
    return _url(resources, adapter, f"{_ACCOUNT}{_SEPARATOR}{_encoded(account.encode())}")


def read_token(pepper: bytes, adapter: str, token: str) -> str:
    """What a token was signed for: an attempt's id, or what :func:`account_of` reads.

    Raises:
        BadToken: any character of it is not as it was made.
    """
    of, _, proof = token.rpartition(_SEPARATOR)
    well_formed = of and len(token) <= MAX_TOKEN and token.isascii()
    if not well_formed or not hmac.compare_digest(proof, _proof(pepper, adapter, of)):
        raise BadToken
    return of


def account_of(signed: str) -> str | None:
    """The account that a token was signed for; None if it was an attempt."""
    kind, _, name = signed.partition(_SEPARATOR)
    if kind != _ACCOUNT:
        return None
    return base64.urlsafe_b64decode(name + "=" * (-len(name) % 4)).decode()


def _url(resources: Resources, adapter: str, of: str) -> str | None:
    base = resources.settings.public_url.rstrip("/")
    if not base or not resources.pepper:  # the process of a device slot has none, and calls no provider
        return None
    token = f"{of}{_SEPARATOR}{_proof(resources.pepper, adapter, of)}"
    return base + PATH.format(adapter=adapter, token=token)


def _proof(pepper: bytes, adapter: str, of: str) -> str:
    return _encoded(hmac.digest(derived_key(pepper, PURPOSE), f"{adapter} {of}".encode(), "sha256"))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
