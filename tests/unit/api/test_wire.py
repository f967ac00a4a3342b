from __future__ import annotations

import json
from collections.abc import Collection
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from gateway.api import pictures
from gateway.api.errors import ApiError
from gateway.api.forms import Form
from gateway.api.pictures import check_images
from gateway.api.schemas import CREATE_BODY
from gateway.api.wire import SentImage, read_continue, read_create, read_remix
from gateway.media import BadImage
from gateway.spec import Continues, VideoRequest

DONE = Continues(
    video_id="video_1",
    attempt_id="att_1",
    offer="a/b",
    done_preset="prefix",
    checkpoint="checkpoints/video_1/1",
    sha256="0" * 64,
)


def create(**fields: Any) -> VideoRequest:
    return read_create(Form(fields={"prompt": "a cat", **fields})).request


def refusal(files: dict[str, bytes] | None = None, **fields: Any) -> ApiError:
    with pytest.raises(ApiError) as raised:
        read_create(Form(fields={"prompt": "a cat", **fields}, files=files or {}))
    assert raised.value.status == 400
    assert raised.value.message
    return raised.value


def png(color: str = "red") -> bytes:
    out = BytesIO()
    Image.new("RGB", (8, 8), color).save(out, "PNG")
    return out.getvalue()


def test_every_field_arrives() -> None:
    fields = {
        "prompt": "a cat",
        "negative_prompt": "",
        "model": "echo",
        "preset": "fast",
        "seconds": "4",
        "resolution": "480p",
        "aspect_ratio": "16:9",
        "fps": 16,
        "seed": 0,
        "audio": "required",
        "mode": "preview",
        "tier": "basic",
        "quality": "premium",
        "priority": "batch",
        "max_cost": "0.50",
        "deadline": 60,
        "options": {"echo": {"latency_ms": 5}},
    }
    request = read_create(Form(fields=fields)).request
    left_out = {"size": None, "images": [], "continues": None}
    assert request.model_dump(mode="json") == {**fields, "max_cost": "0.5", **left_out}


def test_a_prompt_is_enough_and_the_model_is_chosen() -> None:
    assert create() == VideoRequest(prompt="a cat", model="auto")


@pytest.mark.parametrize("seconds", ["10", "10.0", 10, 10.0, "10.00"])
def test_seconds_are_the_same_however_written(seconds: object) -> None:
    request = create(seconds=seconds)
    assert request.model_dump(mode="json")["seconds"] == "10"


@pytest.mark.parametrize("seconds", [0, "0", -1, 10_000, "10000", 600.5, "4.0001"])
def test_seconds_out_of_range_are_told_the_range(seconds: object) -> None:
    error = refusal(seconds=seconds)
    assert (error.param, error.code) == ("seconds", "invalid_value")
    assert "more than 0 and at most 600" in error.message


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("seconds", True, "invalid_type"),
        ("seconds", "four", "invalid_type"),
        ("seconds", [4], "invalid_type"),
        ("seed", False, "invalid_type"),
        ("seed", "7", "invalid_type"),
        ("seed", 1.0, "invalid_type"),
        ("seed", -1, "invalid_value"),
        ("seed", 2**32, "invalid_value"),
        ("audio", 1, "invalid_value"),
        ("audio", "yes", "invalid_value"),
        ("size", "big", "invalid_value"),
        ("size", 720, "invalid_type"),
        ("mode", "draft", "invalid_value"),
        ("prompt", "", "invalid_value"),
        ("prompt", "x" * 32_001, "invalid_value"),
        ("model", "", "invalid_value"),
        ("fps", 0, "invalid_value"),
        ("max_cost", "0", "invalid_value"),
        ("max_cost", "1e3", "invalid_type"),
        ("deadline", 0, "invalid_value"),
        ("options", "x", "invalid_type"),
        ("options", {"echo": {"x": "y" * 70_000}}, "invalid_value"),
        ("tier", "No Tier", "invalid_value"),
        ("tags", ["a"], "not_supported_yet"),
        ("loras", ["a"], "not_supported_yet"),
        ("webhook_url", "https://example.com", "not_supported_yet"),
        ("n", 2, "not_supported_yet"),
        ("n", True, "not_supported_yet"),
        ("quallity", "premium", "unknown_parameter"),
        ("continues", DONE.model_dump(), "unknown_parameter"),
        ("continues", None, "unknown_parameter"),
        ("preset", "No Preset", "invalid_value"),
        ("user", "me", "unknown_parameter"),
        ("input_reference", {"file_id": "file-1"}, "file_id_not_supported"),
        ("input_reference", {}, "invalid_value"),
        ("input_reference", 5, "invalid_type"),
        ("last_frame", {"file_id": "file-1"}, "file_id_not_supported"),
    ],
)
def test_what_is_wrong_is_named(field: str, value: object, code: str) -> None:
    fields: dict[str, Any] = {field: value}
    error = refusal(**fields)
    assert (error.param, error.code) == (field, code)


def test_a_missing_prompt_and_a_near_miss() -> None:
    with pytest.raises(ApiError) as raised:
        read_create(Form(fields={}))
    assert (raised.value.param, raised.value.code) == ("prompt", "missing_required_parameter")
    assert "'quality'" in refusal(quallity="premium").message


@pytest.mark.parametrize(
    ("image", "param"),
    [
        ({"role": "hero", "image_url": "data:1"}, "images[0].role"),
        ({"image_url": "data:1"}, "images[0].role"),
        ({"role": "reference", "url": "data:1"}, "images[0].url"),
        ({"role": "reference", "file_id": "file-1"}, "images[0]"),
    ],
)
def test_a_wrong_entry_of_images_is_named(image: dict[str, str], param: str) -> None:
    assert refusal(images=[image]).param == param


def test_an_image_may_come_in_any_form_but_once() -> None:
    first = {"role": "first_frame", "image_url": "data:1"}
    for fields in ({"input_reference": "data:1"}, {"input_reference": {"image_url": "data:1"}}):
        sent = read_create(Form(fields={"prompt": "a cat", **fields}))
        assert sent.images == (SentImage(role="first_frame", param="input_reference", source="data:1"),)
    sent = read_create(Form(fields={"prompt": "a cat"}, files={"last_frame": b"file"}))
    assert sent.images == (SentImage(role="last_frame", param="last_frame", source=b"file"),)
    assert refusal(images=[first], input_reference="data:1").param == "input_reference"
    assert refusal(images=[first, first]).param == "input_reference"
    assert refusal(files={"input_reference": b"file"}, images=[first]).param == "input_reference"


def test_an_image_may_be_named_by_its_address() -> None:
    for url in ("https://cdn.example/a.png", "HTTP://cdn.example/a.png"):
        (image,) = read_create(Form(fields={"prompt": "a cat", "input_reference": url})).images
        assert image.address == url
    for url in ("data:image/png;base64,AA", "ftp://cdn.example/a.png", "https:a.png", " https://cdn.example"):
        (image,) = read_create(Form(fields={"prompt": "a cat", "last_frame": {"image_url": url}})).images
        assert image.address is None


def test_more_images_than_any_model_takes_are_refused_before_one_is_fetched() -> None:
    reference = {"role": "reference", "image_url": "https://cdn.example/a.png"}
    assert len(read_create(Form(fields={"prompt": "a cat", "images": [reference] * 16})).images) == 16
    error = refusal(images=[reference] * 17)
    assert (error.param, "more than 16" in error.message) == ("images", True)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, float]]:
    """Takes the place of the guarded fetch; which addresses, within how many seconds."""
    asked: list[tuple[str, float]] = []

    async def fetch_image(
        url: str, *, allowed_origins: Collection[str], max_bytes: int, deadline_s: float
    ) -> bytes:
        assert (tuple(allowed_origins), max_bytes) == (("http://10.0.0.5:9000",), 600)
        asked.append((url, deadline_s))
        if "inside" in url:
            raise BadImage("image_url_unsafe", "it is inside")
        return url.encode() + bytes(500)

    monkeypatch.setattr(pictures, "fetch_image", fetch_image)
    return asked


async def fetching(*sources: bytes | str) -> list[bytes | str]:
    sent = [SentImage(role="reference", param=f"images[{n}]", source=s) for n, s in enumerate(sources)]
    origins = ("http://10.0.0.5:9000",)
    whole = await pictures.fetch_images(sent, origins=origins, max_bytes=600, max_total=1100)
    assert [image.param for image in whole] == [image.param for image in sent]
    return [image.source for image in whole]


async def test_only_what_is_named_by_address_is_fetched(fetched: list[tuple[str, float]]) -> None:
    found = await fetching(
        b"file", "https://a.example/1", "data:image/png;base64,AA", "http://10.0.0.5:9000/2"
    )
    assert found[0] == b"file"
    assert found[2] == "data:image/png;base64,AA"
    assert [bytes(found[n])[:8] for n in (1, 3)] == [b"https://", b"http://1"]  # type: ignore[arg-type]  # bytes
    assert [url for url, _ in fetched] == ["https://a.example/1", "http://10.0.0.5:9000/2"]
    assert 15 >= fetched[0][1] >= fetched[1][1] > 10


@pytest.mark.parametrize(
    ("sources", "code", "param"),
    [
        (["https://a.example/1", "https://inside.example/2"], "image_url_unsafe", "images[1]"),
        (["https://a.example/1"] * 3, "image_too_large", "images[2]"),
    ],
)
@pytest.mark.usefixtures("fetched")
async def test_an_image_that_cannot_be_had_is_refused_by_its_field(
    sources: list[str], code: str, param: str
) -> None:
    with pytest.raises(ApiError) as raised:
        await fetching(*sources)
    assert (raised.value.status, raised.value.code, raised.value.param) == (400, code, param)


def test_images_are_checked_and_named_by_their_hash() -> None:
    sent = [SentImage(role="first_frame", param="input_reference", source=png())]
    (image,), contents = check_images(sent, max_bytes=100_000)
    assert image.key == image.sha256
    assert (image.width, image.height, image.media_type) == (8, 8, "image/png")
    assert len(contents[image.key]) == image.bytes


@pytest.mark.parametrize(
    ("source", "code"),
    [
        (b"GIF89a", "image_format_unsupported"),
        (png()[:60], "image_broken"),
        ("data:image/png;base64,!!!", "image_broken"),
        ("/etc/passwd", "image_format_unsupported"),
        (b"x" * 2000, "image_too_large"),
    ],
)
def test_a_bad_image_is_refused_by_its_field(source: bytes | str, code: str) -> None:
    with pytest.raises(ApiError) as raised:
        check_images([SentImage(role="reference", param="images[3]", source=source)], max_bytes=1000)
    assert (raised.value.code, raised.value.param) == (code, "images[3]")


def test_a_remix_changes_the_prompt_alone() -> None:
    source = create(seed=7, seconds="4")
    assert read_remix(Form(fields={"prompt": "a dog"}), source) == create(seed=7, seconds="4", prompt="a dog")
    for form in (Form(fields={"prompt": "a", "seed": 8}), Form(fields={"prompt": "a"}, files={"x": b""})):
        with pytest.raises(ApiError, match="cannot be changed"):
            read_remix(form, source)


def test_a_remix_keeps_the_preset_asked_for_and_not_what_a_continuation_brought() -> None:
    form = Form(fields={"prompt": "a dog"})
    assert read_remix(form, create(preset="fast")) == create(preset="fast", prompt="a dog")
    continued = create(preset="official").model_copy(update={"continues": DONE})
    assert read_remix(form, continued) == create(prompt="a dog")


def test_a_continuation_changes_priority_and_limits_alone() -> None:
    source = create(seed=7, max_cost="1", preset="official").model_copy(update={"continues": DONE})
    assert read_continue(Form(fields={}), source) == source
    fresh = {"priority": "batch", "max_cost": "0.50", "deadline": 60}
    asked = read_continue(Form(fields=fresh), source)
    assert (asked.priority, asked.max_cost, asked.deadline) == ("batch", Decimal("0.5"), 60)
    assert asked.model_copy(update={name: getattr(source, name) for name in fresh}) == source
    forms = [Form(fields={name: "x"}) for name in ("prompt", "seed", "continues", "preset", "model")]
    for form in (*forms, Form(fields={}, files={"last_frame": b""})):
        with pytest.raises(ApiError, match="cannot be changed") as raised:
            read_continue(form, source)
        assert (raised.value.status, raised.value.code) == (400, "unknown_parameter")
    with pytest.raises(ApiError, match="priority"):
        read_continue(Form(fields={"priority": "now"}), source)


def test_the_openapi_document_names_every_field() -> None:
    content = CREATE_BODY["requestBody"]["content"]
    properties = content["application/json"]["schema"]["properties"]
    assert set(properties) == {*VideoRequest.model_fields, "input_reference", "last_frame"} - {"continues"}
    assert content["multipart/form-data"]["schema"]["properties"]["last_frame"]["format"] == "binary"
    assert "$ref" not in json.dumps(CREATE_BODY)


def test_decimals_stay_exact() -> None:
    assert create(max_cost=0.1).max_cost == Decimal("0.1")
