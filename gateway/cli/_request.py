"""The options that describe a video, shared by ``generate`` and ``route``: they make the body of a create."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import typer

from gateway.cli.exits import CliError, ExitCode

_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"RIFF", "image/webp"))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A request as the command line says it; what is left out is the gateway's to choose."""

    prompt: Annotated[str | None, typer.Argument(help="What the video is to show.", show_default=False)] = (
        None
    )
    model: Annotated[str | None, typer.Option(help="A model or alias.  [default: auto]")] = None
    preset: Annotated[str | None, typer.Option(help="A way to run it, as `reelgate models` names it.")] = None
    mode: Annotated[Literal["preview", "final"] | None, typer.Option(help="[default: final]")] = None
    preview: Annotated[bool, typer.Option("--preview", help="Short for --mode preview.")] = False
    tier: Annotated[str | None, typer.Option(help="At most your own tier, which is the default.")] = None
    quality: Annotated[Literal["standard", "premium"] | None, typer.Option(help="[default: standard]")] = None
    seconds: Annotated[str | None, typer.Option(help="Length, for example 4 or 2.5.")] = None
    size: Annotated[str | None, typer.Option(help="Width by height in pixels, for example 832x480.")] = None
    resolution: Annotated[
        Literal["360p", "480p", "540p", "720p", "1080p", "4k"] | None, typer.Option(help="A named size.")
    ] = None
    aspect_ratio: Annotated[str | None, typer.Option(help="For example 16:9.")] = None
    fps: Annotated[int | None, typer.Option(help="Frames per second.")] = None
    seed: Annotated[int | None, typer.Option(help="The same seed, the same video, where a model can.")] = None
    audio: Annotated[
        Literal["no", "yes", "required"] | None,
        typer.Option(help="yes is a wish, required a condition."),
    ] = None
    image: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The first frame: PNG, JPEG or WebP.")
    ] = None
    last_frame: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="The last frame: PNG, JPEG or WebP.")
    ] = None
    negative_prompt: Annotated[str | None, typer.Option(help="What the video is not to show.")] = None
    max_cost: Annotated[str | None, typer.Option(help="The most it may cost, in US dollars.")] = None
    deadline: Annotated[int | None, typer.Option(help="Seconds after which it is given up.")] = None

    def body(self) -> dict[str, Any]:
        """The body of ``POST /v1/videos`` and ``POST /v1/videos/plan``.

        Raises:
            CliError: an image is none, or options contradict each other.
        """
        if self.preview and self.mode == "final":
            raise CliError(ExitCode.USAGE, "--preview and --mode final contradict each other: leave one out.")
        sent = {
            **{name: getattr(self, name) for name in _PLAIN},
            "mode": "preview" if self.preview else self.mode,
            "audio": {"no": False, "yes": True}.get(self.audio or "", self.audio),
            "input_reference": None if self.image is None else _data_url(self.image),
            "last_frame": None if self.last_frame is None else _data_url(self.last_frame),
        }
        return {name: value for name, value in sent.items() if value is not None}


_PLAIN = [
    field.name
    for field in fields(Asked)
    if field.name not in ("mode", "preview", "audio", "image", "last_frame")
]


def takes_request(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of :class:`Asked` in place of its parameter ``asked``."""
    hints = get_type_hints(Asked, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(Asked)
    ]

    @wraps(command)
    def with_options(**given: Any) -> None:
        asked = Asked(**{option.name: given.pop(option.name) for option in options})
        command(asked=asked, **given)

    own = inspect.signature(command, eval_str=True)
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.parameters.items()
        if name != "asked"
    ]
    with_options.__signature__ = own.replace(  # type: ignore[attr-defined]  # read by inspect, known to no stub
        parameters=[*options, *others]
    )
    return with_options


def _data_url(path: Path) -> str:
    data = path.read_bytes()
    kind = next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)
    if kind is None:
        raise CliError(ExitCode.USAGE, f"{path} is not a PNG, JPEG or WebP image.")
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
