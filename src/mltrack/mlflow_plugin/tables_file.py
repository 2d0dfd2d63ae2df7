"""The SQLite file in which MLflow's own SQL stores keep what has no form of its own in a store.

``mlflow.db`` in the store's workspace folder is made by MLflow's code when the first of these things is, and migrated
by it when a newer MLflow opens it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from mlflow.exceptions import MlflowException

from mltrack.disk.filesystem import open_or_make
from mltrack.disk.locks import file_lock
from mltrack.errors import StoreError
from mltrack.mlflow_plugin.tables_reader import FILE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FILE", "TablesFile"]

WAIT_S = 120.0
"""How long to wait for another process that creates the file, or writes to it."""

_Tables = TypeVar("_Tables", bound=Any)


class TablesFile(Generic[_Tables]):
    """Opens one of MLflow's SQL stores on the file, and opens it again where the file or the process is another one."""

    def __init__(self, make: Callable[[str], _Tables]) -> None:
        """``make`` builds MLflow's store from the URI of the database."""
        self._make = make
        self._lock = threading.Lock()
        self._opened: tuple[tuple[str, int, int, int], _Tables] | None = None

    def open(self, path: Path) -> _Tables:
        """MLflow's SQL store on the file, which is created if it does not exist.

        Raises:
            StoreError: it can't be made, or a newer MLflow wrote it.
        """
        with self._lock:
            if self._opened is None or self._opened[0] != _identity(path):
                self._let_go()
                tables = self._open(path)
                self._opened = (_identity(path), tables)
            return self._opened[1]

    def _let_go(self) -> None:
        """Forget the connections to another file, or those that a parent process uses."""
        if self._opened is not None:
            identity, tables = self._opened
            tables._engine_map.pop(tables.db_uri, None)
            tables.engine.dispose(close=identity[-1] == os.getpid())
            self._opened = None

    def _open(self, path: Path) -> _Tables:
        if "?" in str(path):
            raise StoreError(f"{path} can't be a database: its path contains a '?'", hint="move the store")
        uri = f"sqlite:///{path}?timeout={WAIT_S:.0f}"
        try:
            with file_lock(path.with_name(f"{FILE}.lock"), timeout_s=WAIT_S):
                os.close(open_or_make(path, os.O_RDWR))  # SQLite would create it for its owner only
                try:
                    tables = self._make(uri)
                except MlflowException as error:
                    if "out-of-date database schema" not in str(error):
                        raise
                    _migrate(path, uri)
                    tables = self._make(uri)
                _number(path)
                return tables
        except OSError as error:
            raise StoreError(
                f"{path} can't be written: {error.strerror}", hint="check the store's permissions"
            ) from error


def _identity(path: Path) -> tuple[str, int, int, int]:
    """What tells one file from another, and this process from one that it was forked from."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return (str(path), 0, 0, os.getpid())
    return (str(path), found.st_dev, found.st_ino, os.getpid())


def _number(path: Path) -> None:
    """Give the file a number, if it has none, that its copies keep and that no other file has."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT_S)) as database:
            if database.execute("PRAGMA application_id").fetchone() == (0,):
                database.execute(f"PRAGMA application_id = {secrets.randbelow((1 << 31) - 1) + 1}")
    except sqlite3.Error as error:
        raise StoreError(f"{path} can't be written: {error}", hint="check the disk") from error


def _migrate(path: Path, uri: str) -> None:
    """Bring the tables of an older MLflow to those of the installed one, as ``mlflow db upgrade`` does."""
    import mlflow
    from alembic.util import CommandError
    from mlflow.store.db.utils import _upgrade_db, create_sqlalchemy_engine

    engine = create_sqlalchemy_engine(uri)
    try:
        _upgrade_db(engine)
    except CommandError as error:
        raise StoreError(
            f"{path} was written by a newer MLflow than {mlflow.__version__}", hint="upgrade mlflow"
        ) from error
    finally:
        engine.dispose()
