"""The upkeep of a lake: small files joined, old ones removed, and how it stands.

Joining rewrites files with the same rows, sorted, and commits that in one step; readers and pushes go on meanwhile.
What is replaced stays until a vacuum removes it, no earlier than a week later: readers of older versions, and pushes
that were interrupted, may still need it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mltrack.disk.arrow_columns import array_column, column_array
from mltrack.errors import UsageError
from mltrack_sync.lake.failures import lake_errors
from mltrack_sync.lake.layout import TABLES
from mltrack_sync.lake.named import left_contents
from mltrack_sync.lake.removals import VacuumMark
from mltrack_sync.lake.scan import LakeScan
from mltrack_sync.lake.staging import stage

if TYPE_CHECKING:
    from mltrack_sync.lake.tables import LakeTables

__all__ = [
    "RETENTION_HOURS_MIN",
    "Compacted",
    "TableFile",
    "TableStatus",
    "compact",
    "files_in",
    "read_file",
    "status",
    "vacuum",
]

JOINED_ROWS_MAX = 1 << 22
"""A file that is made of others has so many rows at most: about 300 MB in memory, 40 MB of points on the disk."""

SMALL_ROWS = JOINED_ROWS_MAX // 2
"""Files with fewer rows are joined."""

FILES_MIN = 4
"""So many small files of a partition are worth it."""

RETENTION_HOURS_MIN = 168
"""A week."""

BLOBS_LONGER_S = 86_400.0
"""Contents of files stay a day longer than rows that were not committed and may name them."""


@dataclass(frozen=True, slots=True)
class TableFile:
    """One file of a table: its path below the table's folder, size in bytes, rows, and partition."""

    path: str
    size: int
    rows: int
    partition: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table: its files and their size in bytes, rows, the smallest file, and how many files compaction leaves."""

    table: str
    version: int
    files: int
    bytes: int
    rows: int
    smallest: int
    files_after: int


@dataclass(frozen=True, slots=True)
class Compacted:
    """What compaction did in a table: how many files became how many. ``conflict``: another one was faster."""

    table: str
    before: int
    after: int
    conflict: bool = False


def status(tables: LakeTables) -> list[TableStatus]:
    """How the tables stand, those that exist.

    Raises:
        RemoteError: the lake can't be read.
    """
    found = []
    for name in TABLES:
        table = tables.load(name)
        if table is None:
            continue
        files = files_in(tables, table)
        saved = sum(len(group) - 1 for group in _groups(files))
        found.append(
            TableStatus(
                name,
                table.version(),
                len(files),
                sum(file.size for file in files),
                sum(file.rows for file in files),
                min((file.size for file in files), default=0),
                len(files) - saved,
            )
        )
    return found


def compact(tables: LakeTables) -> Iterator[Compacted]:
    """Join small files, table by table; what was done in each. It can be interrupted at any time.

    Raises:
        RemoteError: the lake can't be read or written.
    """
    for name in TABLES:
        table = tables.load(name)
        for group in _groups(files_in(tables, table)) if table is not None else ():
            yield _join(tables, name, group)


def vacuum(tables: LakeTables, *, older_than_hours: int = RETENTION_HOURS_MIN, dry_run: bool = False) -> list[str]:
    """Remove files that no version of the last hours needs, and those that interrupted pushes left; which they were.

    These may also be contents of artifacts, which no row names.

    Args:
        tables: The lake.
        older_than_hours: How long ago a file must have been replaced or written.
        dry_run: Only say which.

    Raises:
        UsageError: that is less than a week: a reader or an interrupted push may still need them.
        RemoteError: the lake can't be read or written.
    """
    if older_than_hours < RETENTION_HOURS_MIN:
        raise UsageError(
            f"files of the last {older_than_hours} hours may still be needed by readers, and by interrupted pushes",
            hint=f"give {RETENTION_HOURS_MIN} hours (7d) or more",
        )
    removed: list[str] = []
    for name in TABLES:
        table = tables.load(name)
        if table is not None:
            with lake_errors(tables.place.uri):
                version = table.version()
                paths = table.vacuum(retention_hours=older_than_hours, dry_run=dry_run, full=True)
                if not dry_run:
                    tables.sync_log(name, range(version + 1, table.version() + 1))
                    if tables.place.folder is not None:
                        table.cleanup_metadata()  # of the log what its checkpoints have, which are on the disk
            removed += [f"{name}/{path}" for path in paths]
    before = time.time() - older_than_hours * 3600 - BLOBS_LONGER_S
    if dry_run:
        return removed + left_contents(LakeScan(tables), before)
    with VacuumMark(tables.files) as mark:
        for path in left_contents(LakeScan(tables), before):
            if tables.files.modified(path).get(path, before) >= before:
                continue  # a push has sent it again meanwhile
            mark.remove(path)
            removed.append(path)
    return removed


def files_in(tables: LakeTables, table: Any) -> list[TableFile]:
    """The files of a table as it was loaded.

    Raises:
        RemoteError: the log can't be read.
    """
    with lake_errors(tables.place.uri):
        actions = pa.table(table.get_add_actions(flatten=True))
    names = [name for name in actions.column_names if name.startswith("partition.")]
    parts = [actions.column(name).to_pylist() for name in names]
    labels = [name.removeprefix("partition.") for name in names]
    keys = [tuple(zip(labels, values, strict=True)) for values in zip(*parts, strict=True)]
    paths, sizes, rows = (actions.column(name).to_pylist() for name in ("path", "size_bytes", "num_records"))
    found = zip(paths, sizes, rows, keys or [()] * len(paths), strict=True)
    return [TableFile(path, size, count, key) for path, size, count, key in found]


def _groups(files: list[TableFile]) -> Iterator[list[TableFile]]:
    """Small files of one partition that become one file each."""
    by_partition: dict[tuple[tuple[str, str], ...], list[TableFile]] = {}
    for file in files:
        if file.rows < SMALL_ROWS:
            by_partition.setdefault(file.partition, []).append(file)
    for small in by_partition.values():
        if len(small) < FILES_MIN:
            continue
        group: list[TableFile] = []
        for file in sorted(small, key=lambda each: each.rows):
            if group and sum(each.rows for each in group) + file.rows > JOINED_ROWS_MAX:
                if len(group) > 1:
                    yield group
                group = []
            group.append(file)
        if len(group) > 1:
            yield group


def _join(tables: LakeTables, name: str, group: list[TableFile]) -> Compacted:
    from deltalake.exceptions import CommitFailedError
    from deltalake.transaction import AddAction, RemoveAction

    table = tables.load(name)
    assert table is not None
    held = {file.path for file in files_in(tables, table)}
    if not all(file.path in held for file in group):
        return Compacted(name, len(group), len(group), conflict=True)
    rows = pa.concat_tables([read_file(tables, name, file) for file in group])
    if name == "points":
        rows = _sorted(rows)  # other tables are sorted when they are written
    partition = dict(group[0].partition)
    values: dict[str, str | None] = {**partition}
    new = stage(tables.files, name, rows, partition)
    now = int(time.time() * 1000)
    actions: list[AddAction | RemoveAction] = [RemoveAction(file.path, False, now, file.size, values) for file in group]
    actions.append(AddAction(new.path, new.size, partition, now, False, new.stats))
    try:
        tables.replace(table, name, actions)
    except CommitFailedError:  # another compaction joined some of these files
        return Compacted(name, len(group), len(group), conflict=True)
    return Compacted(name, len(group), 1)


def _sorted(rows: pa.Table) -> pa.Table:
    """Points in the order of their files, by the ranks of their texts."""
    whole = rows.unify_dictionaries().combine_chunks()
    keys = []
    for name in TABLES["points"].order:
        column = whole.column(name).combine_chunks()
        if pa.types.is_dictionary(column.type):
            texts = np.array(column.dictionary.to_pylist(), dtype=object)
            ranks = np.empty(len(texts), np.int64)
            ranks[np.argsort(texts, kind="stable")] = np.arange(len(texts))
            keys.append(ranks[column_array(column.indices.cast(pa.int64()), np.int64)])
        else:
            keys.append(column_array(column, np.int64))
    return whole.take(array_column(np.lexsort(keys[::-1]), pa.int64()))


def read_file(tables: LakeTables, name: str, file: TableFile) -> pa.Table:
    """All rows of a file of the table with that name.

    Raises:
        RemoteError: it can't be read.
    """
    data = tables.files.read(f"{name}/{file.path}")
    assert data is not None
    texts = [each.name for each in TABLES[name].file_schema if pa.types.is_string(each.type)]
    return pq.ParquetFile(pa.BufferReader(data), read_dictionary=texts if name == "points" else None).read()
