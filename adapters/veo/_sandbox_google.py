"""Who calls, as Google checks it, and Google's errors: shared by what the fake of Veo serves."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

API_KEY = "AIzaSyReelgateSandbox-0b7c4e1fd29a5386"
PROJECT = "reelgate-sandbox"
_EMAIL = f"tester@{PROJECT}.iam.gserviceaccount.com"
_KEY_ID = "5a17be0c"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_LIFE_S = 3599
_TOKEN_SECRET = b"what the sandbox signs its access tokens with"
_LEEWAY_S = 60  # for clocks that differ

# the fixed test key, as its two primes: a key file in a repository would look like somebody's
_P = int(
    "f24d8b141e07712d94f7c6b6294809cfaa3a985183d9f8818e71da5c39fcc2dadf145ad51965dc4f7502d65efc7d90e6"
    "c18cb716f942d4155edfd82c76401a15af1a2a5c2d0f8902a4215558a2f39f3fb2e501275c27dd1f3a02c27446d5ff96"
    "bfbcc46329f74e0b8222266ad838f25540e46560a86ab689045a9a8e80c66433",
    16,
)
_Q = int(
    "c1f4c1acc13c5741a563447132e21bdbdc1741480f861118a60ea36245358864bf7c3bc170af97a98d96f59a1a50e747"
    "3c40b9d6ce9719a1117d98860fa0849df3c3933958a5139e0ea458b8dc213846bb90af7fcc899f87eb802fee6d83e418"
    "7f0d241350846b0b5a134a4effeb663ff470370764840a7d9b28893e644a4991",
    16,
)
_E = 65537


def _private_key() -> rsa.RSAPrivateKey:
    d = rsa.rsa_recover_private_exponent(_E, _P, _Q)
    numbers = rsa.RSAPrivateNumbers(
        p=_P,
        q=_Q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, _P),
        dmq1=rsa.rsa_crt_dmq1(d, _Q),
        iqmp=rsa.rsa_crt_iqmp(_P, _Q),
        public_numbers=_public_numbers(),
    )
    return numbers.private_key()


def _public_numbers() -> rsa.RSAPublicNumbers:
    return rsa.RSAPublicNumbers(e=_E, n=_P * _Q)


def service_account(token_uri: str) -> dict[str, str]:
    """The test account's key, as Google hands one out."""
    pem = _private_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": PROJECT,
        "private_key_id": _KEY_ID,
        "private_key": pem.decode(),
        "client_email": _EMAIL,
        "token_uri": token_uri,
    }


class Wrong(Exception):
    """A call that Google refuses: the HTTP status, the name that gRPC has for it, and what it says."""

    def __init__(self, status: int, name: str, message: str, *details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.answer = error(status, name, message, *details)


def error(status: int, name: str, message: str, *details: Mapping[str, Any]) -> Response:
    """Google's error body; ``name`` is gRPC's."""
    body: dict[str, Any] = {"code": status, "message": message, "status": name}
    if details:
        body["details"] = details
    return JSONResponse({"error": body}, status)


def invalid(message: str) -> Wrong:
    """A body that is not as documented."""
    return Wrong(400, "INVALID_ARGUMENT", message)


def error_info(reason: str) -> dict[str, str]:
    """The detail that names a machine-readable reason."""
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
    }


async def grant(request: Request, audience: str, now: float) -> Response:
    """``POST /token``: an access token for an assertion that the account signed, for here and now."""
    form = dict(parse_qsl((await request.body()).decode("latin-1")))
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        return _no_grant("invalid_request", "the body is to be a form")
    if form.get("grant_type") != _GRANT:
        return _no_grant("unsupported_grant_type", f"Invalid grant_type: {form.get('grant_type', '')}")
    try:
        problem = _problem(form.get("assertion", ""), audience, now)
    except jwt.InvalidSignatureError:
        problem = "Invalid JWT Signature."
    except (jwt.InvalidTokenError, ValueError):
        problem = "Invalid JWT."
    if problem is not None:
        return _no_grant("invalid_grant", problem)
    expires = int(now) + _TOKEN_LIFE_S
    token = "ya29." + jwt.encode({"sub": _EMAIL, "exp": expires}, _TOKEN_SECRET, algorithm="HS256")
    return JSONResponse({"access_token": token, "expires_in": _TOKEN_LIFE_S, "token_type": "Bearer"})


def _problem(assertion: str, audience: str, now: float) -> str | None:
    """What is wrong with an assertion whose signature is right."""
    claims = jwt.decode(
        assertion,
        _public_numbers().public_key(),
        algorithms=["RS256"],
        options={"verify_exp": False, "verify_iat": False, "verify_aud": False},
    )
    issued, expires = claims.get("iat"), claims.get("exp")
    if not isinstance(issued, int) or not isinstance(expires, int):
        return "Invalid JWT: iat and exp are needed."
    if issued > now + _LEEWAY_S or expires <= now - _LEEWAY_S or not 0 < expires - issued <= 3600:
        return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
    if claims.get("iss") != _EMAIL:
        return "Invalid grant: account not found"
    if claims.get("aud") != audience:
        return "Invalid JWT: Failed audience check."
    return None if claims.get("scope") == _SCOPE else "Invalid scope."


def _no_grant(code: str, description: str) -> Response:
    return JSONResponse({"error": code, "error_description": description}, 400)


def check_bearer(request: Request, now: float, project: str) -> None:
    """See that a call brings an access token that has not run out, and is about the account's own project.

    Raises:
        Wrong: as Google answers that.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    try:
        claims = jwt.decode(
            token.removeprefix("ya29."), _TOKEN_SECRET, algorithms=["HS256"], options={"verify_exp": False}
        )
    except jwt.InvalidTokenError:
        claims = {"exp": 0}
    if scheme != "Bearer" or not token.startswith("ya29.") or claims["exp"] <= now:
        raise Wrong(
            401,
            "UNAUTHENTICATED",
            "Request had invalid authentication credentials. Expected OAuth 2 access token.",
        )
    if project != PROJECT:
        raise Wrong(403, "PERMISSION_DENIED", f"Permission denied on resource project {project}.")


def check_key(request: Request) -> None:
    """See that a call brings the API key.

    Raises:
        Wrong: as Google answers that.
    """
    key = request.headers.get("x-goog-api-key")
    if key is None:
        raise Wrong(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
    if key != API_KEY:
        raise Wrong(
            400,
            "INVALID_ARGUMENT",
            "API key not valid. Please pass a valid API key.",
            error_info("API_KEY_INVALID"),
        )


async def json_body(request: Request) -> Any:
    """The JSON of a call.

    Raises:
        Wrong: it is none.
    """
    try:
        return json.loads(await request.body())
    except (ValueError, RecursionError):
        raise invalid("Invalid JSON payload received. Unexpected token.") from None
