"""What both kinds of adapter promise."""

from __future__ import annotations

import inspect
import io
import socket
import sys
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from PIL import Image
from pydantic import TypeAdapter

from gateway.kit.testing._decode import decode
from gateway.kit.testing._fakes import make_job
from gateway.kit.testing._source import waiting_in
from gateway.spec import Adapter, Cards, Job, Name, Offer, Output, RemoteAdapter, Unready, parse_size


class MakesJobs(Protocol):
    """The ``job`` fixture: :func:`make_job` on the adapter's first offer, in the suite's shape."""

    def __call__(self, **given: Any) -> Job: ...


class AdapterContract:
    """The common base; inherit :class:`RemoteAdapterContract` or :class:`LocalAdapterContract`."""

    shape: ClassVar[dict[str, Any]] = {"size": "64x64", "seconds": "1", "fps": 8}
    """The clip to ask for, as :func:`make_job` takes it: the smallest that the adapter makes."""

    canary: ClassVar[str | None] = None
    """A secret that the adapter under test was configured with; None if it has none."""

    simulated_work: ClassVar[frozenset[str]] = frozenset()
    """Functions of a test double whose waiting is its work."""

    @pytest.fixture
    def cards(self) -> Cards:
        """The plugin's cards; override."""
        raise NotImplementedError("give the plugin's cards")

    @pytest.fixture
    def adapter(self) -> Adapter:
        """One instance of the adapter."""
        raise NotImplementedError("inherit RemoteAdapterContract or LocalAdapterContract")

    @pytest.fixture
    def offers(self, adapter: Adapter, cards: Cards) -> list[Offer]:
        """This adapter's offers."""
        return [offer for offer in cards.offers if offer.adapter == adapter.name]

    @pytest.fixture
    def job(self, adapter: Adapter, offers: list[Offer]) -> MakesJobs:
        """Builds jobs, each for an account that has its offer, as the core would."""

        def build(**given: Any) -> Job:
            offer = given.pop("offer", offers[0])
            return make_job(offer, **{"account": _account(adapter, offer), **self.shape, **given})

        return build

    def frames_of(self, output: Output) -> int:
        """How many frames the clip should have; override where a model rounds in its own way."""
        return round(output.seconds * output.fps)

    def check_clip(self, clip: Path | bytes, output: Output) -> None:
        """Assert that a decoder sees what was planned."""
        seen = decode(clip)
        assert (seen.width, seen.height) == parse_size(output.size), f"{seen} is not {output.size}"
        assert seen.fps == output.fps, f"{seen} is not at {output.fps} fps"
        assert seen.frames == self.frames_of(output), f"{seen} has not {self.frames_of(output)} frames"
        assert seen.codec == "h264", f"{seen} is not H.264"
        assert seen.pix_fmt == "yuv420p", f"{seen} is not yuv420p"

    def picture(self, output: Output) -> bytes:
        """A first frame: a PNG in the clip's own size."""
        buffer = io.BytesIO()
        Image.new("RGB", parse_size(output.size), (200, 90, 30)).save(buffer, "PNG")
        return buffer.getvalue()

    def offers_with_first_frame(self, offers: list[Offer], cards: Cards) -> list[Offer]:
        """Those of the offers whose model, as far as these cards know it, takes a first frame."""
        able = {card.id for card in cards.models if card.images.first_frame}
        return [offer for offer in offers if offer.model in able]

    def check_no_secret(self, *texts: object) -> None:
        """Assert that the canary shows in none of the texts."""
        for text in texts:
            assert self.canary is None or self.canary not in str(text), "a secret shows"

    def test_its_name_may_stand_in_a_url_and_a_log_line(self, adapter: Adapter) -> None:
        TypeAdapter[str](Name).validate_python(adapter.name)

    def test_it_is_offered_with_presets(self, offers: list[Offer]) -> None:
        assert offers, "no offer in the cards names this adapter"
        for offer in offers:
            names = [preset.name for preset in offer.presets]
            assert names, f"{offer.id} has no preset"
            assert len(set(names)) == len(names), f"{offer.id} has two presets of one name"
            assert Offer.model_validate_json(offer.model_dump_json()) == offer

    def test_readiness_is_told_without_touching_the_network(
        self, adapter: Adapter, offers: list[Offer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*args: object, **kwargs: object) -> None:
            raise AssertionError("unready() is called at planning: it must not use the network")

        monkeypatch.setattr(socket, "socket", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        for offer in offers:
            for preset in offer.presets:
                answer = adapter.unready(offer, preset.name)
                assert answer is None or isinstance(answer, Unready)

    def test_what_is_ready_can_be_had_with_an_account(self, adapter: Adapter, offers: list[Offer]) -> None:
        if not isinstance(adapter, RemoteAdapter):
            return
        for offer in offers:
            if any(adapter.unready(offer, preset.name) is None for preset in offer.presets):
                able = [name for name in adapter.accounts if adapter.serves(offer, name)]
                assert able, f"{offer.id} is ready, and no account serves it"

    def test_waiting_and_retrying_are_left_to_the_core(self, adapter: Adapter) -> None:
        module = sys.modules[type(adapter).__module__]
        folder = Path(inspect.getfile(module)).parent
        found = waiting_in(folder, self.simulated_work)
        assert not found, f"the adapter's package holds what is the core's to do: {found}"


def _account(adapter: Adapter, offer: Offer) -> str:
    if not isinstance(adapter, RemoteAdapter):
        return "default"
    return next((name for name in adapter.accounts if adapter.serves(offer, name)), "default")
