"""Clients: each makes one video after another, repeats what was not answered, and notes what it is told."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import struct
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .checker import ENDINGS, TERMINAL, Told

ANSWERED_WITHIN_S = 10.0
ASK_AGAIN_S = 0.2
LOOK_EVERY_S = 0.5
SLOW_MS = 1500
"""How long a local render takes that its client stops."""

REPLAYED, DOWNLOADED, REPEATED = 0.1, 0.1, 0.1
"""Shares of the jobs whose history is replayed, whose clip is downloaded, whose create is sent again."""


@dataclass(frozen=True)
class Kind:
    """A kind of job: how often, what is asked, how it may end, whether its client stops it.

    ``remote``: a provider makes it; one that it perhaps never took waits for its deadline, and is given up.
    """

    weight: int
    body: Callable[[random.Random], dict[str, Any]]
    ends: frozenset[str] = frozenset({"completed"})
    stopped: bool = False
    remote: bool = False


def _local(dice: random.Random, **options: Any) -> dict[str, Any]:
    echo = {"latency_ms": dice.randrange(20, 200), **options}
    return {"model": "echo", "options": {"echo": echo}, "size": "64x64", "seconds": "0.5", "fps": 8}


def _remote(dice: random.Random, **options: Any) -> dict[str, Any]:
    echo = {"latency_ms": dice.randrange(20, 600), **options}
    return {
        "model": "echo-remote",
        "options": {"echo_remote": echo},
        "size": "64x64",
        "seconds": "0.5",
        "fps": 8,
    }


def png(width: int, height: int) -> str:
    """A grey picture as a data URL."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress((b"\0" + b"\x80" * width) * height)
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(data).decode()


_STOPPED = frozenset({"completed", "failed cancelled"})
_UNKNOWN = "failed outcome_unknown"  # the checker accepts it only where the provider has no such job

ECHO: tuple[Kind, ...] = (
    Kind(44, _local),
    Kind(25, _remote, frozenset({"completed", _UNKNOWN}), remote=True),
    Kind(7, lambda dice: _remote(dice, fail="submit_lost"), frozenset({"completed", _UNKNOWN}), remote=True),
    Kind(5, lambda dice: _remote(dice, fail="job"), frozenset({"failed gave_up", _UNKNOWN}), remote=True),
    Kind(4, lambda dice: _local(dice, fail="render"), frozenset({"failed render_failed"})),
    Kind(5, lambda dice: {**_local(dice), "input_reference": png(32, 32)}),
    Kind(5, lambda dice: _local(dice, latency_ms=SLOW_MS), _STOPPED, stopped=True),
    Kind(5, lambda dice: _remote(dice, latency_ms=3000), _STOPPED | {_UNKNOWN}, stopped=True, remote=True),
)
"""Mostly what succeeds, and some of every other ending."""

WAN: tuple[Kind, ...] = (
    Kind(1, lambda _dice: {"model": "wan-2.2-t2v-a14b-tiny", "seconds": "2", "fps": 16, "size": "128x128"}),
)


class Load:
    """So many clients at once, until :meth:`stop`; or until so many jobs were begun."""

    def __init__(
        self, port: int, tenants: Sequence[tuple[str, str]], *, seed: int, clients: int, kinds: Sequence[Kind]
    ) -> None:
        """``tenants``: id and key of each."""
        self.told: list[Told] = []
        self.odd: Counter[str] = Counter()
        """Answers that are neither a success nor a trouble that may pass."""
        self.unanswered = 0
        self.more_ends: frozenset[str] = frozenset()
        self.deadline_s = 150
        self.look_every_s = LOOK_EVERY_S
        self.passing: Callable[[int, bytes], bool] = lambda _status, _body: False
        """Tells the refusals that are asked again, since what they are for passes."""
        self.asked_again: Counter[int] = Counter()
        """How often, by status, what had an answer had to be asked again."""
        self.begun = 0
        self.limit: int | None = None
        self._port = port
        self._tenants = tenants
        self._seed = seed
        self._kinds = kinds
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._give_up = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def start(self) -> None:
        """Let all clients begin."""
        for thread in self._threads:
            thread.start()

    def stop(self, within_s: float) -> list[Told]:
        """Begin nothing more; wait until every client saw the end of its job, at most so long."""
        self._stop.set()
        until = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        self._give_up.set()
        for thread in self._threads:
            thread.join(timeout=2 * ANSWERED_WITHIN_S)
        return self.told

    @property
    def at_work(self) -> int:
        """How many clients have not ended."""
        return sum(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                if self.limit is not None and self.begun >= self.limit:
                    number = None
                else:
                    self.begun += 1
                    number = self.begun
            if number is None:
                self._stop.wait(LOOK_EVERY_S)
                continue
            Client(self, number).run()


class Client:
    """The life of one job, seen from outside."""

    def __init__(self, load: Load, number: int) -> None:
        self._load = load
        self._dice = random.Random(f"{load._seed} {number}")
        self._kind = self._dice.choices(load._kinds, [kind.weight for kind in load._kinds])[0]
        self._tenant, self._secret = self._dice.choice(load._tenants)
        self._key = f"job-{number}"
        self._statuses: list[str] = []

    def run(self) -> None:
        """Create, follow to the end, and look back."""
        body = self._kind.body(self._dice)
        body["prompt"] = f"campaign {self._key} {body.get('prompt', '')}".rstrip()
        if self._kind.remote:
            body["deadline"] = self._load.deadline_s
        made = self._until_answered("POST", "/v1/videos", body)
        if made is None:
            self._load.unanswered += 1
            return
        video_id = made["id"]
        if self._kind.stopped:
            self._load._stop.wait(self._dice.uniform(0, 1.5))
            self._until_answered("POST", f"/v1/videos/{video_id}/cancel")
        self._follow(video_id, made["status"])
        self._load.told.append(self._look_back(video_id, body))

    def _follow(self, video_id: str, status: str) -> None:
        self._statuses.append(status)
        while status not in TERMINAL:
            self._load._give_up.wait(self._load.look_every_s)
            seen = self._until_answered("GET", f"/v1/videos/{video_id}")
            if seen is None:
                return
            status = seen["status"]
            if status != self._statuses[-1]:
                self._statuses.append(status)

    def _look_back(self, video_id: str, body: dict[str, Any]) -> Told:
        ended = self._statuses[-1] in TERMINAL
        again = events = content = None
        if ended and self._dice.random() < REPEATED:
            again = (self._until_answered("POST", "/v1/videos", body) or {}).get("id")
        if ended and self._dice.random() < REPLAYED:
            events = self._replay(video_id)
        if self._statuses[-1] == "completed" and self._dice.random() < DOWNLOADED:
            data = self._until_answered("GET", f"/v1/videos/{video_id}/content", raw=True)
            content = None if data is None else hashlib.sha256(data).hexdigest()
        return Told(
            key=self._key,
            tenant_id=self._tenant,
            video_id=video_id,
            ends=self._kind.ends | self._load.more_ends,
            statuses=tuple(self._statuses),
            again=again,
            events=events,
            content=content,
        )

    def _replay(self, video_id: str) -> tuple[tuple[int, str], ...] | None:
        """The whole history; a stream that a gateway on its way out ended early is taken up where it was."""
        events: tuple[tuple[int, str], ...] = ()
        while not events or events[-1][1] not in ENDINGS:
            after = events[-1][0] if events else 0
            path = f"/v1/videos/{video_id}/events?after={after}"
            text = self._until_answered("GET", path, raw=True)
            if text is None:
                return None
            events += _events(text.decode())
        return events

    def _until_answered(self, method: str, path: str, body: Any = None, *, raw: bool = False) -> Any:
        """Ask until there is an answer; None once the campaign gives up, or on a refusal, which is noted."""
        while not self._load._give_up.is_set():
            try:
                status, data = self._ask(method, path, body)
            except (OSError, http.client.HTTPException):
                status, data = 503, b""
            if status < 300:
                return data if raw else json.loads(data)
            if status < 500 and status not in (409, 429) and not self._load.passing(status, data):
                self._load.odd[f"{method} {status} {data[:160].decode(errors='replace')}"] += 1
                return None
            if status == 500:
                self._load.odd[f"{method} {status}"] += 1
            self._load.asked_again[status] += 1
            self._load._give_up.wait(ASK_AGAIN_S)
        return None

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._load._port, timeout=ANSWERED_WITHIN_S)
        headers = {"authorization": f"Bearer {self._secret}", "content-type": "application/json"}
        if body is not None:
            headers["idempotency-key"] = self._key
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, body=sent, headers=headers)
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


def _events(text: str) -> tuple[tuple[int, str], ...]:
    """Number and type of each event of a stream that has ended."""
    fields = [
        dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        for block in text.split("\n\n")
    ]
    return tuple((int(field["id"]), field["event"]) for field in fields if "id" in field)
