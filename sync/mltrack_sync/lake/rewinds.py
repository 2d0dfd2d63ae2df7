"""Which points of a lake count: rows of ``rewinds`` hide some of a run's, by the numbers and steps that they have.

All points that a store has are in its lake, those that do not count, too: so a rewind, and undoing it, sends one row
and no point. Where the lake has no rewinds, nothing of this is looked at.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import array_column, column_array, text_column, value_column
from mltrack.disk.segment import PointColumns
from mltrack.storage.runs.visibility import SYSTEM_METRICS, Hidden, PointRule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

__all__ = [
    "HIDDEN_SQL",
    "REWIND_COLUMNS",
    "Rules",
    "as_points",
    "counting_pieces",
    "counting_rows",
    "hidden_table",
    "rules_of",
]

Rules = dict[str, dict[str, PointRule]]
"""What counts of a writer's points, by run and writer; of those that are not in it, all."""

REWIND_COLUMNS = ("run_id", "step", "of_writer", "below_seq", "undoes", "writer", "seq")
_POINTS = ("metric", "seq", "step", "time_ns", "value")

HIDDEN_SQL = f"""
SELECT points.* FROM lake_points AS points ANTI JOIN lake_hidden AS hidden
ON points.run_id = hidden.run_id AND points.writer = hidden.of_writer AND points.seq < hidden.below_seq
   AND CASE WHEN starts_with(points.metric, '{SYSTEM_METRICS}') THEN NULL ELSE points.step END > hidden.step
"""
"""The points of ``lake_points`` that ``lake_hidden`` does not hide."""


def rules_of(rewinds: pa.Table) -> Rules:
    """What the rewinds of a lake hide that were not undone; ``rewinds`` are its rows, with REWIND_COLUMNS."""
    rows = list(zip(*(rewinds.column(name).to_pylist() for name in REWIND_COLUMNS), strict=True))
    undone = {(run_id, undoes) for run_id, _, _, _, undoes, _, _ in rows if undoes}
    hidden: dict[str, dict[str, list[Hidden]]] = {}
    for run_id, step, of_writer, below, undoes, writer, seq in rows:
        if not undoes and (run_id, f"{writer}.{seq}") not in undone:
            hidden.setdefault(run_id, {}).setdefault(of_writer, []).append(Hidden(below, step))
    return {run_id: {writer: PointRule(each) for writer, each in of.items()} for run_id, of in hidden.items()}


def hidden_table(rules: Rules) -> pa.Table:
    """The same for HIDDEN_SQL: one row with a list of all.

    DuckDB does not know how many rows a scan of a lake has, and takes it for few; a list is taken for one row, so that
    it is this one that is held in memory, and the points that go by.
    """
    rows = [
        (run_id, writer, one.end, one.step)
        for run_id, of_run in rules.items()
        for writer, rule in of_run.items()
        for one in rule.hidden
    ]
    run_ids, writers, ends, steps = zip(*rows, strict=True) if rows else ((), (), (), ())
    columns = [text_column(run_ids), text_column(writers), value_column(ends, pa.int64())]
    each = pa.StructArray.from_arrays(
        [*columns, value_column(steps, pa.int64())], names=["run_id", "of_writer", "below_seq", "step"]
    )
    return pa.table({"rows": pa.ListArray.from_arrays(array_column(np.array([0, len(rows)]), pa.int32()), each)})


def counting_rows(table: pa.Table, rules: dict[str, PointRule]) -> pa.Table:
    """The rows of points of one run that count; they have metric, writer, seq and step."""
    if not rules or not table.num_rows:
        return table
    seqs, steps = (column_array(table.column(name), np.int64) for name in ("seq", "step"))
    counts = np.ones(len(seqs), np.bool_)
    for writer, index in _by_writer(table.column("writer"), seqs, rules):
        below = rules[writer].below(seqs[index], steps[index])
        if below is not None:
            counts[index[~below]] = False
    names = table.column("metric").combine_chunks().dictionary_encode()
    system = [code for code, name in enumerate(names.dictionary.to_pylist()) if name.startswith(SYSTEM_METRICS)]
    counts |= np.isin(column_array(names.indices.cast("int64"), np.int64), system)
    return table.filter(array_column(counts, pa.bool_()))


def counting_pieces(
    batches: Iterable[pa.RecordBatch], rules: dict[str, PointRule]
) -> Iterator[tuple[str, PointColumns]]:
    """The points of one run that count, of writers that have rules, as (writer, points in the order of logging)."""
    for batch in batches:
        table = pa.Table.from_batches([batch])
        seqs = column_array(table.column("seq"), np.int64)
        for writer, index in _by_writer(table.column("writer"), seqs, rules):
            points = as_points(table.select(_POINTS).take(array_column(index, pa.int64())))
            counts = rules[writer].visible(points)
            kept = points if counts is None else points.take(counts)
            if len(kept):
                yield writer, kept


def _by_writer(
    column: pa.ChunkedArray, seqs: npt.NDArray[np.int64], wanted: Iterable[str]
) -> Iterator[tuple[str, npt.NDArray[np.int64]]]:
    """For each of these writers where its rows are, in the order of seq."""
    writers = column.combine_chunks().dictionary_encode()
    codes = column_array(writers.indices.cast("int64"), np.int64)
    names = writers.dictionary.to_pylist()
    for writer in wanted:
        if writer in names:
            index = np.flatnonzero(codes == names.index(writer))
            yield writer, index[np.argsort(seqs[index], kind="stable")]


def as_points(table: pa.Table) -> PointColumns:
    """Rows with metric, seq, step, time_ns and value as columns of a store."""
    metric = table.column("metric").combine_chunks().dictionary_encode()
    codes = column_array(metric.indices.cast("int64"), np.int64)
    seqs, steps, times = (column_array(table.column(name), np.int64) for name in ("seq", "step", "time_ns"))
    values = column_array(table.column("value"), np.float64)
    return PointColumns(metric.dictionary.to_pylist(), codes, seqs, steps, times, values)
