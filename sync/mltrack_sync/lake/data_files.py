"""The Parquet files of a table, by its Delta log: only files and row groups are read that may have what is asked for.

Arrow's datasets do that, too; but whoever imports them imports pandas as well, wherever that is installed, and waits
for it longer than for the rows.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import array_column, column_array, map_column, repeated_text, text_column, value_column
from mltrack_sync.lake.failures import ForeignLakeError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deltalake import DeltaTable

    from mltrack_sync.lake.files import LakeFiles
    from mltrack_sync.lake.layout import TableSpec

__all__ = ["DataFiles", "Where", "empty_rows"]

Where = Mapping[str, Collection[str] | range]
"""Which rows are wanted: by column the texts, or the range of integers, of which a row has one."""

BATCH_ROWS = 1 << 16

READERS = 8
"""So many files are read at once where each answer takes a while: on object storage."""


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    partition: dict[str, str]


@dataclass(slots=True)
class DataFiles:
    """The files of one version of a table.

    Attributes:
        files: The lake's files.
        spec: The table's columns.
        remote: Whether each read is an answer of object storage.
    """

    files: LakeFiles
    spec: TableSpec
    remote: bool
    _actions: pa.Table
    _columns: dict[str, list[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, files: LakeFiles, spec: TableSpec, table: DeltaTable, *, remote: bool) -> DataFiles:
        """Those of a table as it was loaded."""
        actions = pa.RecordBatchReader.from_stream(table.get_add_actions(flatten=True)).read_all()
        return cls(files, spec, remote, actions)

    # --- which files ---

    def _column(self, name: str) -> list[Any]:
        if name not in self._columns:
            is_known = name in self._actions.column_names
            self._columns[name] = (
                self._actions.column(name).to_pylist() if is_known else [None] * self._actions.num_rows
            )
        return self._columns[name]

    def matching(self, where: Where) -> list[str]:
        """The paths of files that may have such rows, below the table's folder, by their first seq or the like."""
        return [file.path for file in self._matching(where)]

    def _matching(self, where: Where) -> list[_File]:
        kept = list(range(self._actions.num_rows))
        for name in sorted(where, key=lambda name: name not in self.spec.partition):
            wanted = where[name]
            if name in self.spec.partition:
                values = self._column(f"partition.{name}")
                kept = [index for index in kept if values[index] in wanted]
            else:
                lows, highs = self._column(f"min.{name}"), self._column(f"max.{name}")
                within = _Wanted(wanted)
                kept = [index for index in kept if within.may_be(lows[index], highs[index])]
        paths, firsts = self._column("path"), self._column(f"min.{self.spec.order[-1]}")
        kept.sort(key=lambda index: (firsts[index] is not None, firsts[index], paths[index]))
        parts = {name: self._column(f"partition.{name}") for name in self.spec.partition}
        return [_File(paths[index], {name: values[index] for name, values in parts.items()}) for index in kept]

    # --- their rows ---

    def read(self, columns: Sequence[str], where: Where) -> pa.Table:
        """The rows of all files; those of points have their texts dictionary-encoded.

        Raises:
            ForeignLakeError: a file is not as mltrack wrote it.
            DeltaError, OSError: a file can't be read.
        """
        found = self._matching(where)
        if self.remote and len(found) > 1:
            with ThreadPoolExecutor(min(READERS, len(found))) as pool:
                tables = list(pool.map(lambda file: self._read(file, columns, where), found))
        else:
            tables = [self._read(file, columns, where) for file in found]
        return pa.concat_tables(tables) if tables else empty_rows(self._schema(columns))

    def batches(self, columns: Sequence[str], where: Where) -> Iterator[pa.RecordBatch]:
        """The same in pieces.

        Raises:
            ForeignLakeError: a file is not as mltrack wrote it.
            DeltaError, OSError: a file can't be read.
        """
        for file in self._matching(where):
            for table in self._pieces(file, columns, where, whole=False):
                yield from table.to_batches()

    def _read(self, file: _File, columns: Sequence[str], where: Where) -> pa.Table:
        (table,) = self._pieces(file, columns, where, whole=True)
        return table

    def _pieces(self, file: _File, columns: Sequence[str], where: Where, *, whole: bool) -> Iterator[pa.Table]:
        filtered = {name: wanted for name, wanted in where.items() if name not in self.spec.partition}
        schema = self._schema(columns)
        texts = [name for name in self.spec.file_schema.names if pa.types.is_dictionary(self._kind(name))]
        try:
            with (
                self.files.open(f"{self.spec.name}/{file.path}") as stream,
                pq.ParquetFile(stream, read_dictionary=texts, pre_buffer=self.remote) as opened,
            ):
                groups, unsure = _row_groups(opened.metadata, filtered)
                held = set(opened.schema_arrow.names)
                names = [name for name in dict.fromkeys([*columns, *unsure]) if name in held]
                if whole:
                    pieces = iter([opened.read_row_groups(groups, columns=names)])
                else:
                    batches = opened.iter_batches(BATCH_ROWS, row_groups=groups, columns=names)
                    pieces = (pa.Table.from_batches([batch]) for batch in batches)
                for piece in pieces:
                    yield self._shaped(_filtered(piece, unsure, filtered), file, schema)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ForeignLakeError(
                f"{self.spec.name}/{file.path} is not a file as mltrack writes it: {error}",
                hint="was it changed, or written by another program?",
            ) from error

    def _kind(self, name: str) -> pa.DataType:
        kind = self.spec.schema.field(name).type
        is_coded = self.spec.name == "points" and pa.types.is_string(kind)
        return pa.dictionary(pa.int32(), kind) if is_coded else kind

    def _schema(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([(name, self._kind(name)) for name in columns])

    def _shaped(self, rows: pa.Table, file: _File, schema: pa.Schema) -> pa.Table:
        """The columns of the schema: those that the file lacks are null, or in its path."""
        found = []
        for each in schema:
            if each.name in file.partition:
                column = repeated_text(file.partition[each.name], rows.num_rows)
            elif each.name in rows.column_names:
                column = rows.column(each.name)
            else:
                column = pa.nulls(rows.num_rows, each.type)
            found.append(column if column.type == each.type else column.cast(each.type))
        return pa.Table.from_arrays(found, schema=schema)


class _Wanted:
    """What is wanted of a column, compared with bounds."""

    def __init__(self, wanted: Collection[str] | range) -> None:
        self._range = wanted if isinstance(wanted, range) else None
        self._texts: list[str] = [] if isinstance(wanted, range) else sorted(wanted)

    def may_be(self, low: Any, high: Any) -> bool:
        """Whether one of these may be between the bounds; bounds that are not known are None."""
        if low is None or high is None:
            return True
        if self._range is not None:
            return bool(low < self._range.stop and self._range.start <= high)
        at = bisect_left(self._texts, low)
        return at < len(self._texts) and self._texts[at] <= high

    def is_all(self, low: Any, high: Any) -> bool:
        """Whether all values between the bounds are wanted."""
        if self._range is not None:
            return bool(self._range.start <= low and high < self._range.stop)
        return bool(low == high)


def _row_groups(meta: pq.FileMetaData, where: Where) -> tuple[list[int], list[str]]:
    """The row groups that may have such rows, and the columns by which not all of their rows pass."""
    places = {meta.schema.column(index).path: index for index in range(meta.num_columns)}
    wanted = {name: _Wanted(each) for name, each in where.items()}
    groups: list[int] = []
    unsure: set[str] = set()
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        bounds = {name: _bounds(group.column(places[name]).statistics) if name in places else None for name in wanted}
        if all(each is None or wanted[name].may_be(*each) for name, each in bounds.items()):
            groups.append(number)
            unsure.update(name for name, each in bounds.items() if each is None or not wanted[name].is_all(*each))
    return groups, sorted(unsure)


def _bounds(statistics: Any) -> tuple[Any, Any] | None:
    if statistics is None or not statistics.has_min_max or statistics.null_count != 0:
        return None
    return statistics.min, statistics.max


def _filtered(rows: pa.Table, names: Sequence[str], where: Where) -> pa.Table:
    """The rows that pass by these columns."""
    passes = np.ones(rows.num_rows, np.bool_)
    for name in names:
        wanted = where[name]
        if name not in rows.column_names:
            return rows.slice(0, 0)
        column = rows.column(name).combine_chunks()
        if isinstance(wanted, range):
            numbers = column_array(column, np.int64)
            passes &= (numbers >= wanted.start) & (numbers < wanted.stop)
        else:
            coded = column.dictionary_encode()
            held = [code for code, text in enumerate(coded.dictionary.to_pylist()) if text in wanted]
            codes = coded.indices.fill_null(-1) if coded.null_count else coded.indices
            passes &= np.isin(column_array(codes.cast(pa.int64()), np.int64), held)
    return rows if passes.all() else rows.filter(array_column(passes, pa.bool_()))


def empty_rows(schema: pa.Schema) -> pa.Table:
    """No rows."""
    return pa.Table.from_arrays([_empty(each.type) for each in schema], schema=schema)


def _empty(kind: pa.DataType) -> pa.Array:
    if pa.types.is_map(kind):
        return map_column([]).cast(kind)
    if pa.types.is_timestamp(kind):
        return value_column([], pa.int64()).cast(kind)
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(value_column([], pa.int64()).cast(pa.int32()), text_column([]))
    return value_column([], kind)
