"""Trouble with a provider, translated by whether something may have been created."""

from __future__ import annotations

import ssl
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

from gateway.kit._reply import retry_after
from gateway.kit.http import Client, client, json_object, translating
from gateway.kit.http._calls import tls
from gateway.spec import (
    BadRequest,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Unavailable,
    UnexpectedReply,
)

KEY = "sk-canary-4b1d22"

STATUSES: list[tuple[int, type[ProviderError], type[ProviderError]]] = [
    # status, on create, on any other call
    (302, UnexpectedReply, UnexpectedReply),
    (400, BadRequest, UnexpectedReply),
    (401, NotAuthorised, NotAuthorised),
    (402, OutOfCredit, OutOfCredit),
    (403, NotAuthorised, NotAuthorised),
    (404, BadRequest, UnexpectedReply),
    (408, OutcomeUnknown, Unavailable),
    (409, BadRequest, UnexpectedReply),
    (422, BadRequest, UnexpectedReply),
    (429, RateLimited, RateLimited),
    (499, OutcomeUnknown, Unavailable),
    (500, OutcomeUnknown, Unavailable),
    (502, OutcomeUnknown, Unavailable),
    (503, OutcomeUnknown, Unavailable),
    (504, OutcomeUnknown, Unavailable),
]

FAULTS: list[tuple[type[httpx.TransportError], type[ProviderError], type[ProviderError]]] = [
    (httpx.ConnectError, Unavailable, Unavailable),
    (httpx.ConnectTimeout, Unavailable, Unavailable),
    (httpx.PoolTimeout, Unavailable, Unavailable),
    (httpx.UnsupportedProtocol, Unavailable, Unavailable),
    (httpx.ReadTimeout, OutcomeUnknown, Unavailable),
    (httpx.WriteTimeout, OutcomeUnknown, Unavailable),
    (httpx.ReadError, OutcomeUnknown, Unavailable),
    (httpx.WriteError, OutcomeUnknown, Unavailable),
    (httpx.RemoteProtocolError, OutcomeUnknown, Unavailable),
]


def talking_to(answer: Callable[[httpx.Request], httpx.Response]) -> Client:
    return httpx.AsyncClient(
        base_url="https://comet.example",
        transport=httpx.MockTransport(answer),
        headers={"Authorization": f"Bearer {KEY}"},
    )


async def call(answer: Callable[[httpx.Request], httpx.Response], *, creating: bool) -> dict[str, Any]:
    async with talking_to(answer) as http:
        with translating("Comet", creating=creating):
            return json_object(await http.post("/jobs", params={"key": KEY}, json={}))


@pytest.mark.parametrize(("status", "on_create", "otherwise"), STATUSES)
async def test_a_status_is_translated(
    status: int, on_create: type[ProviderError], otherwise: type[ProviderError]
) -> None:
    for creating, expected in ((True, on_create), (False, otherwise)):
        with pytest.raises(ProviderError) as caught:
            await call(lambda request: httpx.Response(status), creating=creating)
        assert type(caught.value) is expected
        assert f"HTTP {status}" in caught.value.operator_detail


@pytest.mark.parametrize(("fault", "on_create", "otherwise"), FAULTS)
async def test_a_fault_of_the_line_is_translated(
    fault: type[httpx.TransportError], on_create: type[ProviderError], otherwise: type[ProviderError]
) -> None:
    def fail(request: httpx.Request) -> httpx.Response:
        raise fault("it broke", request=request)

    for creating, expected in ((True, on_create), (False, otherwise)):
        with pytest.raises(ProviderError) as caught:
            await call(fail, creating=creating)
        assert type(caught.value) is expected
        assert fault.__name__ in caught.value.operator_detail


@pytest.mark.parametrize("body", [b"<html>busy</html>", b"", b"[1]", b"\xff\xfe\xfa", b"[" * 100_000])
@pytest.mark.parametrize("creating", [True, False])
async def test_what_is_no_json_object_is_unexpected(body: bytes, creating: bool) -> None:
    with pytest.raises(UnexpectedReply):
        await call(lambda request: httpx.Response(200, content=body), creating=creating)


async def test_an_answer_comes_back_as_it_is() -> None:
    assert await call(lambda request: httpx.Response(201, json={"id": "j1"}), creating=True) == {"id": "j1"}


async def test_an_adapters_own_verdict_passes_through() -> None:
    with pytest.raises(OutOfCredit), translating("Comet", creating=True):
        raise OutOfCredit("a code inside a 200 said so")


async def test_the_providers_words_reach_the_operator_and_no_secret_does() -> None:
    def echoing(request: httpx.Request) -> httpx.Response:
        message = f"key {request.headers['authorization']} at {request.url} is bad,  see\nmanual"
        return httpx.Response(400, json={"error": {"message": message}})

    def broken(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadError(f"broke at {request.url}", request=request)

    for answer in (echoing, broken):
        with pytest.raises(ProviderError) as caught:
            await call(answer, creating=True)
        shown = "".join(traceback.format_exception(caught.value))
        assert KEY not in shown + caught.value.operator_detail + caught.value.caller_detail
        assert "POST https://comet.example/jobs" in caught.value.operator_detail
    with pytest.raises(BadRequest) as refused:
        await call(echoing, creating=True)
    assert "is bad, see manual" in refused.value.operator_detail
    assert "is bad" not in refused.value.caller_detail


async def test_the_providers_words_reach_the_caller_without_the_key() -> None:
    def echoing(request: httpx.Request) -> httpx.Response:
        return httpx.Response(400, json={"said": f"not with {request.headers['authorization']},  see manual"})

    def words(response: httpx.Response) -> tuple[type[ProviderError], str]:
        return BadRequest, response.json()["said"]

    async with talking_to(echoing) as http:
        with pytest.raises(BadRequest) as caught, translating("Comet", creating=True, classify=words):
            json_object(await http.post("/jobs", json={}))
    assert caught.value.caller_detail.endswith("It said: not with *** ***, see manual")


async def test_a_real_client_reports_a_closed_port_as_not_sent(unused_tcp_port: int) -> None:
    async with client(base_url=f"http://127.0.0.1:{unused_tcp_port}") as http:
        with pytest.raises(Unavailable, match="nothing was created"), translating("Comet", creating=True):
            await http.post("/jobs")


async def test_a_client_ignores_proxies_and_redirects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    async with client(base_url="https://comet.example") as http:
        assert not http.trust_env
        assert not http.follow_redirects
        assert all(transport is None for transport in http._mounts.values())


NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        ("12", 12),
        ("1.5", 1.5),
        ("-5", None),
        ("nan", None),
        ("inf", None),
        ("1e400", None),
        ("1000000000", 86_400),
        ("soon", None),
        ("", None),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), 86_400),
        ("Fri, 20 Nov 2026 12:00:30 -0000", 30),
        ("Fri, 99 Nov 2026 12:00:30 GMT", None),
    ],
)
def test_retry_after_in_every_form(value: str | None, seconds: float | None) -> None:
    assert retry_after(value, NOW) == seconds


async def test_rate_limited_says_how_long() -> None:
    def busy(request: httpx.Request) -> httpx.Response:
        return httpx.Response(429, headers={"Retry-After": "7"})

    with pytest.raises(RateLimited) as caught:
        await call(busy, creating=True)
    assert caught.value.retry_after == 7


async def test_all_clients_verify_servers_by_certificates_that_are_loaded_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[ssl.SSLContext] = []
    load = httpx.create_ssl_context

    def counted(*args: Any, **given: Any) -> ssl.SSLContext:
        loaded.append(load(*args, **given))
        return loaded[-1]

    for module in ("httpx", "httpx._config"):  # where this package calls it, and where httpx itself does
        monkeypatch.setattr(f"{module}.create_ssl_context", counted)
    tls.cache_clear()
    for host in ("a", "b"):
        await client(base_url=f"https://{host}.example").aclose()
    (context,) = loaded
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
