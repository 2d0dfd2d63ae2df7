"""Rows of a lake's tables, read as Arrow: files and row groups that can't have what is asked for are not opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from mltrack.disk.arrow_columns import text_column, value_column
from mltrack_sync.lake.bounds import bounded_dataset
from mltrack_sync.lake.failures import ForeignLakeError, lake_errors
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.rewinds import REWIND_COLUMNS, Rules, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deltalake import DeltaTable
    from pyarrow import dataset as ds

    from mltrack_sync.lake.tables import LakeTables

__all__ = ["LakeScan", "one_of"]


def one_of(column: str, values: Iterable[str]) -> ds.Expression:
    """The filter for rows that have one of these texts in a column."""
    import pyarrow.dataset as ds

    texts = sorted(values)
    if len(texts) == 1:  # by which row groups are left out, too
        return ds.field(column) == texts[0]
    return ds.field(column).isin(text_column(texts))


@dataclass(slots=True)
class LakeScan:
    """The tables of a lake as they were when they were first read."""

    tables: LakeTables
    _datasets: dict[str, Any] = field(default_factory=dict)
    _loaded: dict[str, DeltaTable | None] = field(default_factory=dict)
    _rules: Rules | None = None

    def table(self, name: str) -> DeltaTable | None:
        """A table; None where it does not exist.

        Raises:
            RemoteError: it can't be read.
        """
        if name not in self._loaded:
            self._loaded[name] = self.tables.load(name)
        return self._loaded[name]

    def dataset(self, name: str, only: str = "") -> ds.Dataset | None:
        """All rows of a table as a dataset, or those of files that may pass ``only``; None where it does not exist.

        Raises:
            RemoteError: it can't be read.
        """
        from deltalake.exceptions import DeltaProtocolError

        key = f"{name} {only}"
        if key not in self._datasets:
            table = self.table(name)
            try:
                with lake_errors(self.tables.place.uri):
                    self._datasets[key] = None if table is None else bounded_dataset(table, TABLES[name], only)
            except DeltaProtocolError as error:
                raise ForeignLakeError(f"the table {name!r} can't be read: {error}", hint="upgrade mltrack") from error
        return self._datasets[key]

    @property
    def rules(self) -> Rules:
        """Which points do not count, by run and writer.

        Raises:
            RemoteError: it can't be read.
        """
        if self._rules is None:
            self._rules = rules_of(self.rows("rewinds", REWIND_COLUMNS))
        return self._rules

    def rows(self, name: str, columns: Sequence[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
        """Rows of a table.

        Args:
            name: The table.
            columns: Only these columns.
            where: Only rows that pass this filter.

        Raises:
            RemoteError: it can't be read.
        """
        found = self.dataset(name)
        names = list(columns or TABLES[name].schema.names)
        if found is None:
            schema = pa.schema([TABLES[name].schema.field(each) for each in names])
            return pa.Table.from_arrays([_empty(each.type) for each in schema], schema=schema)
        with lake_errors(self.tables.place.uri):
            return found.to_table(columns=names, filter=where)

    def batches(
        self, name: str, columns: Sequence[str], where: ds.Expression | None = None
    ) -> Iterator[pa.RecordBatch]:
        """The same in pieces, so that many rows need little memory.

        Raises:
            RemoteError: it can't be read.
        """
        found = self.dataset(name)
        if found is None:
            return
        with lake_errors(self.tables.place.uri):
            yield from found.scanner(
                columns=list(columns), filter=where, batch_size=1 << 16, batch_readahead=4, fragment_readahead=1
            ).to_batches()


def _empty(kind: pa.DataType) -> pa.Array:
    if pa.types.is_map(kind):
        return pa.array([], kind)
    if pa.types.is_timestamp(kind):
        return value_column([], pa.int64()).cast(kind)
    return value_column([], kind)
