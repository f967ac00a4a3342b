"""A sandbox with one fake in a test's hand: the :class:`gateway.kit.testing.World` of its adapter's contract.

::

    @pytest.fixture
    def world(self) -> Iterator[SandboxWorld]:
        with SandboxWorld(FakeComet(), build_comet) as world:  # PluginContext -> Comet
            yield world
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from gateway.kit.sandbox import FakeProvider
from gateway.sandbox.app import Sandbox
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Fault, Order, Orders
from gateway.sandbox.records import BillLine
from gateway.sandbox.server import InThread, listen, url_of
from gateway.spec import PluginContext, RemoteAdapter

AT_ONCE = Pace(queue_s=0, render_s=0)
NEVER = Pace(queue_s=0, render_s=3600)


class SandboxWorld:
    """Serves ``fake`` on a free port of this machine; ``build`` makes the adapter from its settings.

    ``sandbox`` is the whole thing, for what a test wants besides; ``url`` is where the fake is served.
    """

    def __init__(self, fake: FakeProvider, build: Callable[[PluginContext], RemoteAdapter]) -> None:
        self._fake = fake
        self._build = build
        self._folder = Path(tempfile.mkdtemp(prefix="reelgate-sandbox-"))
        self._orders = Orders(seed=0)
        listening = listen("127.0.0.1", 0)
        self.sandbox = Sandbox(
            [fake],
            self._folder,
            url=url_of(listening),
            pace=AT_ONCE,
            orders=self._orders,
            clips=_shared_clips(),
        )
        self.url = self.sandbox.url_of(fake)
        self.origins: Collection[str] = (self.sandbox.file_origin, self.sandbox.url)
        self._server = InThread(self.sandbox, listening)

    def adapter(self) -> RemoteAdapter:
        """A fresh adapter that speaks to the fake."""
        settings = {self._fake.name: self._fake.settings(self.url)}
        return self._build(PluginContext(settings=settings, data_dir=self._folder))

    def order(self, fault: str, *, times: int | None = None) -> None:
        """Have a fault (``name[@place][=value]``) meet the next creates."""
        self._orders.standing.append(Order(Fault.parse(fault), times=times))

    def succeed(self) -> None:
        """Jobs are finished by the next look."""
        self._have(AT_ONCE)

    def hold(self) -> None:
        """Jobs stay unfinished."""
        self._have(NEVER)

    def fail(self) -> None:
        """Jobs have failed by the next look."""
        self._have(AT_ONCE)
        self.order("job_failed")

    def lose_answer(self) -> None:
        """The next create is taken, and its answer lost."""
        self.order("drop_after_accept", times=1)

    def go_away(self) -> None:
        """Stop serving."""
        self._server.stop()

    def created(self) -> int:
        """How many jobs were taken."""
        return len(self.bill())

    def bill(self) -> list[BillLine]:
        """The fake's bill."""
        return self.sandbox.bill()

    def _have(self, pace: Pace) -> None:
        self.sandbox.shared.pace = pace
        self._orders.standing.clear()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.stop()
        self.sandbox.close()
        shutil.rmtree(self._folder)


@cache
def _shared_clips() -> Path:
    """One folder for this process, so that tests do not draw the same clips again."""
    folder = Path(tempfile.mkdtemp(prefix="reelgate-sandbox-clips-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
