"""The file store and the tester's pages, over HTTP."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import urlsplit

import httpx
import pytest

from gateway.kit.testing import decode

from .conftest import Customer
from .toy._sandbox import KEY


def address(customer: Customer) -> str:
    url: str = customer.look(customer.ordered()).json()["url"]
    return url


def test_the_file_is_the_clip_on_another_origin(customer: Customer) -> None:
    url = address(customer)
    assert urlsplit(url).netloc == f"localhost:{urlsplit(customer.world.url).port}"
    reply = httpx.get(url)
    assert reply.headers["content-type"] == "video/mp4"
    seen = decode(reply.content)
    assert (seen.width, seen.height, seen.frames, float(seen.fps)) == (64, 48, 8, 8.0)


def test_ranges_and_head(customer: Customer) -> None:
    url = address(customer)
    whole = httpx.get(url).content
    part = httpx.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole[10:20])
    head = httpx.head(url)
    assert (head.headers["content-length"], head.content) == (str(len(whole)), b"")


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "Api-Key", "X-Some-Api-Key"])
def test_a_key_is_refused(customer: Customer, header: str) -> None:
    assert httpx.get(address(customer), headers={header: "a secret"}).status_code == 400


def test_an_address_holds_until_it_expires(customer: Customer) -> None:
    url = address(customer)
    clock = customer.world.sandbox.shared
    token = url.rpartition("/")[2]
    assert httpx.get(url).status_code == 200
    assert httpx.get(url.replace(token, "x" + token)).status_code == 403
    clock.files._now = lambda: 9e12
    assert httpx.get(url).status_code == 403


def test_a_deleted_jobs_file_is_gone(customer: Customer) -> None:
    url = address(customer)
    shared = customer.world.sandbox.shared
    shared.records.forget(shared.records.all()[0])
    assert httpx.get(url).status_code == 404


def test_a_provider_serves_the_file_itself(customer: Customer) -> None:
    id = customer.ordered()
    reply = customer.http.get(f"/jobs/{id}/file")
    assert decode(reply.content).frames == 8
    assert (reply.headers["x-toy"], reply.headers["content-length"]) == ("yes", str(len(reply.content)))


def test_a_clip_is_drawn_once_for_its_shape(customer: Customer) -> None:
    files = {customer.file(customer.ordered()).headers["last-modified"] for _ in range(3)}
    assert len(files) == 1


def test_the_pages(customer: Customer) -> None:
    root = customer.world.sandbox.url
    assert httpx.get(f"{root}/sandbox/health").json() == {
        "status": "ok",
        "providers": {"toy": customer.world.url},
    }
    assert httpx.get(f"{root}/sandbox/settings").json() == {
        "plugins": {"toy": {"base_url": customer.world.url, "api_key": KEY}}
    }
    assert httpx.get(f"{root}/sandbox/faults").json()["faults"]["html"]["places"] == ["look", "create"]
    id = customer.ordered("[[sandbox:html]]", seconds="2")
    bill = httpx.get(f"{root}/sandbox/bill").json()
    assert (bill["billed_usd"], bill["billed_usd_by_provider"]) == ("0.10", {"toy": "0.10"})
    assert Decimal(bill["lines"][0]["usd"]) == Decimal("0.1")
    (job,) = httpx.get(f"{root}/sandbox/jobs").json()["jobs"]
    assert (job["id"], job["state"], job["faults"]) == (id, "succeeded", ["html@look=1"])


def test_orders_are_given_and_taken_back(customer: Customer) -> None:
    orders = f"{customer.world.sandbox.url}/sandbox/orders"
    given = httpx.post(orders, json={"provider": "toy", "fault": "rate_limited=nan", "times": 2})
    assert given.json() == {
        "orders": [
            {"provider": "toy", "fault": "rate_limited@create=nan", "probability": 1.0, "times": 2},
        ]
    }
    assert customer.create().status_code == 429
    assert httpx.delete(orders).json() == {"orders": []}
    assert customer.create().status_code == 200


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"fault": "thunder"}, "there is no fault"),
        ({"fault": "html", "provider": "nobody"}, "no provider 'nobody'"),
        ({"fault": "html", "probability": 2}, "probability: Input should be less than or equal to 1"),
        ({"fault": "html", "often": True}, "often: "),
        ([], "the body: "),
    ],
)
def test_an_order_that_is_none(customer: Customer, body: object, wrong: str) -> None:
    reply = httpx.post(f"{customer.world.sandbox.url}/sandbox/orders", json=body)
    assert reply.status_code == 400
    assert reply.json()["error"].startswith(wrong)
