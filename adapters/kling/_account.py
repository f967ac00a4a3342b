"""One account at Kling: its connection, its credential, and what its answers mean."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel

from adapters.kling._settings import AccountSettings
from adapters.kling._wire import TOKEN_EXPIRED, classify
from gateway.kit.http import Response, Verdict, client, json_object, refusal, translating
from gateway.spec import Unavailable, UnexpectedReply

_TOKEN_LIVES_S = 1800
_USED_FOR_S = 1500


class Account:
    """Calls Kling for one account."""

    def __init__(self, name: str, settings: AccountSettings, now: Callable[[], float]) -> None:
        self.name = name
        self.settings = settings
        self._now = now
        self._client = client(base_url=settings.base_url)
        self._token: tuple[str, float] | None = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        creating: bool = False,
        body: BaseModel | Mapping[str, Any] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        """What stands under ``data`` in Kling's answer.

        Raises:
            NoSuchTask: not creating, and Kling knows no such task.  ProviderError: as ``translating`` does; a
                code other than 0 is a refusal even with HTTP 200.
        """
        sent = body.model_dump(exclude_none=True) if isinstance(body, BaseModel) else body
        judge = partial(self._judge, creating=creating)
        with translating("Kling", creating=creating, classify=judge):
            response = await self._client.request(
                method, path, json=sent, params=query, headers={"Authorization": f"Bearer {self._bearer()}"}
            )
            reply = json_object(response)
        code = reply.get("code")
        if code == 0:
            return reply.get("data")
        verdict = judge(response)
        if verdict is None:
            raise UnexpectedReply(
                "Kling refused the call in a way that its API does not document.",
                operator_detail=f"Kling: HTTP {response.status_code} with code {code!r} to {method} {path}",
            )
        raise refusal("Kling", response, verdict, creating=creating)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    def _judge(self, response: Response, *, creating: bool) -> Verdict:
        verdict = classify(response, creating=creating)
        if verdict is not None and self.settings.api_key is None and _code(response) == TOKEN_EXPIRED:
            self._token = None
            return Unavailable, f"its token had expired (code {TOKEN_EXPIRED}); the next call has a new one."
        return verdict

    def _bearer(self) -> str:
        settings, now = self.settings, self._now()
        if settings.api_key is not None:
            return settings.api_key.get_secret_value()
        if self._token is None or now >= self._token[1]:
            assert settings.access_key is not None
            assert settings.secret_key is not None
            minted = mint(
                settings.access_key.get_secret_value(), settings.secret_key.get_secret_value(), int(now)
            )
            self._token = (minted, now + _USED_FOR_S)
        return self._token[0]


def mint(access_key: str, secret_key: str, now: int) -> str:
    """A token of the older API, HS256, for half an hour from ``now``, in seconds since 1970 (spec A.2)."""
    header = {"alg": "HS256", "typ": "JWT"}
    claims = {"iss": access_key, "exp": now + _TOKEN_LIVES_S, "nbf": now - 5}
    parts = (json.dumps(part, separators=(",", ":")).encode() for part in (header, claims))
    signed = b".".join(map(_base64url, parts))
    mac = hmac.new(secret_key.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + _base64url(mac)).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _code(response: Response) -> Any:
    return response.json().get("code")
