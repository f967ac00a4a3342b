"""The fault matrix: every adapter meets every fault of the sandbox, all together in one gateway.

Times are scaled: jobs take a 400th of their usual time. ``-s`` shows the matrix and its counts.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from gateway.catalog.prices import to_micro_usd
from gateway.db.retired import read_retired, restore, retire
from gateway.jobs import accounts
from gateway.registry import retired_as
from gateway.sandbox.faults import KINDS, RETRY_AFTER, Fault
from gateway.sandbox.records import BillLine

from ._expected import ADVICE, ALONE, LATE_S, SURFACES, End, Surface, end_of, revived, rows_of, wrong
from ._matrix import Ended, Stage, staged

PLUGINS = ("dashscope_wan", "gemini_omni", "kling", "openai_videos", "seedance", "veo", "policies")
SPEED = 400
PATIENCE_S = 150
"""How long the rows may take together; far beyond it one of them hangs."""

FIRSTS = [surface for surface in SURFACES if surface.whole]
ROUNDS = (FIRSTS, [surface for surface in SURFACES if not surface.whole])
"""Surfaces that share no account."""


@dataclass
class Matrix:
    """The stage, and what was seen on it: by surface and fault."""

    stage: Stage
    ended: dict[tuple[str, str], Ended] = field(default_factory=dict)
    asserted: int = 0
    hangs: list[str] = field(default_factory=list)

    def create(self, surface: Surface, row: str, deadline_s: int) -> str:
        """Ask for a video that meets the fault; returns its id."""
        answer = self.stage.create(_body(surface, row, deadline_s))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["id"])

    def finish(self, ids: Mapping[tuple[str, str], str], within_s: float = PATIENCE_S) -> None:
        """Wait for the end of these, and read what became of them."""
        live = self.stage.wait(ids.values(), within_s)
        self.hangs += [f"{surface}: {row}" for (surface, row), id in ids.items() if id in live]
        assert self.hangs == []
        bill = self.stage.bill()
        self.ended |= {key: self.stage.ended(id, bill) for key, id in ids.items()}

    def check(self, surface: Surface, row: str, end: End) -> list[str]:
        """What is wrong with a row, in words."""
        self.asserted += 1
        found = wrong(surface, end, self.ended[surface.name, row])
        return [f"{surface.name}: {row or 'no fault'}: {one}" for one in found]


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    with staged(tmp_path_factory.mktemp("matrix"), PLUGINS, revived(), SPEED) as stage:
        with stage.runtime.db.write() as connection:
            for surface in SURFACES:
                if surface.aside is not None:
                    retire(connection, retired_as(surface.aside, sandboxed=True), "left out")
        yield Matrix(stage)


def test_no_fault_is_left_out() -> None:
    rows = {row for surface in SURFACES for row in (*rows_of(surface), *ALONE) if row}
    faults = [Fault.parse(row) for row in rows]
    assert {(fault.name, fault.place) for fault in faults} == {
        (name, place) for name, kind in KINDS.items() for place in kind.places
    }
    assert {fault.value for fault in faults if fault.name == "rate_limited"} == set(RETRY_AFTER)


def test_side_by_side(matrix: Matrix, monkeypatch: pytest.MonkeyPatch) -> None:
    # more failures at once than any account would survive: the breaker has tests of its own
    monkeypatch.setattr(accounts, "FAILURES", accounts.CALLS + 1)
    rows = {surface.name: rows_of(surface) for surface in SURFACES}
    ids = {}
    for number in range(max(map(len, rows.values()))):
        for surface in SURFACES:
            for row in rows[surface.name][number : number + 1]:
                late = end_of(surface, _fault(row)).open or _is_lost(row)
                ids[surface.name, row] = matrix.create(surface, row, LATE_S if late else 2 * PATIENCE_S)
    matrix.finish(ids)
    found = [
        one
        for surface in SURFACES
        for row in rows[surface.name]
        for one in matrix.check(surface, row, end_of(surface, _fault(row)))
    ]
    assert found == []
    unknown = {key for key, ended in matrix.ended.items() if ended.code == "outcome_unknown"}
    listed = {one["attempt_id"] for one in matrix.stage.unknown()}
    assert listed == {matrix.ended[key].attempts[0].id for key in unknown}


@pytest.mark.parametrize("surfaces", ROUNDS, ids=["first", "second"])
def test_an_account_without_credit_is_stopped_until_an_admin_resets_it(
    matrix: Matrix, surfaces: Sequence[Surface]
) -> None:
    for surface, ended in _alone(matrix, surfaces, "out_of_credit"):
        said = (surface.title, "no credit", "You were not charged.", ADVICE)
        empty = End(status="failed", code="out_of_credit", says=said, jobs=0)
        _expect(matrix, surface, "out_of_credit", empty)
        account = matrix.stage.account(surface.adapter)
        assert (account["state"], account.get("reason")) == ("stopped", "out_of_credit")
        told = _refused(matrix, surface)
        assert "out_of_credit" in told
        assert f"reelgate accounts reset {surface.adapter} sandbox" in told
        assert ended.attempts[0].operator_detail
        matrix.stage.reset(surface.adapter)
    _all_work(matrix, surfaces, "after the reset")


@pytest.mark.parametrize("surfaces", ROUNDS, ids=["first", "second"])
def test_a_model_that_is_gone_ends_its_offers_until_a_person_restores_them(
    matrix: Matrix, surfaces: Sequence[Surface]
) -> None:
    stage = matrix.stage
    for surface, _ in _alone(matrix, surfaces, "model_gone"):
        offers = {retired_as(offer, sandboxed=True) for offer, _ in surface.ways}
        gone = End(
            status="failed",
            code="model_gone",
            says=(surface.title, "no longer has this model", "You were not charged.", ADVICE),
            attempts=len(offers),
            jobs=0,
        )
        _expect(matrix, surface, "model_gone", gone)
        assert stage.account(surface.adapter)["state"] == "closed", "the account is as good as ever"
        assert "no longer has this model" in _refused(matrix, surface)
        with stage.runtime.db.write() as connection:
            assert offers <= set(read_retired(connection))
            for offer in offers:
                restore(connection, offer)
        stage.runtime.timings.forget_accounts()
    _all_work(matrix, surfaces, "once restored")


def test_a_senseless_pause_holds_nothing_past_its_deadline(matrix: Matrix) -> None:
    tomorrow = datetime.now(UTC) + timedelta(hours=23)
    for surface, _ in _alone(matrix, FIRSTS, "rate_limited@create=huge", deadline_s=4):
        late = End(
            status="failed",
            code="deadline_exceeded",
            says=("not ready by its deadline", "You were not charged.", "Give it longer"),
            jobs=0,
        )
        _expect(matrix, surface, "rate_limited@create=huge", late)
        _open_until(matrix, surface, tomorrow)
    _all_work(matrix, FIRSTS, "after the pause")
    for surface, _ in _alone(matrix, FIRSTS, "rate_limited@look=huge", deadline_s=8):
        _expect(matrix, surface, "rate_limited@look=huge", End(calls={204: 1} if surface.calls else {}))
        _open_until(matrix, surface, tomorrow)
    _all_work(matrix, FIRSTS, "after the second pause")


def test_bill_and_ledger_agree_and_what_is_unknown_explains_the_rest(matrix: Matrix) -> None:
    stage, bill = matrix.stage, matrix.stage.bill()
    taken, unclaimed = _taken_unseen(matrix), _unclaimed(matrix, bill)
    differences = [one for key, ended in matrix.ended.items() for one in _differences(key, ended)]
    ordered = Counter(line.provider for line in unclaimed)
    explained = Counter(surface.adapter for surface in SURFACES for name, _ in taken if name == surface.name)
    differences += [] if ordered == explained else [f"jobs of no attempt {ordered}, explained {explained}"]
    tags = Counter(line.tag for line in bill if line.tag)
    assert [tag for tag, jobs in tags.items() if jobs > 1] == [], "one submit for each attempt"
    _print(matrix, len(differences), len(stage.unknown()))
    assert differences == []
    assert stage.problems() == []


def test_a_persons_word_on_what_is_unknown_closes_the_books(matrix: Matrix) -> None:
    stage, bill = matrix.stage, matrix.stage.bill()
    taken, unclaimed = _taken_unseen(matrix), _unclaimed(matrix, bill)
    listed, beside = {one["attempt_id"] for one in stage.unknown()}, 0
    for key, ended in matrix.ended.items():
        attempt = ended.attempts[0]
        if attempt.id in listed:
            word: dict[str, Any] = {"action": "release"}
            if key in taken:
                line = _line_for(attempt, unclaimed)
                unclaimed.remove(line)
                word = {"action": "adopt", "upstream_id": line.job_id}
                # it is on record at the planned price, since nobody knows how many tokens it took
                beside += attempt.estimate_micro_usd - to_micro_usd(line.usd)
            assert stage.admin.post(f"/v1/reconcile/{attempt.id}", json=word).status_code == 200
    assert (unclaimed, stage.unknown()) == ([], [])
    again = [stage.ended(ended.told["id"], bill) for ended in matrix.ended.values()]
    recorded = sum(entries.get("actual", 0) for ended in again for entries in ended.entries)
    assert recorded == sum(_billed(line) for line in bill) + beside
    assert stage.problems() == []


def _expect(matrix: Matrix, surface: Surface, row: str, end: End) -> None:
    assert matrix.check(surface, row, end) == []


# --- rows that have their account to themselves


def _alone(
    matrix: Matrix, surfaces: Sequence[Surface], row: str, deadline_s: int = PATIENCE_S
) -> list[tuple[Surface, Ended]]:
    matrix.finish({(one.name, row): matrix.create(one, row, deadline_s) for one in surfaces})
    return [(one, matrix.ended[one.name, row]) for one in surfaces]


def _all_work(matrix: Matrix, surfaces: Sequence[Surface], when: str) -> None:
    row = f"no fault, {when}"
    for surface, _ in _alone(matrix, surfaces, row):
        _expect(matrix, surface, row, End(calls={204: 1} if surface.calls else {}))


def _refused(matrix: Matrix, surface: Surface) -> str:
    """Why a create is refused now."""
    answer = matrix.stage.create(_body(surface, "", PATIENCE_S))
    assert answer.status_code == 422, answer.text
    return str(answer.json()["error"]["message"])


def _open_until(matrix: Matrix, surface: Surface, at_least: datetime) -> None:
    """The account waits as long as it was asked to, a day at most; an admin lets it take jobs before."""
    account = matrix.stage.account(surface.adapter)
    assert (account["state"], account.get("reason")) == ("open", "rate_limited")
    assert at_least < datetime.fromisoformat(account["retry_at"]) < at_least + timedelta(hours=2)
    assert "rate_limited" in _refused(matrix, surface)
    matrix.stage.reset(surface.adapter)


def _body(surface: Surface, row: str, deadline_s: int) -> dict[str, Any]:
    marker = f" [[sandbox:{row}]]" if row and not row.startswith("no fault") else ""
    prompt = f"{surface.name}, {row or 'no fault'}{marker}"
    return {**surface.asks, "prompt": prompt, "deadline": deadline_s}


def _fault(row: str) -> Fault | None:
    return Fault.parse(row) if row else None


def _is_lost(row: str) -> bool:
    return row.startswith("drop_") or row.endswith("@create=1") or row == "html@create"


# --- the bill


def _billed(line: BillLine | None) -> int:
    """Micro-USD that the provider bills by now."""
    return 0 if line is None else to_micro_usd(line.billed(time.time()))


def _differences(key: tuple[str, str], ended: Ended) -> list[str]:
    """Where the bill and the provider's entries differ, of the attempts whose outcome is known."""
    pairs = zip(ended.entries, ended.lines, strict=True)
    closed = [(entries, _billed(line)) for entries, line in pairs if entries.keys() & {"actual", "void"}]
    return [
        f"{key}: billed {billed}, on record {entries}"
        for entries, billed in closed
        if billed != entries.get("actual", 0)
    ]


def _unclaimed(matrix: Matrix, bill: Sequence[BillLine]) -> list[BillLine]:
    """The lines of jobs that the gateway knows nothing of."""
    known = {(line.provider, line.job_id) for ended in matrix.ended.values() for line in ended.lines if line}
    return [line for line in bill if (line.provider, line.job_id) not in known]


def _taken_unseen(matrix: Matrix) -> set[tuple[str, str]]:
    """The rows whose job the provider took, though the gateway never learnt of it."""
    rows = [(surface, row) for surface in SURFACES for row in rows_of(surface)]
    ends = {(surface.name, row): end_of(surface, _fault(row)) for surface, row in rows}
    return {key for key, end in ends.items() if end.open and end.jobs and key in matrix.ended}


def _line_for(attempt: Any, lines: Sequence[BillLine]) -> BillLine:
    """A line of this adapter's that has the attempt's tag, or none, and its price."""
    fitting = [line for line in lines if line.provider == attempt.adapter and line.tag in (None, attempt.id)]
    return next(line for line in fitting if abs(to_micro_usd(line.usd) - attempt.estimate_micro_usd) <= 100)


def _print(matrix: Matrix, differences: int, unknown: int) -> None:
    names = [surface.name for surface in SURFACES]
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for (surface, row), ended in matrix.ended.items():
        cells[row or "no fault"][surface] = _cell(ended)
    widths = {name: max(len(name), *(len(row.get(name, "")) for row in cells.values())) for name in names}
    print("\n" + " ".join([f"{'':32}", *(f"{name:{widths[name]}}" for name in names)]))
    for row, found in cells.items():
        print(" ".join([f"{row:32}", *(f"{found.get(name, '–'):{widths[name]}}" for name in names)]).rstrip())
    print(
        f"rows asserted {matrix.asserted}, hangs {len(matrix.hangs)}, unexplained differences {differences}, "
        f"listed outcome_unknown {unknown}"
    )


def _cell(ended: Ended) -> str:
    """What the tenant paid and what differs, or why there is no clip; after how many attempts."""
    times = f" ×{len(ended.attempts)}" if len(ended.attempts) > 1 else ""
    if ended.code is not None:
        return ended.code + times
    paid = Decimal(ended.told["gateway"]["charge_usd"]).normalize()
    return " ".join([f"${paid:f}", *sorted(ended.notes & {"size_differs", "audio_missing"})]) + times
