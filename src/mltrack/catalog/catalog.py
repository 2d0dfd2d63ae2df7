"""The catalog: a derived DuckDB index over the run folders, on disk where that is possible, else in memory.

``catalog.duckdb`` is attached for one refresh and query at a time, under a lock file in the same folder. If it can't be
opened (another process holds it, the store is read-only) the same code answers from memory; if it is damaged, or of
another version or store, it is replaced. So a user never sees "database is locked", and may delete it at any time.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING, TypeVar

import duckdb

from mltrack.catalog.database import CatalogDatabase
from mltrack.catalog.refresh import Refresher
from mltrack.catalog.schema import CATALOG_FILE, CATALOG_LOCK, COLUMNS, create_tables, is_ours
from mltrack.disk.locks import file_lock
from mltrack.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from mltrack.disk.layout import Layout
    from mltrack.entities import Experiment

__all__ = ["Catalog"]

LOCK_TIMEOUT_S = 2.0

Answer = TypeVar("Answer")

_LEFT_BEHIND: list[object] = []


class Catalog:
    """The catalog of one store, for one process; its threads query it in turn."""

    def __init__(
        self,
        layout: Layout,
        experiments: Callable[[], Mapping[str, Experiment]],
        *,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        refresher: Refresher | None = None,
    ) -> None:
        """Use the store's catalog; nothing is opened until the first query.

        Args:
            layout: The store.
            experiments: Reads the workspace's experiments, by id.
            lock_timeout_s: How long to wait for another process's query before answering from memory.
            refresher: What brings the catalog up to date; by default one for this store.
        """
        self._layout = layout
        self._file = layout.root / CATALOG_FILE
        self._lock_file = layout.root / CATALOG_LOCK
        self._lock_timeout_s = lock_timeout_s
        self._refresher = refresher or Refresher(layout, experiments)
        self._lock = threading.RLock()
        self._database = CatalogDatabase(self._file, layout.runs)
        self._memory: duckdb.DuckDBPyConnection | None = None
        self._pid = os.getpid()

    @property
    def unreadable(self) -> dict[str, OSError]:
        """Runs whose files could not be read at the last refresh, and why."""
        return self._refresher.unreadable

    def ask(self, question: Callable[[duckdb.DuckDBPyConnection], Answer], *, full: bool = False) -> Answer:
        """Refresh the catalog and query it. ``full`` reads every run again.

        ``question`` is called twice if the file turns out to be damaged.

        Raises:
            NotFoundError: the store no longer exists.
        """
        if not self._layout.exists():
            raise self._layout.gone()
        try:
            with self._opened(full=full) as con:
                return question(con)
        except duckdb.Error as error:
            if not _is_damage(error):
                raise
            self._discard()
        with self._opened() as con:
            return question(con)

    @contextlib.contextmanager
    def _opened(self, *, full: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
        self._leave_parent()
        with self._lock, contextlib.ExitStack() as stack:
            yield self._from_disk(stack, full=full) or self._in_memory(stack, full=full)

    def _leave_parent(self) -> None:
        """In a forked child: the parent's catalog in memory can't be used."""
        if self._pid != os.getpid():
            _LEFT_BEHIND.append(self._memory)  # closing it would wait for threads that the child does not have
            self._database.leave_parent()
            self._lock, self._memory, self._pid = threading.RLock(), None, os.getpid()

    # --- on disk ---

    def _from_disk(self, stack: contextlib.ExitStack, *, full: bool) -> duckdb.DuckDBPyConnection | None:
        """The file, up to date and attached until ``stack`` closes; None if it can't be used now."""
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(file_lock(self._lock_file, timeout_s=self._lock_timeout_s))
                con = self._refreshed_file(full=full)
            except (BusyError, OSError):
                return None
            if con is not None:
                held.callback(self._database.detach, con)
                stack.enter_context(held.pop_all())
            return con

    def _refreshed_file(self, *, full: bool) -> duckdb.DuckDBPyConnection | None:
        for attempt in range(2):
            con = None
            try:
                con = self._database.attach()
                self._prepare(con)
                self._refresher.refresh(con, on_disk=True, full=full or attempt > 0)
            except duckdb.Error as error:
                if con is not None:
                    self._database.detach(con)
                if _is_held(error):
                    return None
                self._database.stop()  # damage may have made it useless
                self._remove_files()
            except BaseException:
                if con is not None:
                    self._database.detach(con)
                raise
            else:
                return con
        return None

    def _prepare(self, con: duckdb.DuckDBPyConnection) -> None:
        store_id = self._layout.store_id
        if not con.execute("SELECT 1 FROM duckdb_schemas() WHERE schema_name = 'base'").fetchone():
            create_tables(con, store_id)
        elif not is_ours(con, store_id):
            raise duckdb.CatalogException("of another version or another store")

    def _remove_files(self) -> None:
        for path in (self._file, self._file.with_name(self._file.name + ".wal")):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)

    def _discard(self) -> None:
        """Remove the catalog, so that it is rebuilt."""
        with self._lock, contextlib.suppress(BusyError, OSError):
            if self._memory is not None:
                self._memory.close()
                self._memory = None
            self._database.stop()
            with file_lock(self._lock_file, timeout_s=self._lock_timeout_s):
                self._remove_files()

    # --- in memory ---

    def _in_memory(self, stack: contextlib.ExitStack, *, full: bool) -> duckdb.DuckDBPyConnection:
        if self._memory is None:
            con = self._database.in_memory()
            create_tables(con, self._layout.store_id)
            self._seed(con)
            self._memory = con
        self._refresher.refresh(self._memory, on_disk=False, full=full)
        return stack.enter_context(self._memory.cursor())

    def _seed(self, con: duckdb.DuckDBPyConnection) -> None:
        """Start with the rows of a readable catalog on disk: they are then checked against the folders."""
        with contextlib.suppress(duckdb.Error), self._database.attached(read_only=True) as source:
            if not is_ours(source, self._layout.store_id):
                return
            tables = {name: source.sql(f"SELECT * FROM base.{name}").to_arrow_table() for name in COLUMNS}
            con.execute("BEGIN")
            for name, table in tables.items():
                con.execute(f"DELETE FROM base.{name}")
                con.register("seed", table)
                con.execute(f"INSERT INTO base.{name} SELECT * FROM seed")
                con.unregister("seed")
            con.execute("COMMIT")


def _is_held(error: duckdb.Error) -> bool:
    """Whether the file can't be opened: in use by another process, or here with other settings, or not writable."""
    said = ("lock on file", "different configuration", "Permission denied", "Read-only file system")
    return any(words in str(error) for words in said)


def _is_damage(error: duckdb.Error) -> bool:
    text = str(error)
    return "Corrupt database file" in text or "catalog.duckdb" in text or isinstance(error, duckdb.FatalException)
