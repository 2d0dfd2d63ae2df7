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
