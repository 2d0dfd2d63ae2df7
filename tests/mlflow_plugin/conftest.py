"""Both stores behind one fixture: each method is tested on ours and on MLflow's SQL store, with the same assertions."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mlflow_plugin.opening import opened


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables in it: made once, copied for each test."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    folder = tmp_path_factory.mktemp("empty")
    store = SqlAlchemyStore(f"sqlite:///{folder}/mlflow.db", str(folder / "artifacts"))
    store._dispose_engine()
    return folder / "mlflow.db"


@pytest.fixture(params=["mltrack", "sql"])
def store_uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URI of an empty store of the one kind and then of the other."""
    if request.param == "mltrack":
        return f"mltrack://{tmp_path}/.mltrack"
    shutil.copy(request.getfixturevalue("empty_database"), tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture
def kind(store_uri: str) -> str:
    """Which store it is, "mltrack" or "sql": for where they differ on purpose."""
    return "mltrack" if store_uri.startswith("mltrack:") else "sql"


@pytest.fixture
def tracking(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty tracking store of MLflow's interface."""
    with opened(kind, tmp_path, request) as store:
        yield store


@pytest.fixture
def registry(store_uri: str) -> Iterator[Any]:
    """An empty model registry of MLflow's interface, on the same place as ``tracking``."""
    if store_uri.startswith("mltrack:"):
        from mltrack.mlflow_plugin.registry.store import RegistryStore

        yield RegistryStore(store_uri, store_uri)
    else:
        from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

        store = SqlAlchemyStore(store_uri)
        yield store
        store.engine.dispose()
