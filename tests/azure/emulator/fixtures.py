"""Fixtures: one MLflow server and one certificate for each test process, one workspace for each test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2] / "sync"))

from mlflow_server import MlflowServer

from .certificate import Certificate, make_certificate
from .contents import Contents
from .workspace import AzureEmulator

__all__ = ["azure", "azure_backend", "azure_certificate", "azure_contents"]


@pytest.fixture(scope="session")
def azure_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """The MLflow server behind all workspaces of this test process."""
    server = MlflowServer(tmp_path_factory.mktemp("azure-backend"))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def azure_certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Trusted by clients that are given its ``bundle``."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def azure(azure_backend: MlflowServer, azure_certificate: Certificate) -> Iterator[AzureEmulator]:
    """A workspace of this test's own."""
    emulator = AzureEmulator(azure_backend.url, azure_certificate)
    try:
        yield emulator
    finally:
        emulator.close()
    assert not emulator.problems, f"the emulator itself failed: {emulator.problems!r}"
    assert not emulator.blobs.bearers_seen, "a bearer token went to the blob store"


@pytest.fixture
def azure_contents(azure: AzureEmulator, azure_backend: MlflowServer) -> Contents:
    """What the workspace holds."""
    return Contents(azure, azure_backend)
