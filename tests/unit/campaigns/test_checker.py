"""The campaign's checker turns red on every fault that is planted, and stays green without one."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns import checker
from tests.campaigns.checker import (
    BILL,
    DOUBLE_CHARGE,
    DOUBLE_SUBMIT,
    FILE,
    HISTORY,
    KEY,
    LOST,
    STUCK,
    TOLD,
    UNBALANCED,
    WRONG_END,
)

from .conftest import ENTRY, LOCAL, REMOTE, Gateway, clip

Fault = Callable[[Gateway], object]


def test_a_gateway_that_kept_every_promise_is_clean(gateway: Gateway) -> None:
    verdict = gateway.verdict()
    assert list(verdict.violations) == []
    assert (verdict.jobs, dict(verdict.ends), verdict.orphans) == (2, {"completed": 2}, 0)


def _lose(gateway: Gateway) -> None:
    gateway.tell(0, video_id="video_gone")


def _leave_open(gateway: Gateway) -> None:
    gateway.sql("UPDATE attempts SET settled_at = NULL WHERE video_id = ?", LOCAL)


def _charge_again(gateway: Gateway) -> None:
    again = {"id": "again", "video_id": LOCAL, "attempt_id": f"att_{LOCAL}", "account": "tenant"}
    gateway.insert(
        "ledger_entries", ENTRY | again | {"kind": "charge", "amount_micro_usd": 14, "subject": "x"}
    )


def _shorten(gateway: Gateway) -> None:
    short = clip(frames=1)
    (gateway.store / f"videos/{LOCAL}/video").write_bytes(short)
    digest = hashlib.sha256(short).hexdigest()
    row = "UPDATE artefacts SET sha256 = ?, bytes = ?, frames = 1 WHERE id = ?"
    gateway.sql(row, digest, len(short), f"video_{LOCAL}")
    gateway.tell(0, content=None)


def _damage(gateway: Gateway) -> None:
    broken = clip()[:200]
    (gateway.store / f"videos/{LOCAL}/video").write_bytes(broken)
    digest = hashlib.sha256(broken).hexdigest()
    gateway.sql("UPDATE artefacts SET sha256 = ?, bytes = 200 WHERE id = ?", digest, f"video_{LOCAL}")
    gateway.tell(0, content=None)


def _fail(gateway: Gateway) -> None:
    gateway.sql("UPDATE videos SET status = 'failed', error_code = 'worker_lost' WHERE id = ?", LOCAL)


FAULTS: dict[str, tuple[str, Fault]] = {
    "a lost job": (LOST, _lose),
    "an unfinished video": (
        STUCK,
        lambda g: g.sql("UPDATE videos SET status = 'queued' WHERE id = ?", LOCAL),
    ),
    "open books": (STUCK, _leave_open),
    "an end that may not be": (WRONG_END, _fail),
    "told completed, then failed": (TOLD, _fail),
    "another tenant's video": (TOLD, lambda g: g.tell(0, tenant_id="ten_b")),
    "two jobs at the provider": (DOUBLE_SUBMIT, lambda g: g.order(f"att_{REMOTE}", "echo-2", "0")),
    "a job that nobody knows": (BILL, lambda g: g.order("att_nobody", "echo-3")),
    "another ticket": (
        BILL,
        lambda g: g.sql('UPDATE attempts SET ticket = \'{"id": "echo-9"}\' WHERE id = ?', f"att_{REMOTE}"),
    ),
    "a bill that differs": (BILL, lambda g: g.bill.write_text(g.bill.read_text().replace("0.005", "0.006"))),
    "a given up job that is billed": (
        BILL,
        lambda g: g.sql("UPDATE attempts SET state = 'outcome_unknown' WHERE id = ?", f"att_{REMOTE}"),
    ),
    "device time that costs something else": (
        BILL,
        lambda g: g.sql("UPDATE attempts SET usage = '{\"device_ms\": 900}' WHERE id = ?", f"att_{LOCAL}"),
    ),
    "a second charge": (DOUBLE_CHARGE, _charge_again),
    "more charged than held": (
        DOUBLE_CHARGE,
        lambda g: g.sql("UPDATE ledger_entries SET amount_micro_usd = 7000 WHERE id = ?", f"charge_{LOCAL}"),
    ),
    "no release": (
        UNBALANCED,
        lambda g: g.sql("DELETE FROM ledger_entries WHERE id = ?", f"release_{LOCAL}"),
    ),
    "a charge without a clip": (
        UNBALANCED,
        lambda g: g.sql("DELETE FROM artefacts WHERE id = ?", f"video_{LOCAL}"),
    ),
    "a charge for a failure": (UNBALANCED, _fail),
    "no price version": (
        UNBALANCED,
        lambda g: g.sql("UPDATE ledger_entries SET price_version = NULL WHERE id = ?", f"charge_{LOCAL}"),
    ),
    "another tenant's money": (
        UNBALANCED,
        lambda g: g.sql("UPDATE ledger_entries SET tenant_id = 'ten_b' WHERE id = ?", f"hold_{LOCAL}"),
    ),
    "neither actual nor void": (
        UNBALANCED,
        lambda g: g.sql("DELETE FROM ledger_entries WHERE id = ?", f"actual_{REMOTE}"),
    ),
    "a gap in the history": (HISTORY, lambda g: g.sql("DELETE FROM events WHERE seq = 2")),
    "something after the end": (HISTORY, lambda g: g.sql("UPDATE events SET seq = 4 WHERE seq = 2")),
    "two endings": (HISTORY, lambda g: g.sql("UPDATE events SET type = 'video.failed' WHERE seq = 2")),
    "another replay": (HISTORY, lambda g: g.tell(0, events=((1, "video.queued"),))),
    "an attempt left out": (
        HISTORY,
        lambda g: g.sql("UPDATE attempts SET number = 2 WHERE video_id = ?", LOCAL),
    ),
    "a key that leads elsewhere": (KEY, lambda g: g.tell(0, key=REMOTE)),
    "a video without a key": (KEY, lambda g: g.sql("DELETE FROM idempotency_keys WHERE key = ?", LOCAL)),
    "a repeated create that made another": (KEY, lambda g: g.tell(0, again=REMOTE)),
    "a row without its object": (FILE, lambda g: (g.store / f"videos/{LOCAL}/thumbnail").unlink()),
    "another sha256": (FILE, lambda g: (g.store / f"videos/{LOCAL}/thumbnail").write_bytes(b"x")),
    "a clip that is too short": (FILE, _shorten),
    "a clip that does not decode": (FILE, _damage),
    "files of a failed video": (FILE, _fail),
    "a missing file": (FILE, lambda g: g.sql("DELETE FROM artefacts WHERE id = ?", f"thumbnail_{LOCAL}")),
    "another download": (FILE, lambda g: g.tell(0, content="0" * 64)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(gateway: Gateway, fault: str) -> None:
    kind, plant = FAULTS[fault]
    plant(gateway)
    assert kind in {violation.kind for violation in gateway.verdict().violations}


def test_an_object_without_a_row_is_counted_and_no_violation(gateway: Gateway) -> None:
    (gateway.store / f"videos/{LOCAL}/leftover").write_bytes(b"x")
    verdict = gateway.verdict()
    assert (verdict.orphans, list(verdict.violations)) == (1, [])


def test_a_stopped_job_is_not_billed(gateway: Gateway) -> None:
    with gateway.bill.open("a") as file:
        file.write('{"event": "cancel", "id": "echo-1", "at": 0}\n')
    assert {violation.kind for violation in gateway.verdict().violations} == {BILL}


def test_it_shares_no_code_with_the_gateway() -> None:
    tree = ast.parse(Path(checker.__file__).read_text())
    imported = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert not imported & {"gateway", "adapters", "routing_policies", "sqlalchemy", "dbos", ""}
