"""One metric's table: lines of step and value, and of the time where it was asked for, separated by tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from mltrack.importers.logged_rows import INT64_MAX
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    from pathlib import Path

    from mltrack.importers.findings import Findings

__all__ = ["Row", "read_rows"]

TIME_MS_MAX = INT64_MAX // 1_000_000
CELL_CHARACTERS_MAX = 1 << 24


class Row(NamedTuple):
    """A value, as a number or as text; ``time`` is in ns since the epoch, 0 where it was not logged."""

    step: int
    time: int
    value: float | str


def read_rows(path: Path, where: str, findings: Findings) -> Iterator[Row]:
    """The rows, in order; lines that are torn are named.

    Args:
        path: The table.
        where: Its name in messages.
        findings: Gets lines that can't be read.

    Raises:
        SourceError: it can't be read, or is another table.
    """
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(_whole_lines(file, where, findings), delimiter="\t")
            head = next(rows, None)
            if head is None:
                return
            if len(head) not in (2, 3) or head[-2] != "step" or (len(head) == 3 and head[0] != "timestamp"):
                raise SourceError(f"{where} has other columns: {', '.join(head)[:100]}")
            for cells in rows:
                row = _row(cells, len(head))
                if row is None:
                    findings.problem(where, f"line {rows.line_num:,} is torn: {' '.join(cells)[:60]!r}")
                else:
                    yield row
    except (OSError, csv.Error) as error:
        raise SourceError(f"{where} can't be read: {error}") from error


def _whole_lines(file: Iterator[str], where: str, findings: Findings) -> Iterator[str]:
    """The lines; the last one only if it was written to its end, as its last digits may be missing."""
    for line in file:
        if line.endswith(("\n", "\r")):
            yield line.replace("\0", "\ufffd")
        else:
            findings.problem(where, f"the last line is torn: {line[:60]!r}")


def _row(cells: list[str], columns: int) -> Row | None:
    if len(cells) != columns:
        return None
    try:
        step, time = int(cells[-2]), int(cells[0]) if columns == 3 else 0
    except ValueError:
        return None
    if abs(step) > INT64_MAX or abs(time) > TIME_MS_MAX:
        return None
    try:
        return Row(step, time * 1_000_000, float(cells[-1]))
    except ValueError:
        return Row(step, time * 1_000_000, {"True": 1.0, "False": 0.0}.get(cells[-1], cells[-1]))
