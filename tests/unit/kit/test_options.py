"""An adapter's options and settings, read strictly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from gateway.kit.options import read_options, read_settings
from gateway.kit.testing import make_job
from gateway.spec import BadRequest, Offer, PluginContext, Value


class Settings(Value):
    base_url: str
    api_key: SecretStr | None = None
    depth: int = 1


OFFER = Offer(model="comet-1", adapter="comet", upstream="c1")


def context(**section: object) -> PluginContext:
    return PluginContext(settings={"comet": section}, data_dir=Path())


def test_a_section_is_read() -> None:
    read = read_settings(context(base_url="http://x", depth=3), "comet", Settings)
    assert (read.base_url, read.depth) == ("http://x", 3)


def test_what_is_wrong_with_a_section_is_named_without_its_value() -> None:
    with pytest.raises(ValueError, match=r"comet\.base_url: .*comet\.depth: .*comet\.apikey: ") as caught:
        read_settings(context(depth="canary-1", apikey="canary-2", api_key="canary-3"), "comet", Settings)
    assert "canary" not in str(caught.value)


def test_a_missing_section_means_the_defaults() -> None:
    with pytest.raises(ValueError, match=r"other\.base_url"):
        read_settings(context(), "other", Settings)


def test_a_wrong_option_is_the_callers_fault() -> None:
    assert read_options(make_job(OFFER, options={"base_url": "a"}), Settings).base_url == "a"
    with pytest.raises(BadRequest, match=r"options\.comet\.depth: "):
        read_options(make_job(OFFER, options={"base_url": "a", "depth": "deep"}), Settings)
