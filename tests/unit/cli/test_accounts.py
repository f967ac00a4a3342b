"""What the operator mends by hand: accounts, offers that are gone, attempts of unknown outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.cli._checks import offers
from gateway.cli._open import opened_runtime, operator
from gateway.db import now
from gateway.db.accounts import locked, read_accounts, save
from gateway.db.keys import create_key
from gateway.db.retired import retire
from gateway.jobs import sending as sending_module
from gateway.jobs.accept import accept
from gateway.jobs.runtime import Runtime
from gateway.jobs.submit import submit
from gateway.settings import load_settings
from gateway.spec import VideoRequest

ECHO = ("echo_remote", "default")


@pytest.fixture
def in_runtime(cli: Any, data_dir: Path) -> Callable[[Callable[[Runtime], Any]], Any]:
    """Do something to the data folder that the commands then find."""
    cli("db", "upgrade")

    def do(what: Callable[[Runtime], Any]) -> Any:
        with opened_runtime(data_dir) as runtime:
            return what(runtime)

    return do


def _stopped(runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        bad = {"state": "stopped", "since": now(), "reason": "out_of_credit", "detail": "balance: 0"}
        save(connection, replace(locked(connection, *ECHO), **bad))


def _gone(runtime: Runtime) -> None:
    with runtime.db.write() as connection:
        retire(connection, "echo_remote/echo-remote", "Echo no longer has echo-1.")


def _lost(runtime: Runtime) -> str:
    """An attempt whose submit died before anything was sent."""
    caller = operator(runtime)
    with runtime.db.write() as connection:
        key = create_key(connection, runtime.pepper, caller.tenant_id, name="test")
    request = VideoRequest(prompt="x", model="echo-remote", options={"echo_remote": {"fail": "submit_lost"}})
    record: list[Any] = []
    accept(
        runtime,
        replace(caller, key_id=key.id),
        request,
        {},
        reply=lambda made: record.append(made) or {"id": made.id},
    )
    attempt_id: str = record[0].attempts[0].id
    submit(runtime, attempt_id)
    return attempt_id


def _red(ran: Any) -> dict[str, str]:
    return {check["name"]: check["problem"] for check in ran.json["checks"] if not check["ok"]}


def test_the_accounts_are_listed_and_one_is_reset(cli: Any, in_runtime: Any) -> None:
    assert [one["state"] for one in cli("accounts", "list", "--json").json["accounts"]] == ["closed"]
    in_runtime(_stopped)
    shown = cli("accounts", "list").out
    assert "stopped" in shown
    assert "out_of_credit: balance: 0" in shown
    assert cli("accounts", "reset", *ECHO).out == "account default of echo_remote takes jobs\n"
    assert cli("accounts", "list", "--json").json["accounts"][0]["state"] == "closed"
    assert cli("accounts", "reset", "echo_remote", "other").code == 4


def test_doctor_names_an_account_that_waits_for_a_person(cli: Any, in_runtime: Any) -> None:
    assert cli("doctor", "--json").code == 0
    in_runtime(_stopped)
    ran = cli("doctor", "--json")
    assert ran.code == 1
    assert _red(ran).keys() == {"accounts"}
    assert "out_of_credit: balance: 0" in _red(ran)["accounts"]
    assert "`reelgate accounts reset echo_remote default`" in _red(ran)["accounts"]


def test_one_that_is_tried_again_by_itself_is_no_fault(cli: Any, in_runtime: Any) -> None:
    def opened(runtime: Runtime) -> None:
        with runtime.db.write() as connection:
            save(connection, replace(locked(connection, *ECHO), state="open", retry_at=now()))

    in_runtime(opened)
    ran = cli("doctor", "--json")
    assert ran.code == 0
    told = {check["name"]: check["detail"] for check in ran.json["checks"]}
    assert told["accounts"] == "fail, and are tried again: echo_remote default"
    assert cli("accounts", "list", "--json").json["accounts"][0]["state"] == "half_open"


def test_an_offer_that_is_gone_is_shown_everywhere_and_restored(cli: Any, in_runtime: Any) -> None:
    in_runtime(_gone)
    offer = "echo_remote/echo-remote"
    assert [one["offer"] for one in cli("offers", "list", "--json").json["offers"]] == [offer]
    assert "Echo no longer has echo-1." in cli("offers", "list").out
    assert f"`reelgate offers restore {offer}`" in _red(cli("doctor", "--json"))["offers"]
    (model,) = cli("models", "echo-remote", "--json").json["data"]
    unready = model["offers"][0]["presets"][0]["unready"]
    assert unready["code"] == "retired"
    assert "Echo no longer has echo-1." in unready["detail"]
    refused = cli("route", "x", "--model", "echo-remote", "--json")
    assert {way["code"] for way in refused.json["dropped"]} == {"retired"}
    assert cli("offers", "restore", offer, "--json").json == {"offer": offer, "restored": True}
    assert cli("offers", "restore", offer).code == 4
    assert cli("offers", "list", "--json").json["offers"] == []
    assert cli("doctor").code == 0


def test_an_attempt_of_unknown_outcome_is_listed_and_adopted(
    cli: Any, in_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt_id = in_runtime(_lost)
    (listed,) = cli("reconcile", "list", "--json").json["attempts"]
    assert (listed["attempt_id"], listed["adapter"]) == (attempt_id, "echo_remote")
    assert cli("reconcile", "list").out.startswith(f"{attempt_id}  echo_remote default, ")
    wrong = cli("reconcile", "adopt", attempt_id, "--upstream-id", "echo-typo", "--json")
    assert wrong.code == 5
    assert "Echo knows no job echo-typo" in wrong.json["error"]["message"]
    upstream_id = in_runtime(
        lambda runtime: runtime.registry.remote("echo_remote", "default")._provider.find(attempt_id)[0]
    )
    done = cli("reconcile", "adopt", attempt_id, "--upstream-id", upstream_id)
    assert done.out == f"{attempt_id} is adopted\n"
    assert cli("reconcile", "list").out == "no attempt is of unknown outcome\n"
    assert cli("reconcile", "release", attempt_id).code == 5
    assert cli("reconcile", "release", "att_gone").code == 4


def test_one_is_released_and_one_is_sent_again(
    cli: Any, in_runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "LooksUp", int)
    first, second = in_runtime(_lost), in_runtime(_lost)
    assert cli("reconcile", "release", first, "--json").json == {"attempt_id": first, "action": "release"}
    assert cli("reconcile", "resubmit", second).out == f"{second} is sent again\n"
    assert cli("reconcile", "list", "--json").json["attempts"] == []
    assert cli("ledger", "verify").code == 0


def test_doctor_tells_what_retires_within_thirty_days(in_runtime: Any, data_dir: Path) -> None:
    def cards(runtime: Runtime) -> Any:
        (card,) = [card for card in runtime.registry.catalog.cards if card.id == "echo-remote"]
        return card

    card = in_runtime(cards)

    def told(**life: date) -> str:
        ending = card.model_copy(update={"lifecycle": card.lifecycle.model_copy(update=life)})
        return offers(load_settings(data_dir), (ending,), date(2026, 11, 20))

    assert told() == ""
    assert told(retired_on=date(2026, 12, 20)) == "echo-remote retires on 2026-12-20"
    assert told(retires_not_before=date(2026, 11, 17)) == "echo-remote retires on 2026-11-17 or later"
    assert told(retired_on=date(2026, 12, 21)) == ""
    assert told(retired_on=date(2026, 12, 1), announced=date(2026, 11, 21)) == "", "nobody knows yet"
    assert told(retired_on=date(2026, 11, 20)) == "", "it is over, and left out with its date"


def test_an_account_of_an_adapter_that_was_removed_is_still_shown(cli: Any, in_runtime: Any) -> None:
    def left(runtime: Runtime) -> Any:
        with runtime.db.write() as connection:
            at = datetime(2026, 11, 20, tzinfo=UTC)
            save(connection, replace(locked(connection, "gone", "main"), state="stopped", since=at))
            return read_accounts(connection)

    assert ("gone", "main") in in_runtime(left)
    listed = {one["adapter"]: one for one in cli("accounts", "list", "--json").json["accounts"]}
    assert listed["gone"]["limits"] is None
    assert "2026-11-20T00:00:00+00:00" in cli("accounts", "list").out
    assert cli("accounts", "reset", "gone", "main").code == 0


@pytest.mark.parametrize(
    "asked",
    [
        ("accounts", "list"),
        ("accounts", "reset", *ECHO),
        ("reconcile", "list"),
        ("reconcile", "release", "a"),
    ],
)
def test_a_mistyped_folder_is_not_one_where_nothing_is_to_do(
    cli: Any, tmp_path: Path, asked: tuple[str, ...]
) -> None:
    ran = cli(*asked, "--data-dir", tmp_path / "typo")
    assert ran.code == 3
    assert "There is no database" in ran.err
    assert not (tmp_path / "typo").exists()
