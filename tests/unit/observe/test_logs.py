"""A log line holds what it may and nothing secret, whatever was thrown or said."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.observe.logs import FIELDS, log_context, redact

from .conftest import Log

ours = logging.getLogger("gateway.jobs.anything")

CANARY = "Zq7canaryW3rTy99xLm2Pn5"

SECRETS = [
    f"Authorization: Bearer {CANARY}",
    f"{{'authorization': 'Bearer {CANARY}', 'x-api-key': '{CANARY}'}}",
    f"[(b'authorization', b'Bearer {CANARY}'), (b'x-api-key', b'{CANARY}')]",
    f"authorization: Basic {CANARY}==",
    f"authorization={CANARY}",
    f"the key rg_live_{CANARY} is unknown",
    f"the key rg_test_{CANARY} is unknown",
    f"postgresql+psycopg://gateway:{CANARY}@db:5432/reelgate",
    f"postgresql://gateway:p@ss/{CANARY}:@db/reelgate",
    f"redis://:{CANARY}@cache",
    f"https://{CANARY}@files.example/a.mp4",
    f"GET https://cdn.example/a.mp4?Expires=1&Signature={CANARY}&Key-Pair-Id=1",
    f"https://s3.example/a?X-Amz-Credential={CANARY}%2F2026&X-Amz-Signature={CANARY}",
    f"GET /v1/files/{CANARY}.{CANARY} failed",
    f"POST /hooks/comet/att_1.{CANARY} failed",
    f"token={CANARY}",
    f'{{"access_token": "{CANARY}", "secret": "{CANARY}"}}',
    f"api_key='{CANARY}'",
    f"openai_api_key={CANARY}",
    f"AWS_SECRET_ACCESS_KEY={CANARY}",
    f"secret_access_key: {CANARY}",
    f"key={CANARY}",
    f"password={CANARY[:5]}",
    f"key_pepper: {CANARY}",
    f"Cookie: session={CANARY}",
    f"eyJhbGciOiJIUzI1NiJ9.{CANARY}.{CANARY}",
    f"sk-{CANARY}",
]

HARMLESS = [
    "video video_01m7wdgk45e3frkwy2tjesdw58: attempt 2 of 3 starts",
    "the store has no key=videos/video_01m7wdgk45/att_01m7wdgk45-1.mp4",
    "https://api.example.com/v1/tasks/123?page=2 answered 503",
    "mail user@example.com",
    "queue pool.cpu: 3 jobs; state: running",
]


@pytest.fixture(params=SECRETS, ids=range(len(SECRETS)))
def secret(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def fail(text: str) -> None:
    raise RuntimeError(text)


def test_a_line_is_one_json_object_with_its_fields_in_order(log: Log) -> None:
    with log_context(request_id="req_1"):
        ours.warning("slot %s\nis free", "cpu/0", extra={"pool": "cpu", "duration_ms": 3})
    assert log.text.count("\n") == 1
    line = log.last
    assert list(line) == [field for field in FIELDS if field in line]
    assert line["timestamp"].endswith("Z")
    told = {name: value for name, value in line.items() if name not in ("timestamp", "pid")}
    assert told == {
        "level": "warning",
        "logger": "gateway.jobs.anything",
        "event": "slot cpu/0\nis free",
        "request_id": "req_1",
        "pool": "cpu",
        "duration_ms": 3,
    }


def test_a_field_that_is_not_listed_is_dropped(log: Log) -> None:
    with log_context(prompt=CANARY):
        ours.info("accepted", extra={"headers": {"x": CANARY}, "body": CANARY})
    assert CANARY not in log.text
    assert log.last["event"] == "accepted"


def test_a_secret_in_a_message_is_not_written(log: Log, secret: str) -> None:
    ours.info(secret)
    ours.info("%s", secret)
    assert len(log.lines) == 2
    assert CANARY[:5] not in log.text


def test_a_secret_in_a_listed_field_is_not_written(log: Log, secret: str) -> None:
    with log_context(queue=secret):
        ours.info("x", extra={"adapter": secret, "status": secret})
    assert CANARY[:5] not in log.text
    assert set(log.last) >= {"queue", "adapter", "status"}


def test_a_secret_in_an_exception_and_its_cause_is_not_written(log: Log, secret: str) -> None:
    try:
        try:
            fail(secret)
        except RuntimeError as error:
            raise ValueError(secret) from error
    except ValueError:
        ours.exception("it failed")
    assert CANARY[:5] not in log.text
    assert "ValueError" in log.last["exception"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_secret_that_kills_a_thread_is_not_written(log: Log, secret: str) -> None:
    thread = threading.Thread(target=fail, args=(secret,), name="watch")
    thread.start()
    thread.join()
    assert CANARY[:5] not in log.text
    assert log.last["event"] == "thread watch died"
    assert log.last["level"] == "critical"


def test_what_a_statement_was_given_is_not_written(log: Log) -> None:
    engine = sa.create_engine("sqlite://")
    try:
        with engine.connect() as connection:
            connection.execute(sa.text("SELECT :a FROM nowhere"), {"a": f"a prompt [with] {CANARY}"})
    except sa.exc.OperationalError as error:
        ours.exception("the database failed: %s", error)
    assert CANARY not in log.text
    assert "SELECT ? FROM nowhere" in log.last["exception"]


def test_what_postgres_tells_of_a_row_is_not_written(log: Log) -> None:
    ours.error('violates a constraint\nDETAIL:  Failing row contains (video_1, {"prompt": "%s"}).', CANARY)
    assert CANARY not in log.text
    assert "violates a constraint" in log.last["event"]


def test_an_error_that_names_the_database_is_without_its_password(log: Log) -> None:
    url = f"postgresql+psycopg://gateway:{CANARY}@db.internal:5432/reelgate"
    try:
        raise sa.exc.ArgumentError(f"cannot use {url}")
    except sa.exc.ArgumentError:
        ours.exception("cannot open %s", url)
    assert CANARY not in log.text
    assert "db.internal:5432/reelgate" in log.last["event"]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_stays_readable(text: str) -> None:
    assert redact(text) == text


def test_libraries_speak_from_warnings_up_and_in_the_same_form(start_log: Callable[..., Log]) -> None:
    log = start_log(level="INFO")
    for name in ("uvicorn.error", "alembic.runtime", "dbos", "httpx"):
        logging.getLogger(name).info("chatter")
        logging.getLogger(name).warning("trouble with token=%s", CANARY)
    ours.debug("too much")
    ours.info("said")
    assert [line["event"] for line in log.lines] == ["trouble with token=[redacted]"] * 4 + ["said"]


def test_the_engine_adds_no_log_of_its_own(log: Log, capfd: pytest.CaptureFixture[str]) -> None:
    from dbos import _logger

    _logger.init_logger()
    logging.getLogger("dbos").warning("once")
    assert [line["event"] for line in log.lines] == ["once"]
    assert "once" not in capfd.readouterr().err


def test_a_person_reads_lines_and_still_no_secrets(start_log: Callable[..., Log]) -> None:
    log = start_log(terminal=True)
    try:
        fail(f"token={CANARY}")
    except RuntimeError:
        ours.exception("it failed", extra={"adapter": "echo"})
    with pytest.raises(json.JSONDecodeError):
        json.loads(log.text.splitlines()[0])
    assert "it failed" in log.text
    assert "Traceback" in log.text
    assert CANARY not in log.text


async def test_fields_follow_into_tasks_and_threads(log: Log) -> None:
    async def inner() -> None:
        await asyncio.to_thread(ours.info, "deep")

    with log_context(video_id="video_1"):
        await asyncio.create_task(inner())
    ours.info("outside")
    told: list[Any] = [line.get("video_id") for line in log.lines]
    assert told == ["video_1", None]
