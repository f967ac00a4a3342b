"""An account at Google with a key of its own, and jobs to send there."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from PIL import Image

from adapters.veo._adapter import Veo
from adapters.veo._settings import VeoSettings
from adapters.veo._tokens import ServiceAccount
from gateway.spec import InputImage, Job, Offer, Output, Preset, VideoRequest

NOW = 1_790_000_000.0
API_KEY = "AIzaSy-canary-51f7c0"


def png(color: str = "orange") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 72), color).save(buffer, "PNG")
    return buffer.getvalue()


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (128, 72), "green").save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture(scope="session")
def service_account(rsa_key: rsa.RSAPrivateKey) -> str:
    """The JSON that Google hands out."""
    pem = rsa_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": "reel-1",
            "private_key_id": "8d2c",
            "private_key": pem.decode(),
            "client_email": "gate@reel-1.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": "https://oauth2.googleapis.com/token",
        }
    )


class Clock:
    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def account(service_account: str) -> ServiceAccount:
    """Read once: checking a key takes a while."""
    return ServiceAccount.model_validate(service_account)


@pytest.fixture
async def veo(account: ServiceAccount, clock: Clock) -> AsyncIterator[Callable[..., Veo]]:
    made: list[Veo] = []

    def build(**section: Any) -> Veo:
        given = {"service_account": account, "api_key": API_KEY, **section}
        made.append(Veo(VeoSettings.model_validate({"accounts": {"default": given}}), now=clock))
        return made[-1]

    yield build
    for one in made:
        await one.aclose()


def offer(surface: str = "vertex", **given: Any) -> Offer:
    vertex = surface == "vertex"
    return Offer.model_validate(
        {
            "model": "veo-3.1",
            "adapter": "veo",
            "upstream": "veo-3.1-generate-001" if vertex else "veo-3.1-generate-preview",
            "region": "us-central1" if vertex else None,
            "presets": (Preset(name="standard", params={"surface": surface}),),
            **given,
        }
    )


def job(
    to: Offer | None = None,
    *,
    images: dict[str, bytes] | None = None,
    references: tuple[bytes, ...] = (),
    size: str = "1280x720",
    seconds: str = "8",
    audio: bool = True,
    **request: Any,
) -> Job:
    pictures = [*(images or {}).items(), *(("reference", data) for data in references)]
    stored = [
        InputImage(
            role=role,  # type: ignore[arg-type]  # the tests' own words
            key=str(place),
            sha256="0" * 64,
            media_type="image/webp",  # as it was uploaded: what goes out has been encoded anew
            width=128,
            height=72,
            bytes=len(data),
        )
        for place, (role, data) in enumerate(pictures)
    ]
    to = to or offer()
    return Job(
        request=VideoRequest(**{"prompt": "a paper boat", "images": tuple(stored), **request}),
        output=Output(size=size, seconds=Decimal(seconds), fps=24, audio=audio),
        offer=to,
        preset=to.presets[0],
        tag="att_01",
        account="default",
        read_image=lambda image: pictures[int(image.key)][1],
    )
