"""A tracking store of MLflow's interface, ours or the SQL one."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["opened"]


@contextmanager
def opened(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty store of that kind ("mltrack" or "sql") in a folder; let go of at the end."""
    if kind == "mltrack":
        from mltrack.mlflow_plugin import run_pool
        from mltrack.mlflow_plugin.tracking import TrackingStore

        ours = TrackingStore(f"mltrack://{folder}/.mltrack")
        yield ours
        run_pool.of(ours._store).close_all()
    else:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        if not (folder / "mlflow.db").exists():
            shutil.copy(request.getfixturevalue("empty_database"), folder / "mlflow.db")
        store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
        yield store
        store._dispose_engine()
