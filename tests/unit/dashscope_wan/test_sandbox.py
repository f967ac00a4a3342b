"""Model Studio's double: as strict as the documentation, and a witness of what is billed."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from adapters.dashscope_wan._order import order_of, read_params
from adapters.dashscope_wan._sandbox import KEYS, TEST_KEY, FakeModelStudio
from gateway.catalog.prices import cost, price_terms
from gateway.sandbox.app import Sandbox
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Fault, Order, Orders
from gateway.spec import Offer, Usage

from .conftest import catalog, make, offer_of, picture

VIDEO, FRAMES = (f"/services/aigc/{name}/video-synthesis" for name in ("video-generation", "image2video"))
SINGAPORE = TEST_KEY
BEIJING = next(key for key, region in KEYS.items() if region == "beijing")
START = 1_790_000_000.0
TODAY = date(2026, 11, 26)


class Studio:
    """The double in the test's hand; its clock stands still until it is moved."""

    def __init__(self, folder: Path) -> None:
        self.now = START
        self.orders = Orders(seed=0)
        self.sandbox = Sandbox(
            [FakeModelStudio()],
            folder,
            url="http://127.0.0.1:1",
            pace=Pace(queue_s=10, render_s=60, jitter=0),
            orders=self.orders,
            now=lambda: self.now,
        )
        self._http = httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.sandbox.app()), base_url="http://127.0.0.1:1"
        )

    async def call(
        self, method: str, path: str, *, key: str = SINGAPORE, region: str = "", **given: Any
    ) -> tuple[int, dict[str, Any]]:
        """Status and body."""
        headers = {"Authorization": f"Bearer {key}", **given.pop("headers", {})}
        url = f"/dashscope_wan/{region or KEYS.get(key, 'singapore')}/api/v1{path}"
        reply = await self._http.request(method, url, headers=headers, **given)
        return reply.status_code, reply.json()

    async def create(self, body: Any, path: str = VIDEO, **given: Any) -> tuple[int, dict[str, Any]]:
        headers = given.pop("headers", {"X-DashScope-Async": "enable"})
        return await self.call("POST", path, json=body, headers=headers, **given)

    async def taken(self, body: Any, **given: Any) -> str:
        status, answer = await self.create(body, **given)
        assert status == 200, answer
        assert answer["output"]["task_status"] == "PENDING"
        return str(answer["output"]["task_id"])

    async def look(self, id: str, **given: Any) -> dict[str, Any]:
        status, answer = await self.call("GET", f"/tasks/{id}", **given)
        assert status == 200
        return answer

    async def close(self) -> None:
        await self._http.aclose()
        self.sandbox.close()


@pytest_asyncio.fixture
async def studio(tmp_path: Path) -> AsyncIterator[Studio]:
    studio = Studio(tmp_path)
    yield studio
    await studio.close()


def text(model: str = "wan2.2-t2v-plus", **parameters: Any) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": "a red kite over dunes"}, "parameters": parameters}


def pictured(model: str, given: dict[str, Any], **parameters: Any) -> dict[str, Any]:
    return {"model": model, "input": {"prompt": "it moves", **given}, "parameters": parameters}


def inline(width: int = 832, height: int = 480, kind: str = "png") -> str:
    return f"data:image/{kind};base64,{base64.b64encode(picture(width, height)).decode()}"


def media(*types: str) -> dict[str, Any]:
    return {"media": [{"type": type, "url": inline()} for type in types]}


FORBIDDEN: list[tuple[Any, int, str, str]] = [
    # body, HTTP status, code, a word of the message
    ([], 400, "InvalidParameter", "JSON object"),
    ({}, 400, "BadRequest.EmptyModel", "model"),
    ({"model": "wan2.2-t2v-plus"}, 400, "BadRequest.EmptyInput", "input"),
    ({**text(), "parameters": "none"}, 400, "BadRequest.EmptyParameters", "parameters"),
    ({**text(), "callback_url": "https://c"}, 400, "InvalidParameter", "callback_url"),
    (text("wan9-t2v"), 404, "ModelNotFound", "wan9-t2v"),
    (text("wan2.2-i2v-flash"), 404, "ModelNotFound", "flash"),  # Beijing's
    (text(size="1280x720"), 400, "InvalidParameter", "size"),
    (text(size="1280*720"), 400, "InvalidParameter", "size"),  # 2.2 plus has no 720P
    (text(resolution="480P"), 400, "InvalidParameter", "resolution"),
    (text(ratio="16:9"), 400, "InvalidParameter", "ratio"),
    (text(duration=10), 400, "InvalidParameter", "duration"),
    (text(duration="5"), 400, "InvalidParameter", "integer"),
    (text(audio=True), 400, "InvalidParameter", "audio"),
    (text(shot_type="multi"), 400, "InvalidParameter", "shot_type"),
    (text(seed=2**31), 400, "InvalidParameter", "seed"),
    (text(watermark="no"), 400, "InvalidParameter", "watermark"),
    (text(prompt_extend=1), 400, "InvalidParameter", "prompt_extend"),
    (text("wan2.6-t2v", shot_type="triple"), 400, "InvalidParameter", "shot_type"),
    (text("wan2.7-t2v", size="1280*720"), 400, "InvalidParameter", "size"),
    (text("wan2.7-t2v", audio=False), 400, "InvalidParameter", "audio"),
    (text("wan2.7-t2v", shot_type="multi"), 400, "InvalidParameter", "shot_type"),
    (text("wan2.7-t2v", resolution="480P"), 400, "InvalidParameter", "resolution"),
    (text("wan2.7-t2v", resolution="720p"), 400, "InvalidParameter", "resolution"),
    (text("wan2.7-t2v", ratio="adaptive"), 400, "InvalidParameter", "ratio"),
    (text("wan3.0-video", duration=31), 400, "InvalidParameter", "duration"),
    (text("wan3.0-video", prompt_extend=False), 400, "InvalidParameter", "prompt_extend"),
    (pictured("wan2.2-t2v-plus", {"img_url": inline()}), 400, "InvalidParameter", "img_url"),
    (pictured("wan2.2-t2v-plus", {"prompt": ""}), 400, "InvalidParameter", "prompt"),
    (pictured("wan2.2-t2v-plus", {"prompt": 5}), 400, "InvalidParameter", "prompt"),
    (pictured("wan2.2-t2v-plus", {"negative_prompt": "x" * 501}), 400, "InvalidParameter", "500"),
    (pictured("wan3.0-video", {"negative_prompt": "x"}), 400, "InvalidParameter", "negative_prompt"),
    (pictured("wan2.2-i2v-plus", {}), 400, "InvalidParameter", "img_url"),
    (pictured("wan2.2-i2v-plus", {"img_url": "kite.png"}), 400, "InvalidURL", "img_url"),
    (pictured("wan2.2-i2v-plus", {"img_url": inline()}, size="832*480"), 400, "InvalidParameter", "size"),
    (pictured("wan2.2-i2v-plus", {"img_url": inline(320, 480)}), 400, "InvalidParameter", "360"),
    (pictured("wan2.2-i2v-plus", {"img_url": inline(2400, 480)}), 400, "InvalidParameter", "2000"),
    (pictured("wan2.2-i2v-plus", {"img_url": inline(kind="jpeg")}), 415, "UnsupportedFileFormat", "img_url"),
    (
        pictured("wan2.2-i2v-plus", {"img_url": "data:image/png;base64,AAAA"}),
        415,
        "UnsupportedFileFormat",
        "img_url",
    ),
    (pictured("wan2.7-i2v", {"img_url": inline()}), 400, "InvalidParameter", "img_url"),
    (pictured("wan2.7-i2v", media("last_frame")), 400, "InvalidParameter", "first_frame"),
    (pictured("wan2.7-i2v", media("reference_image")), 400, "InvalidParameter", "type"),
    (pictured("wan2.7-i2v", media("first_frame"), ratio="16:9"), 400, "InvalidParameter", "ratio"),
    (pictured("wan2.7-i2v", {"media": [{"type": "first_frame"}]}), 400, "InvalidParameter", "url"),
    (pictured("wan2.7-i2v", {"media": [{"kind": "first_frame"}]}), 400, "InvalidParameter", "kind"),
    (pictured("wan2.7-i2v", {"media": "first_frame"}), 400, "InvalidParameter", "list"),
    (pictured("wan3.0-video", media("first_frame", "first_frame")), 400, "InvalidParameter", "at most 1"),
    (pictured("wan3.0-video", media("first_frame", "reference_image")), 400, "InvalidParameter", "not go"),
    (pictured("wan3.0-video", media(*["reference_image"] * 11)), 400, "InvalidParameter", "at most 10"),
]


@pytest.mark.parametrize(("body", "status", "code", "word"), FORBIDDEN)
async def test_what_the_documentation_forbids_is_refused(
    studio: Studio, body: Any, status: int, code: str, word: str
) -> None:
    got, answer = await studio.create(body)
    assert (got, answer["code"]) == (status, code), answer
    assert word in answer["message"]
    assert answer["request_id"]
    assert studio.sandbox.bill() == []


async def test_a_create_has_to_be_asynchronous_and_at_the_models_own_path(studio: Studio) -> None:
    status, answer = await studio.create(text(), headers={})
    assert (status, answer["code"]) == (403, "AccessDenied")
    assert "synchronous calls" in answer["message"]
    status, answer = await studio.create(text(), FRAMES)
    assert (status, answer["message"]) == (400, "url error, please check url!")
    frames = {"first_frame_url": inline(), "last_frame_url": inline()}
    both = pictured("wan2.2-kf2v-flash", frames, resolution="480P")
    status, answer = await studio.create(both, key=BEIJING)
    assert (status, answer["message"]) == (400, "url error, please check url!")
    await studio.taken(both, path=FRAMES, key=BEIJING)


async def test_keys_and_tasks_belong_to_a_region(studio: Studio) -> None:
    for key, region in (("sk-nobodys", "singapore"), (SINGAPORE, "beijing"), (BEIJING, "singapore")):
        status, answer = await studio.create(text(), key=key, region=region)
        assert (status, answer["code"]) == (401, "InvalidApiKey")
    id = await studio.taken(text(size="832*480"))
    assert (await studio.look(id, key=BEIJING))["output"] == {"task_id": id, "task_status": "UNKNOWN"}
    assert (await studio.call("GET", "/tasks", key=BEIJING))[1]["tasks"] == []


async def test_the_life_of_a_task_and_its_last_day(studio: Studio) -> None:
    id = await studio.taken(text(size="832*480", prompt_extend=False))
    assert (await studio.look(id))["output"] == {
        "task_id": id,
        "task_status": "PENDING",
        "submit_time": "2026-09-21 22:13:20.000",  # Beijing's time
    }
    studio.now += 20
    running = (await studio.look(id))["output"]
    assert (running["task_status"], running["scheduled_time"]) == ("RUNNING", "2026-09-21 22:13:30.000")
    studio.now += 60
    done = await studio.look(id)
    assert done["output"]["task_status"] == "SUCCEEDED"
    assert done["output"]["orig_prompt"] == "a red kite over dunes"
    assert done["output"]["video_url"].startswith("http://localhost:1/files/")
    assert "actual_prompt" not in done["output"]
    assert done["usage"] == {"video_duration": 5, "video_ratio": "832*480", "video_count": 1}
    studio.now = START + 86_401
    assert (await studio.look(id))["output"] == {"task_id": id, "task_status": "UNKNOWN"}


async def test_usage_of_the_later_models_and_a_prompt_that_was_rewritten(studio: Studio) -> None:
    old = await studio.taken(text(size="832*480"))
    new = await studio.taken(text("wan2.7-t2v", resolution="720P", ratio="4:3", duration=7))
    smart = await studio.taken(text("wan3.0-video", resolution="480P", duration=-1))
    studio.now += 100
    assert (await studio.look(old))["output"]["actual_prompt"]
    told = await studio.look(new)
    assert "actual_prompt" not in told["output"]
    assert told["usage"] == {
        "duration": 7,
        "input_video_duration": 0,
        "output_video_duration": 7,
        "video_count": 1,
        "SR": 720,
        "size": "1088*832",
        "ratio": "4:3",
    }
    assert (await studio.look(smart))["usage"]["fps"] == 30


@pytest.mark.parametrize(
    ("fault", "code"),
    [("job_failed", "InternalError.Algo"), ("content_refused_late", "DataInspectionFailed")],
)
async def test_a_failed_task_has_a_code_and_no_usage(studio: Studio, fault: str, code: str) -> None:
    studio.orders.standing.append(Order(Fault.parse(fault)))
    id = await studio.taken(text(size="832*480"))
    studio.now += 100
    answer = await studio.look(id)
    assert "usage" not in answer
    assert answer["output"] == {
        "task_id": id,
        "task_status": "FAILED",
        "code": code,
        "message": answer["output"]["message"],
    }


async def test_only_what_waits_can_be_cancelled(studio: Studio) -> None:
    waiting, running = await studio.taken(text(size="832*480")), ""
    status, answer = await studio.call("POST", f"/tasks/{waiting}/cancel")
    assert (status, set(answer)) == (200, {"request_id"})
    assert (await studio.look(waiting))["output"]["task_status"] == "CANCELED"
    running = await studio.taken(text(size="832*480"))
    studio.now += 20
    for id in (waiting, running, "no-such-task"):
        status, answer = await studio.call("POST", f"/tasks/{id}/cancel")
        assert (status, answer["code"]) == (400, "UnsupportedOperation")


async def test_the_list_is_paged_and_filtered(studio: Studio) -> None:
    ids = []
    for number in range(3):
        studio.now = START + 60 * number
        ids.append(await studio.taken(text(size="832*480")))
    other = await studio.taken(text("wan2.7-t2v"))

    async def found(**query: Any) -> tuple[int, list[str]]:
        status, answer = await studio.call("GET", "/tasks", params=query)
        assert status == 200, answer
        return answer["total"], [task["task_id"] for task in answer["tasks"]]

    assert await found() == (4, [other, *ids[::-1]])
    assert await found(model_name="wan2.2-t2v-plus", page_size=2, page_no=2) == (3, [ids[0]])
    assert await found(start_time="20260921221350", end_time="20260921221430") == (1, [ids[1]])
    assert await found(status="RUNNING") == (1, [ids[1]])
    studio.now = START + 86_430
    assert await found(model_name="wan2.2-t2v-plus") == (2, [ids[2], ids[1]])
    for wrong in ({"page_no": 0}, {"page_size": "x"}, {"start_time": "2026-09-21"}, {"tag": "x"}):
        status, answer = await studio.call("GET", "/tasks", params=wrong)
        assert (status, answer["code"]) == (400, "InvalidParameter")


# --- the bill -------------------------------------------------------------------------------------


def priced() -> Iterator[tuple[str, str]]:
    """Every offer at every resolution that its price list has."""
    for card in catalog().cards:
        for offer in card.offers:
            for price in offer.prices:
                yield from ((offer.id.removeprefix("dashscope_wan/"), name) for name in price.resolutions)


def ordered(offer_id: str, resolution: str) -> Any:
    card, offer = offer_of(offer_id)
    body = offer.presets[0].params["body"]
    names = {"image": ["first_frame"], "media": ["first_frame"], "frames": ["first_frame", "last_frame"]}
    return make(
        offer_id,
        size=card.sizes[resolution][0],  # type: ignore[index]  # no card of these has bounds
        seconds=str(max(card.durations.values[:4])),
        audio=card.audio == "always",
        pictures={name: picture() for name in names.get(body, [])},
    )


@pytest.mark.parametrize(("offer_id", "resolution"), [*priced()])
async def test_what_is_planned_is_what_is_billed(studio: Studio, offer_id: str, resolution: str) -> None:
    """And every body of the adapter's is one that the documentation allows."""
    card, offer = offer_of(offer_id)
    job = ordered(offer_id, resolution)
    params = read_params(job.preset)
    assert params is not None
    key = SINGAPORE if offer.region == "singapore" else BEIJING
    path = FRAMES if params.body == "frames" else VIDEO
    await studio.taken(order_of(job, params).body(), path=path, key=key)
    (line,) = studio.sandbox.bill()
    terms = price_terms(card, sourced(offer), job.preset, job.output, job.request.task, TODAY, None)
    assert line.usd == cost(terms, job.output, Usage()) > 0
    assert line.usd == cost(terms, job.output, Usage(seconds=Decimal(job.output.seconds)))


def sourced(offer: Offer) -> Offer:
    """The offer as if its prices were sure, so that those which are only quoted can be compared, too."""
    prices = [
        price.model_copy(update={"source": price.source.model_copy(update={"confidence": "medium"})})
        for price in offer.prices
    ]
    return offer.model_copy(update={"prices": tuple(prices)})
