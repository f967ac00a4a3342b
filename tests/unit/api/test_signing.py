"""A token says what the gateway wrote, to the last character, until its time is over."""

from __future__ import annotations

import hmac

import pytest

from gateway.api import signing
from gateway.api.signing import BadToken, ExpiredToken, SignedFile, read_token, sign
from gateway.db.keys import derived_key

PEPPER = b"a pepper of this test"
FILE = SignedFile("video_01m7wfc1rkfg6rry0apwb5wt57", "video", 1_800_000_000)
TOKEN = sign(PEPPER, FILE)
BEFORE, AFTER = FILE.expires_at - 1, FILE.expires_at


def test_a_token_comes_back_until_its_second() -> None:
    assert read_token(PEPPER, TOKEN, BEFORE) == FILE
    with pytest.raises(ExpiredToken):
        read_token(PEPPER, TOKEN, AFTER)


@pytest.mark.parametrize("place", range(len(TOKEN)))
def test_no_character_can_be_changed(place: int) -> None:
    for other in "A", "B", "-", ".", "é", " ":
        changed = TOKEN[:place] + other + TOKEN[place + 1 :]
        if changed != TOKEN:
            with pytest.raises(BadToken):
                read_token(PEPPER, changed, BEFORE)


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        TOKEN[:-1],
        TOKEN + "A",
        TOKEN + "=",
        TOKEN + ".",
        TOKEN.split(".")[0],
        "x" * 5000,
        "\0",
        "é.é",
    ],
)
def test_nothing_else_is_a_token(token: str) -> None:
    with pytest.raises(BadToken):
        read_token(PEPPER, token, BEFORE)


@pytest.mark.parametrize("at", [BEFORE, AFTER])
def test_a_forged_token_is_never_told_from_an_expired_one(at: int) -> None:
    with pytest.raises(BadToken):
        read_token(PEPPER, sign(b"another pepper", FILE), at)


def test_the_key_of_another_purpose_signs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(signing, "PURPOSE", b"reelgate something else, version 1")
        other = sign(PEPPER, FILE)
    said = TOKEN.partition(".")[0]
    raw = signing._encoded(hmac.digest(PEPPER, said.encode(), "sha256"))
    for token in (other, f"{said}.{raw}"):
        with pytest.raises(BadToken):
            read_token(PEPPER, token, BEFORE)


def test_the_pepper_cannot_be_read_off_a_token() -> None:
    assert PEPPER.decode() not in TOKEN
    assert derived_key(PEPPER, b"one") != derived_key(PEPPER, b"two") != PEPPER


def test_keys_are_derived_as_the_rfc_says() -> None:
    """RFC 5869, appendix A.3: SHA-256, no salt, no info; the first 32 of its 42 bytes."""
    expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"
    assert derived_key(b"\x0b" * 22, b"").hex() == expected
