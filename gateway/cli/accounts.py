"""``reelgate accounts``: the operator's accounts at providers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.api.accounts import describe_accounts, reset_known
from gateway.cli._open import found_runtime
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table

app = typer.Typer(no_args_is_help=True, help="List the accounts at providers, and let one take jobs again.")


@app.command("list")
def list_accounts(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List the accounts: which take jobs, and since when and why one does not."""
    with found_runtime(data_dir) as runtime:
        found = describe_accounts(runtime)
    if as_json:
        emit({"accounts": found})
        return
    columns = ("adapter", "account", "state", "since", "why", "again", "jobs>", "limits")
    console().print(table("Accounts", columns, map(_cells, found)))


@app.command()
def reset(
    adapter: Annotated[str, typer.Argument(help="The adapter, as `reelgate accounts list` shows it.")],
    account: Annotated[str, typer.Argument(help="Its account.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Let an account take jobs again, once its key or its credit is mended."""
    with found_runtime(data_dir) as runtime:
        described = reset_known(runtime, (adapter, account), who="the command line")
    if as_json:
        emit(described)
    else:
        typer.echo(f"account {account} of {adapter} takes jobs")


def _cells(account: dict[str, Any]) -> tuple[object, ...]:
    limits = account["limits"] or {}
    told = [f"{limits['concurrent']} jobs"] if limits.get("concurrent") else []
    told += [f"{limits['submits_per_s']:g} submits/s"] if limits.get("submits_per_s") else []
    why = ": ".join(part for part in (account["reason"], account["detail"]) if part)
    names = ("adapter", "account", "state", "since")
    shown = tuple(account[name] for name in names)
    return (*shown, why, account["retry_at"], account["jobs"], ", ".join(told) or "none known")
