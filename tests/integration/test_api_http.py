"""The API on the wire: what the SDK does not show."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from gateway.db.keys import create_key
from gateway.media import StoreFull

SMALL = {"model": "echo", "seconds": "1", "size": "64x36"}
SLOW = {**SMALL, "options": {"echo": {"latency_ms": 60_000}}}


@pytest.fixture
def client(server: Any) -> Iterator[httpx.Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def other(server: Any) -> Iterator[httpx.Client]:
    with server.client(server.other) as client:
        yield client


@pytest.fixture(scope="module")
def done(server: Any) -> dict[str, Any]:
    """One finished video."""
    with server.client() as client:
        video = create(client, prompt="a cat", **SMALL)
    found: dict[str, Any] = server.finished(video["id"])
    assert found["status"] == "completed"
    return found


def create(client: httpx.Client, **body: Any) -> dict[str, Any]:
    response = client.post("/v1/videos", json=body)
    assert response.status_code == 200, response.text
    video: dict[str, Any] = response.json()
    return video


def error_of(response: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


def png(side: int = 32) -> bytes:
    out = BytesIO()
    Image.new("RGB", (side, side), "orange").save(out, "PNG")
    return out.getvalue()


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def events_of(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    pattern = re.compile(r"id: (\d+)\nevent: (\S+)\ndata: (.*)\n\n")
    return [(int(seq), kind, json.loads(data)) for seq, kind, data in pattern.findall(text)]


def test_health_is_public_and_says_what_it_checked(server: Any) -> None:
    assert httpx.get(f"{server.url}/livez").json() == {"status": "ok"}
    ready = httpx.get(f"{server.url}/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"database": "ok", "store": "ok", "engine": "ok"}


def test_the_content_is_streamed_with_ranges_and_validators(
    server: Any, client: httpx.Client, done: dict[str, Any]
) -> None:
    url = f"/v1/videos/{done['id']}/content"
    whole = client.get(url)
    digest = hashlib.sha256(whole.content).hexdigest()
    assert whole.headers["etag"] == f'"{digest}"'
    assert whole.headers["content-type"] == "video/mp4"
    assert whole.headers["content-disposition"] == f'attachment; filename="{done["id"]}.mp4"'
    assert whole.headers["x-content-type-options"] == "nosniff"

    part = client.get(url, headers={"range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, whole.content[4:8])
    assert part.headers["content-range"] == f"bytes 4-7/{len(whole.content)}"
    outside = client.get(url, headers={"range": f"bytes={len(whole.content)}-"})
    assert (outside.status_code, error_of(outside)["code"]) == (416, "range_not_satisfiable")

    head = client.head(url)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(whole.content))
    same = client.get(url, headers={"if-none-match": whole.headers["etag"]})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", whole.headers["etag"])

    assert client.get(url, params={"variant": "thumbnail"}).headers["content-type"] == "image/webp"
    wrong = client.get(url, params={"variant": "poster"})
    assert (wrong.status_code, error_of(wrong)["param"]) == (400, "variant")


def test_events_replay_resume_and_end(client: httpx.Client, done: dict[str, Any]) -> None:
    url = f"/v1/videos/{done['id']}/events"
    response = client.get(url)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = events_of(response.text)
    assert [seq for seq, _, _ in events] == list(range(1, len(events) + 1))
    assert (events[0][1], events[-1][1]) == ("video.queued", "video.completed")
    assert float(events[-1][2]["charge_usd"]) > 0

    last = events[-1][0]
    resumed = events_of(client.get(url, headers={"last-event-id": str(last - 1)}).text)
    assert resumed == events[-1:]
    assert events_of(client.get(url, params={"after": last - 2}).text) == events[-2:]
    assert client.get(url, params={"after": last}).text == ""
    assert error_of(client.get(url, headers={"last-event-id": "x"}))["param"] == "last-event-id"


def test_events_are_told_as_they_happen_and_a_cancel_ends_them(client: httpx.Client) -> None:
    video = create(client, prompt="slow", **SLOW)
    seen = ""
    with client.stream("GET", f"/v1/videos/{video['id']}/events") as stream:
        for text in stream.iter_text():
            seen += text
            if "video.in_progress" in seen and "cancelling" not in seen:
                seen += "cancelling"
                assert client.post(f"/v1/videos/{video['id']}/cancel").status_code == 200
    assert "video.failed" in seen
    found = client.get(f"/v1/videos/{video['id']}").json()
    assert (found["status"], found["error"]["code"]) == ("failed", "cancelled")
    assert found["gateway"]["charge_usd"] == "0"
    again = client.post(f"/v1/videos/{video['id']}/cancel")
    assert (again.status_code, again.json()) == (200, found)


def test_an_unfinished_video_cannot_be_deleted_or_downloaded(client: httpx.Client) -> None:
    video = create(client, prompt="slow", **SLOW)
    url = f"/v1/videos/{video['id']}"
    response = client.get(url)
    assert 250 <= int(response.headers["openai-poll-after-ms"]) <= 5000
    refused = client.delete(url)
    assert (refused.status_code, error_of(refused)["code"]) == (409, "video_active")
    assert refused.headers["x-should-retry"] == "false"
    early = client.get(f"{url}/content")
    assert (early.status_code, error_of(early)["code"]) == (404, "video_not_ready")
    client.post(f"{url}/cancel")
    client.get(f"{url}/events")
    assert client.delete(url).json() == {"id": video["id"], "deleted": True, "object": "video.deleted"}


def test_a_file_that_is_gone_from_the_store_is_410(server: Any, client: httpx.Client) -> None:
    video = server.finished(create(client, prompt="lost", **SMALL)["id"])
    (path,) = [p for p in server.runtime.settings.store_dir.rglob("*.mp4") if video["id"] in str(p)]
    path.unlink()
    for method in ("GET", "HEAD"):
        response = client.request(method, f"/v1/videos/{video['id']}/content")
        assert response.status_code == 410
    error = error_of(client.get(f"/v1/videos/{video['id']}/content"))
    assert error["code"] == "content_missing"
    assert "operator" in error["message"]


def test_the_same_key_and_body_is_one_video(client: httpx.Client, other: httpx.Client) -> None:
    headers = {"idempotency-key": "order-1"}
    first = client.post("/v1/videos", json={"prompt": "once", **SMALL}, headers=headers)
    as_form = {"prompt": "once", "model": "echo", "seconds": "1.0", "size": "64x36"}
    second = client.post("/v1/videos", files={k: (None, v) for k, v in as_form.items()}, headers=headers)
    assert first.status_code == second.status_code == 200
    assert second.content == first.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"

    changed = client.post("/v1/videos", json={"prompt": "twice", **SMALL}, headers=headers)
    assert (changed.status_code, error_of(changed)["code"]) == (422, "idempotency_key_reused")
    theirs = other.post("/v1/videos", json={"prompt": "once", **SMALL}, headers=headers)
    assert theirs.json().get("id") != first.json()["id"]
    for bad in ("", "x" * 256):
        refused = client.post("/v1/videos", json={"prompt": "a"}, headers={"idempotency-key": bad})
        assert (refused.status_code, error_of(refused)["param"]) == (400, "idempotency-key")


def test_many_at_once_with_one_key_make_one_video(client: httpx.Client) -> None:
    def post(_: int) -> httpx.Response:
        body = {"prompt": "a crowd", **SMALL}
        return client.post("/v1/videos", json=body, headers={"idempotency-key": "crowd"})

    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(post, range(16)))
    assert {response.status_code for response in responses} <= {200, 409}
    assert len({response.json()["id"] for response in responses if response.status_code == 200}) == 1
    listed = client.get("/v1/videos", params={"limit": 100}).json()["data"]
    assert sum(video["prompt"] == "a crowd" for video in listed) == 1


@pytest.mark.parametrize(
    ("method", "suffix", "body"),
    [
        ("GET", "", None),
        ("DELETE", "", None),
        ("GET", "/content", None),
        ("GET", "/events", None),
        ("POST", "/cancel", None),
        ("POST", "/remix", {"prompt": "mine now"}),
    ],
)
def test_a_foreign_id_is_answered_like_an_unknown_one(
    other: httpx.Client, done: dict[str, Any], method: str, suffix: str, body: dict[str, str] | None
) -> None:
    answers = [
        other.request(method, f"/v1/videos/{video_id}{suffix}", json=body)
        for video_id in (done["id"], "video_" + "0" * 26, "video_", "x' OR 1=1", "%00", "video_" + "é" * 26)
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1


def test_lists_are_the_callers_own(other: httpx.Client, client: httpx.Client, done: dict[str, Any]) -> None:
    assert done["id"] in [video["id"] for video in client.get("/v1/videos?limit=100").json()["data"]]
    assert done["id"] not in other.get("/v1/videos?limit=100").text
    assert client.get("/v1/videos?limit=0").json()["data"] == []
    for query in ("after=" + done["id"], "limit=101", "limit=-1", "order=up", "after=x"):
        response = other.get(f"/v1/videos?{query}")
        assert (response.status_code, error_of(response)["param"]) == (400, query.split("=")[0])


def test_an_image_counts_the_same_in_every_form(server: Any, client: httpx.Client) -> None:
    image = png()
    base = {"prompt": "a cat", **SMALL}
    ids = [
        client.post("/v1/videos", data=base, files={"input_reference": ("a.png", image)}).json()["id"],
        create(client, **base, input_reference=data_url(image))["id"],
        create(client, **base, input_reference={"image_url": data_url(image)})["id"],
        create(client, **base, images=[{"role": "first_frame", "image_url": data_url(image)}])["id"],
        client.post(
            "/v1/videos",
            files={k: (None, v) for k, v in (base | {"input_reference[image_url]": data_url(image)}).items()},
        ).json()["id"],
    ]
    assert {server.finished(video_id)["status"] for video_id in ids} == {"completed"}
    store = server.runtime.store
    stored = {store.read(f"inputs/{video_id}/0.png") for video_id in ids}
    assert len(stored) == 1


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (png()[:50], "image_broken"),
        (b"hello", "image_format_unsupported"),
        (b"x" * 2_000_000, "image_too_large"),
    ],
)
def test_a_bad_image_is_refused(client: httpx.Client, image: bytes, code: str) -> None:
    for response in (
        client.post("/v1/videos", data={"prompt": "a"}, files={"input_reference": ("a.png", image)}),
        client.post("/v1/videos", json={"prompt": "a", "input_reference": data_url(image)}),
        client.post("/v1/videos/plan", json={"prompt": "a", "input_reference": data_url(image)}),
    ):
        error = error_of(response)
        assert (response.status_code, error["code"], error["param"]) == (400, code, "input_reference")


def test_a_body_over_the_cap_is_413_declared_or_not(client: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        for _ in range(6):
            yield b" " * 1024**2

    headers = {"content-type": "application/json"}
    for content in (b" " * 6 * 1024**2, chunks()):
        response = client.post("/v1/videos", content=content, headers=headers)
        assert (response.status_code, error_of(response)["code"]) == (413, "request_too_large")


def test_a_plan_is_shown_even_when_nothing_fits(client: httpx.Client) -> None:
    plan = client.post("/v1/videos/plan", json={"prompt": "a cat", **SMALL}).json()
    assert (plan["chosen"]["model"], plan["policy"]) == ("echo", "cheapest")
    assert plan["chosen"]["output"]["size"] == "64x36"
    impossible = client.post("/v1/videos/plan", json={"prompt": "a cat", "audio": "required"})
    assert impossible.status_code == 200
    assert impossible.json()["chosen"] is None
    assert {way["code"] for way in impossible.json()["dropped"]} == {"audio_unsupported"}

    refused = client.post("/v1/videos", json={"prompt": "a cat", "audio": "required"})
    assert (refused.status_code, error_of(refused)["code"]) == (422, "nothing_fits")
    assert refused.json()["plan"] == impossible.json()
    assert refused.headers["x-should-retry"] == "false"


def test_a_budget_that_does_not_cover_it_is_402(other: httpx.Client) -> None:
    refused = other.post("/v1/videos", json={"prompt": "a cat", "model": "echo-remote", "seconds": 10})
    assert (refused.status_code, error_of(refused)["type"]) == (402, "insufficient_quota")
    assert refused.json()["plan"]["dropped"][0]["code"] == "over_budget"
    assert refused.headers["x-should-retry"] == "false"


def test_a_full_store_is_503_and_nothing_is_made(
    server: Any, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StoreFull("full")

    monkeypatch.setattr(server.runtime.store, "put", full)
    body = {"prompt": "no space", **SMALL, "input_reference": data_url(png())}
    response = client.post("/v1/videos", json=body)
    assert (response.status_code, error_of(response)["code"]) == (503, "storage_full")
    assert "no space" not in client.get("/v1/videos").text


def test_the_catalogue_says_what_is_ready_and_at_what_price(client: httpx.Client) -> None:
    cards = {card["id"]: card for card in client.get("/v1/videos/models").json()["data"]}
    echo = cards["echo"]
    assert echo["ready"]
    assert echo["durations"]["max"] == "60"
    (offer,) = echo["offers"]
    assert offer["adapter_installed"]
    assert offer["presets"][0] | {"times": []} == {
        "name": "standard",
        "fast": True,
        "finished_by": None,
        "resolutions": [],
        "times": [],
        "ready": True,
        "unready": None,
    }
    assert cards["echo-remote"]["offers"][0]["prices"][0]["usd"] == "0.01"


def test_usage_is_the_callers_own_unless_an_admin_asks(
    client: httpx.Client, other: httpx.Client, done: dict[str, Any]
) -> None:
    mine = client.get("/v1/usage", params={"by": "day,model"}).json()
    assert mine["by"] == ["model", "day"]
    (row,) = [row for row in mine["data"] if row["model"] == "echo"]
    assert row["completed"] >= 1
    assert float(row["charge_usd"]) > 0
    assert "cost_usd" in row

    theirs = other.get("/v1/usage").json()["data"]
    assert all("cost_usd" not in row for row in theirs)
    assert client.get("/v1/usage?tenant=all").status_code == 200
    refused = other.get("/v1/usage?tenant=all")
    assert (refused.status_code, error_of(refused)["code"]) == (403, "admin_only")
    for query in ("by=colour", "by=model,model", "since=yesterday", "since=2026-02-01&until=2026-01-01"):
        response = client.get(f"/v1/usage?{query}")
        assert (response.status_code, error_of(response)["param"]) == (400, query.split("=")[0])


def test_nothing_of_a_key_is_told_or_logged(
    server: Any, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("DEBUG"):
        client.get("/v1/videos")
        wrong = httpx.get(f"{server.url}/v1/videos", headers={"authorization": "Bearer rg_live_canary"})
    assert wrong.status_code == 401
    assert "canary" not in wrong.text + caplog.text
    assert server.key.secret not in caplog.text


def test_a_key_for_test_mode_needs_a_sandbox(server: Any) -> None:
    with server.runtime.db.write() as connection:
        key = create_key(connection, server.runtime.pepper, server.key.tenant_id, name="t", livemode=False)
    with server.client(key) as client:
        for path in ("/v1/videos", "/v1/videos/plan"):
            refused = client.post(path, json={"prompt": "a cat"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "sandbox_off")
            assert "serve --sandbox" in refused.json()["error"]["message"]
