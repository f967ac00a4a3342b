"""The Interactions API of the Gemini API, as far as video goes: strict out, lenient in.

From google-genai 3.3.0 (`_gaos`) and the Omni and Interactions guides of ai.google.dev, 2026.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, WrapValidator

from gateway.kit.http import Response, Verdict
from gateway.spec import (
    BadRequest,
    ContentBlocked,
    Failed,
    ModelGone,
    NotAuthorised,
    OutOfCredit,
    RateLimited,
    Unsupported,
)

Task = Literal["text_to_video", "image_to_video", "reference_to_video"]


class _Sent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TextPart(_Sent):
    """The prompt."""

    type: Literal["text"] = "text"
    text: str = Field(min_length=1)


class ImagePart(_Sent):
    """An image inside the request; ``data`` is base64."""

    type: Literal["image"] = "image"
    data: str
    mime_type: Literal["image/png", "image/jpeg"]


class VideoConfig(_Sent):
    """What is to be done with the images; left out, the model would decide."""

    task: Task


class GenerationConfig(_Sent):
    """Holds what concerns video."""

    video_config: VideoConfig


class ResponseFormat(_Sent):
    """The clip; ``duration`` is a protobuf Duration, a bare number is refused. Inline clips end at 4 MB."""

    type: Literal["video"] = "video"
    aspect_ratio: Literal["16:9", "9:16"]
    resolution: Literal["360p", "720p", "1080p", "4k"]
    duration: str = Field(pattern=r"^\d+(\.\d+)?s$")
    delivery: Literal["uri"] = "uri"


class Order(_Sent):
    """The body of a create."""

    model: str
    background: Literal[True] = True
    input: tuple[TextPart | ImagePart, ...]
    generation_config: GenerationConfig
    response_format: ResponseFormat


Known = TypeVar("Known")


def _if_sound(value: Any, read: Callable[[Any], Known]) -> Known | None:
    try:
        return read(value)
    except ValueError:  # pydantic's own is one: what cannot be read is as if it were not there
        return None


Text: TypeAlias = Annotated[str | None, WrapValidator(_if_sound)]
Count: TypeAlias = Annotated[int | None, WrapValidator(_if_sound)]


class Trouble(BaseModel):
    """A google.rpc.Status, or the Interactions API's own pair of a word and a message."""

    code: Annotated[str | int | None, WrapValidator(_if_sound)] = None
    status: Text = None
    message: Text = None
    details: Annotated[list[dict[str, Any]] | None, WrapValidator(_if_sound)] = None

    @property
    def said(self) -> str:
        """Its message on one line."""
        return " ".join((self.message or "").split())

    @property
    def words(self) -> str:
        """All that tells what it is about, in capitals."""
        return f"{self.code} {self.status} {self.message}".upper()


class Part(BaseModel):
    """A piece of what the model put out."""

    type: Text = None
    text: Text = None
    data: Text = None
    uri: Text = None


class Step(BaseModel):
    """A step of the interaction."""

    type: Text = None
    content: Annotated[list[Part] | None, WrapValidator(_if_sound)] = None
    error: Annotated[Trouble | None, WrapValidator(_if_sound)] = None


class ModalityTokens(BaseModel):
    """Output tokens of one kind."""

    modality: Text = None
    tokens: Count = None


class TokenUsage(BaseModel):
    """What is billed."""

    total_output_tokens: Count = None
    output_tokens_by_modality: Annotated[list[ModalityTokens] | None, WrapValidator(_if_sound)] = None


class Interaction(BaseModel):
    """A job as the API shows it; nothing in it is sure to be there."""

    id: Text = None
    status: Text = None
    updated: Annotated[AwareDatetime | None, WrapValidator(_if_sound)] = None
    steps: Annotated[list[Step] | None, WrapValidator(_if_sound)] = None
    errors: Annotated[list[Trouble] | None, WrapValidator(_if_sound)] = None
    usage: Annotated[TokenUsage | None, WrapValidator(_if_sound)] = None

    def video(self) -> Part | None:
        """The last video that the model put out."""
        videos = [part for part in self._output() if part.type == "video" and (part.uri or part.data)]
        return videos[-1] if videos else None

    def text(self) -> str:
        """What the model wrote, on one line."""
        return " ".join(" ".join(part.text or "" for part in self._output()).split())

    def video_tokens(self) -> int | None:
        """The tokens that are billed as video; None where it does not say, which is not the same as none."""
        if self.usage is None:
            return None
        kinds = self.usage.output_tokens_by_modality
        if not kinds:
            return self.usage.total_output_tokens
        told = [kind.tokens for kind in kinds if (kind.modality or "").lower() == "video"]
        return None if not told or None in told else sum(count or 0 for count in told)

    def troubles(self) -> list[Trouble]:
        """Everything that went wrong."""
        return [step.error for step in self.steps or [] if step.error] + (self.errors or [])

    def _output(self) -> Iterator[Part]:
        for step in self.steps or []:
            if step.type == "model_output":
                yield from step.content or []


def trouble_in(response: Response) -> Trouble:
    """What an error answer says: an ``error``, at times inside an array of one."""
    try:
        body = response.json()
    except (ValueError, RecursionError):
        return Trouble()
    if isinstance(body, list) and body:
        body = body[0]
    error = body.get("error") if isinstance(body, dict) else None
    return Trouble.model_validate(error) if isinstance(error, dict) else Trouble()


_POLICY = re.compile(r"\b(SAFETY|PROHIBITED_CONTENT|BLOCKLIST|SPII)\b|BLOCKED.*POLICY|POLICY.*BLOCKED")
_MONEY = re.compile(r"BILLING|SPEND|PREPAY|CREDIT")
_DELAY = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


def verdict(response: Response, *, creating: bool) -> Verdict:
    """What a refusal means; None where the kit's own rules hold, as for every 5xx.

    What it says of the operator's account, by its number at times, is not for callers.
    """
    trouble = trouble_in(response)
    details, words = json.dumps(trouble.details or []), trouble.words
    match response.status_code:
        case 400 if "API_KEY_INVALID" in details or "API KEY NOT VALID" in words:
            return NotAuthorised, ""
        case 429:
            return OutOfCredit if _is_spent(details, words) else RateLimited, ""
        case 400 | 403 | 404 | 410 | 413 | 422 if not creating:
            return None
        case 404 | 410:
            return ModelGone, trouble.said
        case 400 if "IS NO LONGER AVAILABLE" in words:
            return ModelGone, trouble.said
        case 400 | 422 if _POLICY.search(words):
            return ContentBlocked, trouble.said
        case 400 if "FAILED_PRECONDITION" in words:
            return (OutOfCredit, "") if "BILLING" in words else (Unsupported, trouble.said)
        case 400 | 413 | 422:
            return BadRequest, trouble.said
        case _:
            return None


def _is_spent(details: str, words: str) -> bool:
    """True if a 429 is about money or the day's quota.

    Where it names a quota of a minute it is not, though its message tells to check the "billing details".
    """
    quotas = details.lower()
    return "perday" in quotas or ("perminute" not in quotas and _MONEY.search(words) is not None)


def retry_delay(response: Response) -> float | None:
    """Seconds of ``google.rpc.RetryInfo``, which stands in the body."""
    for detail in trouble_in(response).details or []:
        found = _DELAY.fullmatch(str(detail.get("retryDelay", "")))
        if found:
            return float(found[1])
    return None


_OUTPUT_LATE_S = 120
"""For how long a completed interaction is looked at again that has no output yet, which has been seen."""


def is_late(interaction: Interaction, now: float) -> bool:
    """True while the output of a completed interaction may still turn up; ``now`` in seconds since 1970."""
    return interaction.updated is not None and now - interaction.updated.timestamp() < _OUTPUT_LATE_S


def without_video(interaction: Interaction) -> Failed:
    """A completed interaction that has no video: it was declined in words, or its output was lost."""
    billed = bool(interaction.video_tokens())
    said = interaction.text()[:300]
    if said and not billed:
        message = f"Gemini declined the request: {said}"
        return Failed(code="content_blocked", message=message, user_fault=True)
    return Failed(code="no_output", message="Gemini says that the clip is done, but has none.", billed=billed)


def failure(interaction: Interaction) -> Failed:
    """An interaction that ended without being completed; what it used is billed all the same."""
    billed = bool(interaction.video_tokens())
    troubles = interaction.troubles()
    said = "; ".join(trouble.said for trouble in troubles if trouble.said)[:300] or "It gave no reason."
    if any(_POLICY.search(trouble.words) for trouble in troubles):
        message = f"Gemini refused the content: {said}"
        return Failed(code="content_blocked", message=message, user_fault=True, billed=billed)
    if interaction.status == "budget_exceeded":
        message = f"This gateway's budget at Gemini is used up: {said}"
        return Failed(code="out_of_credit", message=message, billed=billed)
    message = f"Gemini gave the job up ({interaction.status}): {said}"
    return Failed(code="gave_up", message=message, billed=billed)
