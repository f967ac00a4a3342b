"""What a local adapter promises."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest
from typing_extensions import override

from gateway.kit.testing._contract import AdapterContract, MakesJobs
from gateway.kit.testing._fakes import FakeControl
from gateway.spec import Asset, BadRequest, Cancelled, Cards, Device, Job, LocalAdapter, Offer

_REPORTS_AFTER_CANCEL = 2  # the step that was under way, and one that an adapter reports on its way out


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
    def control(self, tmp_path: Path) -> FakeControl:
        """A control whose folder lies alone in its parent, so that anything written beside it shows."""
        folder = tmp_path / "work"
        folder.mkdir()
        return FakeControl(folder)

    def render(self, adapter: LocalAdapter, job: Job, control: FakeControl) -> Asset:
        """Render, and check what must hold of every result."""
        asset = adapter.render(job, self.device, control)
        assert asset.path.resolve().is_relative_to(control.folder.resolve()), f"{asset.path} lies outside"
        assert list(control.folder.parent.iterdir()) == [control.folder], "something was written outside"
        self.check_clip(asset.path, job.output)
        return asset

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

    def test_an_unknown_option_is_refused_by_name(
        self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl
    ) -> None:
        with pytest.raises(BadRequest, match="no_such_option"):
            adapter.render(job(options={"no_such_option": 1}), self.device, control)

    def test_no_secret_shows(self, adapter: LocalAdapter, job: MakesJobs, control: FakeControl) -> None:
        with pytest.raises(BadRequest) as caught:
            adapter.render(job(options={"no_such_option": 1}), self.device, control)
        self.check_no_secret(repr(adapter), caught.value, caught.value.operator_detail)
