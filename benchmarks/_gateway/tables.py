"""The figures as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks._gateway.measure import (
    CLIENTS,
    DOWNLOADS,
    OPERATIONS,
    Download,
    Memory,
    Operation,
    Speed,
    median_download,
    median_speed,
)

Row = Sequence[str]


def markdown(heads: Row, rows: Sequence[Row]) -> str:
    """A table; the first two columns to the left."""
    rule = ["---" if number < 2 else "--:" for number in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rule, *rows))


def speed_table(speeds: Sequence[Speed], targets: Sequence[str], missing: Sequence[str]) -> str:
    """p50, p95, p99 and requests per second of every cell; ``missing`` targets are said to be so."""
    rows = []
    for operation in OPERATIONS:
        for clients in CLIENTS:
            for target in targets:
                cell = median_speed(speeds, target, operation, clients)
                assert cell is not None
                times = (f"{ms:.2f}" for ms in (cell.p50_ms, cell.p95_ms, cell.p99_ms))
                rows.append([operation, target, str(clients), *times, f"{cell.per_second:,.0f}"])
            rows += [[operation, target, str(clients), *["not installed"] * 4] for target in missing]
    return markdown(["", "", "clients", "p50 ms", "p95 ms", "p99 ms", "requests/s"], rows)


def ratio_table(speeds: Sequence[Speed], ours: Sequence[str], yardstick: str, peer: str) -> str:
    """What the gateway adds to the constant app's p50, and how it stands to the peer."""
    rows = []
    for operation in OPERATIONS:
        for target in ours:
            cells = [_compared(speeds, operation, clients, target, yardstick, peer) for clients in CLIENTS]
            rows.append([operation, target, *(figure for cell in cells for figure in cell)])
    heads = [f"{what}, {clients}" for clients in CLIENTS for what in ("added p50 ms", "× peer's req/s")]
    return markdown(["", "", *heads], rows)


def _compared(
    speeds: Sequence[Speed], operation: Operation, clients: int, ours: str, yardstick: str, peer: str
) -> tuple[str, str]:
    mine, least, other = (
        median_speed(speeds, target, operation, clients) for target in (ours, yardstick, peer)
    )
    assert mine is not None
    assert least is not None
    ratio = "–" if other is None else f"{mine.per_second / other.per_second:.1f}"
    return f"{mine.p50_ms - least.p50_ms:+.2f}", ratio


def download_table(downloads: Sequence[Download], targets: Sequence[str], missing: Sequence[str]) -> str:
    """First byte, whole file, and memory of the large download."""
    rows = []
    for clients in DOWNLOADS:
        for target in targets:
            cell = median_download(downloads, target, clients)
            assert cell is not None
            figures = (f"{cell.first_byte_ms:.1f}", f"{cell.total_ms:.0f}")
            rows.append([str(clients), target, *figures, f"{cell.growth_mb:.1f}", f"{cell.peak_mb:.0f}"])
        rows += [[str(clients), target, *["not installed"] * 4] for target in missing]
    return markdown(["at once", "", "first byte ms", "whole ms", "growth MB", "peak MB"], rows)


def memory_table(memory: Sequence[Memory], missing: Sequence[str]) -> str:
    """Resident memory before and under the load."""
    rows = [["", one.target, f"{one.rest_mb:.0f}", f"{one.load_mb:.0f}"] for one in memory]
    rows += [["", target, *["not installed"] * 2] for target in missing]
    return markdown(["", "", "at rest MB", "peak under load MB"], rows)
