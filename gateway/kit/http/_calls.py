"""Calls to a provider: the client, and what trouble with it means."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeAlias

import httpx

from gateway.kit._reply import excerpt, retry_after
from gateway.kit.http._pools import Pools
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)

Client: TypeAlias = httpx.AsyncClient
Response: TypeAlias = httpx.Response

# what a request may hold besides secrets; every other header's value is struck from error texts
_OPEN_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "host", "user-agent"}
)

_WHAT: Mapping[type[ProviderError], str] = {
    ContentBlocked: "refused the content",
    Unsupported: "cannot do what was asked",
    ModelGone: "no longer has this model",
    NotAuthorised: "did not accept this gateway's credentials",
    OutOfCredit: "says that this gateway's account has no credit left",
    RateLimited: "takes no more calls for now",
    Unavailable: "cannot take the call now",
    UnexpectedReply: "gave an answer that its API does not document",
}

# proof that nothing was sent: no connection, or no request that could be one
_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


def client(
    *,
    base_url: str,
    headers: Mapping[str, str] | None = None,
    connect_s: float = 10.0,
    read_s: float = 60.0,
    connections: int = 100,
) -> Client:
    """An HTTP client for one provider, to be kept for the life of the adapter and closed by ``aclose``.

    ``headers`` go with every request, credentials among them: use it for ``base_url`` only. ``connect_s``
    also bounds the wait for a free connection, ``read_s`` each wait for bytes in either direction.
    """
    return httpx.AsyncClient(
        base_url=base_url,
        headers=dict(headers or {}),
        timeout=httpx.Timeout(read_s, connect=connect_s, pool=connect_s),
        transport=Pools(connections, tls()),
        trust_env=False,
        follow_redirects=False,
    )


@cache
def tls() -> ssl.SSLContext:
    """What verifies servers, one for the process: its certificates take a tenth of a second to load."""
    return httpx.create_ssl_context(trust_env=False)


def json_object(response: Response) -> dict[str, Any]:
    """The JSON object that a provider answered; call it inside :func:`translating`.

    Raises:
        httpx.HTTPStatusError: the status is not 2xx.  httpx.DecodingError: the body is not a JSON object.
    """
    response.raise_for_status()
    try:
        body = response.json()
    except (ValueError, RecursionError):  # not text, not JSON, or nested to spite the parser
        body = None
    if not isinstance(body, dict):
        raise httpx.DecodingError("not a JSON object", request=response.request)
    return body


Verdict: TypeAlias = tuple[type[ProviderError], str] | None
"""What a provider's own error means: which of the contract's errors, and what it said, fit for the caller."""


@contextmanager
def translating(
    provider: str, *, creating: bool, classify: Callable[[Response], Verdict] = lambda _: None
) -> Iterator[None]:
    """Turn what httpx raises inside into the contract's errors. ``provider`` is its name as people know it.

    ``classify`` is asked first what a status that is not 2xx means, by the provider's own table; where it has
    no word for it, what follows holds.

    ``creating`` says that the call creates a job, so that trouble after it was sent is ``OutcomeUnknown``:
    a connection that failed, and any 4xx but 408 and 499, prove that nothing was created; a lost answer,
    408, 499 and any 5xx do not. On other calls the same trouble is ``Unavailable``, and a 400 is no fault of
    the caller's input but an ``UnexpectedReply``.

    Raises:
        BadRequest, NotAuthorised, OutOfCredit, RateLimited, Unavailable, OutcomeUnknown, UnexpectedReply: as
            above. Their texts hold no query string and no value of a request's own headers.
    """
    try:
        yield
    except httpx.HTTPStatusError as error:
        # from None, here and below: httpx's own text holds the URL with its query, which may be a credential
        verdict = classify(error.response)
        if verdict is None:
            raise _of_status(provider, error.response, creating) from None
        raise refusal(provider, error.response, verdict, creating=creating) from None
    except _NOT_SENT as error:
        raise Unavailable(
            f"{provider} could not be reached; {_unharmed(creating)}. Try again later.",
            operator_detail=f"{provider}: {type(error).__name__}{_where(error)}; nothing was sent.",
        ) from None
    except httpx.DecodingError as error:
        raise UnexpectedReply(
            f"{provider} answered with something that is not its documented JSON.",
            operator_detail=f"{provider}: the answer is not a JSON object{_where(error)}."
            + (" The job may have been created and may be billed." if creating else ""),
        ) from None
    except httpx.HTTPError as error:
        raise _lost(provider, f"{provider}: {type(error).__name__}{_where(error)}", creating) from None


def refusal(
    provider: str, response: Response, verdict: tuple[type[ProviderError], str], *, creating: bool
) -> ProviderError:
    """The error that an answer means, in the contract's words; also for a refusal that came with HTTP 200."""
    kind, said = verdict
    operator = (
        f"{provider}: HTTP {response.status_code} to {_request(response.request)}: {_excerpt(response)}"
    )
    if kind is OutcomeUnknown:
        return _lost(provider, operator, creating)
    words = f" It said: {excerpt(said, _secrets(response.request))}" if said else ""
    text = f"{provider} {_WHAT.get(kind, 'refused the request')}; {_unharmed(creating)}.{words}"
    if kind is RateLimited:
        wait = retry_after(response.headers.get("retry-after"), datetime.now(UTC))
        return RateLimited(text, operator_detail=operator, retry_after=wait)
    return kind(text, operator_detail=operator)


def _of_status(provider: str, response: Response, creating: bool) -> ProviderError:
    status = response.status_code
    operator = f"{provider}: HTTP {status} to {_request(response.request)}: {_excerpt(response)}"
    unharmed = _unharmed(creating)
    match status:
        case 401 | 403:
            return NotAuthorised(
                f"{provider} did not accept this gateway's credentials; {unharmed}. Its operator must act.",
                operator_detail=operator,
            )
        case 402:
            return OutOfCredit(
                f"This gateway's account at {provider} has no credit left; {unharmed}.",
                operator_detail=operator,
            )
        case 429:
            return RateLimited(
                f"{provider} takes no more calls for now; {unharmed}. Try again later.",
                operator_detail=operator,
                retry_after=retry_after(response.headers.get("retry-after"), datetime.now(UTC)),
            )
        case _ if status in (408, 499) or status >= 500:
            return _lost(provider, operator, creating)
        case _ if status >= 400 and creating:
            return BadRequest(
                f"{provider} refused the request (HTTP {status}); {unharmed}.", operator_detail=operator
            )
        case _:
            return UnexpectedReply(
                f"{provider} answered HTTP {status}, which its API does not document.",
                operator_detail=operator,
            )


def _unharmed(creating: bool) -> str:
    return "nothing was created or charged" if creating else "the job is as it was"


def _lost(provider: str, operator: str, creating: bool) -> ProviderError:
    if creating:
        return OutcomeUnknown(
            f"{provider} may or may not have taken the job: its answer was lost. It is not sent again.",
            operator_detail=f"{operator}; the job may have been created and may be billed.",
        )
    return Unavailable(
        f"{provider} did not answer; the job is as it was. Try again later.", operator_detail=operator
    )


def _where(error: httpx.HTTPError | httpx.InvalidURL) -> str:
    try:
        request = error.request if isinstance(error, httpx.HTTPError) else None
    except RuntimeError:  # httpx's way to say that the error belongs to no request
        request = None
    return f" at {_request(request)}" if request else ""


def _request(request: httpx.Request) -> str:
    return f"{request.method} {bare(request.url)}"


def bare(url: httpx.URL) -> str:
    """The URL without user, query and fragment, each of which may be a credential."""
    return str(url.copy_with(userinfo=b"", query=None, fragment=None))


def _excerpt(response: Response) -> str:
    """What the provider said, without what this gateway sent in confidence."""
    try:
        text = response.text
    except httpx.ResponseNotRead:
        return "(not read)"
    return excerpt(text, _secrets(response.request))


def _secrets(request: httpx.Request) -> list[str]:
    """What a request said in confidence."""
    headers = [value for name, value in request.headers.items() if name not in _OPEN_HEADERS]
    return headers + [value for _, value in request.url.params.multi_items()]
