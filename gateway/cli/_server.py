"""A running gateway, spoken to over its own HTTP API."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from gateway.api.video_object import POLL_AFTER_HEADER
from gateway.cli.exits import CliError, ExitCode
from gateway.kit import http
from gateway.spec import OutcomeUnknown, ProviderError

POLL_MS = 1000

_EXITS = {
    400: ExitCode.USAGE,
    401: ExitCode.DENIED,
    402: ExitCode.REFUSED,
    403: ExitCode.DENIED,
    404: ExitCode.NOT_FOUND,
    409: ExitCode.REFUSED,
    410: ExitCode.NOT_FOUND,
    413: ExitCode.USAGE,
    415: ExitCode.USAGE,
    422: ExitCode.REFUSED,
}

Video = dict[str, Any]


class Unreachable(CliError):
    """No answer came; the next call may have one."""


class Server:
    """The API under one key; as a context manager it closes its connections."""

    def __init__(self, url: str, key: str | None) -> None:
        """``url`` is the server's root.

        Raises:
            CliError: there is no key, or it cannot be one.
        """
        if not key:
            raise CliError(
                ExitCode.DENIED,
                "REELGATE_API_KEY is not set: put a key there; `reelgate keys create`, with the server's"
                " --data-dir, makes one.",
            )
        if not (key.isascii() and key.isprintable()):
            raise CliError(
                ExitCode.DENIED, "REELGATE_API_KEY holds characters that no key has: copy it again."
            )
        self._url = url
        self._runner = asyncio.Runner()
        self._client = http.client(base_url=url, headers={"Authorization": f"Bearer {key}"})
        self.poll_after_ms = POLL_MS
        self.replayed = False
        """Whether the last answer told of what had been made before."""

    def create(self, body: Mapping[str, Any]) -> Video:
        """Ask for a video. An answer that was lost is asked for again, under the same Idempotency-Key."""
        return self._make("/v1/videos", body)

    def continue_preview(self, video_id: str, body: Mapping[str, Any]) -> Video:
        """Ask for the final video of a prefix preview; else as :meth:`create`."""
        return self._make(f"/v1/videos/{_segment(video_id)}/continue", body)

    def finalize(self, video_id: str, body: Mapping[str, Any]) -> Video:
        """Ask for the final video of an approved preview; else as :meth:`create`."""
        return self._make(f"/v1/videos/{_segment(video_id)}/finalize", body)

    def plan_final(self, video_id: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What a final would keep of its preview, and cost."""
        path = f"/v1/videos/{_segment(video_id)}/finalize"
        return self._call("POST", path, body={**body, "dry_run": True})

    def lineage(self, video_id: str) -> dict[str, Any]:
        """The preview and all that was made of it."""
        return self._call("GET", f"/v1/videos/{_segment(video_id)}/lineage")

    def _make(self, path: str, body: Mapping[str, Any]) -> Video:
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        try:
            return self._call("POST", path, body=body, headers=headers)
        except OutcomeUnknown:
            return self._call("POST", path, body=body, headers=headers)

    def plan(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """How this request would be served."""
        return self._call("POST", "/v1/videos/plan", body=body)

    def video(self, video_id: str) -> Video:
        """A video as it stands; afterwards ``poll_after_ms`` says when to look again."""
        return self._call("GET", f"/v1/videos/{_segment(video_id)}")

    def cancel(self, video_id: str) -> Video:
        """Ask for it to be stopped."""
        return self._call("POST", f"/v1/videos/{_segment(video_id)}/cancel")

    def usage(self, by: str) -> dict[str, Any]:
        """The roll-up of the last 30 days."""
        return self._call("GET", f"/v1/usage?by={by}")

    def save(self, video_id: str, to: Path) -> int:
        """Download the clip to ``to``, which appears whole or not at all; returns its length in bytes."""
        part = to.with_name(f".{to.name}.part")
        try:
            length = self._runner.run(self._save(f"/v1/videos/{_segment(video_id)}/content", part))
            part.replace(to)
        except ProviderError as error:
            raise self._unreachable(error) from None
        finally:
            part.unlink(missing_ok=True)
        return length

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self._runner.run(asyncio.sleep(seconds))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        creating = headers is not None
        try:
            return self._runner.run(self._exchange(method, path, body, headers, creating))
        except OutcomeUnknown:
            raise
        except ProviderError as error:
            raise self._unreachable(error) from None

    async def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str] | None,
        creating: bool,
    ) -> dict[str, Any]:
        with http.translating("The gateway", creating=creating):
            response = await self._client.request(method, path, json=body, headers=headers)
            if response.status_code >= 400:
                raise _refused(response)
            wait = response.headers.get(POLL_AFTER_HEADER, "")
            self.poll_after_ms = int(wait) if wait.isdecimal() else POLL_MS
            self.replayed = response.headers.get("idempotent-replayed") == "true"
            return http.json_object(response)

    async def _save(self, path: str, part: Path) -> int:
        length = 0
        with http.translating("The gateway", creating=False):
            async with self._client.stream("GET", path) as response:
                if response.status_code >= 400:
                    await response.aread()
                    raise _refused(response)
                with part.open("wb") as file:
                    async for chunk in response.aiter_bytes():
                        length += file.write(chunk)
        return length

    def _unreachable(self, error: ProviderError) -> Unreachable:
        return Unreachable(
            ExitCode.NOT_FOUND,
            f"No gateway answers at {self._url} ({error.operator_detail}) Start one with `reelgate serve` "
            "or name another with --url or REELGATE_URL.",
        )


def api_key() -> str | None:
    """The caller's key, which has no option: arguments are for every user of the machine to read."""
    return os.environ.get("REELGATE_API_KEY")


def _segment(video_id: str) -> str:
    if not video_id.replace("_", "").isalnum() or not video_id.isascii():
        raise CliError(ExitCode.USAGE, f"{video_id!r} is not a video's id: it looks like video_01….")
    return video_id


def _refused(response: http.Response) -> CliError:
    """The server's own words; its body, with the plan where there is one, is what ``--json`` prints."""
    try:
        body = response.json()
        message = body["error"]["message"]
    except (ValueError, LookupError, TypeError):
        body, message = (
            None,
            f"HTTP {response.status_code}, which is no answer of a gateway: check the address.",
        )
    code = _EXITS.get(response.status_code, ExitCode.SERVER)
    return CliError(code, message, body=body)
