"""Points as rows of the tables ``points`` and ``metric_summaries``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from mltrack.disk.arrow_columns import array_column
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.texts import text_column

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from mltrack.disk.segment import PointColumns

__all__ = ["PointPiece", "RowsOfPoints", "point_rows"]

Ints = "npt.NDArray[np.int64]"
_DICTIONARY = pa.int32()


@dataclass(frozen=True, slots=True)
class PointPiece:
    """Points of one writer of a run, in the order of logging."""

    run_id: str
    writer: str
    points: PointColumns


@dataclass(frozen=True, slots=True)
class RowsOfPoints:
    """Rows of both tables; those of points are without their partition, which is that of all the runs."""

    points: pa.Table
    summaries: pa.Table


@dataclass(slots=True)
class _Sorted:
    """Points in the order of (run, metric, writer, seq): the codes of each, and where groups of these begin."""

    runs: list[str]
    writers: list[str]
    names: list[str]
    run_codes: npt.NDArray[np.int64]
    writer_codes: npt.NDArray[np.int64]
    name_codes: npt.NDArray[np.int64]
    seqs: npt.NDArray[np.int64]
    steps: npt.NDArray[np.int64]
    times: npt.NDArray[np.int64]
    values: npt.NDArray[np.float64]
    starts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def point_rows(store_id: str, pieces: Sequence[PointPiece]) -> RowsOfPoints:
    """The rows of points, at least one, of runs in one partition."""
    rows = _sort(sorted(pieces, key=lambda piece: (piece.run_id, piece.writer, int(piece.points.seqs[0]))))
    return RowsOfPoints(_points(store_id, rows), _summaries(store_id, rows))


def _sort(pieces: Sequence[PointPiece]) -> _Sorted:
    runs = sorted({piece.run_id for piece in pieces})
    writers = sorted({piece.writer for piece in pieces})
    names = sorted({name for piece in pieces for name in piece.points.keys})
    run_at, writer_at, name_at = ({text: i for i, text in enumerate(texts)} for texts in (runs, writers, names))
    run_codes = np.concatenate([np.full(len(p.points), run_at[p.run_id], np.int64) for p in pieces])
    writer_codes = np.concatenate([np.full(len(p.points), writer_at[p.writer], np.int64) for p in pieces])
    name_codes = np.concatenate(
        [np.array([name_at[key] for key in p.points.keys], np.int64)[p.points.codes] for p in pieces]
    )
    order = _stable_order(run_codes * len(names) + name_codes, len(runs) * len(names))
    columns = [
        np.concatenate([getattr(p.points, name) for p in pieces])[order]
        for name in ("seqs", "steps", "times", "values")
    ]
    found = _Sorted(runs, writers, names, run_codes[order], writer_codes[order], name_codes[order], *columns)
    group = (found.run_codes * len(names) + found.name_codes) * len(writers) + found.writer_codes
    found.starts = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    return found


def _stable_order(codes: npt.NDArray[np.int64], bound: int) -> npt.NDArray[np.int64]:
    """The order by codes that are less than ``bound``; numpy sorts short integers in linear time."""
    if bool(np.all(codes[1:] >= codes[:-1])):
        return np.arange(len(codes), dtype=np.int64)
    short = codes.astype(np.uint16) if bound <= 1 << 16 else codes
    return np.argsort(short, kind="stable")


def _coded(codes: npt.NDArray[np.int64], texts: Sequence[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(array_column(codes, _DICTIONARY), text_column(texts))


def _points(store_id: str, rows: _Sorted) -> pa.Table:
    store = _coded(np.zeros(len(rows.seqs), np.int64), [store_id])
    columns = {
        "store_id": store,
        "run_id": _coded(rows.run_codes, rows.runs),
        "metric": _coded(rows.name_codes, rows.names),
        "writer": _coded(rows.writer_codes, rows.writers),
        "seq": array_column(rows.seqs, pa.int64()),
        "step": array_column(rows.steps, pa.int64()),
        "time_ns": array_column(rows.times, pa.int64()),
        "ts": array_column(rows.times // 1000, pa.timestamp("us", tz="UTC")),
        "value": array_column(rows.values, pa.float64()),
    }
    return pa.table(columns)


def _summaries(store_id: str, rows: _Sorted) -> pa.Table:
    """One row for each run, metric and writer: of these points only, so that rows of several batches add up."""
    starts = rows.starts
    ends = np.r_[starts[1:], len(rows.seqs)]
    last = _latest(rows, starts, ends)
    with np.errstate(all="ignore"):
        columns: dict[str, Any] = {
            "store_id": [store_id] * len(starts),
            "run_id": [rows.runs[code] for code in rows.run_codes[starts].tolist()],
            "metric": [rows.names[code] for code in rows.name_codes[starts].tolist()],
            "writer": [rows.writers[code] for code in rows.writer_codes[starts].tolist()],
            "first_seq": rows.seqs[starts],
            "count": ends - starts,
            "sum": np.add.reduceat(rows.values, starts),
            "min": np.fmin.reduceat(rows.values, starts),
            "max": np.fmax.reduceat(rows.values, starts),
            "first": rows.values[starts],
            "first_step": rows.steps[starts],
            "first_time_ns": rows.times[starts],
            "last": rows.values[last],
            "last_step": rows.steps[last],
            "last_time_ns": rows.times[last],
        }
    schema = TABLES["metric_summaries"].schema
    arrays = [
        text_column(columns[each.name])
        if isinstance(columns[each.name], list)
        else array_column(columns[each.name], each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _latest(rows: _Sorted, starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The index of each group's latest point: as in MLflow, the greatest (step, time, value); NaN is least."""
    sizes = ends - starts
    rises = (rows.steps[1:] > rows.steps[:-1]) | (
        (rows.steps[1:] == rows.steps[:-1]) & (rows.times[1:] > rows.times[:-1])
    )
    inside = np.ones(len(rises), bool)
    inside[starts[1:] - 1] = False
    if bool(np.all(rises | ~inside)):
        return ends - 1
    groups = np.repeat(np.arange(len(starts)), sizes)
    ranked = np.where(np.isnan(rows.values), -np.inf, rows.values)
    order = np.lexsort((ranked, rows.times, rows.steps, groups))
    return np.asarray(order[ends - 1], np.int64)
