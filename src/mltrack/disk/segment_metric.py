"""Reading one metric of a segment: its points, or their bounds."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import column_array, take_rows
from mltrack.disk.fields import STEP_MAX
from mltrack.disk.segment import POINTS_SCHEMA
from mltrack.disk.segment_file import UNREADABLE, damaged, metric_codes, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    import pyarrow.parquet as pq

    from mltrack.disk.segment_file import GroupRange, Segment

__all__ = ["NUMBERS", "GroupBounds", "RowRule", "read_bounds", "read_metric"]

NUMBERS = ["seq", "step", "time", "value"]

GROUPS_OF_A_THREAD = 8
"""So few row groups are read in less time by one thread than by several that must be told."""


class RowRule(Protocol):
    """Which rows of a writer are wanted. What the bounds of a row group tell is asked first."""

    @property
    def end(self) -> int | None:
        """No row with this seq, or a greater one, is; None: that is not known."""

    def hides_all(self, rows: GroupRange) -> bool:
        """Whether none of the rows of a row group is."""

    def step_limit(self, rows: GroupRange) -> int | None:
        """Up to which step they are; None: that depends on the seq of each."""

    def counting(self, seqs: npt.NDArray[np.int64], steps: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_] | None:
        """Which of these rows are, in the order of seq; None: all of them."""


def read_metric(path: Path, key: str, rule: RowRule | None = None, *, with_seqs: bool = True) -> pa.Table:
    """The points of one metric, in the order of logging.

    Args:
        path: The segment.
        key: The metric's name.
        rule: Which of its rows are wanted; None: all.
        with_seqs: Whether the table has the columns ``seq, step, time, value``, or, in less time, only the last three.

    Raises:
        CorruptionError, FileNotFoundError: as read_blocks.
    """
    tables = []
    with opened(path) as segment:
        try:
            for own, part in groupby(_groups_of(segment, key, rule), itemgetter(1)):
                limits = {number: limit for number, _, limit in part}
                if own:
                    tables.append(_own_rows(segment, limits, rule, with_seqs))
                else:
                    tables.append(_mixed_rows(segment, list(limits), key, rule, with_seqs))
        except UNREADABLE as error:
            raise damaged(path, error, 0) from error
    if tables:
        return pa.concat_tables(tables)
    return pa.Table.from_batches([], POINTS_SCHEMA).select(NUMBERS if with_seqs else NUMBERS[1:])


def _groups_of(segment: Segment, key: str, rule: RowRule | None = None) -> Iterator[tuple[int, bool, int | None]]:
    """The row groups that may hold wanted points of a metric: the number, whether it has no others, the limit of steps.

    The limit is STEP_MAX where all rows are wanted.
    """
    for number, names in enumerate(segment.footer.metrics):
        if names is None:
            yield number, False, None
        elif names.first <= key <= names.last:
            own = names.first == key == names.last and not names.nulls
            bounds = None if rule is None else segment.footer.range_of(number)
            if rule is None or bounds is None:
                yield number, own, STEP_MAX if rule is None else None
            elif not rule.hides_all(bounds):
                limit = rule.step_limit(bounds)
                yield number, own, STEP_MAX if limit is not None and limit >= bounds.step_max else limit


def _own_rows(segment: Segment, limits: dict[int, int | None], rule: RowRule | None, with_seqs: bool) -> pa.Table:
    """The rows of row groups that have no other metric's; of these no names are read."""
    segment.check_pages(limits, first_column=1 if with_seqs or None in limits.values() else 2)
    columns = NUMBERS if with_seqs else NUMBERS[1:]
    whole = segment.parquet.read_row_groups(list(limits), columns, use_threads=len(limits) > GROUPS_OF_A_THREAD)
    if rule is None or all(limit == STEP_MAX for limit in limits.values()):
        return whole
    tables, at = [], 0
    for number, limit in limits.items():
        table = whole.slice(at, segment.footer.metadata.row_group(number).num_rows)
        at += len(table)
        if limit is None:
            seqs = table if with_seqs else segment.parquet.read_row_group(number, columns=["seq"])
            table = _taken(table, rule.counting(_int64(seqs, "seq"), _int64(table, "step")))
        elif limit != STEP_MAX:
            table = _taken(table, _int64(table, "step") <= limit)
        tables.append(table)
    return pa.concat_tables(tables)


def _mixed_rows(segment: Segment, groups: list[int], key: str, rule: RowRule | None, with_seqs: bool) -> pa.Table:
    """The metric's rows of row groups that have those of others too."""
    numbers = NUMBERS if with_seqs or rule is not None else NUMBERS[1:]
    segment.check_pages(groups)
    table = segment.parquet.read_row_groups(groups, columns=["metric", *numbers])
    keys, codes = metric_codes(table.column("metric"))
    table = table.select(numbers)
    table = take_rows(table, codes == keys.index(key)) if key in keys else table.slice(0, 0)
    if rule is not None:
        table = _taken(table, rule.counting(_int64(table, "seq"), _int64(table, "step")))
    return table if with_seqs else table.select(NUMBERS[1:])


def _int64(table: pa.Table, name: str) -> npt.NDArray[np.int64]:
    return column_array(table.column(name), np.int64)


def _taken(table: pa.Table, wanted: npt.NDArray[np.bool_] | None) -> pa.Table:
    return table if wanted is None else take_rows(table, wanted)


class GroupBounds(NamedTuple):
    """The bounds of one metric's points in a row group: how many there are, steps, times (ns), finite values.

    The values are NaN where none is finite.
    """

    points: int
    step_min: int
    step_max: int
    time_min: int
    time_max: int
    value_min: float
    value_max: float


def read_bounds(path: Path, key: str) -> list[GroupBounds]:
    """The bounds of one metric's points, some 32,768 of them at a time, in the order of logging.

    Most are in the footer's statistics: ten million points take some ten milliseconds. Row groups that have points of
    other metrics too, or values that are not finite, are read.

    Raises:
        CorruptionError, FileNotFoundError: as read_blocks.
    """
    found = []
    with opened(path) as segment:
        try:
            for group, _, _ in _groups_of(segment, key):
                bounds = _bounds_in_footer(segment.parquet, group, key)
                if bounds is None:
                    segment.check_pages([group])
                    bounds = _bounds_of_rows(segment.parquet, group, key)
                if bounds is not None:
                    found.append(bounds)
        except UNREADABLE as error:
            raise damaged(path, error, 0) from error
    return found


def _bounds_in_footer(file: pq.ParquetFile, group: int, key: str) -> GroupBounds | None:
    """What the footer says of a row group that has points of this metric alone, with finite values; else None."""
    row_group = file.metadata.row_group(group)
    metric, step, value = (row_group.column(at).statistics for at in (0, 2, 4))
    every = (metric, step, value)
    if not all(one is not None and one.has_min_max for one in every) or not metric.min == key == metric.max:
        return None
    if not (np.isfinite(value.min) and np.isfinite(value.max)):
        return None
    times = row_group.column(3).statistics
    if times is None or not times.has_min_max:
        return None
    first, last = times.min_raw, times.max_raw  # min and max would import pandas, where that is installed
    return GroupBounds(row_group.num_rows, step.min, step.max, first, last, value.min, value.max)


def _bounds_of_rows(file: pq.ParquetFile, group: int, key: str) -> GroupBounds | None:
    table = file.read_row_group(group, columns=["metric", "step", "time", "value"])
    keys, codes = metric_codes(table.column("metric"))
    if key not in keys:
        return None
    mine = codes == keys.index(key)
    if not mine.any():
        return None
    steps = column_array(table.column("step"), np.int64)[mine]
    times = column_array(table.column("time").cast(pa.int64()), np.int64)[mine]
    values = column_array(table.column("value"), np.float64)[mine]
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.nan, np.nan)
    ends = (int(steps.min()), int(steps.max()), int(times.min()), int(times.max()))
    return GroupBounds(len(values), *ends, low, high)
