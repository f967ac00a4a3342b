"""A finished gateway in a folder: two videos, one drawn here and one ordered, and all that is theirs."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from gateway.db import Database
from gateway.db.tables import metadata
from tests.campaigns.checker import Evidence, Told, Verdict, check, read_echo_bill, sqlite_reader

AT = "2026-11-20 12:00:00.000000"
LOCAL, REMOTE = "video_local", "video_remote"
HELD = 6_000
HISTORY_OF_ONE = ((1, "video.queued"), (2, "video.in_progress"), (3, "video.completed"))

VIDEO = {
    "tenant_id": "ten_a",
    "key_id": "key_a",
    "status": "completed",
    "progress": 100,
    "request": {},
    "plan": {},
    "mode": "default",
    "tier": "pro",
    "model": "echo",
    "size": "64x64",
    "clip_ms": 500,
    "estimate_micro_usd": HELD,
    "hold_micro_usd": HELD,
    "event_seq": 3,
    "created_at": AT,
    "created_day": AT[:10],
    "completed_at": AT,
    "deadline_at": AT,
    "notes": [],
}
ATTEMPT = {
    "number": 1,
    "kind": "local",
    "state": "succeeded",
    "model": "echo",
    "offer": "echo",
    "account": "default",
    "preset": "standard",
    "output": {},
    "size": "64x64",
    "clip_ms": 500,
    "tuned": 0,
    "priority": 1,
    "price_version": "1",
    "estimate_micro_usd": HELD,
    "notes": [],
    "fence": 1,
    "deaths": 0,
    "tries": 0,
    "created_at": AT,
    "settled_at": AT,
}
ENTRY = {"tenant_id": "ten_a", "price_version": "1", "detail": {}, "created_at": AT}
KEY = {"tenant_id": "ten_a", "fingerprint": "f", "reply": {}, "created_at": AT}
FILE = {"media_type": "x", "frames": 4, "created_at": AT}


def clip(frames: int = 4) -> bytes:
    """An MP4 of 64x64 at 8 frames per second."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for number in range(frames):
            picture = np.full((64, 64, 3), number * 10, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


class Gateway:
    """What a gateway leaves behind, and the hand that spoils it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.bill = folder, folder / "store", folder / "bill.jsonl"
        self._file = folder / "reelgate.db"
        self.told: list[Told] = []

    def make(self) -> None:
        """Record two finished videos."""
        db = Database(f"sqlite:///{self._file}")
        metadata.create_all(db.engine)
        db.close()
        self.sql("INSERT INTO tenants VALUES ('ten_a', 'a', 'pro', NULL, 1, NULL, ?)", AT)
        self.sql("INSERT INTO api_keys VALUES ('key_a', 'ten_a', 'x', 'x', 'x', 0, 1, ?, NULL)", AT)
        self._video(LOCAL, "echo", actual=14, usage={"device_ms": 500}, price={"hourly_usd": "0.10"})
        self._video(REMOTE, "echo_remote", actual=5_000, usage={"seconds": "0.5"}, price={"usd": "0.01"})
        self.order("att_video_remote", "echo-1")

    def verdict(self) -> Verdict:
        """What the checker says."""
        read = sqlite_reader(self._file)
        bill = read_echo_bill(self.bill)
        return check(Evidence(read=read, store=self.store, bill=bill, told=self.told))

    def sql(self, statement: str, *values: Any) -> None:
        """Change the record."""
        with sqlite3.connect(self._file) as connection:
            connection.execute(statement, values)
        connection.close()

    def insert(self, table: str, values: dict[str, Any]) -> None:
        """Add a row."""
        names, marks = ", ".join(values), ", ".join("?" for _ in values)
        texts = (json.dumps(value) if isinstance(value, dict | list) else value for value in values.values())
        self.sql(f"INSERT INTO {table} ({names}) VALUES ({marks})", *texts)

    def order(self, tag: str, id: str, usd: str = "0.005") -> None:
        """Add a job to the provider's bill."""
        with self.bill.open("a") as file:
            file.write(json.dumps({"event": "submit", "id": id, "tag": tag, "usd": usd}) + "\n")

    def tell(self, index: int, **other: Any) -> None:
        """Have a client been told something else."""
        self.told[index] = Told(**{**vars(self.told[index]), **other})

    def _video(self, video_id: str, adapter: str, *, actual: int, usage: Any, price: Any) -> None:
        attempt_id = f"att_{video_id}"
        self.insert("videos", VIDEO | {"id": video_id, "charge_micro_usd": actual})
        works = {"id": attempt_id, "video_id": video_id, "adapter": adapter, "usage": usage, "price": price}
        if adapter == "echo_remote":
            works |= {"kind": "remote", "ticket": {"id": "echo-1"}}
        self.insert("attempts", ATTEMPT | works)
        self._money(video_id, attempt_id, actual)
        for seq, kind in HISTORY_OF_ONE:
            self.insert(
                "events", {"video_id": video_id, "seq": seq, "type": kind, "data": {}, "created_at": AT}
            )
        self.insert("idempotency_keys", KEY | {"key": video_id, "video_id": video_id})
        for variant, content in (("video", clip()), ("thumbnail", b"t"), ("spritesheet", b"s")):
            self._keep(video_id, attempt_id, variant, content)
        self.told.append(
            Told(
                key=video_id,
                tenant_id="ten_a",
                video_id=video_id,
                ends=frozenset({"completed"}),
                statuses=("queued", "in_progress", "completed"),
                again=video_id,
                events=HISTORY_OF_ONE,
                content=hashlib.sha256(clip()).hexdigest(),
            )
        )

    def _money(self, video_id: str, attempt_id: str, actual: int) -> None:
        released = HELD - actual
        amounts = {"hold": HELD, "charge": actual, "release": released, "estimate": HELD, "actual": actual}
        for kind, amount in amounts.items():
            own = {"id": f"{kind}_{video_id}", "video_id": video_id, "attempt_id": attempt_id, "kind": kind}
            account = "provider" if kind in ("estimate", "actual") else "tenant"
            more = {"account": account, "amount_micro_usd": amount, "subject": f"{kind} {video_id}"}
            self.insert("ledger_entries", ENTRY | own | more)

    def _keep(self, video_id: str, attempt_id: str, variant: str, content: bytes) -> None:
        key = f"videos/{video_id}/{variant}"
        (self.store / key).parent.mkdir(parents=True, exist_ok=True)
        (self.store / key).write_bytes(content)
        own = {"id": f"{variant}_{video_id}", "video_id": video_id, "attempt_id": attempt_id, "key": key}
        facts = {"variant": variant, "sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        self.insert("artefacts", FILE | own | facts)


@pytest.fixture(scope="session")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """A gateway that kept every promise."""
    gateway = Gateway(tmp_path_factory.mktemp("gateway"))
    gateway.make()
    return gateway


@pytest.fixture
def gateway(kept: Gateway, tmp_path: Path) -> Gateway:
    """A copy of it, to be spoilt."""
    shutil.copytree(kept.folder, tmp_path / "gateway")
    copy = Gateway(tmp_path / "gateway")
    copy.told = list(kept.told)
    return copy
