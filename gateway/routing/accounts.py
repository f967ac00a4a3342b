"""Which of an adapter's accounts the next job goes to, and why to none of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.routing.facts import AccountFacts


def serving(accounts: Sequence[AccountFacts], offer: str) -> Sequence[AccountFacts]:
    """Those with which an offer can be had."""
    return [account for account in accounts if offer not in account.lacks]


def choose_account(
    accounts: Sequence[AccountFacts], offer: str, but: Collection[str] = ()
) -> AccountFacts | None:
    """Of those that have the offer and take jobs: one with room, then the one with the fewest, then the one
    that is preferred."""
    able = serving(accounts, offer)
    open_ones = [account for account in able if account.takes_job and account.name not in but]
    return min(open_ones, key=lambda account: (account.full, account.held), default=None)


def why_none(adapter: str, accounts: Sequence[AccountFacts]) -> str:
    """Of each account that takes no jobs: since when, why, and what is done about it."""
    return "; ".join(_why(adapter, account) for account in accounts)


def _why(adapter: str, account: AccountFacts) -> str:
    since = f" since {account.since:%Y-%m-%d %H:%M} UTC" if account.since else ""
    told = f"account {account.name} of {adapter} takes no jobs{since} ({account.reason or account.state})"
    if account.state == "stopped":
        return f"{told}: the operator mends it, then runs `reelgate accounts reset {adapter} {account.name}`"
    again = f" from {account.retry_at:%Y-%m-%d %H:%M:%S} UTC on" if account.retry_at else ""
    return f"{told}: it is tried again{again}"
