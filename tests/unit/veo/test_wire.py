"""What leaves for Google, byte for byte where it matters, and what its answers are taken for."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import traceback
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from gateway.spec import (
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutcomeUnknown,
    OutOfCredit,
    ProviderError,
    RateLimited,
    Running,
    Succeeded,
    Ticket,
    Unavailable,
    UnexpectedReply,
    Unsupported,
)
from tests.unit.veo.conftest import API_KEY, NOW, Clock, job, jpeg, offer, png

TOKEN_URI = "https://oauth2.googleapis.com/token"
HOST = "https://us-central1-aiplatform.googleapis.com"
MODEL = "projects/reel-1/locations/us-central1/publishers/google/models/veo-3.1-generate-001"
NAME = f"{MODEL}/operations/6f0a"
SUBMIT = f"{HOST}/v1/{MODEL}:predictLongRunning"
FETCH = f"{HOST}/v1/{MODEL}:fetchPredictOperation"
GEMINI = "https://generativelanguage.googleapis.com"
GEMINI_NAME = "models/veo-3.1-generate-preview/operations/xyz"
ACCESS = "ya29.canary-77d1e2"
TICKET = Ticket(id=NAME, data={"account": "default", "surface": "vertex", "location": "us-central1"})
GEMINI_TICKET = Ticket(
    id=GEMINI_NAME, data={"account": "default", "surface": "gemini_api", "location": "us-central1"}
)


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.fixture
def google(respx_mock: Any) -> Any:
    """Google, with a token to give; every other call is for the test to expect."""
    respx_mock.post(TOKEN_URI).respond(
        json={"access_token": ACCESS, "expires_in": 3599, "token_type": "Bearer"}
    )
    return respx_mock


@pytest.fixture
def gemini(respx_mock: Any) -> Any:
    return respx_mock


def taking(google: Any, url: str = SUBMIT, name: str = NAME) -> Any:
    return google.post(url).respond(json={"name": name})


def sent(route: Any) -> Any:
    return json.loads(route.calls.last.request.content)


class TestVertex:
    async def test_text_to_video(self, veo: Any, google: Any) -> None:
        route = taking(google)
        ticket = await veo().submit(job(seed=7, negative_prompt="rain"))
        assert ticket == TICKET
        request = route.calls.last.request
        assert request.headers["authorization"] == f"Bearer {ACCESS}"
        assert "x-goog-api-key" not in request.headers
        assert request.headers["content-type"] == "application/json"
        assert sent(route) == {
            "instances": [{"prompt": "a paper boat"}],
            "parameters": {
                "aspectRatio": "16:9",
                "resolution": "720p",
                "durationSeconds": 8,
                "sampleCount": 1,
                "negativePrompt": "rain",
                "generateAudio": True,
                "seed": 7,
            },
            "labels": {"reelgate_attempt": "att_01"},
        }

    @pytest.mark.parametrize(
        ("size", "resolution", "ratio"),
        [
            ("1280x720", "720p", "16:9"),
            ("720x1280", "720p", "9:16"),
            ("1920x1080", "1080p", "16:9"),
            ("1080x1920", "1080p", "9:16"),
            ("3840x2160", "4k", "16:9"),
            ("2160x3840", "4k", "9:16"),
        ],
    )
    async def test_sizes(self, veo: Any, google: Any, size: str, resolution: str, ratio: str) -> None:
        route = taking(google)
        await veo().submit(job(size=size))
        parameters = sent(route)["parameters"]
        assert (parameters["resolution"], parameters["aspectRatio"]) == (resolution, ratio)

    @pytest.mark.parametrize("seconds", ["4", "6", "8"])
    async def test_seconds_are_a_number(self, veo: Any, google: Any, seconds: str) -> None:
        route = taking(google)
        await veo().submit(job(seconds=seconds))
        assert f'"durationSeconds":{seconds},' in route.calls.last.request.content.decode()

    @pytest.mark.parametrize("audio", [True, False])
    async def test_sound(self, veo: Any, google: Any, audio: bool) -> None:
        route = taking(google)
        await veo().submit(job(audio=audio))
        assert sent(route)["parameters"]["generateAudio"] is audio

    async def test_first_and_last_frame(self, veo: Any, google: Any) -> None:
        route = taking(google)
        await veo().submit(job(images={"first_frame": png(), "last_frame": jpeg()}))
        assert sent(route)["instances"] == [
            {
                "prompt": "a paper boat",
                "image": {"bytesBase64Encoded": b64(png()), "mimeType": "image/png"},
                "lastFrame": {"bytesBase64Encoded": b64(jpeg()), "mimeType": "image/jpeg"},
            }
        ]

    async def test_reference_images(self, veo: Any, google: Any) -> None:
        route = taking(google)
        await veo().submit(job(references=(png("red"), png("blue"))))
        assert sent(route)["instances"][0]["referenceImages"] == [
            {
                "image": {"bytesBase64Encoded": b64(png(color)), "mimeType": "image/png"},
                "referenceType": "ASSET",
            }
            for color in ("red", "blue")
        ]

    async def test_images_are_read_beside_the_loop_that_watches_all_jobs(self, veo: Any, google: Any) -> None:
        taking(google)
        asked = job(images={"first_frame": png()})
        read_in: list[int] = []

        def read(image: Any) -> bytes:
            read_in.append(threading.get_ident())
            return asked.read_image(image)

        await veo().submit(replace(asked, read_image=read))
        assert threading.get_ident() not in read_in
        assert read_in

    async def test_options_and_a_bucket(self, veo: Any, google: Any) -> None:
        route = taking(google)
        options = {"person_generation": "dont_allow", "enhance_prompt": False, "resize_mode": "pad"}
        await veo(storage_uri="gs://clips/reel/").submit(job(options={"veo": options}))
        parameters = sent(route)["parameters"]
        assert parameters["personGeneration"] == "dont_allow"
        assert parameters["enhancePrompt"] is False
        assert parameters["resizeMode"] == "PAD"
        assert parameters["storageUri"] == "gs://clips/reel/att_01/"

    @pytest.mark.parametrize(
        ("location", "host"),
        [
            ("global", "aiplatform.googleapis.com"),
            ("eu", "aiplatform.eu.rep.googleapis.com"),
            ("us", "aiplatform.us.rep.googleapis.com"),
            ("europe-west4", "europe-west4-aiplatform.googleapis.com"),
        ],
    )
    async def test_a_location_has_its_host(self, veo: Any, google: Any, location: str, host: str) -> None:
        model = MODEL.replace("us-central1", location)
        submit = taking(google, f"https://{host}/v1/{model}:predictLongRunning", f"{model}/operations/1")
        fetch = google.post(f"https://{host}/v1/{model}:fetchPredictOperation").respond(json={})
        ticket = await veo(location=location).submit(job())
        await veo().poll(ticket)  # the ticket knows where, whatever the setting has become
        assert submit.called
        assert fetch.called

    @pytest.mark.parametrize(
        "asked",
        [
            {"size": "1920x1080", "seconds": "6"},
            {"size": "3840x2160", "seconds": "4"},
            {"references": (png(),), "seconds": "4"},
            {"references": (png(),), "images": {"first_frame": png()}},
            {"references": (png(),), "images": {"last_frame": png()}},
            {"images": {"last_frame": png()}},
            {"size": "832x480"},
            {"seconds": "5"},
        ],
    )
    async def test_what_veo_does_not_make_is_never_sent(
        self, veo: Any, respx_mock: Any, asked: dict[str, Any]
    ) -> None:
        with pytest.raises(Unsupported, match="nothing was created or charged"):
            await veo().submit(job(**asked))
        assert not respx_mock.calls

    @pytest.mark.parametrize(
        "answer", [{}, {"name": ""}, {"name": "../secrets/operations/1"}, {"name": ["operations/1"]}]
    )
    async def test_an_answer_without_a_name_is_unexpected(
        self, veo: Any, google: Any, answer: dict[str, Any]
    ) -> None:
        google.post(SUBMIT).respond(json=answer)
        with pytest.raises(UnexpectedReply):
            await veo().submit(job())

    async def test_poll_is_a_post_with_the_full_name(self, veo: Any, google: Any) -> None:
        route = google.post(FETCH).respond(json={"name": NAME})
        assert await veo().poll(TICKET) == Running(poll_after_ms=10_000)
        assert sent(route) == {"operationName": NAME}
        assert route.calls.last.request.headers["authorization"] == f"Bearer {ACCESS}"

    async def test_there_is_no_cancel(self, veo: Any, respx_mock: Any) -> None:
        assert await veo().cancel(TICKET) is False
        assert not respx_mock.calls


class TestResults:
    async def test_from_a_bucket(self, veo: Any, google: Any) -> None:
        videos = [{"gcsUri": "gs://clips/reel/att_01/sample 0.mp4", "mimeType": "video/mp4"}]
        google.post(FETCH).respond(
            json={"name": NAME, "done": True, "response": {"raiMediaFilteredCount": 0, "videos": videos}}
        )
        clip = google.get(
            url="https://storage.googleapis.com/storage/v1/b/clips/o/reel%2Fatt_01%2Fsample%200.mp4?alt=media"
        ).respond(content=b"the clip")
        adapter = veo()
        assert await adapter.poll(TICKET) == Succeeded(url=None)
        assert adapter.download_headers(TICKET) == {}
        assert b"".join([part async for part in adapter.content(TICKET)]) == b"the clip"
        assert clip.calls.last.request.headers["authorization"] == f"Bearer {ACCESS}"
        assert b"/o/reel%2Fatt_01%2Fsample%200.mp4" in clip.calls.last.request.url.raw_path

    @pytest.mark.parametrize("step", [1, 2, 3, 5, 7, 64, 10_000])
    @pytest.mark.parametrize("spelling", ["plain", "escaped"])
    async def test_inline_however_it_arrives(self, veo: Any, google: Any, step: int, spelling: str) -> None:
        clip = bytes(range(256)) * 5 + b"?"
        text = b64(clip)
        if spelling == "escaped":
            text = text.replace("/", "\\/").replace("=", "\\u003d")
        body = (
            '{"name":"n","done":true,"response":{"raiMediaFilteredCount":0,"videos":'
            f'[{{"bytesBase64Encoded": "{text}","mimeType":"video/mp4"}}]}}}}'
        ).encode()
        google.post(FETCH).mock(side_effect=lambda request: httpx.Response(200, content=pieces(body, step)))
        adapter = veo()
        assert await adapter.poll(TICKET) == Succeeded(url=None)
        assert b"".join([part async for part in adapter.content(TICKET)]) == clip

    async def test_a_poll_reads_no_further_than_the_beginning_of_the_clip(
        self, veo: Any, google: Any
    ) -> None:
        taken = 0

        async def endless() -> Any:
            nonlocal taken
            yield b'{"done":true,"response":{"videos":[{"bytesBase64Encoded":"'
            while taken < 1000:
                taken += 1
                yield b"AAAA" * 256

        google.post(FETCH).mock(side_effect=lambda request: httpx.Response(200, content=endless()))
        assert await veo().poll(TICKET) == Succeeded()
        assert taken < 3

    @pytest.mark.parametrize(
        "body",
        [
            b'{"done":true,"response":{"videos":[{"bytesBase64Encoded":"AAAA',
            b'{"done":true,"response":{"videos":[{"bytesBase64Encoded":"AA!A"}]}}',
            b'{"done":true,"response":{"videos":[{"bytesBase64Encoded":"AAAAA"}]}}',
            b'{"done":true,"response":{"videos":[{"gcsUri":"https://evil.example/x"}]}}',
            b'{"done":true,"response":{"videos":[{"gcsUri":"gs://bucket"}]}}',
            b'{"done":true}',
            b"<html>",
            b'"' + b"x" * (2 * 1024 * 1024) + b'"',
        ],
    )
    async def test_a_clip_that_is_none_is_unexpected(self, veo: Any, google: Any, body: bytes) -> None:
        google.post(FETCH).respond(content=body)
        with pytest.raises(UnexpectedReply):
            [part async for part in veo().content(TICKET)]

    async def test_a_prompt_that_speaks_of_the_field_is_no_clip(self, veo: Any, google: Any) -> None:
        said = 'the "bytesBase64Encoded":"QUFB" of it'
        google.post(FETCH).respond(json={"done": True, "error": {"code": 13, "message": said}})
        assert isinstance(await veo().poll(TICKET), Failed)

    async def test_a_bucket_that_is_closed_to_us(self, veo: Any, google: Any) -> None:
        google.post(FETCH).respond(
            json={"done": True, "response": {"videos": [{"gcsUri": "gs://clips/a.mp4"}]}}
        )
        google.get(url__startswith="https://storage.googleapis.com/").respond(403, json={"error": {}})
        with pytest.raises(NotAuthorised):
            [part async for part in veo().content(TICKET)]


async def pieces(body: bytes, step: int) -> Any:
    for start in range(0, len(body), step):
        yield body[start : start + step]


class TestGeminiApi:
    async def test_submit(self, veo: Any, gemini: Any) -> None:
        route = taking(
            gemini, f"{GEMINI}/v1beta/models/veo-3.1-generate-preview:predictLongRunning", GEMINI_NAME
        )
        asked = job(
            offer("gemini_api"),
            images={"first_frame": png(), "last_frame": png("red")},
            seed=7,
            negative_prompt="rain",
            options={"veo": {"person_generation": "allow_adult"}},
        )
        assert await veo(storage_uri="gs://clips/").submit(asked) == GEMINI_TICKET
        assert route.calls.last.request.headers["x-goog-api-key"] == API_KEY
        assert "authorization" not in route.calls.last.request.headers
        assert sent(route) == {
            "instances": [
                {
                    "prompt": "a paper boat",
                    "image": {"bytesBase64Encoded": b64(png()), "mimeType": "image/png"},
                    "lastFrame": {"bytesBase64Encoded": b64(png("red")), "mimeType": "image/png"},
                }
            ],
            "parameters": {
                "aspectRatio": "16:9",
                "resolution": "720p",
                "durationSeconds": 8,
                "sampleCount": 1,
                "negativePrompt": "rain",
                "personGeneration": "allow_adult",
            },
        }

    @pytest.mark.parametrize("option", [{"enhance_prompt": True}, {"resize_mode": "crop"}])
    async def test_what_it_does_not_take_is_never_sent(
        self, veo: Any, respx_mock: Any, option: dict[str, Any]
    ) -> None:
        with pytest.raises(Unsupported, match=next(iter(option))):
            await veo().submit(job(offer("gemini_api"), options={"veo": option}))
        assert not respx_mock.calls

    async def test_poll_and_result(self, veo: Any, gemini: Any) -> None:
        url = f"{GEMINI}/v1beta/files/abc:download?alt=media"
        poll = gemini.get(f"{GEMINI}/v1beta/{GEMINI_NAME}")
        poll.side_effect = [
            httpx.Response(200, json={"name": GEMINI_NAME}),
            httpx.Response(200, json={"name": GEMINI_NAME, "done": False}),
            httpx.Response(200, json=done_at(url)),
        ]
        adapter = veo()
        assert isinstance(await adapter.poll(GEMINI_TICKET), Running)
        assert isinstance(await adapter.poll(GEMINI_TICKET), Running)
        assert await adapter.poll(GEMINI_TICKET) == Succeeded(url=url)
        assert adapter.download_headers(GEMINI_TICKET) == {"x-goog-api-key": API_KEY}

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/v1beta/files/abc",
            "http://generativelanguage.googleapis.com/v1beta/files/abc",
            "https://generativelanguage.googleapis.com.evil.example/f",
            "https://generativelanguage.googleapis.com@evil.example/f",
            "gs://bucket/clip.mp4",
        ],
    )
    async def test_the_key_is_never_meant_for_another_host(self, veo: Any, gemini: Any, url: str) -> None:
        gemini.get(f"{GEMINI}/v1beta/{GEMINI_NAME}").respond(json=done_at(url))
        with pytest.raises(UnexpectedReply):
            await veo().poll(GEMINI_TICKET)


def done_at(url: str) -> dict[str, Any]:
    samples = [{"video": {"uri": url}}]
    return {"done": True, "response": {"generateVideoResponse": {"generatedSamples": samples}}}


def error(code: int, status: str, message: str, details: Any = None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": details}}


REFUSALS: list[tuple[int, Any, type[ProviderError], type[ProviderError]]] = [
    # status, body, on submit, on any other call
    (400, error(400, "INVALID_ARGUMENT", "durationSeconds is wrong"), BadRequest, UnexpectedReply),
    (400, error(400, "INVALID_ARGUMENT", "violates our usage guidelines"), ContentBlocked, UnexpectedReply),
    (400, error(400, "INVALID_ARGUMENT", "Responsible AI practices"), ContentBlocked, UnexpectedReply),
    (400, error(400, "INVALID_ARGUMENT", "blocked by our policy"), ContentBlocked, UnexpectedReply),
    (400, error(400, "PROHIBITED_CONTENT", "no"), ContentBlocked, UnexpectedReply),
    (400, error(400, "SPII", "no"), ContentBlocked, UnexpectedReply),
    (400, error(400, "FAILED_PRECONDITION", "location is not supported"), BadRequest, UnexpectedReply),
    (400, error(400, "FAILED_PRECONDITION", "billing is not enabled"), OutOfCredit, OutOfCredit),
    (
        400,
        error(400, "INVALID_ARGUMENT", "API key not valid.", [{"reason": "API_KEY_INVALID"}]),
        NotAuthorised,
        NotAuthorised,
    ),
    (401, error(401, "UNAUTHENTICATED", "expired"), NotAuthorised, NotAuthorised),
    (403, error(403, "PERMISSION_DENIED", "no"), NotAuthorised, NotAuthorised),
    (
        403,
        error(403, "PERMISSION_DENIED", "no", [{"reason": "BILLING_DISABLED"}]),
        OutOfCredit,
        OutOfCredit,
    ),
    (404, error(404, "NOT_FOUND", "veo is no longer available"), ModelGone, UnexpectedReply),
    (429, error(429, "RESOURCE_EXHAUSTED", "Quota exceeded"), RateLimited, RateLimited),
    (429, error(429, "RESOURCE_EXHAUSTED", "prepay credits are used up"), OutOfCredit, OutOfCredit),
    (
        429,
        error(
            429,
            "RESOURCE_EXHAUSTED",
            "Quota exceeded",
            [{"violations": [{"quotaId": "VeoRequestsPerDayPerProject"}]}],
        ),
        OutOfCredit,
        OutOfCredit,
    ),
    (
        429,
        error(
            429,
            "RESOURCE_EXHAUSTED",
            "You exceeded your current quota, please check your plan and billing details.",
            [{"violations": [{"quotaId": "VeoRequestsPerMinutePerProjectPerModel"}]}],
        ),
        RateLimited,
        RateLimited,
    ),
    (499, error(499, "CANCELLED", "cancelled"), OutcomeUnknown, Unavailable),
    (500, error(500, "INTERNAL", "oh"), OutcomeUnknown, Unavailable),
    (503, error(503, "UNAVAILABLE", "oh"), OutcomeUnknown, Unavailable),
    (504, error(504, "DEADLINE_EXCEEDED", "oh"), OutcomeUnknown, Unavailable),
    (400, [error(400, "INVALID_ARGUMENT", "in an array of one")], BadRequest, UnexpectedReply),
]


class TestErrors:
    @pytest.mark.parametrize(("status", "body", "on_submit", "otherwise"), REFUSALS)
    async def test_every_row(
        self,
        veo: Any,
        google: Any,
        status: int,
        body: Any,
        on_submit: type[ProviderError],
        otherwise: type[ProviderError],
    ) -> None:
        route = google.post(SUBMIT).respond(status, json=body)
        google.post(FETCH).respond(status, json=body)
        with pytest.raises(ProviderError) as caught:
            await veo().submit(job())
        assert type(caught.value) is on_submit
        assert route.call_count == 1
        with pytest.raises(ProviderError) as caught:
            await veo().poll(TICKET)
        assert type(caught.value) is otherwise

    async def test_what_it_said_is_passed_on(self, veo: Any, google: Any) -> None:
        google.post(SUBMIT).respond(400, json=error(400, "INVALID_ARGUMENT", "the image is too small"))
        with pytest.raises(BadRequest, match=r"nothing was created or charged.*the image is too small"):
            await veo().submit(job())

    @pytest.mark.parametrize(
        ("header", "details", "wait"),
        [
            ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "13s"}], 13.0),
            ({}, [{"retryDelay": "0.5s"}], 0.5),
            ({"retry-after": "7"}, [{"retryDelay": "13s"}], 7.0),
            ({}, [{"retryDelay": "soon"}], None),
            ({}, None, None),
        ],
    )
    async def test_how_long_to_wait(
        self, veo: Any, google: Any, header: dict[str, str], details: Any, wait: float | None
    ) -> None:
        body = error(429, "RESOURCE_EXHAUSTED", "Quota exceeded", details)
        google.post(SUBMIT).respond(429, json=body, headers=header)
        with pytest.raises(RateLimited) as caught:
            await veo().submit(job())
        assert caught.value.retry_after == wait

    @pytest.mark.parametrize("fault", [httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError])
    async def test_a_lost_answer_is_not_sent_again(self, veo: Any, google: Any, fault: Any) -> None:
        route = google.post(SUBMIT).mock(side_effect=fault)
        with pytest.raises(OutcomeUnknown):
            await veo().submit(job())
        assert route.call_count == 1

    async def test_an_error_dressed_as_success_is_unexpected(self, veo: Any, google: Any) -> None:
        google.post(SUBMIT).respond(200, json=error(400, "INVALID_ARGUMENT", "no"))
        with pytest.raises(UnexpectedReply):
            await veo().submit(job())

    @pytest.mark.parametrize(
        ("code", "said", "failed", "user_fault"),
        [
            (3, "it violates Google's Responsible AI practices", "content_blocked", True),
            (3, "the image cannot be read", "bad_request", True),
            (5, "no such model", "model_gone", False),
            (7, "permission denied", "not_authorised", False),
            (8, "quota exceeded", "rate_limited", False),
            (4, "too slow", "unavailable", False),
            (13, "internal", "unavailable", False),
            (14, "unavailable", "unavailable", False),
            (99, "something new", "gave_up", False),
            (None, None, "gave_up", False),
        ],
    )
    async def test_an_operation_that_failed(
        self, veo: Any, google: Any, code: int | None, said: str | None, failed: str, user_fault: bool
    ) -> None:
        google.post(FETCH).respond(json={"done": True, "error": {"code": code, "message": said}})
        seen = await veo().poll(TICKET)
        assert isinstance(seen, Failed)
        assert (seen.code, seen.user_fault, seen.billed) == (failed, user_fault, False)
        assert said is None or said in seen.message

    @pytest.mark.parametrize(
        "response",
        [
            {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": ["Support codes: 58061214"]},
            {
                "generateVideoResponse": {
                    "raiMediaFilteredCount": 1,
                    "raiMediaFilteredReasons": ["Support codes: 58061214"],
                }
            },
        ],
    )
    async def test_a_filtered_clip_is_a_failure_and_not_charged(
        self, veo: Any, google: Any, response: dict[str, Any]
    ) -> None:
        google.post(FETCH).respond(json={"done": True, "response": response})
        seen = await veo().poll(TICKET)
        assert isinstance(seen, Failed)
        assert (seen.code, seen.user_fault, seen.billed) == ("content_blocked", True, False)
        assert "58061214" in seen.message
        assert "not charged" in seen.message

    @pytest.mark.parametrize("response", [None, {}, {"videos": []}, {"videos": [{"mimeType": "video/mp4"}]}])
    async def test_done_without_a_clip_is_a_failure(self, veo: Any, google: Any, response: Any) -> None:
        google.post(FETCH).respond(json={"done": True, "response": response})
        seen = await veo().poll(TICKET)
        assert isinstance(seen, Failed)
        assert seen.code == "gave_up"

    @pytest.mark.parametrize("answer", [{"done": "perhaps"}, {"response": 3}, {"error": {"code": "x"}}])
    async def test_another_shape_is_unexpected(self, veo: Any, google: Any, answer: Any) -> None:
        google.post(FETCH).respond(json=answer)
        with pytest.raises(UnexpectedReply):
            await veo().poll(TICKET)


class TestTokens:
    async def test_the_assertion(self, veo: Any, google: Any, rsa_key: Any) -> None:
        taking(google)
        await veo().submit(job())
        form = dict(httpx.QueryParams(google.calls[0].request.content.decode()))
        assert google.calls[0].request.headers["content-type"] == "application/x-www-form-urlencoded"
        assert form.pop("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assertion = form.pop("assertion")
        assert not form
        assert jwt.get_unverified_header(assertion) == {"alg": "RS256", "typ": "JWT", "kid": "8d2c"}
        claims = jwt.decode(
            assertion,
            rsa_key.public_key(),
            algorithms=["RS256"],
            audience=TOKEN_URI,
            options={"verify_exp": False, "verify_iat": False},
        )
        assert claims == {
            "iss": "gate@reel-1.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": TOKEN_URI,
            "iat": int(NOW),
            "exp": int(NOW) + 3600,
        }

    async def test_a_token_is_kept_until_shortly_before_its_end(
        self, veo: Any, google: Any, clock: Clock
    ) -> None:
        google.post(FETCH).respond(json={})
        adapter = veo()

        async def tokens_after(seconds: float) -> int:
            clock.at = NOW + seconds
            await adapter.poll(TICKET)
            return int(google.routes[0].call_count)

        assert [await tokens_after(at) for at in (0, 1, 3298, 3299, 3300)] == [1, 1, 1, 2, 2]

    async def test_many_calls_at_once_fetch_one(self, veo: Any, google: Any) -> None:
        google.post(FETCH).respond(json={})
        adapter = veo()
        await asyncio.gather(*(adapter.poll(TICKET) for _ in range(20)))
        assert google.routes[0].call_count == 1

    async def test_a_token_that_is_not_accepted_is_fetched_anew(self, veo: Any, google: Any) -> None:
        google.post(FETCH).side_effect = [
            httpx.Response(401, json=error(401, "UNAUTHENTICATED", "revoked")),
            httpx.Response(200, json={}),
        ]
        adapter = veo()
        with pytest.raises(NotAuthorised):
            await adapter.poll(TICKET)
        await adapter.poll(TICKET)
        assert google.routes[0].call_count == 2

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (httpx.Response(400, json={"error": "invalid_grant"}), NotAuthorised),
            (httpx.Response(401, json={"error": "invalid_client"}), NotAuthorised),
            (httpx.Response(403, json={"error": "disabled"}), NotAuthorised),
            (httpx.Response(429), RateLimited),
            (httpx.Response(503), Unavailable),
            (httpx.Response(404), Unavailable),
            (httpx.Response(200, json={"token_type": "Bearer"}), Unavailable),
            (httpx.Response(200, text="<html>"), Unavailable),
            (httpx.ReadTimeout("slow"), Unavailable),
            (httpx.ConnectError("away"), Unavailable),
        ],
    )
    async def test_without_a_token_nothing_was_ordered(
        self, veo: Any, respx_mock: Any, answer: Any, expected: type[ProviderError]
    ) -> None:
        respx_mock.post(TOKEN_URI).mock(side_effect=[answer])
        with pytest.raises(ProviderError) as caught:
            await veo().submit(job())
        assert type(caught.value) is expected
        assert len(respx_mock.calls) == 1

    async def test_no_secret_shows(self, veo: Any, google: Any, service_account: str) -> None:
        adapter = veo()

        def echo(request: httpx.Request) -> httpx.Response:
            said = json.dumps(dict(request.headers)) + request.content.decode()
            return httpx.Response(400, json=error(400, "INVALID_ARGUMENT", said))

        google.post(SUBMIT).mock(side_effect=echo)
        gemini = f"{GEMINI}/v1beta/models/veo-3.1-generate-preview:predictLongRunning"
        google.post(gemini).mock(side_effect=echo)
        shown = [repr(adapter)]
        for asked in (job(), job(offer("gemini_api"))):
            with pytest.raises(BadRequest) as caught:
                await adapter.submit(asked)
            shown += ["".join(traceback.format_exception(caught.value)), caught.value.operator_detail]
        google.post(TOKEN_URI).mock(side_effect=echo)
        adapter = veo()
        with pytest.raises(NotAuthorised) as refused:
            await adapter.poll(TICKET)
        shown += ["".join(traceback.format_exception(refused.value)), refused.value.operator_detail]
        key = json.loads(service_account)["private_key"].splitlines()[3]
        signature = dict(httpx.QueryParams(google.calls.last.request.content.decode()))["assertion"][-60:]
        for secret in (ACCESS, API_KEY, key, signature):
            assert not [text for text in shown if secret in text]
