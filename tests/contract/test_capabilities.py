"""The table of what adapters can do: what is offered has a test, and no test is named for nothing."""

from __future__ import annotations

import pytest

from tests.contract.capabilities import ADAPTERS, COVERED, OFFERED, address, exists, main, offered


def test_whatever_is_offered_has_a_test_and_nothing_else_has() -> None:
    has = {(name, what) for name, what, offers_it in offered() if offers_it}
    assert has == {(name, what) for name, tests in COVERED.items() for what in tests}


def test_every_test_that_is_named_exists() -> None:
    named = {address(name, test) for name, tests in COVERED.items() for test in tests.values()}
    assert [test for test in sorted(named) if not exists(test)] == []
    assert not exists("tests/contract/test_capabilities.py::test_that_nobody_wrote")


def test_the_table_names_no_gap(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split() == [*ADAPTERS]
    assert len(lines) == len(OFFERED)
    assert "NOT TESTED" not in "".join(lines)
