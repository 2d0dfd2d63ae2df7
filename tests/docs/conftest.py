"""One MLflow server for the tests of these pages in a process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mlflow_server import MlflowServer


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        server.start()
        yield server
    finally:
        server.close()
