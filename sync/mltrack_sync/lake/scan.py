"""Rows of a lake's tables, read as Arrow: files and row groups that can't have what is asked for are not opened."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from mltrack_sync.lake.data_files import DataFiles, empty_rows
from mltrack_sync.lake.failures import ForeignLakeError, lake_errors
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.rewinds import REWIND_COLUMNS, Rules, rules_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deltalake import DeltaTable
    from pyarrow import dataset as ds

    from mltrack_sync.lake.data_files import Where
    from mltrack_sync.lake.tables import LakeTables

__all__ = ["LakeScan"]


MAPPED_VERSION, READER_VERSION_MAX = 2, 3
"""Of Delta's readers: the one in which columns have other names in files, and the one that lists what it needs."""


@dataclass(slots=True)
class LakeScan:
    """The tables of a lake as they were when they were first read."""

    tables: LakeTables
    _files: dict[str, DataFiles | None] = field(default_factory=dict)
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

    def dataset(self, name: str) -> ds.Dataset | None:
        """All rows of a table as a dataset, for an engine that filters by itself; None where it does not exist.

        Raises:
            RemoteError: it can't be read.
        """
        from mltrack_sync.lake.bounds import bounded_dataset

        table = self.table(name)
        if table is None:
            return None
        with lake_errors(self.tables.place.uri):
            _check_protocol(name, table)
            return bounded_dataset(table, TABLES[name])

    def files(self, name: str) -> DataFiles | None:
        """The files of a table; None where it does not exist.

        Raises:
            RemoteError: the table's log can't be read, or its files need a reader that knows more.
        """
        if name not in self._files:
            table = self.table(name)
            if table is not None:
                with lake_errors(self.tables.place.uri):
                    _check_protocol(name, table)
                    remote = self.tables.place.folder is None
                    self._files[name] = DataFiles.of(self.tables.files, TABLES[name], table, remote=remote)
            else:
                self._files[name] = None
        return self._files[name]

    @property
    def rules(self) -> Rules:
        """Which points do not count, by run and writer.

        Raises:
            RemoteError: it can't be read.
        """
        if self._rules is None:
            self._rules = rules_of(self.rows("rewinds", REWIND_COLUMNS))
        return self._rules

    def rows(self, name: str, columns: Sequence[str] | None = None, where: Where | None = None) -> pa.Table:
        """Rows of a table; the texts of points are dictionary-encoded.

        Args:
            name: The table.
            columns: Only these columns.
            where: Only rows that pass this filter.

        Raises:
            RemoteError: it can't be read.
        """
        names = list(columns or TABLES[name].schema.names)
        found = self.files(name)
        if found is None:
            schema = TABLES[name].schema
            return empty_rows(pa.schema([schema.field(each) for each in names]))
        with lake_errors(self.tables.place.uri):
            return found.read(names, where or {})

    def batches(self, name: str, columns: Sequence[str], where: Where | None = None) -> Iterator[pa.RecordBatch]:
        """The same in pieces, so that many rows need little memory.

        Raises:
            RemoteError: it can't be read.
        """
        found = self.files(name)
        if found is None:
            return
        with lake_errors(self.tables.place.uri):
            yield from found.batches(list(columns), where or {})


def _check_protocol(name: str, table: DeltaTable) -> None:
    """Refuse a table whose rows are not simply those of its files: other engines can make it so."""
    protocol = table.protocol()
    features = set(protocol.reader_features or ()) - {"timestampNtz"}
    if features or protocol.min_reader_version == MAPPED_VERSION or protocol.min_reader_version > READER_VERSION_MAX:
        words = ", ".join(sorted(features)) or f"version {protocol.min_reader_version}"
        raise ForeignLakeError(
            f"the table {name!r} can't be read: it needs a reader that knows {words}",
            hint="another engine changed it; upgrade mltrack",
        )
