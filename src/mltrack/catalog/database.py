"""DuckDB for one store's catalog: it starts once, and the file is attached to it for one question at a time.

A start costs some ten milliseconds, attaching a file about one. Users' queries run in it, so it is locked down: they
can't name Python variables, open other files than runs', or change settings.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CatalogDatabase"]

THREADS_MAX = 4

_FILE = "store"  # the attached file's name in SQL

_LEFT_BEHIND: list[object] = []


class CatalogDatabase:
    """DuckDB of one process, for the catalog of one store. Not for several threads at once."""

    def __init__(self, file: Path, runs: Path) -> None:
        """Nothing is started until it is needed.

        Args:
            file: The catalog's file.
            runs: The folder whose files queries may read.
        """
        self._file = file
        self._runs = runs
        self._started: duckdb.DuckDBPyConnection | None = None

    def attach(self, *, read_only: bool = False) -> duckdb.DuckDBPyConnection:
        """A connection to the catalog's file; `detach` it.

        Raises:
            duckdb.Error: it can't be opened.
        """
        con = self._start().cursor()
        try:
            con.execute(f"ATTACH {_literal(self._file)} AS {_FILE}{' (READ_ONLY)' if read_only else ''}")
            con.execute(f"USE {_FILE}")
        except BaseException:
            self.detach(con)
            raise
        return con

    def detach(self, con: duckdb.DuckDBPyConnection) -> None:
        """Close a connection of `attach`, and the file with it."""
        con.close()
        try:
            self._start().execute(f"DETACH DATABASE IF EXISTS {_FILE}")
        except duckdb.Error:  # its last checkpoint failed: what is committed stands in the file's log
            self.stop()

    @contextlib.contextmanager
    def attached(self, *, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        """`attach` until the block ends."""
        con = self.attach(read_only=read_only)
        try:
            yield con
        finally:
            self.detach(con)

    def in_memory(self) -> duckdb.DuckDBPyConnection:
        """A database of its own in memory, under the same rules. The caller closes it."""
        return _connect(self._file, self._runs)

    def stop(self) -> None:
        """End it; it starts again when it is needed."""
        if self._started is not None:
            self._started.close()
            self._started = None

    def leave_parent(self) -> None:
        """In a forked child: forget the parent's; closing it would wait for threads that the child does not have."""
        _LEFT_BEHIND.append(self._started)
        self._started = None

    def _start(self) -> duckdb.DuckDBPyConnection:
        if self._started is None:
            self._started = _connect(self._file, self._runs)
        return self._started


def _connect(file: Path, runs: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(":memory:", config={"threads": min(THREADS_MAX, os.cpu_count() or 1)})
    own = ", ".join(_literal(f"{file}{ending}") for ending in ("", ".wal", ".wal.checkpoint", ".wal.recovery"))
    for setting in (
        "TimeZone = 'UTC'",
        f"temp_directory = {_literal(f'{file}.tmp')}",
        "python_enable_replacements = false",
        f"allowed_directories = [{_literal(runs)}]",
        f"allowed_paths = [{own}]",
        "enable_external_access = false",
        "lock_configuration = true",
    ):
        con.execute(f"SET GLOBAL {setting}")
    return con


def _literal(text: object) -> str:
    return "'" + str(text).replace("'", "''") + "'"
