"""A whole gateway in this process: it does a job from accept to delivery, and leaves no thread behind."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from gateway.db.keys import create_key, create_tenant, verify_key
from gateway.jobs import runtime as runtime_module
from gateway.jobs.accept import accept
from gateway.jobs.engine import Engine
from gateway.jobs.records import get_artefact, get_video
from gateway.jobs.runtime import Runtime
from gateway.ledger.verify import verify_ledger
from gateway.settings import load_settings
from gateway.spec import VideoRequest

from .conftest import until


def test_a_started_runtime_completes_a_job_and_closes_without_a_trace(
    tmp_path: Path, database_url: str
) -> None:
    before = set(threading.enumerate())
    settings = load_settings(
        tmp_path, database_url=database_url, isolation="none", enabled_plugins=("echo", "policies")
    )
    runtime = Runtime.open(settings)
    runtime.start()
    try:
        video_id = _completed(runtime)
    finally:
        runtime.close()
    assert list(settings.run_dir.rglob("att_*")) == [], "scratch folders go with their render"
    assert [thread.name for thread in threading.enumerate() if thread not in before] == []
    assert video_id.startswith("video_")


def test_what_the_engine_took_of_the_patience_its_slots_do_not_get_again(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = Runtime.open(load_settings(tmp_path, database_url=database_url, enabled_plugins=("policies",)))
    asked: list[bool] = []
    left: list[float] = []
    clock = [100.0]

    class Slot:
        def ask(self, *, patient: bool) -> None:
            asked.append(patient)

        def stop(self, *, within_s: float) -> None:
            left.append(within_s)
            clock[0] += 9

    def stop(_engine: Engine, **_: object) -> bool:
        clock[0] += 12
        return True

    monkeypatch.setattr(runtime_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(Engine, "running", True)
    monkeypatch.setattr(Engine, "stop", stop)
    monkeypatch.setattr(runtime, "slots", [Slot(), Slot()])
    runtime.close(finish_within_s=20)
    assert (asked, left) == ([True, True], [8, 0])


def _completed(runtime: Runtime) -> str:
    """Have one clip made; its id."""
    with runtime.db.write() as connection:
        tenant = create_tenant(connection, "acme", "enterprise")
        key = create_key(connection, runtime.pepper, tenant, name="test")
        caller = verify_key(connection, runtime.pepper, key.secret)
    assert caller is not None
    request = VideoRequest(prompt="a red circle", model="echo", size="64x64")
    reply = accept(runtime, caller, request, {}, reply=lambda record: {"id": record.id}).reply
    video_id = str(reply["id"])

    def terminal() -> bool:
        with runtime.db.read() as connection:
            return get_video(connection, caller, video_id).terminal

    until(terminal)
    with runtime.db.read() as connection:
        video = get_video(connection, caller, video_id)
        assert (video.status, video.progress, video.error_message) == ("completed", 100, None)
        assert get_artefact(connection, video_id, "video") is not None
        assert verify_ledger(connection) == []
    return video_id
