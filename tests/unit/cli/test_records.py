"""What the operator reads and makes: keys, schema, usage, ledger, models, plugins."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from gateway.cli._open import opened_runtime
from gateway.db.keys import verify_key
from gateway.db.tables import ledger_entries, tenants
from gateway.jobs.accept import accept
from gateway.spec import VideoRequest


def test_a_key_works_is_shown_once_and_can_be_revoked(cli: Any, data_dir: Any):
    made = cli(
        "keys", "create", "--tenant", "acme", "--tier", "pro", "--budget", "2.50", "--admin", "--json"
    ).json
    with opened_runtime(data_dir) as runtime, runtime.db.read() as connection:
        caller = verify_key(connection, runtime.pepper, made["key"])
        assert caller is not None
        assert (caller.tenant, caller.tier, caller.admin) == ("acme", "pro", True)
        budget = connection.execute(sa.select(tenants.c.monthly_budget_micro_usd)).scalar_one()
    assert budget == 2_500_000
    listed = cli("keys", "list", "--json")
    assert made["key"] not in listed.out
    assert [key["id"] for key in listed.json["keys"]] == [made["id"]]
    assert cli("keys", "revoke", made["id"], "--json").json == {"id": made["id"], "revoked": True}
    with opened_runtime(data_dir) as runtime, runtime.db.read() as connection:
        assert verify_key(connection, runtime.pepper, made["key"]) is None
    assert cli("keys", "revoke", made["id"]).code == 4


def test_for_people_the_key_alone_goes_to_stdout(cli: Any):
    ran = cli("keys", "create")
    assert ran.out.startswith("rg_live_")
    assert ran.out.count("\n") == 1
    assert "rg_live_" not in ran.err
    assert "enterprise" in ran.err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--tier", "gold"),
        ("--budget", "much"),
        ("--budget", "-1"),
        ("--budget", "0.0000001"),
        ("--name", "n" * 201),
        ("--name", ""),
    ],
)
def test_a_key_is_not_made_from_nonsense(cli: Any, option: str, value: str):
    ran = cli("keys", "create", "--tenant", "new", option, value, "--json")
    assert ran.code == 2
    assert ran.json["error"]["code"] == "usage"


def test_an_existing_tenants_terms_stay(cli: Any):
    cli("keys", "create", "--tenant", "acme", "--tier", "basic")
    assert cli("keys", "create", "--tenant", "acme", "--tier", "pro").code == 2
    assert cli("keys", "create", "--tenant", "acme", "--json").json["tier"] == "basic"


def test_the_schema_is_checked_and_upgraded(cli: Any):
    assert cli("db", "check").code == 3
    upgraded = cli("db", "upgrade", "--json").json
    assert upgraded["before"] is None
    checked = cli("db", "check", "--json")
    assert checked.code == 0
    assert checked.json == {
        "revision": upgraded["revision"],
        "head": upgraded["revision"],
        "up_to_date": True,
    }


def test_a_schema_behind_is_refused_by_what_reads_it(cli: Any, data_dir: Any):
    cli("db", "upgrade")
    with opened_runtime(data_dir) as runtime, runtime.db.write() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = 'older'"))
    checked = cli("db", "check", "--json")
    assert (checked.code, checked.json["up_to_date"]) == (3, False)
    ran = cli("usage", "--json")
    assert ran.code == 3
    assert "reelgate db upgrade" in ran.json["error"]["message"]


def test_the_ledger_balances_or_says_where_it_does_not(cli: Any, data_dir: Any):
    video_id = _accepted(cli, data_dir)
    assert cli("ledger", "verify", "--json").json == {"videos": 1, "problems": []}
    with opened_runtime(data_dir) as runtime, runtime.db.write() as connection:
        connection.execute(
            ledger_entries.update().values(amount_micro_usd=ledger_entries.c.amount_micro_usd + 1)
        )
    ran = cli("ledger", "verify", "--json")
    assert ran.code == 1
    assert video_id in ran.json["problems"][0]


def test_usage_counts_what_was_accepted(cli: Any, data_dir: Any):
    _accepted(cli, data_dir)
    used = cli("usage", "--by", "adapter,model", "--json").json
    assert used["by"] == ["adapter", "model"]
    (row,) = used["data"]
    assert (row["adapter"], row["model"], row["videos"], row["charge_usd"]) == ("echo", "echo", 1, "0")
    assert "echo" in cli("usage").out
    assert cli("usage", "--until", "2020-01-01", "--json").json["data"] == []


@pytest.mark.parametrize(
    "options", [("--by", "colour"), ("--by", "model,model"), ("--by", ""), ("--since", "2999-01-01")]
)
def test_usage_refuses_what_it_cannot_group(cli: Any, options: tuple[str, ...]):
    cli("db", "upgrade")
    assert cli("usage", *options).code == 2


def test_models_say_what_is_ready_and_why_not(cli: Any, data_dir: Any):
    models = {model["id"]: model for model in cli("models", "--json").json["data"]}
    assert models["echo"]["ready"]
    (data_dir / "config.yaml").write_text(
        "enabled_plugins: [echo, policies]\npools: {gpu: {devices: [cpu]}}\n"
    )
    (echo,) = cli("models", "echo", "--json").json["data"]
    assert not echo["ready"]
    ran = cli("models")
    assert "no: there is no device pool 'cpu'" in ran.out
    assert "$0.01/second" in ran.out


def test_plugins_are_listed_with_what_is_wrong(cli: Any, data_dir: Any):
    (data_dir / "config.yaml").write_text("enabled_plugins: [echo, gone]\nplugins: {echo: {nonsense: 1}}\n")
    plugins = {plugin["name"]: plugin for plugin in cli("plugins", "--json").json["plugins"]}
    assert "nonsense" in plugins["echo"]["problem"]
    assert plugins["gone"]["problem"] == "not installed"
    ran = cli("plugins")
    assert ran.code == 0
    assert "not installed" in ran.out


def _accepted(cli: Any, data_dir: Any) -> str:
    """A video accepted and not started."""
    key = cli("keys", "create", "--json").json["key"]
    with opened_runtime(data_dir) as runtime:
        with runtime.db.read() as connection:
            caller = verify_key(connection, runtime.pepper, key)
        assert caller is not None
        request = VideoRequest(prompt="a cat", model="echo")
        accepted = accept(runtime, caller, request, {}, reply=lambda record: {"id": record.id})
    return str(accepted.reply["id"])


def test_a_tenants_limits_are_listed_and_changed(cli: Any):
    cli("keys", "create", "--tenant", "acme", "--tier", "basic", "--budget", "5")
    changed = cli(
        "tenants",
        "set",
        "acme",
        "--weight",
        3,
        "--max-active",
        4,
        "--budget",
        "none",
        "--tier",
        "pro",
        "--json",
    ).json
    (listed,) = cli("tenants", "list", "--json").json["tenants"]
    assert listed == changed
    assert {name: changed[name] for name in ("tier", "budget_usd", "weight", "max_active")} == {
        "tier": "pro",
        "budget_usd": None,
        "weight": 3,
        "max_active": 4,
    }
    assert cli("tenants", "set", "acme", "--max-active", "none", "--json").json["max_active"] is None
    assert cli("tenants", "set", "acme", "--weight", 2).out.startswith("id ten_")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("acme",), 2),
        (("acme", "--tier", "gold"), 2),
        (("acme", "--max-active", "0"), 2),
        (("acme", "--max-active", "many"), 2),
        (("nobody", "--weight", "2"), 4),
    ],
)
def test_a_limit_that_makes_no_sense_changes_nothing(cli: Any, arguments: tuple[str, ...], code: int):
    cli("keys", "create", "--tenant", "acme", "--tier", "basic")
    before = cli("tenants", "list", "--json").json
    assert cli("tenants", "set", *arguments, "--json").code == code
    assert cli("tenants", "list", "--json").json == before
