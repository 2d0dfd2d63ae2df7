"""One metric's table: lines of step and value, and of the time where it was asked for, separated by tabs.

Most tables are numbers from their first line to their last: Arrow reads these. From where it meets something else on,
lines are read one by one.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from mltrack.importers.logged_rows import BATCH_ITEMS, INT64_MAX
from mltrack.importers.source import SourceError

if TYPE_CHECKING:
    import numpy.typing as npt

    from mltrack.importers.findings import Findings

__all__ = ["MetricTable", "Row"]

NS_PER_MS = 1_000_000
TIME_MS_MAX = INT64_MAX // NS_PER_MS
CELL_CHARACTERS_MAX = 1 << 24
BLOCK_BYTES = 1 << 20
TAIL_BYTES = 1 << 16
TIME, STEP = "timestamp", "step"

if TYPE_CHECKING:
    Numbers = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]


class Row(NamedTuple):
    """A value, as a number or as text; ``time`` is in ns since the epoch, 0 where it was not logged."""

    step: int
    time: int
    value: float | str


class MetricTable:
    """It. What can't be read is named."""

    def __init__(self, path: Path, where: str, findings: Findings) -> None:
        """``where``: its name in messages, which ends with the name below the folder of metrics."""
        self._path = path
        self._where = where
        self._findings = findings

    @property
    def name(self) -> str:
        """The metric's name."""
        return self._where.partition("/plots/metrics/")[2].removesuffix(".tsv")

    def numbers(self) -> Iterator[Numbers]:
        """Steps, times in ns (0 where they were not logged) and values of the rows that are numbers."""
        done = 0
        try:
            for numbers in _arrow_numbers(self._path):
                yield numbers
                done += len(numbers[0])
        except (OSError, pa.ArrowException):
            rows = (row for row in islice(self.rows(), done, None) if isinstance(row.value, float))
            while part := list(islice(rows, BATCH_ITEMS)):
                steps, times = (np.array([row[place] for row in part], np.int64) for place in (0, 1))
                yield steps, times, np.array([row.value for row in part], np.float64)

    def texts(self) -> Iterator[Row]:
        """The rows that are text."""
        done = 0
        try:
            for steps, _, _ in _arrow_numbers(self._path):
                done += len(steps)
        except (OSError, pa.ArrowException):
            yield from (row for row in islice(self.rows(), done, None) if isinstance(row.value, str))

    def rows(self) -> Iterator[Row]:
        """All rows, one by one."""
        try:
            yield from self._read()
        except SourceError as error:
            self._findings.problem(self._where, str(error))
        except (OSError, csv.Error) as error:
            self._findings.problem(self._where, f"can't be read: {error}")

    def _read(self) -> Iterator[Row]:
        csv.field_size_limit(CELL_CHARACTERS_MAX)
        with self._path.open(encoding="utf-8", errors="replace", newline="") as file:
            rows = csv.reader(self._whole_lines(file), delimiter="\t")
            head = next(rows, None)
            if head is None:
                return
            if not _is_head(head):
                raise SourceError(f"other columns than DVCLive's: {', '.join(head)[:100]}")
            for cells in rows:
                row = _row(cells, len(head))
                if row is None:
                    self._findings.problem(self._where, f"line {rows.line_num:,} is torn: {' '.join(cells)[:60]!r}")
                else:
                    yield row

    def _whole_lines(self, file: Iterator[str]) -> Iterator[str]:
        """The lines; the last one only if it was written to its end, as its last digits may be missing."""
        for line in file:
            if line.endswith(("\n", "\r")):
                yield line.replace("\0", "\ufffd")
            else:
                self._findings.problem(self._where, f"the last line is torn: {line[:60]!r}")


def _is_head(head: list[str]) -> bool:
    return head[-2:-1] == [STEP] and head[:-2] in ([], [TIME])


def _arrow_numbers(path: Path) -> Iterator[Numbers]:
    """The rows as columns.

    Raises:
        OSError: it can't be read.
        pa.ArrowException: something in it, or further on, is not a number; the last line is torn; or it is not a table.
    """
    from pyarrow import csv as arrow_csv

    with path.open("rb") as file:
        head = file.readline(TAIL_BYTES).decode("utf-8", "replace").rstrip("\r\n").split("\t")
    with pa.memory_map(str(path)) as mapped:
        content = mapped.read_buffer()
    if not _is_head(head) or content[-1:].to_pybytes() != b"\n":
        raise pa.ArrowInvalid("not a table of numbers that ends with a line break")
    names = [str(place) for place in range(len(head))]
    kinds: dict[str, Any] = {name: pa.int64() for name in names[:-1]} | {names[-1]: pa.float64()}
    reader = arrow_csv.open_csv(
        pa.BufferReader(content),
        arrow_csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names, skip_rows=1),
        arrow_csv.ParseOptions(delimiter="\t"),
        arrow_csv.ConvertOptions(column_types=kinds, null_values=[], strings_can_be_null=False),
    )
    for batch in reader:
        columns = [column.to_numpy() for column in batch.columns]
        times = columns[0] if len(columns) == 3 else np.zeros(len(batch), np.int64)
        if np.abs(times).max(initial=0) > TIME_MS_MAX:
            raise pa.ArrowInvalid("times out of range")
        yield columns[-2], times * NS_PER_MS, columns[-1]


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
        return Row(step, time * NS_PER_MS, float(cells[-1]))
    except ValueError:
        return Row(step, time * NS_PER_MS, {"True": 1.0, "False": 0.0}.get(cells[-1], cells[-1]))
