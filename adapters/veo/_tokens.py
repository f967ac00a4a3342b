"""Service accounts: a signed assertion in exchange for an access token that lives for an hour.

The protocol is OAuth 2.0's JWT bearer grant (RFC 7523), as Google runs it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from gateway.kit.http import Client, Response, Verdict, json_object, translating
from gateway.spec import NotAuthorised, Unavailable, UnexpectedReply

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105  # an address
_LIFE_S = 3600  # of an assertion, at most
_MARGIN_S = 300  # a token is replaced this long before it runs out
_TOKENLESS = "Google's token service gave no token, so that nothing was sent to Google Veo. Try again later."


class ServiceAccount(BaseModel):
    """The JSON that Google hands out for a service account's key, as a mapping or as its text."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    client_email: str = Field(min_length=1)
    private_key: SecretStr
    private_key_id: str | None = None
    project_id: str | None = None
    token_uri: str = _TOKEN_URI

    _signing_key: Any = PrivateAttr()  # read once: checking the key takes a tenth of a second

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, data: Any) -> Any:
        if not isinstance(data, str):
            return data
        try:
            return json.loads(data)
        except ValueError:
            raise ValueError("it is not the JSON of a service account's key") from None

    @model_validator(mode="after")
    def _prepare_key(self) -> Self:
        import jwt  # brings cryptography, which takes longer to load than all of this package

        try:
            self._signing_key = jwt.get_algorithm_by_name("RS256").prepare_key(
                self.private_key.get_secret_value()
            )
        except (jwt.InvalidKeyError, ValueError, TypeError):
            raise ValueError("its private_key is not an RSA key in PEM") from None
        return self

    def assertion(self, now: float) -> str:
        """A signed claim to be this account, good for an hour; ``now`` in seconds since 1970."""
        import jwt

        claims = {
            "iss": self.client_email,
            "scope": _SCOPE,
            "aud": self.token_uri,
            "iat": int(now),
            "exp": int(now) + _LIFE_S,
        }
        headers = {"kid": self.private_key_id} if self.private_key_id else None
        return jwt.encode(claims, self._signing_key, algorithm="RS256", headers=headers)


class Tokens:
    """An account's access token: fetched when it is first needed, and again shortly before it runs out."""

    def __init__(self, account: ServiceAccount, http: Client, now: Callable[[], float] = time.time) -> None:
        self._account = account
        self._http = http
        self._now = now
        self._lock = asyncio.Lock()
        self._token: str | None = None
        self._good_until = 0.0

    async def current(self) -> str:
        """A token that is good for some minutes yet.

        Raises:
            NotAuthorised: Google does not accept the account.  Unavailable: no token came.
        """
        async with self._lock:  # of many calls that find it run out, one fetches
            if self._token is None or self._now() >= self._good_until:
                self._token = await self._fetch()
            return self._token

    def forget(self) -> None:
        """Drop the token: it was not accepted."""
        self._token = None

    async def _fetch(self) -> str:
        asked_at = self._now()
        form = {"grant_type": _GRANT, "assertion": self._account.assertion(asked_at)}
        try:
            with translating("Google's token service", creating=False, classify=_classify):
                reply = json_object(await self._http.post(self._account.token_uri, data=form))
        except UnexpectedReply as error:  # before a submit this is no doubt about the job: nothing was sent
            raise Unavailable(_TOKENLESS, operator_detail=error.operator_detail) from None
        token, life = reply.get("access_token"), reply.get("expires_in")
        if not isinstance(token, str) or not token:
            raise Unavailable(_TOKENLESS)
        seconds = life if isinstance(life, int) else _LIFE_S
        self._good_until = asked_at + max(0, seconds - _MARGIN_S)
        return token


def _classify(response: Response) -> Verdict:
    """A refused assertion comes as 400 (``invalid_grant``) or 401, a disabled account as 403."""
    return (NotAuthorised, "") if response.status_code in (400, 401, 403) else None
