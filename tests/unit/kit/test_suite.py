"""The contract suite notices an adapter that breaks the contract."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import UnidentifiedImageError
from typing_extensions import override

from gateway.kit.testing import FakeControl, LocalAdapterContract, make_job
from gateway.kit.testing._source import waiting_in
from gateway.kit.video import write_mp4
from gateway.spec import Asset, Control, Device, Job, LocalAdapter, Offer, Usage, parse_size

OFFER = Offer(model="dot", adapter="dot", upstream="dot")


class Careless(LocalAdapter):
    """Renders, but runs backwards, ignores cancellation and its options, and may write elsewhere."""

    name = "dot"

    def __init__(self, *, beside: bool = False, extra_frame: bool = False) -> None:
        self._beside = beside
        self._extra = extra_frame

    @override
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        width, height = parse_size(job.output.size)
        folder = control.folder.parent if self._beside else control.folder
        count = round(job.output.seconds * job.output.fps) + self._extra
        write_mp4(folder / "dot.mp4", [np.zeros((height, width, 3), np.uint8)] * count, job.output.fps)
        for done in (2, 1, 4):
            control.progress("render", done, 4)
        return Asset(path=folder / "dot.mp4", usage=Usage(device_ms=1))


class Forgetful(LocalAdapter):
    """Draws four frames and keeps how many are done, with a flaw in how it does so."""

    name = "dot"

    def __init__(self, flaw: str) -> None:
        self._flaw = flaw

    @override
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        kept = None if self._flaw == "never looks" else next(control.checkpoints(), None)
        if self._flaw == "trusts" and kept == b"":
            raise ValueError("an empty state")
        shade = 200 if self._flaw == "drifts" and kept else 0
        width, height = parse_size(job.output.size)
        frames = []
        for done in range(4):
            frames += [np.full((height, width, 3), shade, np.uint8)] * 2
            if control.checkpoint_due() or self._flaw == "unasked":
                control.keep_checkpoint(bytes([done]) * 8)
            if control.preview_due():
                control.preview(b"x" * 100_000 if self._flaw == "too large" else b"no picture", "image/webp")
        write_mp4(control.folder / "dot.mp4", frames, job.output.fps)
        return Asset(path=control.folder / "dot.mp4", usage=Usage(device_ms=1))


def _job(**given: Any) -> Job:
    return make_job(OFFER, **given)


FLAWS: list[tuple[str, str, str]] = [
    ("never looks", "test_it_goes_on_from_every_state_that_it_keeps", "does not look for it"),
    ("drifts", "test_it_goes_on_from_every_state_that_it_keeps", "the clips differ"),
    ("unasked", "test_keeping_its_state_and_showing_it_changes_nothing", "not due"),
    ("too large", "test_keeping_its_state_and_showing_it_changes_nothing", "a preview of 100000 bytes"),
    ("shows junk", "test_keeping_its_state_and_showing_it_changes_nothing", "cannot identify"),
    ("deaf", "test_what_it_kept_before_it_was_stopped_is_enough", "DID NOT RAISE"),
]


CAUGHT: list[tuple[str, Callable[[LocalAdapterContract, FakeControl], Any], str]] = [
    (
        "an extra frame",
        lambda suite, control: suite.render(Careless(extra_frame=True), make_job(OFFER), control),
        "has not 8 frames",
    ),
    (
        "a file beside the folder",
        lambda suite, control: suite.render(Careless(beside=True), make_job(OFFER), control),
        "lies outside",
    ),
    (
        "progress that falls",
        lambda suite, control: suite.test_progress_rises_to_the_end(
            Careless(), lambda **given: make_job(OFFER, **given), control
        ),
        "runs backwards",
    ),
    (
        "a deaf render",
        lambda suite, control: suite.test_it_stops_when_cancelled(
            Careless(), lambda **given: make_job(OFFER, **given), control, 0
        ),
        "DID NOT RAISE",
    ),
    (
        "options that are not read",
        lambda suite, control: suite.test_an_unknown_option_is_refused_by_name(
            Careless(), lambda **given: make_job(OFFER, **given), control
        ),
        "DID NOT RAISE",
    ),
]


@pytest.mark.parametrize(("run", "message"), [one[1:] for one in CAUGHT], ids=[one[0] for one in CAUGHT])
def test_the_suite_catches(
    tmp_path: Path, run: Callable[[LocalAdapterContract, FakeControl], Any], message: str
) -> None:
    (tmp_path / "work").mkdir()
    with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
        run(LocalAdapterContract(), FakeControl(tmp_path / "work"))


@pytest.fixture
def controls(tmp_path: Path) -> Callable[..., FakeControl]:
    """As the suite's fixture of that name."""

    def build(**given: Any) -> FakeControl:
        folder = Path(tempfile.mkdtemp(dir=tmp_path), "work")
        folder.mkdir()
        return FakeControl(folder, **given)

    return build


@pytest.mark.parametrize(("flaw", "test", "message"), FLAWS, ids=[one[0] for one in FLAWS])
def test_the_suite_catches_in_checkpoints_and_previews(
    controls: Callable[..., FakeControl], flaw: str, test: str, message: str
) -> None:
    run = getattr(LocalAdapterContract(), test)
    with pytest.raises((AssertionError, pytest.fail.Exception, UnidentifiedImageError), match=message):
        run(Forgetful(flaw), _job, controls)


def test_the_suite_catches_who_trusts_a_damaged_state(controls: Callable[..., FakeControl]) -> None:
    suite = LocalAdapterContract()
    with pytest.raises(ValueError, match="an empty state"):
        suite.test_a_damaged_state_is_never_fatal(Forgetful("trusts"), _job, controls, lambda state: b"")
    with pytest.raises(AssertionError, match="does not fall back"):
        suite.test_a_damaged_state_is_never_fatal(Forgetful("none"), _job, controls, lambda state: b"")


def test_a_canary_in_a_text_is_found() -> None:
    class WithSecret(LocalAdapterContract):
        canary = "canary-1"

    WithSecret().check_no_secret("all well")
    with pytest.raises(AssertionError, match="a secret shows"):
        WithSecret().check_no_secret("all well", ValueError("key canary-1 refused"))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)", "a.py:2 waits (sleep)"),
        ("from asyncio import sleep\nasync def f(): await sleep(1)", "a.py:2 waits (sleep)"),
        ("import asyncio\nasync def f(c): await asyncio.wait_for(c, 1)", "a.py:2 waits (wait_for)"),
        ("from threading import Event\ndef g(): Event().wait(1)", "a.py:2 waits (wait)"),
        ("async def f(c):\n  while True:\n    await c.get()", "a.py:2 loops around an await"),
        ("import tenacity", "a.py:1 imports tenacity"),
        ("from tenacity.asyncio import x", "a.py:1 imports tenacity.asyncio"),
    ],
)
def test_waiting_is_found_in_source(tmp_path: Path, source: str, found: str) -> None:
    (tmp_path / "a.py").write_text(source)
    assert waiting_in(tmp_path, frozenset({"f2"})) == [found]


def test_a_named_function_and_a_fake_upstream_may_wait(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("def work(event): event.wait(1)\nwhile False: pass")
    (tmp_path / "testing.py").write_text("import time\ntime.sleep(1)")
    assert waiting_in(tmp_path, frozenset({"work"})) == []


def test_make_job_carries_its_image() -> None:
    suite = LocalAdapterContract()
    plain = make_job(OFFER, size="96x64")
    picture = suite.picture(plain.output)
    job = make_job(OFFER, first_frame=picture)
    image = job.request.image("first_frame")
    assert image is not None
    assert (image.width, image.height) == (96, 64)
    assert job.read_image(image) == picture
    assert job.request.task == "image-to-video"
