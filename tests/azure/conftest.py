"""The emulated workspace, for every test here, and a bare client of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from client import AzureClient
from emulator import AzureEmulator
from emulator.fixtures import azure, azure_backend, azure_certificate, azure_contents

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
