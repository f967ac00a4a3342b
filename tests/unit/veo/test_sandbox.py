"""The fake of Veo refuses what Google refuses, in Google's words, and bills what Google's list says."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import date
from decimal import Decimal
from typing import Any

import httpx
import jwt
import pytest

from adapters.veo._adapter import Veo
from adapters.veo._sandbox import FakeVeo
from adapters.veo._settings import VeoSettings
from gateway.catalog import Catalog
from gateway.catalog.prices import cost, price_terms
from gateway.kit.cards import load_cards
from gateway.kit.options import read_settings
from gateway.kit.testing import decode
from gateway.routing.excluded import Excluded
from gateway.routing.pairings import paired_output
from gateway.sandbox.testing import SandboxWorld
from gateway.spec import (
    ContentBlocked,
    Failed,
    ModelGone,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Running,
    Succeeded,
    UnexpectedReply,
    Usage,
)
from tests.unit.veo.conftest import job, jpeg, offer, png

CARDS = load_cards("adapters.veo")
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MODELS = "/v1/projects/reelgate-sandbox/locations/us-central1/publishers/google/models"
VERTEX = f"{MODELS}/veo-3.1-generate-001"
GEMINI = "/v1beta/models/veo-3.1-generate-preview"
PICTURE = {"bytesBase64Encoded": base64.b64encode(png()).decode(), "mimeType": "image/png"}
REFERENCE = {"image": PICTURE, "referenceType": "ASSET"}


@pytest.fixture(scope="module")
def world() -> Iterator[SandboxWorld]:
    with SandboxWorld(FakeVeo(), lambda context: Veo(read_settings(context, "veo", VeoSettings))) as world:
        yield world


@pytest.fixture(autouse=True)
def orderly(world: SandboxWorld) -> None:
    world.succeed()


@pytest.fixture(scope="module")
def account(world: SandboxWorld) -> dict[str, Any]:
    section: dict[str, Any] = FakeVeo().settings(world.url)["accounts"]["default"]
    return section


@pytest.fixture(scope="module")
def http(world: SandboxWorld) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=world.url, timeout=30) as http:
        yield http


def asked_for(account: dict[str, Any], key: str | None = None, **claims: Any) -> dict[str, str]:
    """The form for a token, with other claims than the right ones."""
    service, now = account["service_account"], int(time.time())
    right = {
        "iss": service["client_email"],
        "scope": "https://www.googleapis.com/auth/cloud-platform",
        "aud": service["token_uri"],
        "iat": now,
        "exp": now + 3600,
    }
    assertion = jwt.encode(right | claims, key or service["private_key"], algorithm="RS256")
    return {"grant_type": GRANT, "assertion": assertion}


@pytest.fixture(scope="module")
def bearer(http: httpx.Client, account: dict[str, Any]) -> dict[str, str]:
    reply = http.post("/token", data=asked_for(account)).json()
    assert (reply["expires_in"], reply["token_type"]) == (3599, "Bearer")
    return {"Authorization": f"Bearer {reply['access_token']}"}


@pytest.fixture(scope="module")
def key(account: dict[str, Any]) -> dict[str, str]:
    return {"x-goog-api-key": account["api_key"]}


def said(reply: httpx.Response) -> tuple[int, str]:
    error = reply.json()["error"]
    assert error["code"] == reply.status_code
    assert error["message"]
    return reply.status_code, error["status"]


class TestWhoCalls:
    @pytest.mark.parametrize(
        "claims",
        [
            {"iss": "somebody@else.iam.gserviceaccount.com"},
            {"aud": "https://oauth2.googleapis.com/token"},
            {"scope": "https://www.googleapis.com/auth/drive"},
            {"exp": 7200},  # in seconds from the moment of the call
            {"iat": -7200, "exp": -3700},
            {"iat": 600, "exp": 3600},
            {"iat": None},
        ],
    )
    def test_a_wrong_claim_brings_no_token(
        self, http: httpx.Client, account: dict[str, Any], claims: dict[str, Any]
    ) -> None:
        now = int(time.time())
        dated = {name: now + value if isinstance(value, int) else value for name, value in claims.items()}
        reply = http.post("/token", data=asked_for(account, **dated))
        assert (reply.status_code, reply.json()["error"]) == (400, "invalid_grant")

    def test_nor_do_a_strangers_key_another_grant_and_another_form(
        self, http: httpx.Client, account: dict[str, Any], service_account: str
    ) -> None:
        stranger = json.loads(service_account)["private_key"]
        forged = http.post("/token", data=asked_for(account, stranger))
        assert forged.json() == {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
        other = http.post("/token", data=asked_for(account) | {"grant_type": "password"})
        assert other.json()["error"] == "unsupported_grant_type"
        assert http.post("/token", json=asked_for(account)).json()["error"] == "invalid_request"

    @pytest.mark.parametrize(
        "headers", [{}, {"Authorization": "Bearer ya29.forged"}, {"Authorization": "Basic eDp5"}]
    )
    def test_vertex_wants_a_token_of_its_own(self, http: httpx.Client, headers: dict[str, str]) -> None:
        reply = http.post(f"{VERTEX}:predictLongRunning", json=body(), headers=headers)
        assert said(reply) == (401, "UNAUTHENTICATED")

    def test_that_has_not_run_out(
        self, http: httpx.Client, bearer: dict[str, str], world: SandboxWorld, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(world.sandbox.shared, "now", lambda: time.time() + 3600)
        reply = http.post(f"{VERTEX}:predictLongRunning", json=body(), headers=bearer)
        assert said(reply) == (401, "UNAUTHENTICATED")

    def test_another_project_is_not_ours(self, http: httpx.Client, bearer: dict[str, str]) -> None:
        path = VERTEX.replace("reelgate-sandbox", "somebody-elses")
        reply = http.post(f"{path}:predictLongRunning", json=body(), headers=bearer)
        assert said(reply) == (403, "PERMISSION_DENIED")

    def test_the_gemini_api_wants_its_key(self, http: httpx.Client, bearer: dict[str, str]) -> None:
        none = http.post(f"{GEMINI}:predictLongRunning", json=body(), headers=bearer)
        assert said(none) == (403, "PERMISSION_DENIED")
        wrong = http.post(f"{GEMINI}:predictLongRunning", json=body(), headers={"x-goog-api-key": "AIza"})
        assert said(wrong) == (400, "INVALID_ARGUMENT")
        assert wrong.json()["error"]["details"][0]["reason"] == "API_KEY_INVALID"


def body(instance: dict[str, Any] | None = None, top: dict[str, Any] | None = None, **asked: Any) -> Any:
    return {"instances": [{"prompt": "a boat", **(instance or {})}], "parameters": asked, **(top or {})}


FORBIDDEN_ON_BOTH: list[tuple[Any, str]] = [
    ([], "'body'"),
    ({"instances": []}, "instances"),
    ({"instances": [{"prompt": "a"}, {"prompt": "b"}]}, "instances"),
    (body({"prompt": ""}), "prompt"),
    (body({"promptt": "a"}), "Unknown name \"promptt\" at 'instances.0'"),
    (body(steps=4), "Unknown name \"steps\" at 'parameters'"),
    (body(top={"model": "veo"}), 'Unknown name "model"'),
    (body(durationSeconds=5), "durationSeconds"),
    (body(durationSeconds=8.5), "durationSeconds"),
    (body(resolution="480p"), "resolution"),
    (body(aspectRatio="1:1"), "aspectRatio"),
    (body(resolution="1080p", durationSeconds=6), "8"),
    (body(resolution="4k", durationSeconds=4), "8"),
    (body({"referenceImages": [REFERENCE]}, durationSeconds=6), "8"),
    (body({"referenceImages": [REFERENCE] * 4}), "3"),
    (body({"referenceImages": [{"image": PICTURE, "referenceType": "FACE"}]}), "referenceType"),
    (body({"referenceImages": [REFERENCE], "image": PICTURE}), "beside them"),
    (body({"referenceImages": [REFERENCE], "lastFrame": PICTURE}), "beside them"),
    (body({"lastFrame": PICTURE}), "image is needed"),
    (body({"image": {"bytesBase64Encoded": "!", "mimeType": "image/png"}}), "Base64"),
    (body({"image": {**PICTURE, "mimeType": "image/webp"}}), "mimeType"),
    (body({"image": {**PICTURE, "mimeType": "image/jpeg"}}), "image/jpeg"),
    (body({"image": {"mimeType": "image/png"}}), "bytesBase64Encoded"),
    (body({"image": {"bytesBase64Encoded": "A" * 26_666_672, "mimeType": "image/png"}}), "20 MB"),
    (body(personGeneration="everyone"), "personGeneration"),
    (body(negativePrompt=3), "negativePrompt"),
    (body(sampleCount=5), "sampleCount"),
]


class TestBodies:
    @pytest.mark.parametrize(("wrong", "about"), FORBIDDEN_ON_BOTH)
    def test_neither_surface_takes(
        self,
        http: httpx.Client,
        bearer: dict[str, str],
        key: dict[str, str],
        world: SandboxWorld,
        wrong: Any,
        about: str,
    ) -> None:
        taken = world.created()
        for path, headers in ((VERTEX, bearer), (GEMINI, key)):
            reply = http.post(f"{path}:predictLongRunning", json=wrong, headers=headers)
            assert said(reply) == (400, "INVALID_ARGUMENT")
            assert about in reply.json()["error"]["message"]
        assert world.created() == taken

    @pytest.mark.parametrize(
        ("wrong", "about"),
        [
            (body(seed=-1), "seed"),
            (body(seed=2**32), "seed"),
            (body(generateAudio="yes"), "generateAudio"),
            (body(durationSeconds="8"), "durationSeconds"),
            (body(fps=30), "fps"),
            (body(storageUri="https://bucket/"), "storageUri"),
            (body(storageUri="gs://bucket/no-slash-at-the-end"), "storageUri"),
            (body(resizeMode="crop"), "resizeMode"),
            (body(top={"labels": {"Upper": "x"}}), "labels"),
            (body(top={"labels": {"tag": "x" * 64}}), "labels"),
            (body({"image": {**PICTURE, "gcsUri": "gs://bucket/a.png"}}), "gcsUri"),
            (body({"image": {**PICTURE, "inlineData": {}}}), "inlineData"),
        ],
    )
    def test_vertex_does_not_take(
        self, http: httpx.Client, bearer: dict[str, str], wrong: Any, about: str
    ) -> None:
        reply = http.post(f"{VERTEX}:predictLongRunning", json=wrong, headers=bearer)
        assert said(reply) == (400, "INVALID_ARGUMENT")
        assert about in reply.json()["error"]["message"]

    @pytest.mark.parametrize(
        "wrong",
        [
            *(
                body(**{name: value})
                for name, value in {
                    "seed": 1,
                    "fps": 24,
                    "generateAudio": True,
                    "storageUri": "gs://bucket/a/",
                    "compressionQuality": "OPTIMIZED",
                    "resizeMode": "CROP",
                    "pubsubTopic": "t",
                }.items()
            ),
            body(top={"labels": {"tag": "x"}}),
            body({"image": {"gcsUri": "gs://bucket/a.png", "mimeType": "image/png"}}),
            body(sampleCount=2),
            body(personGeneration="allow_adult"),
            body({"image": PICTURE}, personGeneration="allow_all"),
        ],
    )
    def test_the_gemini_api_does_not_take(self, http: httpx.Client, key: dict[str, str], wrong: Any) -> None:
        reply = http.post(f"{GEMINI}:predictLongRunning", json=wrong, headers=key)
        assert said(reply) == (400, "INVALID_ARGUMENT")

    @pytest.mark.parametrize("model", ["veo-3.1-lite-generate-001", "veo-3.1-lite-generate-preview"])
    @pytest.mark.parametrize("wrong", [body(resolution="4k"), body({"referenceImages": [REFERENCE]})])
    def test_lite_does_not_take(
        self, http: httpx.Client, bearer: dict[str, str], key: dict[str, str], model: str, wrong: Any
    ) -> None:
        path = f"{MODELS}/{model}" if model.endswith("001") else f"/v1beta/models/{model}"
        reply = http.post(f"{path}:predictLongRunning", json=wrong, headers=bearer | key)
        assert said(reply) == (400, "INVALID_ARGUMENT")

    def test_every_documented_spelling_is_taken(
        self, http: httpx.Client, bearer: dict[str, str], key: dict[str, str]
    ) -> None:
        picture = {"inlineData": {"mimeType": "image/jpeg", "data": base64.b64encode(jpeg()).decode()}}
        reference = {"image": picture, "referenceType": "asset"}
        samples = body({"referenceImages": [reference]}, durationSeconds="8", personGeneration="allow_adult")
        reply = http.post(f"{GEMINI}:predictLongRunning", json=samples, headers=key)
        assert reply.json()["name"].startswith("models/veo-3.1-generate-preview/operations/")
        path = VERTEX.replace("/v1/", "/v1beta1/")
        full = body(seed=1, fps=24, enhancePrompt=True, compressionQuality="LOSSLESS", durationSeconds=4)
        reply = http.post(f"{path}:predictLongRunning", json=full, headers=bearer)
        assert reply.json()["name"].startswith(f"{VERTEX.removeprefix('/v1/')}/operations/")

    @pytest.mark.parametrize("path", [f"{MODELS}/veo-4", f"{MODELS}/veo-3.1-generate-preview", GEMINI + "2"])
    def test_an_unknown_model(
        self, http: httpx.Client, bearer: dict[str, str], key: dict[str, str], path: str
    ) -> None:
        reply = http.post(f"{path}:predictLongRunning", json=body(), headers=bearer | key)
        assert said(reply) == (404, "NOT_FOUND")


class TestLooks:
    def test_an_operation_is_asked_for_by_its_full_name(
        self, http: httpx.Client, bearer: dict[str, str], key: dict[str, str]
    ) -> None:
        name = http.post(f"{VERTEX}:predictLongRunning", json=body(durationSeconds=4), headers=bearer).json()[
            "name"
        ]
        path = f"{VERTEX}:fetchPredictOperation"

        def look(asked: Any) -> httpx.Response:
            return http.post(path, json=asked, headers=bearer)

        assert look({"operationName": name}).json()["name"] == name
        assert said(look({"operationName": name, "x": 1})) == (400, "INVALID_ARGUMENT")
        assert said(look({"operationName": name.rpartition("/")[2]})) == (400, "INVALID_ARGUMENT")
        assert said(look({"operationName": name + "0"})) == (404, "NOT_FOUND")
        other = name.replace("us-central1", "europe-west4")
        assert said(look({"operationName": other})) == (404, "NOT_FOUND")
        id = name.rpartition("/")[2]
        gemini = http.get(f"{GEMINI}/operations/{id}", headers=key)
        assert said(gemini) == (404, "NOT_FOUND")

    def test_a_bucket_wants_the_token(
        self, http: httpx.Client, bearer: dict[str, str], world: SandboxWorld
    ) -> None:
        name = http.post(
            f"{VERTEX}:predictLongRunning",
            json=body(durationSeconds=4, storageUri="gs://clips/a/", generateAudio=False),
            headers=bearer,
        ).json()["name"]
        done = http.post(
            f"{VERTEX}:fetchPredictOperation", json={"operationName": name}, headers=bearer
        ).json()
        (video,) = done["response"]["videos"]
        place = video["gcsUri"].removeprefix("gs://clips/").replace("/", "%2F")
        path = f"/storage/v1/b/clips/o/{place}"
        assert said(http.get(path, params={"alt": "media"})) == (401, "UNAUTHENTICATED")
        assert said(http.get(path.replace("clips", "other"), headers=bearer)) == (404, "NOT_FOUND")
        assert http.get(path, headers=bearer).json()["kind"] == "storage#object"
        seen = decode(http.get(path, params={"alt": "media"}, headers=bearer).content)
        assert (seen.width, seen.height, seen.fps, seen.has_audio) == (1280, 720, 24, False)

    def test_a_file_of_the_gemini_api_lies_elsewhere_for_48_hours(
        self, http: httpx.Client, key: dict[str, str], world: SandboxWorld, monkeypatch: Any
    ) -> None:
        name = http.post(f"{GEMINI}:predictLongRunning", json=body(durationSeconds=4), headers=key).json()[
            "name"
        ]
        done = http.get(f"/v1beta/{name}", headers=key).json()
        assert done["done"] is True
        (sample,) = done["response"]["generateVideoResponse"]["generatedSamples"]
        uri = sample["video"]["uri"]
        assert said(http.get(uri)) == (403, "PERMISSION_DENIED")
        redirect = http.get(uri, headers=key)
        assert redirect.status_code == 302
        assert httpx.URL(redirect.headers["location"]).host != httpx.URL(world.url).host
        seen = decode(httpx.get(redirect.headers["location"]).content)
        assert (seen.width, seen.height, seen.has_audio) == (1280, 720, True)
        monkeypatch.setattr(world.sandbox.shared, "now", lambda: time.time() + 49 * 3600)
        assert said(http.get(uri, headers=key)) == (404, "NOT_FOUND")


class TestTheAdapterMeets:
    """What a tester orders, seen through the adapter."""

    @pytest.mark.parametrize("surface", ["vertex", "gemini_api"])
    @pytest.mark.parametrize(
        ("fault", "expected"),
        [
            ("rate_limited=seconds", RateLimited),
            ("out_of_credit", OutOfCredit),
            ("content_refused", ContentBlocked),
            ("model_gone", ModelGone),
            ("server_error_burst", OutcomeUnknown),
            ("html@create", UnexpectedReply),
        ],
    )
    async def test_at_submit(
        self, world: SandboxWorld, surface: str, fault: str, expected: type[ProviderError]
    ) -> None:
        world.order(fault)
        adapter = world.adapter()
        with pytest.raises(ProviderError) as caught:
            await adapter.submit(job(offer(surface), seconds="4"))
        await adapter.aclose()
        assert type(caught.value) is expected

    @pytest.mark.parametrize("surface", ["vertex", "gemini_api"])
    @pytest.mark.parametrize(
        ("fault", "code", "user_fault"),
        [("job_failed", "unavailable", False), ("content_refused_late", "content_blocked", True)],
    )
    async def test_at_the_end(
        self, world: SandboxWorld, surface: str, fault: str, code: str, user_fault: bool
    ) -> None:
        world.order(fault)
        adapter = world.adapter()
        seen = await adapter.poll(await adapter.submit(job(offer(surface), seconds="4")))
        await adapter.aclose()
        assert isinstance(seen, Failed)
        assert (seen.code, seen.user_fault, seen.billed) == (code, user_fault, False)
        assert world.bill()[-1].billed(time.time()) == 0

    @pytest.mark.parametrize("surface", ["vertex", "gemini_api"])
    async def test_a_state_that_nobody_knows(self, world: SandboxWorld, surface: str) -> None:
        world.order("unknown_status")
        adapter = world.adapter()
        ticket = await adapter.submit(job(offer(surface), seconds="4"))
        assert isinstance(await adapter.poll(ticket), Running)
        assert isinstance(await adapter.poll(ticket), Succeeded)
        await adapter.aclose()

    async def test_the_bill_names_the_attempt(self, world: SandboxWorld) -> None:
        adapter = world.adapter()
        await adapter.submit(job(seconds="4"))
        await adapter.aclose()
        assert world.bill()[-1].tag == "att_01"


@pytest.mark.parametrize(
    ("roles", "reason"),
    [
        (("first_frame", "reference"), "no first frame"),
        (("first_frame", "last_frame", "reference"), "no first frame and no last frame"),
        (("last_frame",), "needs a first frame"),
        (("first_frame", "last_frame"), None),
        (("reference", "reference", "reference"), None),
    ],
)
def test_images_that_do_not_go_together_are_not_planned_for(
    roles: tuple[str, ...], reason: str | None
) -> None:
    for card in CARDS.models:
        if card.images.references or "reference" not in roles:
            images = {role: png() for role in roles if role != "reference"}
            references = tuple(png() for role in roles if role == "reference")
            request = job(images=images, references=references).request
            with pytest.raises(Excluded, match=reason) if reason else nullcontext():
                paired_output(request, card)


SHAPES = [
    (one.id, resolution, seconds)
    for one in CARDS.offers
    for resolution, seconds in (("720p", "4"), ("720p", "6"), ("720p", "8"), ("1080p", "8"), ("4k", "8"))
    if resolution in next(card for card in CARDS.models if card.id == one.model).sizes
]


@pytest.mark.parametrize(("offer_id", "resolution", "seconds"), SHAPES)
async def test_the_plan_and_the_bill_agree(
    world: SandboxWorld, offer_id: str, resolution: Any, seconds: str
) -> None:
    found = Catalog.join([("veo", CARDS)]).offer(offer_id)
    assert found is not None
    card, to = found
    assert isinstance(card.sizes, dict)
    asked = job(to, size=card.sizes[resolution][-1], seconds=seconds)
    terms = price_terms(card, to, asked.preset, asked.output, "text-to-video", date(2026, 11, 20), None)
    adapter = world.adapter()
    await adapter.submit(asked)
    await adapter.aclose()
    assert world.bill()[-1].usd == cost(terms, asked.output, Usage()) > Decimal(0)
