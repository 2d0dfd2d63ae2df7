"""MLflow's SQLite database, read only, of any schema since MLflow 1.0: columns and tables are looked for, not assumed.

It is opened so that nothing is ever written to it or next to it. Where a ``-wal`` or a ``-journal`` holds what is not
merged yet, reading would need to write, so a copy is read; a database in WAL mode without such a file is at rest.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mltrack.importers.source import SourceError
from mltrack.process.collecting import without_collecting

__all__ = ["Database"]

ROWS_AT_ONCE = 1 << 14
CACHE_KIB = 64 << 10
HEADER_BYTES = 100
WAL_BYTE = 18
COPIES_MAX = 5


class Database:
    """A database open to read. Close it."""

    def __init__(self, path: Path) -> None:
        """Open it.

        Raises:
            SourceError: it can't be read, or is not a database.
        """
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._con: sqlite3.Connection | None = None
        try:
            self._open(path.resolve())
            self.columns = {table: self._columns_of(table) for table in self._tables()}
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SourceError(f"it can't be read: {error}") from error

    def _open(self, path: Path) -> None:
        with path.open("rb") as file:
            uses_wal = file.read(HEADER_BYTES)[WAL_BYTE : WAL_BYTE + 1] == b"\2"
        others = [path.with_name(f"{path.name}{suffix}") for suffix in ("-wal", "-journal")]
        if any(each.exists() and each.stat().st_size for each in others):
            uri = f"{self._copied(path, others).as_uri()}?mode=rw"
        else:
            uri = f"{path.as_uri()}?mode=ro{'&immutable=1' if uses_wal else ''}"
        self._con = sqlite3.connect(uri, uri=True)
        self._con.text_factory = _text
        self._con.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._con.execute("PRAGMA query_only = 1")

    @property
    def _open_con(self) -> sqlite3.Connection:
        assert self._con is not None
        return self._con

    def _copied(self, path: Path, others: Sequence[Path]) -> Path:
        """A copy of a database with what was not merged into it yet, which only this process has.

        Raises:
            SourceError: it changes all the time.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="mltrack-import-")
        copy = Path(self._folder.name) / path.name
        for _ in range(COPIES_MAX):
            files = [file for file in (path, *others) if file.exists()]
            before = [_state(file) for file in files]
            for file in files:
                shutil.copyfile(file, copy.with_name(file.name))
            if [_state(file) for file in files] == before:
                return copy
        raise SourceError("it is being written to: stop what writes, or import a copy")

    def close(self) -> None:
        """Close it, and remove a copy."""
        if self._con is not None:
            self._con.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _tables(self) -> list[str]:
        return [row[0] for row in self._open_con.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]

    def _columns_of(self, table: str) -> set[str]:
        return {row[1] for row in self._open_con.execute(f"PRAGMA table_info({_quoted(table)})")}

    def has(self, table: str, column: str = "") -> bool:
        """Whether there is a table, or a column of it."""
        return table in self.columns and (not column or column in self.columns[table])

    def is_indexed(self, table: str, column: str) -> bool:
        """Whether an index of the table begins with a column."""
        for index in self._open_con.execute(f"PRAGMA index_list({_quoted(table)})").fetchall():
            first = self._open_con.execute(f"PRAGMA index_info({_quoted(index[1])})").fetchone()
            if first is not None and first[2] == column:
                return True
        return False

    def select(
        self, table: str, columns: Sequence[str], where: str = "", values: Sequence[Any] = (), order: str = "rowid"
    ) -> Iterator[dict[str, Any]]:
        """Rows of a table; columns and tables that are missing give None, and no rows.

        Args:
            table: The table.
            columns: What is wanted of each row.
            where: SQL, with ``?`` for ``values``.
            values: Bound to it.
            order: SQL.

        Raises:
            SourceError: the database is damaged.
        """
        if table not in self.columns:
            return
        named = ", ".join(_quoted(c) if c in self.columns[table] else f"NULL AS {_quoted(c)}" for c in columns)
        query = f"SELECT {named} FROM {_quoted(table)} {f'WHERE {where}' if where else ''} ORDER BY {order}"
        for rows in self.rows(query, values):
            for row in rows:
                yield dict(zip(columns, row, strict=True))

    def rows(self, query: str, values: Sequence[Any] = (), *, raw: bool = False) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, many at a time; ``raw``: with texts as bytes.

        Raises:
            SourceError: the database is damaged.
        """
        con = self._open_con
        try:
            with contextlib.closing(con.execute(query, values)) as cursor:
                while True:
                    con.text_factory = bytes if raw else _text
                    with without_collecting():
                        rows = cursor.fetchmany(ROWS_AT_ONCE)
                    if not rows:
                        break
                    yield rows
        except sqlite3.Error as error:
            raise SourceError(f"the database can't be read further: {error}") from error
        finally:
            con.text_factory = _text

    def execute(self, statement: str) -> None:
        """Make a temporary table, which lies outside of the file.

        Raises:
            SourceError: it can't be made.
        """
        try:
            self._open_con.execute("PRAGMA query_only = 0")
            self._open_con.execute(statement)
            self._open_con.commit()
        except sqlite3.Error as error:
            raise SourceError(f"the database can't be read: {error}") from error


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")
