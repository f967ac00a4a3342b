from __future__ import annotations

from typing import Any

import pytest
from starlette.exceptions import HTTPException

from gateway.api.errors import ApiError


async def test_a_form_becomes_what_the_same_json_would_be(read: Any) -> None:
    form = await read(
        files=[
            ("prompt", (None, "a cat")),
            ("seconds", (None, "4")),
            ("seed", (None, "7")),
            ("audio", (None, "true")),
            ("options[echo][latency_ms]", (None, "5")),
            ("options[echo][tags][]", (None, "a")),
            ("options[echo][tags][]", (None, "b")),
            ("images[][role]", (None, "first_frame")),
            ("images[][role]", (None, "last_frame")),
            ("images[][image_url]", (None, "data:1")),
            ("images[][image_url]", (None, "data:2")),
        ]
    )
    assert form.fields == {
        "prompt": "a cat",
        "seconds": "4",
        "seed": 7,
        "audio": True,
        "options": {"echo": {"latency_ms": "5", "tags": ["a", "b"]}},
        "images": [
            {"role": "first_frame", "image_url": "data:1"},
            {"role": "last_frame", "image_url": "data:2"},
        ],
    }


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("audio", "false", False),
        ("audio", "required", "required"),
        ("audio", "yes", "yes"),
        ("seed", "-1", -1),
        ("seed", "1.5", "1.5"),
        ("seed", "", ""),
        ("max_cost", "0.50", "0.50"),
        ("options", '{"echo": {"latency_ms": 5}}', {"echo": {"latency_ms": 5}}),
        ("input_reference", '{"image_url": "data:1"}', {"image_url": "data:1"}),
        ("input_reference", "data:1", "data:1"),
        ("prompt", '{"not": "parsed"}', '{"not": "parsed"}'),
    ],
)
async def test_form_text_gets_the_type_that_was_meant(read: Any, name: str, text: str, value: object) -> None:
    form = await read(files={name: (None, text)})
    assert form.fields == {name: value}
    assert type(form.fields[name]) is type(value)


async def test_files_indexed_images_and_bracketed_references(read: Any) -> None:
    form = await read(
        data={
            "prompt": "a cat",
            "images[0][role]": "first_frame",
            "images[1][role]": "reference",
            "last_frame[image_url]": "data:1",
        },
        files={"input_reference": ("cat.png", b"bytes", "image/png")},
    )
    assert form.files == {"input_reference": b"bytes"}
    assert form.fields["images"] == [{"role": "first_frame"}, {"role": "reference"}]
    assert form.fields["last_frame"] == {"image_url": "data:1"}


async def test_json_keeps_its_types_and_null_means_left_out(read: Any) -> None:
    form = await read(json={"prompt": "a cat", "seconds": 4.5, "seed": None, "audio": False})
    assert form.fields == {"prompt": "a cat", "seconds": 4.5, "audio": False}


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, None),
        ({"content": b"[]", "headers": {"content-type": "application/json"}}, 400, None),
        ({"content": b"[" * 100_000, "headers": {"content-type": "application/json"}}, 400, None),
        ({"content": b'{"seed": NaN}', "headers": {"content-type": "application/json"}}, 400, None),
        ({"content": b'{"seconds": 1e999}', "headers": {"content-type": "application/json"}}, 400, "seconds"),
        (
            {"content": b'{"prompt": "\\ud800"}', "headers": {"content-type": "application/json"}},
            400,
            "prompt",
        ),
        ({"content": b"\xff\xfe", "headers": {"content-type": "application/json"}}, 400, None),
        ({"json": {"options": {"a": {"b": {"c": [[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]}}}}}, 400, "options.a.b.c"),
        ({"content": b"hello", "headers": {"content-type": "text/plain"}}, 415, None),
        ({"content": b"hello"}, 415, None),
        ({"files": {"prompt": (None, "nul \0 byte")}}, 400, "prompt"),
        ({"files": [("prompt", (None, "a")), ("prompt", (None, "b"))]}, 400, "prompt"),
        ({"files": {"prompt": ("prompt.txt", b"a cat")}}, 400, "prompt"),
        ({"files": {"options": (None, "{")}}, 400, "options"),
        ({"files": {"a[b": (None, "1")}}, 400, "a[b"),
        ({"files": {"o" + "[a]" * 40: (None, "1")}}, 400, "o" + "[a]" * 40),
        ({"files": [("a", (None, "1")), ("a[b]", (None, "1"))]}, 400, "a[b]"),
        ({"files": [("a[b]", (None, "1")), ("a[b][c]", (None, "1"))]}, 400, "a[b][c]"),
        ({"files": [("a[]", (None, "1")), ("a[][b]", (None, "1"))]}, 400, "a"),
        (
            {"files": [("input_reference", ("a", b"1")), ("input_reference", (None, "data:1"))]},
            400,
            "input_reference",
        ),
        (
            {"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data"}},
            400,
            None,
        ),
    ],
)
async def test_a_malformed_body_is_refused_by_name(
    read: Any, body: dict[str, Any], status: int, param: str | None
) -> None:
    with pytest.raises((ApiError, HTTPException)) as raised:
        await read(**body)
    error: Any = raised.value  # python-multipart's own refusals come as starlette's exception
    assert (error.status_code if isinstance(error, HTTPException) else error.status) == status
    assert getattr(error, "param", None) == param


async def test_a_file_over_the_image_limit_is_not_read(read: Any) -> None:
    with pytest.raises(ApiError) as raised:
        await read(data={"prompt": "a cat"}, files={"input_reference": b"x" * 2000}, limit=1000)
    assert (raised.value.code, raised.value.param) == ("image_too_large", "input_reference")
    assert raised.value.message.startswith("'input_reference': the image is larger than ")
