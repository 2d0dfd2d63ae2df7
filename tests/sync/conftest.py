"""One MLflow server for each test process, a store for each test, and a proxy that spoils requests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_proxy import FaultyProxy
from mlflow_server import MlflowServer
from syncing import Syncers

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Remotes
from mltrack_sync.http.retry import RetryPolicy

CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_URI")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def experiment() -> str:
    """A name that no other test uses."""
    return f"expérience {uuid.uuid4().hex}"


@pytest.fixture
def store(tmp_path: Path, experiment: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty store that mltrack's own functions record into."""
    for name in (*CREDENTIALS, "MLTRACK_RUN_ID", "MLTRACK_EXPERIMENT_NAME", "MLTRACK_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    mltrack.set_store(tmp_path / "store")
    mltrack.set_experiment(experiment)
    yield Store.open(tmp_path / "store")
    mltrack.set_store(None)


@pytest.fixture
def remote(store: Store, server: MlflowServer) -> Remote:
    return Remotes(store).add("there", server.url)


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[FaultyProxy]:
    proxy = FaultyProxy(server.url)
    try:
        yield proxy
    finally:
        proxy.close()


@pytest.fixture
def spoiled(store: Store, proxy: FaultyProxy) -> Remote:
    """The server behind the proxy."""
    return Remotes(store).add("spoiled", proxy.url)


@pytest.fixture
def waits() -> list[float]:
    """The waits that the hasty policy was asked for."""
    return []


@pytest.fixture
def hasty(waits: list[float]) -> RetryPolicy:
    """The usual policy, that does not really wait."""
    return RetryPolicy(sleep=waits.append)


@pytest.fixture
def syncers() -> Iterator[Syncers]:
    syncers = Syncers()
    try:
        yield syncers
    finally:
        syncers.close()
