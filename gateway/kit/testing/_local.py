"""What a local adapter promises."""

from __future__ import annotations

import io
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
from PIL import Image
from typing_extensions import override

from gateway.kit.testing._contract import AdapterContract, MakesJobs
from gateway.kit.testing._fakes import FakeControl
from gateway.spec import Asset, BadRequest, Cancelled, Cards, Device, Job, LocalAdapter, Offer

_REPORTS_AFTER_CANCEL = 2  # the step that was under way, and one that an adapter reports on its way out
_PREVIEW_BYTES = 96 * 1024


class MakesControls(Protocol):
    """The ``controls`` fixture: a new :class:`FakeControl` each time, with what it takes by keyword."""

    def __call__(self, **given: Any) -> FakeControl: ...


def _always(control: FakeControl) -> bool:
    return True


class LocalAdapterContract(AdapterContract):
    """Give ``fresh`` and ``cards``."""

    device: ClassVar[Device] = Device(pool="cpu", slot=0, kind="cpu")

    @pytest.fixture
    def fresh(self) -> Callable[[], LocalAdapter]:
        """Builds the adapter as the plugin would; override."""
        raise NotImplementedError("give a function that builds the adapter")

    @override
    @pytest.fixture
    def adapter(self, fresh: Callable[[], LocalAdapter]) -> LocalAdapter:
        return fresh()

    @pytest.fixture
    def controls(self, tmp_path: Path) -> MakesControls:
        """Makes controls whose folder lies alone in its parent, so that anything written beside it shows."""
        numbers = count()

        def build(**given: Any) -> FakeControl:
            folder = tmp_path / str(next(numbers)) / "work"
            folder.mkdir(parents=True)
            return FakeControl(folder, **given)

        return build

    @pytest.fixture
    def control(self, controls: MakesControls) -> FakeControl:
        """One that asks for nothing."""
        return controls()

    def render(self, adapter: LocalAdapter, job: Job, control: FakeControl) -> Asset:
        """Render, and check what must hold of every result."""
        asset = adapter.render(job, self.device, control)
        assert asset.path.resolve().is_relative_to(control.folder.resolve()), f"{asset.path} lies outside"
        assert list(control.folder.parent.iterdir()) == [control.folder], "something was written outside"
        self.check_clip(asset.path, job.output)
        return asset

    def check_same(self, one: Path, other: Path) -> None:
        """Assert that two renders of one job gave one clip; override where the device is not exact."""
        assert one.read_bytes() == other.read_bytes(), "the clips differ"

    def test_it_renders_the_clip_that_was_planned(
        self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl
    ) -> None:
        asset = self.render(adapter, job(), control)
        assert asset.usage.device_ms is not None, "a local render is billed by its device time"
        assert asset.usage.device_ms > 0

    def test_it_renders_from_a_first_frame(
        self, adapter: LocalAdapter, job: MakesJobs, offers: list[Offer], cards: Cards, control: FakeControl
    ) -> None:
        for offer in self.offers_with_first_frame(offers, cards)[:1]:
            self.render(adapter, job(offer=offer, first_frame=self.picture(job().output)), control)

    def test_progress_rises_to_the_end(
        self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl
    ) -> None:
        self.render(adapter, job(), control)
        assert control.reports, "no progress was reported"
        counts = [done / total for _, done, total in control.reports]
        assert counts == sorted(counts), f"progress runs backwards: {counts}"
        assert counts[-1] == 1, f"progress ends at {counts[-1]}"

    @pytest.mark.parametrize("after", [0, 1], ids=["before it starts", "after the first report"])
    def test_it_stops_when_cancelled(
        self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl, after: int
    ) -> None:
        stopping = FakeControl(control.folder, cancel_when=lambda seen: len(seen.reports) >= after)
        with pytest.raises(Cancelled):
            adapter.render(job(), self.device, stopping)
        assert len(stopping.reports) <= after + _REPORTS_AFTER_CANCEL, "it went on after the cancellation"

    def test_keeping_its_state_and_showing_it_changes_nothing(
        self, adapter: LocalAdapter, job: MakesJobs, controls: MakesControls
    ) -> None:
        asked = job()
        plain, watched = controls(), controls(keep_when=_always, show_when=_always)
        quiet = self.render(adapter, asked, plain)
        self.check_same(quiet.path, self.render(adapter, asked, watched).path)
        assert (plain.kept, plain.previews) == ([], []), "it keeps or shows what is not due"
        for picture, media_type in watched.previews:
            assert len(picture) <= _PREVIEW_BYTES, f"a preview of {len(picture)} bytes"
            with Image.open(io.BytesIO(picture)) as opened:
                opened.load()
                assert opened.get_format_mimetype() == media_type, f"{media_type} is {opened.format}"

    def test_it_goes_on_from_every_state_that_it_keeps(
        self, adapter: LocalAdapter, job: MakesJobs, controls: MakesControls
    ) -> None:
        asked, whole = job(), controls(keep_when=_always)
        clip = self.render(adapter, asked, whole).path
        for state in whole.kept:
            resumed = controls(checkpoints=[state])
            self.check_same(clip, self.render(adapter, asked, resumed).path)
            assert resumed.handed_out == 1, "it keeps its state and does not look for it"

    def test_what_it_kept_before_it_was_stopped_is_enough(
        self, adapter: LocalAdapter, job: MakesJobs, controls: MakesControls
    ) -> None:
        asked, stopped = job(), controls(keep_when=_always, cancel_when=lambda seen: len(seen.reports) > 2)
        clip = self.render(adapter, asked, controls()).path
        with pytest.raises(Cancelled):
            adapter.render(asked, self.device, stopped)
        resumed = controls(checkpoints=stopped.kept[::-1])
        self.check_same(clip, self.render(adapter, asked, resumed).path)

    @pytest.mark.parametrize(
        "damage",
        [lambda state: b"", lambda state: state[: len(state) // 2], lambda state: _flipped(state)],
        ids=["empty", "cut off", "a flipped bit"],
    )
    def test_a_damaged_state_is_never_fatal(
        self,
        adapter: LocalAdapter,
        job: MakesJobs,
        controls: MakesControls,
        damage: Callable[[bytes], bytes],
    ) -> None:
        asked, whole = job(), controls(keep_when=_always)
        clip = self.render(adapter, asked, whole).path
        *earlier, last = whole.kept or [b"a state of no adapter"]
        resumed = controls(checkpoints=[damage(last), *earlier[-1:]])
        self.check_same(clip, self.render(adapter, asked, resumed).path)
        assert not earlier or resumed.handed_out == 2, "it does not fall back on the state before"

    def test_an_unknown_option_is_refused_by_name(
        self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl
    ) -> None:
        with pytest.raises(BadRequest, match="no_such_option"):
            adapter.render(job(options={"no_such_option": 1}), self.device, control)

    def test_no_secret_shows(self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl) -> None:
        with pytest.raises(BadRequest) as caught:
            adapter.render(job(options={"no_such_option": 1}), self.device, control)
        self.check_no_secret(repr(adapter), caught.value, caught.value.operator_detail)


def _flipped(state: bytes) -> bytes:
    """The state with one bit in its middle changed."""
    middle = len(state) // 2
    return state[:middle] + bytes([state[middle] ^ 1]) + state[middle + 1 :]
