"""The emulated workspace, for every test here, and a bare client of it."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from client import AzureClient
from emulator import AzureEmulator
from emulator.fixtures import azure, azure_backend, azure_certificate, azure_contents

import mltrack
from mltrack.store import Store
from mltrack_sync import Remote, Remotes

__all__ = ["azure", "azure_backend", "azure_certificate", "azure_contents"]


@pytest.fixture
def client(azure: AzureEmulator) -> Iterator[AzureClient]:
    client = AzureClient(azure)
    try:
        yield client
    finally:
        client.close()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests of the real package download it: they run only when they are asked for, by ``-m azureml``."""
    if "azureml" in (config.option.markexpr or ""):
        return
    skip = pytest.mark.skip(reason="run it with -m azureml")
    for item in items:
        if item.get_closest_marker("azureml") is not None:
            item.add_marker(skip)


@pytest.fixture
def experiment() -> str:
    """A name that no other test uses."""
    return f"expérience {uuid.uuid4().hex}"


@pytest.fixture
def azure_store(
    tmp_path: Path, experiment: str, azure: AzureEmulator, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """An empty store that mltrack's own functions record into, where the emulated Azure is the only one."""
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "MLTRACK_", "AZURE_", "IDENTITY_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", str(azure.certificate.bundle))
    monkeypatch.setenv("MLTRACK_AZURE_RESOURCE_MANAGER", azure.url)
    mltrack.set_store(tmp_path / "store")
    mltrack.set_experiment(experiment)
    yield Store.open(tmp_path / "store")
    mltrack.set_store(None)


@pytest.fixture
def token_file(azure: AzureEmulator, tmp_path: Path) -> Path:
    """A file with a token that lives."""
    path = tmp_path / "token"
    path.write_text(azure.tokens.issue().text + "\n")
    return path


@pytest.fixture
def azure_remote(azure: AzureEmulator, azure_store: Store, token_file: Path) -> Remote:
    """The workspace, by its scope alone, with the token file."""
    return Remotes(azure_store).add("prod", f"azureml:{azure.scope.path}", token_file=str(token_file))
