"""Append-only money: holds, charges, releases, budgets, and the roll-ups over them."""
