"""Amounts that come as text."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from gateway.cli.exits import CliError, ExitCode


def usd(option: str, text: str) -> Decimal:
    """A sum in US dollars.

    Raises:
        CliError: not a positive decimal with at most six places.
    """
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal(0)
    if not (amount.is_finite() and amount > 0 and amount == round(amount, 6)):
        raise CliError(ExitCode.USAGE, f"{option} {text!r} is not a sum in US dollars: write 0.50, say.")
    return amount
