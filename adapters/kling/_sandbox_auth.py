"""How Kling's double checks who calls (spec A.2): an API key, or in the older API a signed token."""

from __future__ import annotations

import jwt
from starlette.requests import Request

from adapters.kling._sandbox_bodies import Refusal

API_KEY = "sandbox-kling-key-a41f9e7c"
ACCESS_KEY = "sandbox-kling-access-5d20"
SECRET_KEY = "sandbox-kling-secret-93b7c1e08f6a4d25"  # noqa: S105  # opens nothing but this double


def check(request: Request, now: float, *, tokens: bool) -> None:
    """Let the caller in, by the key or (``tokens``) by a token whose times hold at ``now``.

    Raises:
        Refusal: 401, with the code that says why.
    """
    header = request.headers.get("authorization", "")
    if not header:
        raise Refusal(401, 1001, "Authorization is empty")
    scheme, _, credential = header.partition(" ")
    if scheme != "Bearer":
        raise Refusal(401, 1002, "Authorization is invalid")
    if credential != API_KEY:
        _check_token(credential, now, allowed=tokens)


def _check_token(token: str, now: float, *, allowed: bool) -> None:
    try:
        claims = jwt.decode(
            token,
            SECRET_KEY,
            algorithms=["HS256"],
            # the times are held against the double's own clock, below
            options={"verify_exp": False, "verify_nbf": False, "require": ["iss", "exp", "nbf"]},
        )
    except jwt.InvalidTokenError:
        raise Refusal(401, 1002, "Authorization is invalid") from None
    if not allowed or claims["iss"] != ACCESS_KEY:
        raise Refusal(401, 1002, "Authorization is invalid")
    if not isinstance(claims["exp"], int) or not isinstance(claims["nbf"], int):
        raise Refusal(401, 1000, "Authentication failed")
    if claims["nbf"] > now:
        raise Refusal(401, 1003, "Authorization is not yet valid")
    if claims["exp"] <= now:
        raise Refusal(401, 1004, "Authorization has expired")
