"""Veo's bodies on both of Google's surfaces: strict out, lenient in.

Sources: google-genai 2.34.0 (Gemini API) and 3.3.0 (Vertex AI), whose requests these are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from gateway.kit.http import Response, Verdict
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutOfCredit,
    RateLimited,
    UnexpectedReply,
)

FRAMES: Mapping[str, tuple[Literal["720p", "1080p", "4k"], Literal["16:9", "9:16"]]] = {
    "1280x720": ("720p", "16:9"),
    "720x1280": ("720p", "9:16"),
    "1920x1080": ("1080p", "16:9"),
    "1080x1920": ("1080p", "9:16"),
    "3840x2160": ("4k", "16:9"),
    "2160x3840": ("4k", "9:16"),
}
"""What a size is called on the wire: resolution and aspect ratio."""


class _Out(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, serialize_by_alias=True
    )


class Picture(_Out):
    """An image, base64."""

    bytes_base64_encoded: str = Field(repr=False)
    mime_type: Literal["image/png", "image/jpeg"]


class Reference(_Out):
    """An image of something that is to appear."""

    image: Picture
    reference_type: Literal["ASSET"] = "ASSET"


class Instance(_Out):
    """What is to be seen."""

    prompt: str
    image: Picture | None = None
    last_frame: Picture | None = None
    reference_images: tuple[Reference, ...] | None = None


class Parameters(_Out):
    """How it is to be made; ``generate_audio`` and what follows it on Vertex AI only."""

    aspect_ratio: Literal["16:9", "9:16"]
    resolution: Literal["720p", "1080p", "4k"]
    duration_seconds: Literal[4, 6, 8]
    sample_count: Literal[1] = 1
    negative_prompt: str | None = None
    person_generation: Literal["allow_adult", "dont_allow", "allow_all"] | None = None
    generate_audio: bool | None = None
    seed: int | None = Field(default=None, ge=0, le=2**32 - 1)
    enhance_prompt: bool | None = None
    resize_mode: Literal["CROP", "PAD"] | None = None
    storage_uri: str | None = None


class Order(_Out):
    """The body of ``:predictLongRunning``; ``labels`` on Vertex AI only."""

    instances: tuple[Instance]
    parameters: Parameters
    labels: dict[str, str] | None = None

    def body(self) -> dict[str, Any]:
        """As it is sent."""
        return self.model_dump(exclude_none=True)


class _In(BaseModel):
    model_config = ConfigDict(extra="ignore", alias_generator=to_camel)


class Status(_In):
    """google.rpc.Status; ``code`` is gRPC's number."""

    code: int | None = None
    message: str | None = None


class Video(_In):
    """One clip: ``uri`` on the Gemini API, ``gcs_uri`` on Vertex AI where a bucket was named."""

    uri: str | None = None
    gcs_uri: str | None = None


class Sample(_In):
    """The Gemini API's wrapping of a clip."""

    video: Video | None = None


class Made(_In):
    """What came of it, on either surface."""

    videos: list[Video] | None = None
    generated_samples: list[Sample] | None = None
    rai_media_filtered_count: int | None = None
    rai_media_filtered_reasons: list[str] | None = None

    def place(self) -> str | None:
        """Where the clip lies; None without one."""
        samples = [sample.video for sample in self.generated_samples or () if sample.video]
        places = (video.uri or video.gcs_uri for video in (*(self.videos or ()), *samples))
        return next((place for place in places if place), None)


class Reply(Made):
    """An operation's ``response``: on the Gemini API with one more wrapping."""

    generate_video_response: Made | None = None


class Operation(_In):
    """A job, as both surfaces tell of it."""

    name: str | None = None
    done: bool | None = None
    error: Status | None = None
    response: Reply | None = None

    def made(self) -> Made:
        """What came of it; nothing while it runs."""
        reply = self.response or Reply()
        return reply.generate_video_response or reply


_Model = TypeVar("_Model", bound=BaseModel)


def read(model: type[_Model], body: Mapping[str, Any] | bytes) -> _Model:
    """A provider's answer, as ``model``.

    Raises:
        UnexpectedReply: a documented field holds something else.
    """
    try:
        return model.model_validate_json(body) if isinstance(body, bytes) else model.model_validate(body)
    except ValidationError as error:
        where = "; ".join(".".join(map(str, one["loc"])) for one in error.errors(include_input=False))
        raise UnexpectedReply(
            "Google Veo gave an answer that its API does not document.",
            operator_detail=f"Google Veo's answer is not as documented at: {where or 'its beginning'}.",
        ) from None


_UNSAFE = re.compile(
    r"safety|usage guidelines|responsible ai|prohibited_content|blocklist|\bspii\b"
    r"|blocked.*polic|polic.*blocked",
    re.IGNORECASE | re.DOTALL,
)
_PAYMENT = re.compile(r"billing|spend|prepay|credits", re.IGNORECASE)


def is_about_content(said: str) -> bool:
    """True for the words with which Google refuses what is to be seen."""
    return _UNSAFE.search(said) is not None


def classify(response: Response, *, creating: bool) -> Verdict:
    """What an answer that is not 2xx means; None where the status alone says it."""
    error = _error_of(response)
    said, status, reasons = _text(error, "message"), _text(error, "status"), _words(error)
    match response.status_code:
        case 400 if "API_KEY_INVALID" in reasons or "api key not valid" in said.lower():
            return NotAuthorised, ""
        case 400 if creating and (is_about_content(said) or is_about_content(status)):
            return ContentBlocked, said
        case 400 if status == "FAILED_PRECONDITION" and "billing" in said.lower():
            return OutOfCredit, ""
        case 400 if creating:
            return BadRequest, said
        case 403 if "BILLING_DISABLED" in reasons or "BILLING_DISABLED" in said:
            return OutOfCredit, ""
        case 401 | 403:
            return NotAuthorised, ""
        case 404 if creating:
            return ModelGone, said
        case 429:
            return OutOfCredit if _is_spent(said, reasons) else RateLimited, ""
        case _:
            return None


def _is_spent(said: str, quotas: set[str]) -> bool:
    """True for a day's quota, and for words about money. A quota of a minute comes with such words, too."""
    named = " ".join(quotas)
    return "PerDay" in named or ("PerMinute" not in named and _PAYMENT.search(said) is not None)


def retry_delay(response: Response) -> float | None:
    """Seconds of ``google.rpc.RetryInfo`` in an error, which Google sends instead of ``Retry-After``."""
    for detail in _details(_error_of(response)):
        found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,9})?)s", _text(detail, "retryDelay"))
        if found:
            return float(found[1])
    return None


def _error_of(response: Response) -> Mapping[str, Any]:
    """The ``error`` of an answer, which may come in an array of one; empty if it has none."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return {}
    if isinstance(body, list) and len(body) == 1:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    return error if isinstance(error, dict) else {}


def _details(error: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    details = error.get("details")
    return [one for one in details if isinstance(one, dict)] if isinstance(details, list) else []


def _words(error: Mapping[str, Any]) -> set[str]:
    """The reasons and the ids of exceeded quotas among an error's details."""
    words = set()
    for detail in _details(error):
        violations = detail.get("violations")
        for one in [detail, *(violations if isinstance(violations, list) else ())]:
            if isinstance(one, dict):
                words |= {_text(one, "reason"), _text(one, "quotaId")}
    return words - {""}


def _text(record: Mapping[str, Any], name: str) -> str:
    value = record.get(name)
    return value if isinstance(value, str) else ""


def outcome(operation: Operation) -> str | Failed:
    """Where the clip of an operation that is over lies, or why there is none.

    Google does not charge for what its filters took out.
    """
    if operation.error is not None:
        return _failed(operation.error)
    made = operation.made()
    place = made.place()
    if place is not None:
        return place
    if made.rai_media_filtered_count or made.rai_media_filtered_reasons:
        said = " ".join(made.rai_media_filtered_reasons or ()) or "It gave no reason."
        message = f"Google Veo's content rules took the clip out; it was not charged. It said: {said}"
        return Failed(code="content_blocked", message=message, user_fault=True)
    message = "Google Veo says that the clip is done, and names neither a clip nor a reason for its absence."
    return Failed(code="gave_up", message=message)


def _failed(error: Status) -> Failed:
    said = error.message or "no reason given"
    match error.code:
        case 3 if is_about_content(said):
            message = f"Google Veo's content rules refused the job: {said}"
            return Failed(code="content_blocked", message=message, user_fault=True)
        case 3:
            return Failed(code="bad_request", message=f"Google Veo refused the job: {said}", user_fault=True)
        case 5:
            return Failed(code="model_gone", message=f"Google Veo does not find what the job needs: {said}")
        case 7:
            return Failed(code="not_authorised", message=f"Google Veo may not do this for us: {said}")
        case 8:
            return Failed(code="rate_limited", message=f"Google Veo had no room for the job: {said}")
        case 4 | 13 | 14:
            return Failed(code="unavailable", message=f"Google Veo gave the job up: {said}")
        case _:
            return Failed(code="gave_up", message=f"Google Veo gave the job up: {said}")
