"""The calls that a provider makes, as their receiver meets them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from queue import Empty, Queue
from typing import Any

import pytest

from gateway.kit.sandbox import Clip
from gateway.sandbox.app import Sandbox
from gateway.sandbox.desk import Pace
from gateway.sandbox.faults import Orders
from gateway.sandbox.server import InThread, listen, url_of
from gateway.sandbox.testing import AT_ONCE, NEVER

from .conftest import Customer
from .toy._sandbox import FakeToy, signature


class Receiver:
    """Keeps what arrives; answers with the statuses it was told, then with 200."""

    def __init__(self) -> None:
        self.arrived: Queue[tuple[bytes, bool]] = Queue()
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.arrived.put((body, self.headers["X-Toy-Signature"] == signature(body)))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Nothing on stderr."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def next(self) -> tuple[str, bool]:
        """The state that the next call speaks of, and whether its signature is right."""
        body, right = self.arrived.get(timeout=10)
        return json.loads(body)["state"], right

    def nothing_more(self) -> bool:
        try:
            self.arrived.get(timeout=0.2)
        except Empty:
            return True
        return False


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    thread = threading.Thread(target=receiver.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield receiver
    receiver.server.shutdown()
    thread.join()
    receiver.server.server_close()


def test_one_call_when_the_job_is_over(customer: Customer, receiver: Receiver) -> None:
    customer.ordered()  # asks for none
    customer.ordered(callback_url=receiver.url)
    assert receiver.next() == ("succeeded", True)
    assert receiver.nothing_more()


def test_a_call_when_it_is_cancelled(customer: Customer, receiver: Receiver) -> None:
    customer.world.hold()
    id = customer.ordered(callback_url=receiver.url)
    customer.http.delete(f"/jobs/{id}")
    assert receiver.next() == ("cancelled", True)


@pytest.mark.parametrize(
    ("fault", "calls"),
    [
        ("callback_duplicate", [("succeeded", True), ("succeeded", True)]),
        ("callback_forged", [("running", False), ("succeeded", True)]),
        ("callback_early", [("running", True), ("succeeded", True)]),
    ],
)
def test_disturbed_calls(
    customer: Customer, receiver: Receiver, fault: str, calls: list[tuple[str, bool]]
) -> None:
    customer.world.sandbox.shared.pace = Pace(queue_s=0, render_s=0.5, jitter=0)
    customer.ordered(f"a fox [[sandbox:{fault}]]", callback_url=receiver.url)
    assert [receiver.next() for _ in calls] == calls
    assert receiver.nothing_more()


def test_a_call_that_does_not_arrive_is_made_again(
    customer: Customer, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.sandbox.callbacks._WAITS_S", (0.0, 0.0, 0.0))
    receiver.answers = [500, 404, 503]
    customer.ordered(callback_url=receiver.url)
    assert [receiver.next() for _ in range(3)] == [("succeeded", True)] * 3
    assert receiver.nothing_more()


def test_a_job_that_ends_while_nobody_serves_is_told_after_the_restart(
    tmp_path: Path, receiver: Receiver
) -> None:
    for pace, calls in ((NEVER, []), (AT_ONCE, [("succeeded", True)])):
        listening = listen("127.0.0.1", 0)
        fake = FakeToy()
        late = pace is AT_ONCE
        sandbox = Sandbox(
            [fake],
            tmp_path,
            url=url_of(listening),
            pace=pace,
            orders=Orders(0),
            now=lambda late=late: 1e6 if late else 0.0,
        )
        with InThread(sandbox, listening):
            if not late:
                clip = Clip(width=64, height=48, seconds=Decimal(1), fps=8, audio=False)
                fake.desk.take(
                    account="default",
                    clip=clip,
                    usd=Decimal(1),
                    prompt="a fox",
                    data={},
                    callback_url=receiver.url,
                )
            assert [receiver.next() for _ in calls] == calls
            assert receiver.nothing_more()
        sandbox.close()
