"""The contract every adapter keeps, as test suites to inherit, and the fakes to run them with.

A plugin's test file is short::

    class TestComet(RemoteAdapterContract):
        @pytest.fixture
        def world(self) -> Iterator[World]:
            with FakeComet() as upstream:
                yield upstream

        @pytest.fixture
        def cards(self) -> Cards:
            return load_cards("reelgate_comet")

A local adapter inherits :class:`LocalAdapterContract` and gives ``fresh`` instead of ``world``. Class
attributes say what the suite cannot know: ``shape`` (the clip to ask for), ``canary`` (a secret that the
settings hold), ``simulated_work`` (functions whose waiting is their work). The suites need pytest and
pytest-asyncio (in either mode).
"""

from __future__ import annotations

from gateway.kit.testing._contract import AdapterContract
from gateway.kit.testing._decode import Decoded, decode
from gateway.kit.testing._fakes import FakeControl, make_job
from gateway.kit.testing._local import LocalAdapterContract
from gateway.kit.testing._remote import RemoteAdapterContract, World

__all__ = [
    "AdapterContract",
    "Decoded",
    "FakeControl",
    "LocalAdapterContract",
    "RemoteAdapterContract",
    "World",
    "decode",
    "make_job",
]
